"""The Stein kernel against its definition, by quadrature and in closed form; bad input."""

import math

import numpy as np
import pytest
import torch
from torch.distributions import Dirichlet, Gamma, MultivariateNormal, Normal

from probgen.core import Density
from probgen.mmd import (
    Energy,
    Gaussian,
    InverseMultiquadric,
    Laplace,
    Matern,
    Polynomial,
    RationalQuadratic,
    ksd2,
)
from probgen.mmd.stein import SteinKernel, points_and_scores

KERNELS = [
    Gaussian([0.5, 2.0]),
    InverseMultiquadric(1.3),
    RationalQuadratic(0.7, power=2.0),
    Matern(1.5, smoothness=1.5),
    Matern(0.8, smoothness=2.5),
    Gaussian(1.0) * InverseMultiquadric(2.0) + 0.5 * Gaussian(0.3),
    lambda squared: 1 / (1 + squared),
]
IDS = ["gaussian", "imq", "rq", "matern 3/2", "matern 5/2", "composed", "plain function"]


def radial(kernel):
    from probgen.mmd.algebra import as_pair_kernel

    return as_pair_kernel(kernel)


def everywhere(stein: SteinKernel) -> torch.Tensor:
    whole = slice(0, len(stein.points))
    return stein.block(whole, whole)


@pytest.mark.parametrize("kernel", KERNELS, ids=IDS)
def test_the_stein_kernel_is_its_definition(kernel, generator):
    """Each entry, by automatic differentiation of k(x, y) by its two points."""
    x, s = torch.randn(2, 6, 3, dtype=torch.float64, generator=generator)
    found = everywhere(SteinKernel(x, s, radial(kernel)))
    between = radial(kernel)

    def k(a, b):
        return between((a - b).square().sum())

    for i in range(6):
        for j in range(6):
            if i == j:
                continue
            of_x, of_y = (torch.func.grad(k, argument)(x[i], x[j]) for argument in (0, 1))
            trace = torch.func.jacrev(torch.func.grad(k, 0), 1)(x[i], x[j]).trace()
            expected = s[i] @ s[j] * k(x[i], x[j]) + s[i] @ of_y + s[j] @ of_x + trace
            assert found[i, j] == pytest.approx(float(expected), rel=1e-9, abs=1e-12)


@pytest.mark.parametrize("kernel", KERNELS, ids=IDS)
def test_the_diagonal_is_the_limit(kernel):
    x = torch.tensor([[0.3, -0.2], [0.3, -0.2 + 1e-6]], dtype=torch.float64)
    s = torch.tensor([[1.0, 2.0], [1.0, 2.0]], dtype=torch.float64)
    stein = SteinKernel(x, s, radial(kernel))
    assert stein.diagonal()[0] == pytest.approx(float(everywhere(stein)[0, 1]), rel=1e-5)


@pytest.mark.parametrize("kernel", KERNELS, ids=IDS)
def test_stein_identity(kernel):
    """∫ k_p(x, y) p(x) dx = 0 for every y, for a mixture p on the line, by quadrature."""
    grid = torch.linspace(-14, 14, 40_001, dtype=torch.float64)

    def log_p(x):
        return torch.logaddexp(-((x + 2) ** 2) / 2, 0.5 - (x - 1.5) ** 2 / 0.6)

    points, scores = points_and_scores(grid, Density(log_p, dtype=torch.float64))
    weights = log_p(grid).exp() / log_p(grid).exp().sum()
    values = SteinKernel(points, scores, radial(kernel)).block(slice(0, 40_001), slice(15_000, 25_001, 500))
    scale = (values.abs() * weights[:, None]).sum(0)
    assert ((values * weights[:, None]).sum(0).abs() <= 2e-6 * scale).all()


def test_equals_its_closed_form(device, dtype, generator):
    """From N(μ, 1) to N(0, 1) the scores differ by μ: KSD² = μ² E k(X, X') = μ² (σ² / (σ² + 2))^½."""
    mean, width = 0.7, 1.5
    x = torch.randn(6000, 1, device=device, dtype=dtype, generator=generator) + mean
    found = ksd2(x, lambda x: -x, Gaussian(width))
    expected = mean**2 * math.sqrt(width**2 / (width**2 + 2))
    assert abs(found.value - expected) < 5 * found.stderr
    assert found.stderr < 0.05 * expected


