"""Kernels against their formulae, one row each; the median bandwidth against the median."""

import math

import pytest
import torch
from torch import nn

from probgen.mmd import (
    Deep,
    Energy,
    Gaussian,
    InverseMultiquadric,
    Laplace,
    Linear,
    Matern,
    Polynomial,
    RationalQuadratic,
    bandwidth_grid,
    median_bandwidth,
    mmd2,
    mmd2_loss,
    substring_counts,
)
from probgen.mmd.algebra import as_pair_kernel
from probgen.mmd.pairwise import accurate_squared_distances


class Squash(nn.Module):
    def forward(self, x):
        return torch.stack([x[:, 0].tanh(), x[:, 1] * x[:, 0], x[:, 1]], 1)


def radial(formula):
    """Kernel values from a formula of the distance, by direct subtraction."""
    return lambda x, y: formula((x[:, None] - y).square().sum(-1).sqrt())


def inner(formula):
    return lambda x, y: formula(x @ y.T)


def gauss(r, width):
    return torch.exp(-(r**2) / (2 * width**2))


def matern52(r):
    return (1 + math.sqrt(5) * r / 0.8 + 5 * r**2 / (3 * 0.8**2)) * torch.exp(-math.sqrt(5) * r / 0.8)


KERNELS = [
    (Gaussian(0.7), radial(lambda r: gauss(r, 0.7))),
    (Gaussian([0.5, 1.0, 3.0]), radial(lambda r: (gauss(r, 0.5) + gauss(r, 1.0) + gauss(r, 3.0)) / 3)),
    (Energy(), radial(lambda r: -r)),
    (Laplace([0.7, 2.0]), radial(lambda r: (torch.exp(-r / 0.7) + torch.exp(-r / 2)) / 2)),
    (Matern(0.8, smoothness=0.5), radial(lambda r: torch.exp(-r / 0.8))),
    (
        Matern(0.8, smoothness=1.5),
        radial(lambda r: (1 + math.sqrt(3) * r / 0.8) * torch.exp(-math.sqrt(3) * r / 0.8)),
    ),
    (Matern(0.8, smoothness=2.5), radial(matern52)),
    (RationalQuadratic(0.7), radial(lambda r: 1 / (1 + r**2 / (2 * 0.49)))),
    (
        RationalQuadratic([0.7, 2.0], power=0.3),
        radial(lambda r: ((1 + r**2 / (0.6 * 0.49)) ** -0.3 + (1 + r**2 / (0.6 * 4)) ** -0.3) / 2),
    ),
    (InverseMultiquadric(0.7), radial(lambda r: 0.7 / (0.49 + r**2).sqrt())),
    (InverseMultiquadric(2.0, power=1.5), radial(lambda r: (1 + r**2 / 4) ** -1.5)),
    (Linear(), inner(lambda dot: dot)),
    (Polynomial(3, scale=0.5), inner(lambda dot: (dot / 2 + 1) ** 3)),
    (Polynomial(2, constant=0.0), inner(lambda dot: dot**2)),
    (Gaussian(0.7) + Laplace(2.0), radial(lambda r: gauss(r, 0.7) + torch.exp(-r / 2))),
    (Gaussian(0.7) * Laplace(2.0), radial(lambda r: gauss(r, 0.7) * torch.exp(-r / 2))),
    (3 * Gaussian(0.7), radial(lambda r: 3 * gauss(r, 0.7))),
    (
        0.5 * Polynomial(2) + Gaussian(0.7) * Linear(),
        lambda x, y: (x @ y.T + 1) ** 2 / 2 + radial(lambda r: gauss(r, 0.7))(x, y) * (x @ y.T),
    ),
    (
        Deep(Squash(), Gaussian(0.7)),
        lambda x, y: radial(lambda r: gauss(r, 0.7))(Squash()(x), Squash()(y)),
    ),
    (
        Deep(Squash(), Linear()) * Gaussian(2.0),
        lambda x, y: Squash()(x) @ Squash()(y).T * radial(lambda r: gauss(r, 2.0))(x, y),
    ),
    (lambda squared_distance: 1 / (1 + squared_distance), radial(lambda r: 1 / (1 + r**2))),
]
RADIAL = [
    kernel for kernel, _ in KERNELS if not isinstance(kernel, Linear | Polynomial | Deep) and callable(kernel)
]
IDS = [repr(kernel) if "lambda" not in repr(kernel) else "a callable" for kernel, _ in KERNELS]
TABLE = pytest.mark.parametrize(("kernel", "formula"), KERNELS, ids=IDS)


def sample(n, device, generator):
    return torch.randn(n, 2, device=device, dtype=torch.float64, generator=generator)


def values(kernel, x, y):
    u, v = as_pair_kernel(kernel).features((x, y), torch.float64)
    return as_pair_kernel(kernel).values(u, v, accurate_squared_distances)


