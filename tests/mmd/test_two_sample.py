"""The permutation test against brute force, its level where the laws agree, its power where they differ."""

import itertools

import pytest
import torch
from scipy import stats

from probgen.mmd import Energy, Gaussian, mmd2, mmd_test


def normal(n, d, device, generator, shift=0.0):
    return torch.randn(n, d, device=device, dtype=torch.float64, generator=generator) + shift


@pytest.mark.parametrize("kernel", [Gaussian([0.5, 2.0]), Energy()], ids=repr)
def test_the_statistic_is_the_unbiased_estimate(kernel, device, dtype, generator):
    x, y = normal(20, 3, device, generator).to(dtype), normal(31, 3, device, generator, 0.5).to(dtype)
    result = mmd_test(x, y, kernels=kernel, permutations=10, generator=generator)
    assert result.statistic == pytest.approx(mmd2(x, y, kernel).value, rel=1e-9, abs=1e-13)


@pytest.mark.parametrize("kernel", [Gaussian([0.5, 2.0]), Energy()], ids=repr)
def test_equals_brute_force(kernel, device, generator):
    x, y = normal(4, 2, device, generator), normal(5, 2, device, generator, 0.8)
    pooled = torch.cat([x, y])
    statistics = []
    for rows in itertools.combinations(range(9), 4):
        rest = [row for row in range(9) if row not in rows]
        statistics.append(mmd2(pooled[list(rows)], pooled[rest], kernel).value)
    statistics = torch.tensor(statistics, dtype=torch.float64)
    result = mmd_test(x, y, kernels=kernel, permutations=4000, generator=generator)
    distances = (result.null.cpu()[:, None] - statistics).abs()
    assert distances.min(1).values.max() < 1e-12  # each permuted statistic is that of one of the 126 splits
    counts = torch.bincount(distances.argmin(1), minlength=126)
    assert stats.chisquare(counts.numpy()).pvalue > 1e-6  # and all splits are equally likely
    exact = float((statistics >= result.statistic - 1e-12).double().mean())
    assert stats.binomtest(round(result.p_value * 4001) - 1, 4000, exact).pvalue > 1e-6


# 300 tests of level 0.1 reject at most 52 times with probability 1 − 1e-5.
REJECTIONS = int(stats.binom.isf(1e-5, 300, 0.1))


@pytest.mark.parametrize(
    ("n", "m", "d", "ties"), [(20, 20, 1, False), (12, 30, 20, False), (25, 10, 2, True)]
)
def test_the_level_holds(n, m, d, ties, device, generator):
    p_values = []
    for _ in range(300):
        x, y = normal(n, d, device, generator), normal(m, d, device, generator)
        if ties:
            x, y = x.sign(), y.sign()
        p_values.append(mmd_test(x, y, permutations=99, generator=generator).p_value)
    rejected = sum(p <= 0.1 for p in p_values)
    assert rejected <= REJECTIONS
    if not ties:
        assert rejected >= int(stats.binom.ppf(1e-5, 300, 0.1))  # nor is it wasted


def test_power(device, generator):
    p_values = [
        mmd_test(
            normal(40, 2, device, generator),
            normal(60, 2, device, generator, 1.0),
            permutations=99,
            generator=generator,
        ).p_value
        for _ in range(50)
    ]
    assert sum(p <= 0.05 for p in p_values) >= 45


def test_equal_points_tie_with_every_permutation(device, dtype, generator):
    x = torch.ones(10, 3, device=device, dtype=dtype)
    assert mmd_test(x, x, kernels=Gaussian(1.0), permutations=50, generator=generator).p_value == 1


def test_the_seed_decides(device, dtype):
    x, y = (normal(30, 2, device, torch.Generator(device).manual_seed(seed)).to(dtype) for seed in (1, 2))
    first, again = (
        mmd_test(x, y, permutations=50, generator=torch.Generator(device).manual_seed(3)).null
        for _ in range(2)
    )
    assert torch.equal(first, again)


X = torch.arange(8.0).reshape(4, 2)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: mmd_test(X[:1], X), "x should hold at least 2 points but has 1"),
        (lambda: mmd_test(X, X[:1]), "y should hold at least 2 points but has 1"),
        (lambda: mmd_test(X, X, permutations=0), "permutations should be at least 1 but got 0"),
        (lambda: mmd_test(X, X + torch.inf), "y should be finite"),
        (lambda: mmd_test(X, X, kernels=lambda d: d * torch.nan), "kernel should return finite values"),
    ],
)
def test_bad_input(call, message):
    with pytest.raises(ValueError, match=message):
        call()
