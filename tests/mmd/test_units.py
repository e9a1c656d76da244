"""Numbers in any units: tests and estimates say the same of data in metres and in light years."""

import math

import pytest
import torch

from probgen.mmd import (
    Energy,
    Gaussian,
    Laplace,
    Linear,
    bandwidth_grid,
    deep_kernel_test,
    ksd2,
    ksd_test,
    median_bandwidth,
    mmd2,
    mmd2_fourier,
    mmd2_loss,
    mmd_test,
    relative_mmd_test,
    witness,
)
from probgen.mmd.blocks import autocorrelation_time

X, Y = torch.randn(2, 40, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
Y = Y + 0.7
FACTORS = [2.0**-300, 2.0**-70, 2.0**70, 2.0**300]  # powers of 2 keep all digits


def rng():
    return torch.Generator().manual_seed(1)


METHODS = ["permutation", "aggregated", "fuse", "gamma", "spectral"]


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("factor", FACTORS)
def test_a_test_knows_no_units(method, factor):
    def p_value(x, y):
        return mmd_test(x, y, method=method, permutations=99, generator=rng()).p_value

    expected = p_value(X, Y)
    assert expected < 0.05
    assert p_value(factor * X, factor * Y) == pytest.approx(expected, rel=1e-6)
    if 2.0**-100 < factor < 2.0**100:
        single = p_value((factor * X).float(), (factor * Y).float())
        assert single == pytest.approx(expected, rel=1e-4, abs=0.011)


@pytest.mark.parametrize("factor", FACTORS)
def test_estimates_know_no_units_but_their_own(factor):
    x, y = factor * X, factor * Y
    assert median_bandwidth(x, y) == pytest.approx(factor * median_bandwidth(X, Y), rel=1e-9)
    assert mmd2(x, y) == pytest.approx(mmd2(X, Y), rel=1e-6)
    assert mmd2(x, y, Energy()) == pytest.approx([factor * z for z in mmd2(X, Y, Energy())], rel=1e-9)
    kernels = [Gaussian(bandwidth_grid(*pair)) for pair in ((x, y), (X, Y))]
    found, expected = (
        mmd2_fourier(*pair, kernel, frequencies=20, generator=rng())
        for pair, kernel in zip(((x, y), (X, Y)), kernels, strict=True)
    )
    assert found == pytest.approx(expected, rel=1e-6)
    assert float(mmd2_loss(x, y, kernels[0])) == pytest.approx(float(mmd2_loss(X, Y, kernels[1])), rel=1e-6)
    found, expected = relative_mmd_test(x, y, x + y), relative_mmd_test(X, Y, X + Y)
    assert found[:3] == pytest.approx(expected[:3], rel=1e-6)
    torch.testing.assert_close(witness(x, y), witness(X, Y), rtol=1e-6, atol=1e-9)


def test_float32_says_where_a_bandwidth_has_no_digits():
    """The squares of such bandwidths leave float32, in which a loss is computed."""
    for kernel in (Gaussian(1e-21), Laplace([1.0, 1e21]), Gaussian(1.0) + Gaussian(1e-21)):
        mmd2(1e-21 * X, 1e-21 * Y, kernel)
        with pytest.raises(ValueError, match=r"between 1e-15 and 1e15 for points of torch.float32 but is"):
            mmd2_loss((1e-21 * X).float(), (1e-21 * Y).float(), kernel)
        mmd2_loss(1e-21 * X, 1e-21 * Y, kernel)


@pytest.mark.parametrize(("factor", "words"), [(1e-150, "far enough apart"), (1e160, "close enough")])
def test_what_no_float64_can_square_is_refused(factor, words):
    with pytest.raises(ValueError, match=f"x and y should lie {words} .* write them in other units"):
        mmd_test(factor * X, factor * Y, scale=None)
    assert mmd_test(factor * X, factor * Y, permutations=99, generator=rng()).p_value < 0.05


@pytest.mark.parametrize("value", [0.0, 0.1, 1e8 / 3, 1e-21])
@pytest.mark.parametrize("method", METHODS)
def test_constants_do_not_differ(value, method):
    x = torch.full((10, 2), value)
    assert mmd_test(x, x[:6], method=method, permutations=99, generator=rng()).p_value == 1
    assert mmd2(x, x[:6]) == (0, 0)
    assert not witness(x, x[:6]).any()


def test_constants_as_chains_do_not_differ():
    x = torch.ones(20, 5, 2)
    assert mmd_test(x, x, method="block", permutations=99, generator=rng()).p_value == 1


def test_different_constants_differ():
    x = torch.full((10, 2), 0.1)
    assert mmd_test(x, x + 1e-6, permutations=999, generator=rng()).p_value == 0.001


@pytest.mark.parametrize("offset", [1e4, 1e8])
def test_the_linear_kernel_sees_means_far_from_the_origin(offset):
    """MMD² is the squared distance of the means, wherever the origin is; rounding must not hide it."""
    expected = mmd_test(X, Y, kernels=Linear(), permutations=999, generator=rng()).p_value
    assert expected < 0.01
    found = mmd_test(X + offset, Y + offset, kernels=Linear(), permutations=999, generator=rng())
    assert found.p_value == expected
    assert mmd2(X + offset, Y + offset, Linear()) == pytest.approx(mmd2(X, Y, Linear()), rel=1e-6)


def test_autocorrelation_times_know_no_units():
    """A slow coordinate counts, however small its numbers are beside the others."""
    slow = torch.randn(4, 20, 1, generator=rng()).repeat_interleave(50, 1)
    fast = torch.randn(4, 1000, 1, generator=rng())
    expected = autocorrelation_time(slow)
    assert expected > 20
    for factor in (2.0**-200, 2.0**-30, 2.0**60):
        assert autocorrelation_time(factor * slow.double()) == pytest.approx(expected, rel=1e-6)
        both = torch.cat([factor * slow.double(), fast], 2)
        assert autocorrelation_time(both) >= 0.9 * expected


@pytest.mark.parametrize("dtype", [torch.float16, torch.float64])
def test_a_deep_test_takes_numbers_as_points(dtype):
    """Events without a dimension, in half precision, of a graph: what the other tests take too."""
    x, y = (z[:, 0].to(dtype) for z in (X, Y + 2))
    found = deep_kernel_test(
        x, y.requires_grad_(), steps=2, permutations=49, generator=torch.Generator().manual_seed(0)
    )
    assert 0 < found.p_value <= 1


@pytest.mark.parametrize(
    "call",
    [
        lambda x: witness(x, X),
        lambda x: relative_mmd_test(x, X, Y),
        lambda x: ksd_test(x, lambda z: -z),
        lambda x: mmd2(x, X),
    ],
    ids=["witness", "relative", "ksd", "mmd2"],
)
def test_what_is_no_sample_is_told_in_a_sentence(call):
    with pytest.raises(ValueError, match="x should hold at least one point but has shape"):
        call(torch.tensor(1.0, dtype=torch.float64))
    with pytest.raises(ValueError, match="x should hold at least one point but has shape"):
        call(X[:0])
    with pytest.raises(TypeError, match=r"x should be a floating-point tensor but has dtype torch\.int64"):
        call(X.long())
    with pytest.raises(ValueError, match="x should be finite but holds NaN or infinite values in row 3"):
        call(X.index_fill(0, torch.tensor([3]), math.nan))


@pytest.mark.parametrize("factor", [1e-100, 1e100])
def test_a_standard_error_without_digits_is_refused(factor):
    """Of xᵀy the variance has the fourth power of the units: 0 is no error, nor is infinity."""
    with pytest.raises(ValueError, match="squares float64 can hold, for a standard error"):
        mmd2(factor * X, factor * Y, Linear())
    with pytest.raises(ValueError, match="squares float64 can hold, for a standard error"):
        ksd2(1e90 * X, lambda x: -x / 1e180, scale=None)
    assert mmd2(1e30 * X, 1e30 * Y, Linear()) == pytest.approx([1e60 * z for z in mmd2(X, Y, Linear())])