@TABLE
def test_values(kernel, formula, device, generator):
    x, y = sample(20, device, generator), sample(15, device, generator) + 1
    y[:5] = x[:5]
    torch.testing.assert_close(values(kernel, x, y), formula(x, y), rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(values(kernel, y, x), formula(x, y).T, rtol=1e-9, atol=1e-12)
    (u,) = as_pair_kernel(kernel).features((x,), torch.float64)
    torch.testing.assert_close(as_pair_kernel(kernel).diagonal(u), formula(x, x).diagonal())


@TABLE
def test_every_kernel_is_positive_definite_on_weights_that_sum_to_zero(kernel, formula, device, generator):
    points = sample(30, device, generator)
    found = values(kernel, points, points)
    centring = torch.eye(30, device=device, dtype=torch.float64) - 1 / 30
    assert torch.linalg.eigvalsh(centring @ found @ centring).min() > -1e-10
    if not isinstance(kernel, Energy):
        assert torch.linalg.eigvalsh(found).min() > -1e-10


@TABLE
@pytest.mark.parametrize("estimator", ["unbiased", "biased"])
def test_the_loss_and_its_gradient_are_those_of_dense_sums(kernel, formula, estimator, device, generator):
    """Over several tiles, against autograd on the whole matrices."""
    x, y = sample(300, device, generator), sample(280, device, generator) * 0.8 + 0.3
    x, y = x.requires_grad_(), y.requires_grad_()

    def dense(x, y):
        n, m, total = len(x), len(y), 0.0
        for z, size in ((x, n), (y, m)):
            within = 2 * sum(formula(z[i : i + 1], z[i + 1 :]).sum() for i in range(size - 1))
            if estimator == "unbiased":
                total = total + within / (size * (size - 1))
            else:
                same = as_pair_kernel(kernel).diagonal(as_pair_kernel(kernel).features((z,), z.dtype)[0])
                total = total + (within + same.sum()) / size**2
        return total - 2 * formula(x, y).mean()

    found, expected = mmd2_loss(x, y, kernel, estimator=estimator), dense(x, y)
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-12)
    for mine, theirs in zip(
        torch.autograd.grad(found, (x, y)), torch.autograd.grad(expected, (x, y)), strict=True
    ):
        torch.testing.assert_close(mine, theirs, rtol=1e-6, atol=1e-9 * float(theirs.abs().max()))


@TABLE
def test_the_gradient_is_that_of_finite_differences(kernel, formula, device, generator):
    x, y = sample(4, device, generator).requires_grad_(), sample(3, device, generator).requires_grad_()
    assert torch.autograd.gradcheck(lambda x, y: mmd2_loss(x, y, kernel), (x, y))
    assert torch.autograd.gradgradcheck(lambda x, y: mmd2_loss(x, y, kernel), (x, y), fast_mode=True)


@pytest.mark.parametrize(
    "kernel", RADIAL, ids=lambda kernel: repr(kernel) if "0x" not in repr(kernel) else "callable"
)
def test_every_kernel_of_the_distance_keeps_the_dtype_and_lets_nan_through(kernel, device, dtype):
    found = kernel(torch.tensor([0.0, 1.0, torch.nan], device=device, dtype=dtype))
    assert found.dtype == dtype
    assert found.isnan().tolist() == [False, False, True]


def test_a_mixture_is_the_mean_of_gaussians_with_standard_deviations():
    squared_distance = torch.tensor([0.0, 1.0, 9.0])
    expected = (torch.exp(-squared_distance / 8) + torch.exp(-squared_distance / 50)) / 2
    torch.testing.assert_close(Gaussian([2.0, 5.0])(squared_distance), expected)


def test_the_energy_kernel_has_gradient_zero_at_equal_points():
    squared_distance = torch.tensor([0.0, 4.0], requires_grad=True)
    Energy()(squared_distance).sum().backward()
    assert squared_distance.grad is not None
    assert squared_distance.grad.tolist() == [0.0, -0.25]


@pytest.mark.parametrize(("n", "m", "scale"), [(50, 70, 1.0), (301, 20, 1e-6), (40, 40, 1e6)])
def test_the_median_bandwidth_is_the_median_distance(n, m, scale, device, generator):
    x, y = (torch.randn(k, 3, device=device, dtype=torch.float64, generator=generator) for k in (n, m))
    expected = torch.pdist(torch.cat([x, y]) * scale).median().item()
    found = median_bandwidth(x * scale + 5, y * scale + 5)
    assert found == pytest.approx(expected, rel=4e-3 if scale > 1e-6 else 5e-3)
    assert median_bandwidth(y * scale + 5, x * scale + 5) == pytest.approx(found, rel=1e-9)


def test_the_median_bandwidth_leaves_out_equal_points():
    x = torch.tensor([0.0] * 20 + [3.0] * 2)
    assert median_bandwidth(x, x) == pytest.approx(3.0, rel=4e-3)


def test_the_median_bandwidth_withstands_outliers():
    x = torch.tensor([0.0, 1.0, 2.0, 3.0, 1e6])
    assert median_bandwidth(x[:2], x[2:]) == pytest.approx(torch.pdist(x[:, None]).median().item(), rel=4e-3)


