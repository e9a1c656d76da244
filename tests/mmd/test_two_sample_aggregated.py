"""Tests over several kernels: statistics against loops, level, and power that one kernel lacks."""

import math

import pytest
import torch
from scipy import stats

from probgen.mmd import Energy, Gaussian, Laplace, Linear, TestResult, median_bandwidth, mmd_test
from probgen.mmd.aggregation import by_smallest_p_value, by_soft_maximum
from probgen.mmd.two_sample import default_kernels

METHODS = ["aggregated", "fuse"]


def two_modes(n, sd, device, generator):
    signs = torch.randn(n, 1, device=device, generator=generator).sign()
    return 10 * signs + sd * torch.randn(n, 1, device=device, generator=generator)


def statistics_with_ties(device, generator):
    statistics = torch.randn(3, 40, device=device, dtype=torch.float64, generator=generator)
    statistics[1] = statistics[1].round()
    statistics[2, 5:9] = statistics[2, 0] = statistics[2].max() + 1
    return statistics, torch.full((3,), 1e-9, device=device, dtype=torch.float64)


def test_the_smallest_p_value_is_compared_with_its_own_permutations(device, generator):
    statistics, rounding = statistics_with_ties(device, generator)
    rows = statistics.tolist()
    p_values = [[sum(other >= own for other in row) / 40 for own in row] for row in rows]
    smallest = [min(column) for column in zip(*p_values, strict=True)]
    found = by_smallest_p_value(statistics, rounding, arrangements=1000)
    assert found.statistic == pytest.approx(-math.log(smallest[0]))
    assert found.p_value == sum(other <= smallest[0] for other in smallest) / 40
    adjusted = [sum(other <= row[0] for other in smallest) / 40 for row in p_values]
    assert found.kernel_p_values == pytest.approx(adjusted)
    assert min(found.kernel_p_values) == found.p_value
    assert found.smallest_p_value == 1 / 40


def test_the_soft_maximum_is_compared_with_its_own_permutations(device, generator):
    statistics, rounding = statistics_with_ties(device, generator)
    columns = list(zip(*((row / row.square().mean().sqrt()).tolist() for row in statistics), strict=True))
    fused = [math.log(sum(math.exp(math.sqrt(8) * t) for t in column) / 3) for column in columns]
    found = by_soft_maximum(statistics, rounding, arrangements=8)
    assert found.statistic == pytest.approx(fused[0])
    assert found.p_value == sum(other >= fused[0] - 1e-12 for other in fused) / 40
    assert found.smallest_p_value == 1 / 8


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("kernel", [Gaussian(1.0), Energy(), Linear()], ids=repr)
def test_with_one_kernel_all_methods_agree(method, kernel, device, dtype, generator):
    x, y = (torch.randn(n, 2, device=device, dtype=dtype, generator=generator) for n in (20, 30))
    plain, other = (
        mmd_test(x, y + 0.4, kernels=kernel, method=name, generator=torch.Generator(device).manual_seed(1))
        for name in ("permutation", method)
    )
    assert other.p_value == plain.p_value


@pytest.mark.parametrize("method", METHODS)
def test_kernels_that_see_nothing_change_nothing(method, device, generator):
    x = torch.randn(20, 2, device=device, generator=generator)
    blind = [Gaussian(1e-12), lambda squared: torch.full_like(squared, 3.0)]
    for_these = {
        "seeing": [Gaussian(1.0)],
        "with blind ones": [Gaussian(1.0), *blind],
        "blind": blind,
    }
    p_values = {
        name: mmd_test(
            x, x.roll(5, 0) + 0.5, kernels=kernels, method=method, generator=generator.manual_seed(3)
        ).p_value
        for name, kernels in for_these.items()
    }
    assert p_values["blind"] == 1
    assert p_values["seeing"] == p_values["with blind ones"] < 0.2


# 150 tests of level 0.1 reject at most 32 times, and at least 2 times, with probability 1 − 2e-5.
MOST, FEWEST = int(stats.binom.isf(1e-5, 150, 0.1)), int(stats.binom.ppf(1e-5, 150, 0.1))


