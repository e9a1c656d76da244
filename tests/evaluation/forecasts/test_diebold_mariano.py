"""The test of equal losses: sums written out, false alarms under dependence, power."""

import math

import numpy as np
import pytest
import torch

from probgen.evaluation import diebold_mariano
from probgen.evaluation.forecasts.diebold_mariano import long_run_variance


def test_the_variance_is_the_sum_of_autocovariances():
    x = np.random.default_rng(0).normal(size=30).cumsum()
    apart = x - x.mean()
    gamma = [apart[k:] @ apart[: 30 - k] / 30 for k in range(4)]
    expected = gamma[0] + 2 * (0.75 * gamma[1] + 0.5 * gamma[2] + 0.25 * gamma[3])
    assert long_run_variance(torch.from_numpy(x), 3) == pytest.approx(expected)
    found = diebold_mariano(x, np.zeros(30), lags=3)
    assert found.stderr == pytest.approx(math.sqrt(expected / 30))
    assert found.difference == pytest.approx(x.mean())
    assert found.statistic == pytest.approx(x.mean() / found.stderr)
    swapped = diebold_mariano(np.zeros(30), x, lags=3)
    assert (swapped.difference, swapped.p_value) == (-found.difference, found.p_value)


def moving(source, steps):
    noise = source.normal(size=(steps + 2,))
    return noise[2:] + 0.8 * noise[1:-1] + 0.4 * noise[:-2]


def test_false_alarms_come_near_their_rate_where_losses_depend():
    """The nominal 5 % is asymptotic: 600 series of 500 times with dependence over two."""
    source = np.random.default_rng(1)
    series = [moving(source, 500) for _ in range(600)]
    zero = np.zeros(500)
    rate = np.mean([diebold_mariano(x, zero).p_value < 0.05 for x in series])
    assert 0.03 < rate < 0.09
    blind = np.mean([diebold_mariano(x, zero, lags=0).p_value < 0.05 for x in series])
    assert blind > 0.15  # what the lags are for
    caught = np.mean([diebold_mariano(x + 0.5, zero).p_value < 0.05 for x in series[:300]])
    assert caught > 0.95


def test_what_is_wrong_is_said():
    with pytest.raises(ValueError, match="differences of losses should vary but all are 1"):
        diebold_mariano([1.0, 2.0], [0.0, 1.0])
    with pytest.raises(ValueError, match="lags should be below the number of losses, 2, but is 2"):
        diebold_mariano([1.0, 2.0], [0.0, 1.5], lags=2)
    with pytest.raises(ValueError, match=r"others should have shape \(2,\) but has \(3,\)"):
        diebold_mariano([1.0, 2.0], [0.0, 1.0, 2.0])
    with pytest.raises(ValueError, match=r"losses should have shape \(T,\) with T at least 2"):
        diebold_mariano([1.0], [0.0])