def test_the_grid_is_the_median_times_powers_of_two(generator):
    x = torch.randn(50, generator=generator)
    median = median_bandwidth(x, x + 1)
    assert bandwidth_grid(x, x + 1) == tuple(median * factor for factor in (0.125, 0.25, 0.5, 1.0, 2.0))


def test_the_network_of_a_deep_kernel_learns(device, generator):
    x, y = sample(300, device, generator), sample(200, device, generator) + 1
    network = nn.Sequential(nn.Linear(2, 8), nn.Tanh(), nn.Linear(8, 3)).to(device).double()
    parameters = tuple(network.parameters())
    found = torch.autograd.grad(mmd2_loss(x, y, Deep(network, Gaussian(0.9)), estimator="biased"), parameters)
    u, v = network(x), network(y)
    dense = [torch.exp(-(a[:, None] - b).square().sum(-1) / 1.62).mean() for a, b in ((u, u), (v, v), (u, v))]
    expected = torch.autograd.grad(dense[0] + dense[1] - 2 * dense[2], parameters)
    for mine, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-6, atol=1e-10)


def test_a_kernel_with_parameters_of_its_own_learns_too(device, generator):
    x, y = sample(300, device, generator).requires_grad_(), sample(200, device, generator) + 1
    width = torch.tensor(0.7, device=device, dtype=torch.float64, requires_grad=True)
    loss = mmd2_loss(x, y, lambda squared: torch.exp(-squared / (2 * width**2)))
    slope, of_x = torch.autograd.grad(loss, (width, x))
    step = 1e-5
    up, down = (mmd2_loss(x, y, Gaussian(0.7 + sign * step)).item() for sign in (1, -1))
    assert float(slope) == pytest.approx((up - down) / (2 * step), rel=1e-6)
    torch.testing.assert_close(of_x, torch.autograd.grad(mmd2_loss(x, y, Gaussian(0.7)), x)[0])


def test_substrings_tell_texts_apart():
    x, y, z = substring_counts(["abcabc", "aab"] * 4, ["abcab", "aabb"] * 4, ["ccc", "cca"] * 4, length=2)
    assert x.shape[1] == y.shape[1] == z.shape[1] == 6  # ab, bc, ca, aa, bb, cc
    near, far = (mmd2(x, other, Linear(), estimator="biased").value for other in (y, z))
    means = [sample.mean(0) for sample in (x, y, z)]
    assert near == pytest.approx(float((means[0] - means[1]).square().sum()))
    assert far == pytest.approx(float((means[0] - means[2]).square().sum()))
    assert near < far


@pytest.mark.parametrize("width", [0.0, -1.0, float("nan"), float("inf"), [1.0, 0.0], 1e-120])
def test_bad_bandwidths(width):
    with pytest.raises(ValueError, match="bandwidth should be between 1e-100 and 1e100 but got"):
        Gaussian(width)


def test_an_empty_mixture():
    with pytest.raises(ValueError, match="bandwidth should hold at least one value but is empty"):
        Gaussian([])


def test_a_median_of_equal_points():
    with pytest.raises(ValueError, match="x and y should hold at least two different points"):
        median_bandwidth(torch.ones(5, 2), torch.ones(4, 2))


def test_a_median_that_one_outlier_dwarfs():
    x = torch.linspace(0, 1, 50, dtype=torch.float64)
    with pytest.raises(ValueError, match="the median distance should exceed 1e-9"):
        median_bandwidth(x, torch.tensor([1e13], dtype=torch.float64))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: Matern(1.0, smoothness=2.0), "smoothness should be 0.5, 1.5 or 2.5 but got 2.0"),
        (lambda: RationalQuadratic(1.0, power=0), "power should be positive and finite but got 0"),
        (lambda: Polynomial(0), "degree should be a whole number, at least 1, but got 0"),
        (lambda: Polynomial(2, constant=-1), "constant should be finite and not negative but got -1"),
        (lambda: -1 * Gaussian(1.0), "the factor of a kernel should be positive and finite but got -1"),
        (lambda: substring_counts(["ab"], length=3), "samples should hold a string of at least 3 items"),
        (lambda: substring_counts(["ab"], length=0), "length should be at least 1 but got 0"),
        (
            lambda: mmd2_loss(torch.ones(4, 2), torch.ones(3, 2), Deep(torch.sum, Gaussian(1.0))),
            "network should return one row of features for each of the 7 points but returned shape",
        ),
    ],
)
def test_bad_kernels(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_what_is_no_kernel():
    with pytest.raises(
        TypeError, match="kernel should be a kernel or a callable on squared distances but got 3"
    ):
        mmd2_loss(torch.ones(4, 2), torch.ones(3, 2), 3)
    with pytest.raises(TypeError, match="unsupported operand"):
        Gaussian(1.0) + 1


@pytest.mark.parametrize("bandwidth", ["a", torch.ones(2), [1.0, None]], ids=["text", "tensor", "None"])
def test_bandwidths_should_be_numbers(bandwidth):
    with pytest.raises(TypeError, match="bandwidth should be a number or a sequence of numbers but got"):
        Gaussian(bandwidth)