@pytest.mark.parametrize(
    ("method", "n", "m", "d", "ties"),
    [("aggregated", 12, 20, 1, False), ("fuse", 20, 10, 20, False), ("fuse", 15, 10, 2, True)],
)
def test_the_level_holds(method, n, m, d, ties, device, generator):
    rejected = 0
    for _ in range(150):
        x, y = (torch.randn(size, d, device=device, generator=generator) for size in (n, m))
        if ties:
            x, y = x.sign(), y.sign()
        rejected += mmd_test(x, y, method=method, permutations=49, generator=generator).p_value <= 0.1
    assert rejected <= MOST
    if not ties:
        assert rejected >= FEWEST  # nor is it wasted


@pytest.mark.parametrize("method", METHODS)
def test_power_where_the_median_bandwidth_is_blind(method, device, generator):
    by_median, found = 0, []
    for _ in range(30):
        x, y = two_modes(60, 1.0, device, generator), two_modes(60, 0.3, device, generator)
        median = Gaussian(median_bandwidth(x, y))
        by_median += mmd_test(x, y, kernels=median, permutations=99, generator=generator).p_value <= 0.05
        found.append(mmd_test(x, y, method=method, permutations=99, generator=generator))
    assert by_median <= 8  # of 30: more than 8 has probability 1e-5 at the level itself
    assert sum(result.p_value <= 0.05 for result in found) >= 27
    if method == "aggregated":  # and it says which bandwidths see the difference: 1/8 of the median, not 2
        adjusted = torch.tensor([result.kernel_p_values for result in found]).median(0).values
        assert adjusted[0] <= 0.05 < adjusted[4]


def test_default_kernels_know_the_pooled_sample_only(device, dtype, generator):
    x, y = (torch.randn(n, 2, device=device, dtype=dtype, generator=generator) for n in (20, 30))
    pooled = torch.cat([x, y + 2])
    mixed = pooled[torch.randperm(50, device=device, generator=generator)]
    kernels = default_kernels(pooled[:20], pooled[20:])
    assert [type(kernel) for kernel in kernels] == [Gaussian] * 5 + [Laplace] * 5
    expected = [kernel.bandwidth for kernel in default_kernels(mixed[:35], mixed[35:])]
    torch.testing.assert_close(torch.tensor([kernel.bandwidth for kernel in kernels]), torch.tensor(expected))


def test_a_level_that_cannot_be_reached(device, generator):
    x = torch.randn(2, 1, device=device, generator=generator)
    result = mmd_test(x, x + 100, permutations=999, generator=generator)  # of 6 splits, 2 are like this one
    assert result.smallest_p_value == 1 / 3
    assert result.p_value > 0.25
    with pytest.raises(ValueError, match=r"level should be at least 0.333, the smallest p-value"):
        result.rejects(0.05)
    assert TestResult(0.0, 0.05, x, 0.01).rejects(0.05)
    assert not TestResult(0.0, 0.051, x, 0.01).rejects(0.05)


X = torch.arange(8.0).reshape(4, 2)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: mmd_test(X, X, method="other"), "method should be one of permutation, .* but got 'other'"),
        (lambda: mmd_test(X, X, kernels=[], method="fuse"), "kernels should hold at least one kernel"),
        (lambda: mmd_test(X, X, kernels=[Energy()] * 2), "kernels should be one kernel .* but are 2"),
        (
            lambda: mmd_test(X, X, kernels=[Energy(), lambda d: d * torch.nan], method="fuse"),
            "kernel should return finite values",
        ),
        (
            lambda: mmd_test(X, X, kernels=[Energy(), lambda d: d / d], method="aggregated"),
            "kernel should return finite values",
        ),
        (lambda: TestResult(0.0, 0.5, X).rejects(0.0), "level should be between 0 and 1 but got 0"),
        (lambda: mmd_test(X, X, permutations=0), "permutations should be at least 1 but got 0"),
    ],
)
def test_bad_input(call, message):
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: mmd_test(X, X, permutations=9.5), "permutations should be an integer but got 9.5"),
        (lambda: mmd_test(X.tolist(), X), "x should be a tensor but is a list"),
        (lambda: mmd_test(X, X.tolist()), "y should be a tensor but is a list"),
    ],
)
def test_bad_types(call, message):
    with pytest.raises(TypeError, match=message):
        call()


def test_a_result_is_shown_in_a_line():
    shown = repr(TestResult(0.123456789, 0.05, torch.zeros(1000), 0.001, (0.05, 0.25)))
    assert shown == (
        "TestResult(statistic=0.123457, p_value=0.05, null=<1000 values>, smallest_p_value=0.001, "
        "kernel_p_values=(0.05, 0.25))"
    )
