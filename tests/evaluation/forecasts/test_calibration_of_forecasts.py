"""Transforms are uniform where forecasts are right, of draws, laws and counts, and else not."""

import math

import numpy as np
import pytest
import torch
from torch.distributions import Independent, Normal, StudentT

from probgen.evaluation import interval_coverage, pit, pit_test

RATE = 1e-4
"""Of a false alarm, each check."""


@pytest.mark.parametrize("count", [2, 9, 100])
@pytest.mark.parametrize("kind", ["numbers", "counts"])
def test_transforms_of_right_draws_are_uniform(count, kind):
    source = np.random.default_rng(count)
    draws = (
        source.normal(size=(count + 1, 2000)) if kind == "numbers" else source.poisson(0.7, (count + 1, 2000))
    )
    found = pit(draws[1:], draws[0], seed=0)
    assert pit_test(found).p_value > RATE
    assert torch.equal(found, pit(draws[1:], draws[0], seed=0))
    assert not torch.equal(found, pit(draws[1:], draws[0], seed=1))
    if count > 2:
        assert pit_test(pit(draws[1:], draws[0] * (0 if kind == "counts" else 1.3), seed=0)).p_value < RATE


def test_a_place_among_draws_is_written_out():
    uniform = torch.rand(2, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    found = pit([[0.0, 1.0], [2.0, 1.0], [4.0, 1.0]], [3.0, 1.0], seed=3)
    torch.testing.assert_close(found, torch.stack([(2 + uniform[0]) / 4, uniform[1]]))


def test_transforms_of_laws_are_their_distribution_functions():
    laws = (StudentT(torch.full((1, 3000), 4.0), 1.0, 2.0), Normal(torch.ones(1, 3000), 2.0))
    for law in laws:
        torch.manual_seed(0)
        came = law.sample()
        assert pit_test(pit(Independent(law, 1), came)[0]).p_value > RATE
        assert pit_test(pit(Independent(law, 1), 1.3 * came)[0]).p_value < RATE
    assert float(pit(StudentT(1.0), 1.0)) == pytest.approx(0.75)  # of a Cauchy law


def test_false_alarms_come_at_their_rate():
    source = np.random.default_rng(0)
    alarms = sum(pit_test(source.random(60)).p_value < 0.05 for _ in range(300))
    assert abs(alarms - 15) < 4.4 * math.sqrt(14.25)  # one in 10⁵


def test_coverage_is_a_share_with_its_error():
    low, high = torch.zeros(2, 50), torch.ones(2, 50)
    x = torch.where(torch.arange(100).reshape(2, 50) < 80, 1.0, 1.5)
    found = interval_coverage(low, high, x)
    assert found == (0.8, pytest.approx(0.04))


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: pit_test([0.5]), "at least 2 numbers in"),
        (lambda: pit_test([0.5, 1.2]), r"lie in \[0.5, 1.2\]"),
        (lambda: pit([[1.0]], [1.0]), "draws should be at least 2"),
        (lambda: interval_coverage([1.0], [0.0], [0.5]), "low should be at most high but is above it in 1"),
    ],
)
def test_what_is_wrong_is_said(call, words):
    with pytest.raises(ValueError, match=words):
        call()
