"""The test of which sample is closer: its difference and error against Monte Carlo, its level and power."""

import pytest
import torch
from scipy import stats

from probgen.mmd import Energy, Gaussian, Polynomial, mmd2, relative_mmd_test

KERNEL = Gaussian(1.0)


def normal(n, d, device, generator, shift=0.0):
    return torch.randn(n, d, device=device, dtype=torch.float64, generator=generator) + shift


def repeated(draw, repeats):
    return torch.tensor([relative_mmd_test(*draw(), kernel=KERNEL)[:3] for _ in range(repeats)]).double()


@pytest.mark.parametrize("kernel", [KERNEL, Energy(), Polynomial(2)], ids=repr)
def test_the_difference_is_that_of_the_unbiased_estimates(kernel, device, dtype, generator):
    x, y, data = (normal(n, 3, device, generator, n / 20).to(dtype) for n in (20, 31, 44))
    found = relative_mmd_test(x, y, data, kernel=kernel)
    expected = mmd2(x, data, kernel).value - mmd2(y, data, kernel).value
    assert found.difference == pytest.approx(expected, rel=1e-8, abs=1e-12)
    swapped = relative_mmd_test(y, x, data, kernel=kernel)
    assert swapped.difference == pytest.approx(-found.difference, rel=1e-8)
    assert swapped.p_value == pytest.approx(1 - found.p_value, abs=1e-8)


def test_the_error_and_the_level_where_both_are_as_far(device, generator):
    def draw():
        shifts = ((80, 1.0), (120, -1.0), (100, 0.0))
        return tuple(normal(n, 1, device, generator, shift) for n, shift in shifts)

    differences, errors, p_values = repeated(draw, 400).T
    # a standard deviation of 400 values has a relative error of 3.6 %, the plug-in one a bias of O(1/n)
    ratio = errors.square().mean().sqrt() / differences.std()
    assert abs(ratio - 1) < 4 * 0.036 + 2 / 80
    assert abs(differences.mean()) < 4.9 * differences.std() / 20
    rejected = int((p_values <= 0.1).sum())
    assert int(stats.binom.ppf(1e-5, 400, 0.1)) <= rejected <= int(stats.binom.isf(1e-5, 400, 0.1))


def test_the_level_holds_where_all_laws_are_one(device, generator):
    p_values = repeated(lambda: tuple(normal(40, 2, device, generator) for _ in range(3)), 150)[:, 2]
    assert (p_values <= 0.1).sum() <= stats.binom.isf(1e-5, 150, 0.1)


def test_power(device, generator):
    def draw():
        return tuple(normal(100, 1, device, generator, shift) for shift in (0.9, 0.3, 0.0))

    p_values = repeated(draw, 40)[:, 2]
    assert (p_values <= 0.1).sum() >= 34
    assert (p_values <= 0.9).all()  # and never the other way about


X = torch.arange(8.0).reshape(4, 2)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: relative_mmd_test(X[:3], X, X), "x should hold at least 4 points but has 3"),
        (lambda: relative_mmd_test(X, X, X[:3]), "reference should hold at least 4 points but has 3"),
        (lambda: relative_mmd_test(X, X * torch.nan, X), "y should be finite"),
        (lambda: relative_mmd_test(X, X, X[:, :1]), "x and reference should have the same event shape"),
        (lambda: relative_mmd_test(X, X, X, kernel=lambda d: d / d), "kernel should return finite values"),
        (lambda: relative_mmd_test(X, X, X, kernel=torch.ones_like), "kernel should tell some of the points"),
    ],
)
def test_bad_input(call, message):
    with pytest.raises(ValueError, match=message):
        call()
