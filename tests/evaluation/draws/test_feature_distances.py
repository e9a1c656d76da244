"""Fréchet and kernel distances: closed forms, bias and error against theory, and what does not move them."""

import math

import pytest
import torch
from scipy.linalg import sqrtm

from probgen.evaluation import frechet_distance, kernel_distance
from probgen.mmd import Polynomial, mmd2


def normal(n, d, device, generator):
    return torch.randn(n, d, device=device, dtype=torch.float64, generator=generator)


def with_moments(mean, root, n, generator):
    """Points whose empirical mean and covariance are mean and rootᵀ root to rounding."""
    z = normal(n, len(mean), mean.device, generator)
    z = z - z.mean(0)
    white = z @ torch.linalg.inv(torch.linalg.cholesky(z.T.cov())).T
    return mean + white @ root


def test_the_frechet_distance_is_that_of_the_moments(device, generator):
    roots = [normal(4, 4, device, generator) for _ in range(2)]
    means = [normal(1, 4, device, generator)[0] for _ in range(2)]
    covariances = [(root.T @ root).cpu().numpy() for root in roots]
    product = sqrtm(covariances[0] @ covariances[1])
    expected = float((means[0] - means[1]).square().sum())
    expected += sum(c.trace() for c in covariances) - 2 * product.real.trace()
    x, y = (with_moments(m, root, 50, generator) for m, root in zip(means, roots, strict=True))
    assert frechet_distance(x, y).value == pytest.approx(expected, rel=1e-9)
    assert frechet_distance(y, x).value == pytest.approx(expected, rel=1e-9)
    assert expected > 1


def test_in_one_dimension_it_is_that_of_means_and_deviations(device, generator):
    x, y = normal(30, 1, device, generator), 3 * normal(40, 1, device, generator) + 5
    expected = (x.mean() - y.mean()) ** 2 + (x.std() - y.std()) ** 2
    assert frechet_distance(x, y).value == pytest.approx(float(expected), rel=1e-12)


def test_a_degenerate_law_and_equal_samples(device, generator):
    x = normal(60, 3, device, generator) * torch.tensor([1.0, 0.0, 1e-9], device=device)
    assert frechet_distance(x, x + 1e6).value == pytest.approx(3e12)
    assert 0 <= frechet_distance(x, x.flip(0)).value < 1e-25
    point = torch.zeros_like(x)
    assert frechet_distance(x, point).value == pytest.approx(
        float(x.mean(0).square().sum() + x.var(0).sum()), rel=1e-12
    )


def test_the_bias_has_its_closed_form_and_is_gone_when_extrapolated(device, generator):
    variances, n, m = torch.tensor([0.1, 1.0, 4.0], dtype=torch.float64), 150, 250
    pairs = variances[:, None] * variances / (variances[:, None] + variances)
    bias = float((1 / n + 1 / m) * (variances.sum() + 0.5 * (pairs.sum() + pairs.trace())))
    deviations = variances.sqrt().to(device)
    found = torch.tensor(
        [
            frechet_distance(*(normal(k, 3, device, generator) * deviations for k in (n, m)))
            for _ in range(1500)
        ],
        dtype=torch.float64,
    )
    stderr = found.std(0) / 1500**0.5
    # False alarm 1e-6 each, and 2 % of the bias for what is of the order 1/n².
    assert ((found.mean(0) - torch.tensor([bias, 0.0])).abs() < 4.9 * stderr + 0.02 * bias).all()
    assert (4.9 * stderr < 0.2 * bias).all()


def test_the_extrapolated_distance_of_unequal_laws_is_right_on_average(device, generator):
    scale = torch.tensor([1.0, 2.0], device=device, dtype=torch.float64)
    found = torch.tensor(
        [
            frechet_distance(
                normal(100, 2, device, generator), normal(100, 2, device, generator) * scale + 0.5
            )
            for _ in range(1500)
        ],
        dtype=torch.float64,
    )
    truth = 2 * 0.5**2 + 1
    value, extrapolated = found.mean(0) - truth
    stderr = found.std(0) / 1500**0.5
    assert abs(extrapolated) < 4.9 * stderr[1]
    assert value > 4.9 * stderr[0]  # the bias that it is without


def test_the_kernel_distance_is_an_mmd_without_bias(device, generator):
    x, y = normal(40, 3, device, generator), normal(50, 3, device, generator) + 0.5
    assert kernel_distance(x, y) == mmd2(x, y, Polynomial(3, scale=1 / 3))
    found = torch.tensor(
        [
            kernel_distance(normal(30, 3, device, generator), normal(30, 3, device, generator))
            for _ in range(800)
        ],
        dtype=torch.float64,
    )
    value = found[:, 0]
    assert abs(value.mean()) < 4.9 * value.std() / 800**0.5  # false alarm 1e-6
    assert value.min() < 0


def test_the_error_of_the_kernel_distance_is_that_over_repeats(device, generator):
    found = torch.tensor(
        [
            kernel_distance(normal(40, 3, device, generator), 1.5 * normal(50, 3, device, generator) + 0.5)
            for _ in range(800)
        ],
        dtype=torch.float64,
    )
    value, stderr = found.T
    # The deviation of 800 values with the kurtosis of these, 6, is known to 4 %.
    assert (stderr.square().mean() / value.var()).sqrt() == pytest.approx(1, abs=0.17)


def test_turns_and_shifts(device, generator):
    x, y = normal(40, 3, device, generator), 2 * normal(50, 3, device, generator) + 1
    turn = torch.linalg.qr(normal(3, 3, device, generator)).Q
    plain = frechet_distance(x, y)
    assert frechet_distance(x @ turn + 7, y @ turn + 7) == pytest.approx(plain, rel=1e-9)
    assert frechet_distance(3 * x, 3 * y) == pytest.approx([9 * v for v in plain], rel=1e-9)
    assert kernel_distance(x @ turn, y @ turn) == pytest.approx(kernel_distance(x, y), rel=1e-9)


def test_features_images_and_arrays(device, dtype, generator):
    x, y = torch.rand(2, 40, 1, 2, 2, device=device, dtype=dtype, generator=generator)
    for distance in (frechet_distance, kernel_distance):
        flat = distance(x.flatten(1), y.flatten(1))
        assert distance(x, y) == flat
        assert distance(x.flatten(1), y.flatten(1), features=lambda z: z) == flat
        assert distance(x, y, features=lambda z: z.flatten(1)[:, :2]) == distance(
            x.flatten(1)[:, :2], y.flatten(1)[:, :2]
        )
        assert distance(*(z.flatten(1).double().cpu().numpy() for z in (x, y))) == pytest.approx(flat)


X = torch.arange(24.0).reshape(12, 2)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: frechet_distance(X, X[:5]), "y should hold at least 6 points, for 2 features, but has 5"),
        (lambda: kernel_distance(X, X[:3]), "y should hold at least 4 points"),
        (lambda: frechet_distance(X, X[:, :1]), "x and y should have the same event shape"),
        (lambda: kernel_distance(X / 0, X), "x should be finite"),
        (lambda: frechet_distance(X, X, features=lambda z: z[:3]), "features should return a row for each"),
        (lambda: frechet_distance(X, X, features=lambda z: z * math.nan), "features of x should be finite"),
    ],
)
def test_bad_input(call, message):
    with pytest.raises(ValueError, match=message):
        call()
