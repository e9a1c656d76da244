"""The test for Markov chains: its statistic, its level where a permutation test has none, its power."""

import math

import pytest
import torch
from scipy import stats

from probgen.mmd import Gaussian, Linear, median_bandwidth, mmd_test
from probgen.mmd.blocks import autocorrelation_time, block_shares


def ar1(chains, draws, d, correlation, device, generator):
    """Stationary chains with law N(0, 1)^d and autocorrelations ρ^h."""
    noise = torch.randn(draws, chains, d, device=device, dtype=torch.float64, generator=generator)
    values = [noise[0]]
    for innovation in noise[1:]:
        values.append(correlation * values[-1] + math.sqrt(1 - correlation**2) * innovation)
    return torch.stack(values, 1)


@pytest.mark.parametrize("correlation", [0.0, 0.6, 0.9])
def test_the_autocorrelation_time_is_that_of_ar1(correlation, device, generator):
    found = autocorrelation_time(ar1(20, 4000, 1, correlation, device, generator))
    expected = (1 + correlation) / (1 - correlation)
    relative = math.sqrt(2 * (2 * 5 * expected + 1) / 80_000)  # the standard error (Sokal 1997, section 3)
    assert abs(found / expected - 1) < 4 * relative + math.exp(-5)  # and the bias of a sum cut at 5 times


def test_chains_apart_have_long_autocorrelation_times(device, generator):
    x = ar1(4, 1000, 1, 0.0, device, generator)
    assert autocorrelation_time(x) < 2
    x[:2] += 3
    assert autocorrelation_time(x) > 100
    assert autocorrelation_time(torch.ones(4, 100, 2, device=device)) == 1


def test_the_statistic_is_the_unbiased_square_of_paired_means(device, generator):
    x, y = (ar1(20, 30, 2, 0.5, device, generator) for _ in range(2))
    differences = (x.mean(1) - y.mean(1)) / 20
    expected = (differences.sum(0).square().sum() - differences.square().sum()) * 20 / 19
    result = mmd_test(x, y, kernels=Linear(), method="block", permutations=10, generator=generator)
    assert result.statistic == pytest.approx(float(expected), rel=1e-9)
    assert result.smallest_p_value == 1 / 11


def test_the_statistic_under_weights(device, generator):
    x, y = (ar1(20, 30, 2, 0.5, device, generator) + 2 for _ in range(2))
    weights = torch.rand(20, 30, device=device, dtype=torch.float64, generator=generator)
    differences = block_shares(x, y, weights, None, generator).T @ torch.cat([x, y]).flatten(0, 1)
    between = (x * weights[..., None]).sum((0, 1)) / weights.sum() - y.mean((0, 1))
    torch.testing.assert_close(differences.sum(0), between)
    expected = (between.square().sum() - differences.square().sum()) * 20 / 19
    result = mmd_test(x, y, kernels=Linear(), method="block", weights_x=weights, generator=generator)
    assert result.statistic == pytest.approx(float(expected), rel=1e-9)


def test_blocks_are_stretches_of_a_chain(device, generator):
    x = ar1(3, 1000, 1, 0.8, device, generator)  # some 100 autocorrelation times each
    y = torch.randn(500, 1, device=device, generator=generator).double()
    shares = block_shares(x, y, None, None, generator)
    blocks = shares.shape[1]
    assert 12 <= blocks <= 34
    assert shares.sum(0).abs().max() < 1e-15
    torch.testing.assert_close(shares.sum(1)[:3000], torch.full_like(shares[:3000, 0], 1 / 3000))
    torch.testing.assert_close(shares.sum(1)[3000:], torch.full_like(shares[3000:, 0], -1 / 500))
    of_x, of_y = shares[:3000].argmax(1), shares[3000:].argmin(1)
    for chain in of_x.reshape(3, 1000):
        changes = int((chain.diff() != 0).sum())
        assert changes == len(chain.unique()) - 1 == blocks // 3 - 1
        assert torch.bincount(chain)[chain].min() >= 1000 // (blocks // 3)  # of equal length
    sizes = torch.bincount(of_y, minlength=blocks)
    assert sizes.max() - sizes.min() <= 1
    assert int((of_y.diff() != 0).sum()) > 400  # grouped at random, in case they were sorted


def rejections(draw, repeats, generator, **options):
    tests = (mmd_test(*draw(), permutations=49, generator=generator, **options) for _ in range(repeats))
    return sum(test.p_value <= 0.1 for test in tests)


