"""Approximate null laws: the chi-squared law that they must give, and permutations that they stand for."""

import pytest
import torch
from scipy import stats

from probgen.mmd import Energy, Gaussian, Linear, mmd2, mmd_test

METHODS = ["gamma", "spectral"]


def pair(n, m, d, device, generator, shift=0.0):
    x, y = (torch.randn(size, d, device=device, dtype=torch.float64, generator=generator) for size in (n, m))
    return x, y + shift


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("shift", [0.0, 0.15, 0.3])
def test_with_the_linear_kernel_it_is_the_test_of_means(method, shift, device, generator):
    x, y = pair(150, 250, 1, device, generator, shift)
    found = mmd_test(x, y, kernels=Linear(), method=method, permutations=20_000, generator=generator)
    variance = float(torch.cat([x, y]).var())
    expected = stats.chi2.sf(found.statistic / (1 / 150 + 1 / 250) / variance + 1, 1)
    # gamma: a variance of its own that differs by O(1/n); spectral: binomial error of 20,000 draws too
    binomial = 5 * (expected * (1 - expected) / 20_000) ** 0.5
    assert abs(found.p_value - expected) < 4 / 400 * max(expected, 0.05) ** 0.5 + (
        binomial if method == "spectral" else 0
    )
    assert found.statistic == pytest.approx(mmd2(x, y, Linear()).value, rel=1e-9)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("kernel", [Gaussian([0.5, 2.0]), Energy()], ids=repr)
def test_close_to_permutations(method, kernel, device, dtype, generator):
    for shift in (0.0, 0.2, 0.3):
        x, y = pair(200, 150, 2, device, generator, shift)
        x, y = x.to(dtype), y.to(dtype)
        found = mmd_test(x, y, kernels=kernel, method=method, permutations=2000, generator=generator)
        exact = mmd_test(x, y, kernels=kernel, permutations=2000, generator=generator)
        assert found.statistic == pytest.approx(exact.statistic, rel=1e-8, abs=1e-12)
        binomial = 5 * (2 * exact.p_value * (1 - exact.p_value) / 2000) ** 0.5
        assert abs(found.p_value - exact.p_value) < binomial + 0.02


def test_the_spectral_draws_have_the_variance_of_the_limit(device, generator):
    x, y = pair(150, 250, 1, device, generator)
    null = mmd_test(x, y, kernels=Linear(), method="spectral", permutations=20_000, generator=generator).null
    expected = (1 / 150 + 1 / 250) * torch.cat([x, y]).var() * 2**0.5
    assert abs(null.std() / expected - 1) < 4.5 * (14 / 4 / 20_000) ** 0.5 + 1 / 400  # z² has kurtosis 15


def test_what_they_return(device, generator):
    x, y = pair(30, 20, 2, device, generator)
    gamma = mmd_test(x, y, method="gamma")
    assert gamma.null.shape == (0,)
    assert gamma.smallest_p_value == 0
    spectral = mmd_test(x, y, method="spectral", permutations=99, generator=generator)
    assert spectral.null.shape == (99,)
    assert spectral.smallest_p_value == 0.01


X = torch.arange(8.0).reshape(4, 2)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(
    ("kernels", "message"),
    [
        ([Energy(), Linear()], "kernels should be one kernel with method '(gamma|spectral)' but are 2"),
        (lambda d: d / d, "kernel should return finite values"),
        (torch.ones_like, "kernel should tell some of the points apart"),
    ],
)
def test_bad_input(method, kernels, message):
    with pytest.raises(ValueError, match=message):
        mmd_test(X, X, kernels=kernels, method=method)
