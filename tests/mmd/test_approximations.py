"""Each approximation against the closed form: no bias, and a standard error that is the spread of repeats."""

import pytest
import torch

from probgen.mmd import (
    Energy,
    Gaussian,
    InverseMultiquadric,
    Laplace,
    Linear,
    Matern,
    Polynomial,
    RationalQuadratic,
    confidence_interval,
    mmd2,
    mmd2_blocks,
    mmd2_fourier,
    mmd2_incomplete,
    mmd2_nystrom,
)
from tests.mmd.test_estimators import FALSE_ALARM, gaussian_mmd2, repeats

WIDTH = Gaussian(1.0)
METHODS = {
    "linear time": lambda x, y, rng: mmd2_blocks(x, y, WIDTH),
    "blocks": lambda x, y, rng: mmd2_blocks(x, y, WIDTH, block_size=10),
    "incomplete, 1": lambda x, y, rng: mmd2_incomplete(x, y, WIDTH, neighbours=1),
    "incomplete, 20": lambda x, y, rng: mmd2_incomplete(x, y, WIDTH, neighbours=20),
    "fourier, few": lambda x, y, rng: mmd2_fourier(x, y, WIDTH, frequencies=5, generator=rng),
    "fourier, many": lambda x, y, rng: mmd2_fourier(x, y, WIDTH, frequencies=50, generator=rng),
    "nystrom": lambda x, y, rng: mmd2_nystrom(x, y, WIDTH, landmarks=60, generator=rng),
}


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("shift", [0.0, 1.0])
def test_no_bias_and_an_honest_error(name, shift, device, generator):
    def estimate(x, y):
        return METHODS[name](x, y, generator)

    values, errors = repeats(estimate, 90, 100, 1, shift, 1.0, device, generator)
    stderr = values.std() / len(values) ** 0.5
    truth = gaussian_mmd2(shift, 1.0, 1.0, 1)
    assert abs(values.mean() - truth) < FALSE_ALARM * stderr
    assert stderr < 0.025  # so that a shift of 1.5 in place of 1 is seen
    assert (gaussian_mmd2(1.5, 1.0, 1.0, 1) - gaussian_mmd2(1.0, 1.0, 1.0, 1)) > FALSE_ALARM * stderr
    ratio = float(errors.square().mean().sqrt() / values.std())
    assert 0.85 < ratio < (1.15 if shift else 1.6)
    if not shift:
        assert (values < 0).double().mean() > 0.3  # signed


@pytest.mark.parametrize(
    "kernel",
    [
        Gaussian([0.5, 2.0]),
        Laplace(1.0),
        Matern(0.8, smoothness=1.5),
        Matern(0.8, smoothness=2.5),
        RationalQuadratic([0.5, 1.0], power=0.7),
        InverseMultiquadric(1.5, power=0.5),
    ],
    ids=repr,
)
def test_the_frequencies_are_those_of_the_kernel(kernel, device, generator):
    """Hoeffding: the mean of 40,000 cosines is within 0.0195 of the kernel but for probability 1e-6."""
    apart = torch.randn(20, 3, device=device, dtype=torch.float64, generator=generator) * 1.5
    omega = kernel.frequencies(40_000, apart, generator)
    found = (apart @ omega.T).cos().mean(1)
    expected = kernel(apart.square().sum(1))
    assert (found - expected).abs().max() < 0.0195
    assert (found - kernel(apart.square().sum(1) / 1.3)).abs().max() > 0.0195  # power


@pytest.mark.parametrize("kernel", [Linear(), Polynomial(2), Gaussian(1.0) * Linear(), Energy()], ids=repr)
def test_any_kernel_in_blocks_and_incomplete(kernel, device, generator):
    x, y = (torch.randn(n, 2, device=device, generator=generator) + s for n, s in ((30, 0.0), (31, 1.0)))
    (whole, _), (half, _) = (mmd2_blocks(x, y, kernel, block_size=k) for k in (15, 15))
    assert whole == half
    blocks = [mmd2(x[i : i + 15], y[i : i + 15], kernel).value for i in (0, 15)]
    assert whole == pytest.approx(sum(blocks) / 2, rel=1e-8)
    found = mmd2_incomplete(x[:29], y, kernel, neighbours=14).value  # every pair once
    complete = mmd2(x[:29], y[:29], kernel).value
    from probgen.mmd.algebra import as_pair_kernel

    u, v = as_pair_kernel(kernel).features((x[:29], y[:29]), torch.float64)
    between = as_pair_kernel(kernel).values(u, v, lambda a, b: (a[:, None] - b).square().sum(-1))
    off = (between.sum() - between.trace()) / (29 * 28)  # h_ij leaves out k(x_i, y_i)
    assert found == pytest.approx(complete + 2 * float(between.mean() - off), rel=1e-8)


def test_all_points_as_landmarks_lose_nothing(device, generator):
    x, y = (torch.randn(n, 2, device=device, generator=generator) for n in (40, 30))
    found = mmd2_nystrom(x, y, Laplace(1.0), landmarks=70, generator=generator)
    assert found == pytest.approx(mmd2(x, y, Laplace(1.0)), rel=1e-6)


X = torch.arange(16.0).reshape(8, 2)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: mmd2_blocks(X, X, WIDTH, block_size=1), "block_size should be at least 2 but got 1"),
        (
            lambda: mmd2_blocks(X, X[:7], WIDTH, block_size=4),
            "x and y should each fill at least 2 blocks of 4",
        ),
        (lambda: mmd2_incomplete(X, X, WIDTH, neighbours=4), "neighbours should be at least 1 and less than"),
        (lambda: mmd2_incomplete(X, X, WIDTH, neighbours=0), "neighbours should be at least 1 and less than"),
        (lambda: mmd2_fourier(X, X, WIDTH, frequencies=1), "frequencies should be at least 2 but got 1"),
        (lambda: mmd2_nystrom(X, X, WIDTH, landmarks=17), "landmarks should be between 1 and the 16 points"),
        (lambda: mmd2_nystrom(X[:3], X, WIDTH, landmarks=2), "x should hold at least 4 points"),
        (lambda: mmd2_nystrom(X, X, Energy(), landmarks=1), "kernel should be positive definite"),
        (lambda: mmd2_blocks(X, X * torch.nan, WIDTH), "y should be finite"),
        (
            lambda: confidence_interval(mmd2(X, X, WIDTH), level=1.0),
            "level should be between 0 and 1 but got",
        ),
    ],
)
def test_bad_input(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_a_kernel_without_frequencies():
    with pytest.raises(TypeError, match="kernel should be one of the bounded kernels of the distance"):
        mmd2_fourier(X, X, Energy())