def most(repeats):
    """Tests of level 0.1 reject more often than this with probability 1e-5."""
    return int(stats.binom.isf(1e-5, repeats, 0.1))


def test_the_level_holds_for_a_chain_against_independent_points(device, generator):
    def draw(shift=0.0):
        x = ar1(8, 250, 1, 0.8, device, generator)
        return x, torch.randn(400, 1, device=device, generator=generator).double() + shift

    kernel = Gaussian(1.5)
    assert rejections(draw, 40, generator, kernels=kernel, method="block") <= most(40)
    assert rejections(lambda: draw(0.7), 20, generator, kernels=kernel, method="block") >= 18

    def one_chain_as_points():
        x, y = draw()
        return x[0], y

    assert rejections(one_chain_as_points, 30, generator, kernels=kernel) > most(30)  # it has no level


def test_the_level_is_exact_for_whole_chains(device, generator):
    def draw(shift=0.0):
        return tuple(ar1(20, 15, 1, 0.98, device, generator) + by for by in (0.0, shift))

    options = {"kernels": [Gaussian(0.5), Gaussian(2.0)], "method": "block"}
    rejected = rejections(draw, 150, generator, **options)
    assert int(stats.binom.ppf(1e-5, 150, 0.1)) <= rejected <= most(150)
    assert rejections(lambda: draw(1.2), 20, generator, **options) >= 18


def test_importance_weights_move_a_sample_to_its_target(device, generator):
    def draw(weighted=True):
        x = 1.5 * torch.randn(300, 1, 1, device=device, generator=generator).double()
        y = torch.randn(200, 1, device=device, generator=generator).double()
        weights = torch.exp(-x.square() / 2 * (1 - 1 / 1.5**2))[..., 0]
        return x, y, weights if weighted else None

    def reject(repeats, weighted):
        found = 0
        for _ in range(repeats):
            x, y, weights = draw(weighted)
            found += mmd_test(
                x, y, kernels=Gaussian(0.7), method="block", weights_x=weights, permutations=49,
                generator=generator,
            ).p_value <= 0.1  # fmt: skip
        return found

    assert reject(150, weighted=True) <= most(150)
    assert reject(30, weighted=False) >= 25


def test_equal_weights_are_no_weights(device, dtype, generator):
    x = ar1(20, 10, 2, 0.5, device, generator).to(dtype)
    y = torch.randn(50, 2, device=device, dtype=dtype, generator=generator)
    median = Gaussian(median_bandwidth(x.flatten(0, 1), y))
    plain, weighted = (
        mmd_test(x, y, kernels=median, method="block", generator=generator.manual_seed(1), **weights)
        for weights in (
            {},
            {"weights_x": 3 * torch.ones_like(x[..., 0])},
        )
    )
    assert weighted.p_value == plain.p_value
    assert weighted.statistic == pytest.approx(plain.statistic, rel=1e-9)


def test_events_of_any_shape(device, generator):
    x = ar1(20, 10, 4, 0.5, device, generator)
    y = torch.randn(50, 4, device=device, generator=generator).double()
    flat, shaped = (
        mmd_test(*pair, method="block", permutations=20, generator=generator.manual_seed(1)).p_value
        for pair in ((x, y), (x.reshape(20, 10, 2, 2), y.reshape(50, 2, 2)))
    )
    assert flat == shaped


X = torch.arange(40.0).reshape(20, 2)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: mmd_test(X.reshape(1, 20, 2), X, method="block"),
            "x should hold at least 8 blocks of 10 autocorrelation times, or 20 chains, but has 1 x",
        ),
        (
            lambda: mmd_test(X, X[None, None], method="block"),
            r"x should have shape \(chains, draws, \*event\), and y this or \(m, \*event\), but they have",
        ),
        (lambda: mmd_test(X[:, None], X[:7], method="block"), "at least 8 blocks each but one fills 7"),
        (lambda: mmd_test(X[:, None] * torch.nan, X, method="block"), "x should be finite"),
        (
            lambda: mmd_test(X, X, weights_x=torch.ones(20)),
            "weights_x should be left out with method 'permutation'",
        ),
        (
            lambda: mmd_test(X[:, None], X, method="block", weights_x=torch.ones(1, 20)),
            r"weights_x should have shape \(20, 1\), one for each draw, but has \(1, 20\)",
        ),
        (
            lambda: mmd_test(X[:, None], X, method="block", weights_y=-torch.ones(20)),
            "weights_y should be finite and not negative",
        ),
    ],
)
def test_bad_input(call, message):
    with pytest.raises(ValueError, match=message):
        call()
