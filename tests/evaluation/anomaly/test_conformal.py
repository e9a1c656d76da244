"""Thresholds hold their false-alarm rate, at small samples and with ties; p-values agree with them."""

import math

import numpy as np
import pytest
import torch

from probgen.evaluation import conformal_p_values, conformal_threshold

Z_LIMIT = 4.4
"""Two-sided false-alarm rate of a check: 1e-5."""


@pytest.mark.parametrize(("n", "rate"), [(19, 0.05), (39, 0.05), (50, 0.1), (7, 0.3)])
def test_the_rate_is_that_of_the_rank(n, rate):
    """Without ties it is ⌊(n + 1) α⌋ / (n + 1), whatever the law; a rank off by one adds 1 / (n + 1)."""
    source, repeats = np.random.default_rng(n), 20_000
    scores = source.standard_cauchy((repeats, n + 1))
    alarms = np.mean([row[n] > conformal_threshold(row[:n], false_alarm=rate) for row in scores])
    expected = math.floor((n + 1) * rate + 1e-9) / (n + 1)
    error = Z_LIMIT * math.sqrt(expected * (1 - expected) / repeats)
    assert alarms == pytest.approx(expected, abs=error)
    assert error < 0.5 / (n + 1)  # it would notice


def test_with_ties_the_rate_is_at_most_that():
    source, repeats = np.random.default_rng(0), 5000
    scores = source.integers(3, size=(repeats, 40)).astype(float)
    alarms = np.mean([row[39] > conformal_threshold(row[:39], false_alarm=0.4) for row in scores])
    assert alarms <= 0.4 + Z_LIMIT * math.sqrt(0.24 / repeats)
    assert alarms > 0.2


def test_p_values_are_uniform_on_their_grid_and_agree_with_thresholds():
    source = np.random.default_rng(1)
    calibration = source.integers(30, size=49).astype(float)
    new = torch.arange(-1.0, 32.0)
    p = conformal_p_values(torch.from_numpy(calibration), new)
    for rate in (0.02, 0.1, 0.29, 0.5):
        threshold = conformal_threshold(calibration, false_alarm=rate)
        assert torch.equal(p <= rate + 1e-12, new > threshold), rate
    rows = source.normal(size=(20_000, 10))
    ranks = np.array([float(conformal_p_values(row[:9], row[9:])) for row in rows]) * 10
    counts = np.bincount(np.round(ranks).astype(int), minlength=11)[1:]
    assert counts.sum() == 20_000
    chi = ((counts - 2000) ** 2 / 2000).sum()
    assert chi < 42  # chi-squared of 9 degrees: 3e-6


def test_a_rate_is_taken_as_it_is_written():
    """0.29 × 100 is below 29 in binary."""
    assert conformal_threshold(np.arange(1.0, 100.0), false_alarm=0.29) == 71.0


@pytest.mark.parametrize(
    ("scores", "rate", "words"),
    [
        (
            np.arange(18.0),
            0.05,
            "calibration should have at least 19 rows for a false-alarm rate of 0.05 but",
        ),
        (np.arange(98.0), 0.01, "at least 99 rows"),
        (np.arange(50.0), 0.0, "false_alarm should be above 0 and below 1 but is 0.0"),
        (np.full(50, np.nan), 0.1, "calibration should be numbers but are NaN at row 0"),
    ],
)
def test_too_few_rows_are_refused(scores, rate, words):
    with pytest.raises(ValueError, match=words):
        conformal_threshold(scores, false_alarm=rate)


def test_the_least_number_of_rows_is_taken():
    assert conformal_threshold(np.arange(19.0), false_alarm=0.05) == 18.0
