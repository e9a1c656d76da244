"""Differences paired by repeat are those of the paired t-test, and words are those of the numbers."""

import math

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from probgen.applications.frame.paired import ALIKE, BETTER, WORSE, gains, verdicts
from probgen.compare.columns import Column

SHARE = Column("share", "", 1.0)


def frame(**values):
    rows = [
        (name, "share", repeat, value) for name, own in values.items() for repeat, value in enumerate(own)
    ]
    return pd.DataFrame(rows, columns=["method", "metric", "repeat", "value"])


def noisy(mean, *, shared, spread=0.01, seed=0):
    return mean + shared + spread * np.random.default_rng(seed).normal(size=len(shared))


def test_the_interval_is_that_of_a_paired_t_test_at_the_level_of_all_pairs():
    shared = np.random.default_rng(0).normal(size=10) / 10
    ours, one, other = (noisy(m, shared=shared, seed=s) for s, m in enumerate((0.50, 0.48, 0.505)))
    found = gains(frame(ours=ours, one=one, other=other), "share", SHARE, ["ours"], ["one", "other"])
    for gain, baseline in zip(found, (one, other), strict=True):
        low, high = stats.ttest_rel(ours, baseline).confidence_interval(1 - 0.05 / 2)
        assert gain.interval == pytest.approx((np.mean(ours - baseline), low, high))
    assert stats.ttest_ind(ours, one).pvalue > 0.3, "which the shared part of repeats hides without pairs"
    assert [gain.verdict for gain in found] == [BETTER, ALIKE]


@pytest.mark.parametrize(("best", "sign"), [("lower", -1), ("higher", 1), (1.0, 1), (0.0, -1), ("floor", 1)])
def test_a_gain_is_above_zero_where_ours_is_better(best, sign):
    values = frame(ours=[0.5, 0.51, 0.52], base=[0.4, 0.41, 0.42], floor=[0.9, 0.91, 0.92])
    (gain,) = gains(values, "share", Column("share", "", best), ["ours"], ["base"], floor="floor")
    assert gain.interval.mean == pytest.approx(sign * 0.1)
    assert gain.verdict == (BETTER if sign > 0 else WORSE)


def test_only_repeats_that_both_have_are_paired_and_one_tells_nothing():
    values = frame(ours=[0.5, 0.6, 0.7], base=[0.4])
    found = gains(values, "share", SHARE, ["ours"], ["base", "missing"])
    assert [(gain.pairs, gain.baseline) for gain in found] == [(1, "base")]
    assert math.isnan(found[0].interval.low)
    assert found[0].verdict == ALIKE
    assert verdicts(found, SHARE) == ["share: nothing is told apart by one repeat."]


def test_what_has_no_best_value_is_not_judged():
    assert gains(frame(ours=[1.0, 1.1], base=[0.0, 0.1]), "share", Column("p", ""), ["ours"], ["base"]) == []
    assert verdicts([], SHARE) == []


def said(**values):
    ours = [name for name in values if name.startswith("vae")]
    others = [name for name in values if not name.startswith("vae")]
    return verdicts(gains(frame(**values), "share", SHARE, ours, others), SHARE)


def test_the_sentence_says_who_wins():
    low, middle, high = [0.1, 0.11, 0.1, 0.11], [0.5, 0.52, 0.5, 0.51], [0.9, 0.9, 0.91, 0.9]
    assert said(vae=high, knn=middle, pop=low)[0].startswith(
        "share: ours wins. vae is better than every baseline, than knn by 0.39"
    )
    assert said(vae=low, vae2=middle, ease=high)[0].startswith(
        "share: a baseline wins. ease is better than the best of ours, vae2, by 0.39"
    )
    (neither,) = said(vae=middle, knn=[0.5, 0.51, 0.51, 0.51], pop=low)
    assert neither == (
        "share: neither wins. vae, the best of ours, is better than pop; not told apart from "
        "knn (+0.000 ± 0.017)."
    )
    (behind,) = said(vae=[0.5, 0.4, 0.5, 0.4], knn=[0.5, 0.6, 0.51, 0.7])
    assert behind.endswith("is not told apart from knn (−0.13 ± 0.23)."), "which way it leans is said"


def test_equal_methods_are_seldom_told_apart():
    """A false alarm for any of 4 pairs has a rate of 5 %: of 400 tables 20 ± 4.4, and 35 are beyond 3 sd."""
    source = np.random.default_rng(3)
    alarms = 0
    for _ in range(400):
        shared = source.normal(size=5)
        values = frame(**{name: shared + source.normal(size=5) for name in ("vae", "vae2", "a", "b")})
        found = gains(values, "share", Column("share", "", "higher"), ["vae", "vae2"], ["a", "b"])
        alarms += any(gain.verdict != ALIKE for gain in found)
    assert 3 <= alarms <= 35