def test_the_standard_error_is_that_of_repeats(device, generator):
    """Where the laws differ its square is the variance in the mean, where they agree in the median."""
    for mean, average in ((0.0, np.median), (0.5, np.mean)):
        values, variances = [], []
        for _ in range(400):
            x = torch.randn(60, 2, device=device, dtype=torch.float64, generator=generator) + mean
            found = ksd2(x, lambda x: -x, InverseMultiquadric(1.0))
            values.append(found.value)
            variances.append(found.stderr**2)
        assert 0.7 < average(variances) / np.var(values) < 1.4  # the error of a variance is 7 % to 15 % here
        if mean == 0:
            assert abs(np.mean(values)) < 5 * np.std(values) / 20


def test_weights_stand_for_repeated_points(generator):
    """Importance weights from N(0.5, 1.2²) to N(0, 1): the discrepancy vanishes with them, not without."""
    x = 0.5 + 1.2 * torch.randn(3000, 1, dtype=torch.float64, generator=generator)
    weights = (Normal(0.0, 1.0).log_prob(x) - Normal(0.5, 1.2).log_prob(x)).exp().squeeze(1)
    plain, weighted = (ksd2(x, lambda x: -x, Gaussian(1.0), weights=w) for w in (None, weights))
    assert plain.value > 10 * plain.stderr
    assert abs(weighted.value) < 4 * weighted.stderr
    twice = torch.cat([x[:50], x[:20]])
    counts = torch.cat([torch.full((20,), 2.0), torch.ones(30)]).double()
    by_copies, by_weights = (
        ksd2(points, lambda x: -x, Gaussian(1.0), estimator="biased", weights=w).value
        for points, w in ((twice, None), (x[:50], counts))
    )
    assert by_weights == pytest.approx(by_copies, rel=1e-9)


@pytest.mark.parametrize(
    "law",
    [
        Gamma(3.0, 2.0),
        Dirichlet(torch.tensor([2.0, 3.0, 4.0])),
        MultivariateNormal(torch.ones(3), torch.eye(3)),
    ],
    ids=["gamma", "dirichlet", "normal"],
)
def test_draws_of_a_density_have_none(law):
    """On any support: the Jacobian is in the score."""
    torch.manual_seed(0)
    density = Density.from_distribution(law)
    found = ksd2(law.sample((800,)), density)
    assert abs(found.value) < 4 * found.stderr
    name = density.names[0]
    assert ksd2({name: law.sample((800,))}, density).value < 4 * found.stderr


def test_a_common_offset_costs_nothing(dtype, generator):
    x = torch.randn(200, 2, dtype=torch.float64, generator=generator)
    here = ksd2(x, lambda x: -x, Gaussian(1.0))
    there = ksd2(x + 2**20, lambda x: 2**20 - x, Gaussian(1.0))
    assert there.value == pytest.approx(here.value, rel=1e-7)


X = torch.linspace(-1.0, 1.0, 20)


@pytest.mark.parametrize(
    ("x", "target", "options", "words"),
    [
        (X[:3], lambda x: -x, {}, "x should hold at least 4 points"),
        (X, lambda x: x.sum(1), {}, r"scores of the points' shape \(20, 1\) but returned \(20,\)"),
        (X, lambda x: x / 0, {}, "the score should be finite but is .* at point 0"),
        (X, lambda x: -x, {"kernel": Laplace(1.0)}, r"Laplace\(\[1.0\]\) has none"),
        (X, lambda x: -x, {"kernel": Energy() + Gaussian(1.0)}, "but .*Energy.* has none"),
        (X, lambda x: -x, {"estimator": "best"}, "estimator should be 'unbiased' or 'biased'"),
        (X, lambda x: -x, {"weights": -torch.ones(20)}, "weights should be finite and not negative"),
        (X, Density(lambda x: -x, support=torch.distributions.constraints.positive), {}, "point 0 is not"),
        (X, Density(lambda x: -(x**2), batch_shape=(2,)), {}, "target should be one density"),
        (X[:, None], Density(lambda x: -(x**2)), {}, r"draws of 'x' should have shape \(n, \)"),
        (X, Density(lambda x: torch.zeros_like(x).detach()), {}, "log_prob with gradients"),
        ({"y": X}, Density(lambda x: -(x**2)), {}, "lacks 'x'"),
        (X * torch.nan, lambda x: -x, {}, "finite"),
        (torch.ones(20), lambda x: -x, {}, "two different points"),
    ],
)
def test_bad_input(x, target, options, words):
    with pytest.raises(ValueError, match=words):
        ksd2(x, target, **options)


def test_a_kernel_that_is_not_of_the_distance():
    with pytest.raises(TypeError, match="a function of the distance"):
        ksd2(X, lambda x: -x, Polynomial(2))
