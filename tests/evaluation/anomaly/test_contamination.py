"""Anomalies among training rows against an area under the curve in closed form."""

import math

import pytest
import torch
from scipy.special import ndtr

from probgen.evaluation import contamination

M = 2.0


def rows(n, seed, *, shift=0.0):
    return shift + torch.randn(n, 1, generator=torch.Generator().manual_seed(seed)).double()


def by_the_mean(train, seed):
    """The distance to the mean of the training rows, which anomalies draw to themselves."""
    return lambda x: (x - train.mean(0)).abs()[:, 0]


def area(share):
    """P(|a − c| > |x − c|), a ~ N(m, 1), x ~ N(0, 1), c = ε m: the sign of (a − x)(a + x − 2c), of which the
    factors are independent, N(m, 2) and N(m − 2c, 2).
    """
    one, other = M / math.sqrt(2), (M - 2 * share * M) / math.sqrt(2)
    return ndtr(one) * ndtr(other) + ndtr(-one) * ndtr(-other)


def test_the_area_falls_as_it_should():
    shares = [0.0, 0.1, 0.3]
    n = 4000
    found = contamination(
        by_the_mean,
        rows(n, 0), rows(n, 1, shift=M), rows(n, 2), rows(n, 3, shift=M), shares=shares, draws=3,
    )  # fmt: skip
    assert found.share.tolist() == shares
    for share, auc in zip(found.share, found.auc, strict=True):
        assert auc == pytest.approx(area(share), abs=4.4 * 0.5 / math.sqrt(n))
    assert area(0.0) - area(0.1) > 0.03
    assert (found.auc_stderr > 0).tolist() == [False, True, True]  # without anomalies the rows are the same
    assert found.average_precision.is_monotonic_decreasing
    assert found.false_alarms.is_monotonic_increasing


def test_rows_are_mixed_as_many_and_none_twice():
    seen = []

    def fit(train, seed):
        seen.append((train, seed))
        return lambda x: x[:, 0]

    normal, anomalies = torch.arange(20.0)[:, None], 100 + torch.arange(6.0)[:, None]
    found = contamination(fit, normal, anomalies, normal, anomalies, shares=[0.12, 0.3], draws=2, seed=3)
    assert found.share.tolist() == [0.1, 0.3]
    assert [len(train.unique()) for train, _ in seen] == [20] * 4
    bad = [set(train[train >= 100].tolist()) for train, _ in seen]
    assert [len(some) for some in bad] == [2, 6, 2, 6]
    assert bad[0] < bad[1]
    assert not torch.equal(seen[0][0], seen[2][0])
    assert seen[0][1] == seen[1][1] != seen[2][1]
    assert max(int((train >= 100).nonzero()[:, 0].max()) for train, _ in seen) > 6, "not the first rows"
    again = contamination(fit, normal, anomalies, normal, anomalies, shares=[0.12, 0.3], draws=2, seed=3)
    assert torch.equal(seen[4][0], seen[0][0])
    assert again.equals(found)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"shares": [1.0]}, "shares should be from 0 to below 1 but hold 1.0"),
        ({"shares": []}, "shares should be at least one"),
        ({"shares": [0.5]}, "anomalies should be at least 10 rows, a share of 0.5 of 20, but are 6"),
        ({"draws": 0}, "draws should be at least 1"),
    ],
)
def test_what_cannot_be_mixed_is_said(options, sentence):
    x = torch.zeros(20, 1)
    with pytest.raises(ValueError, match=sentence):
        contamination(by_the_mean, x, x[:6], x, x, **options)
    with pytest.raises(
        ValueError, match=r"test should have rows as those of normal, of shape \(1,\), but has"
    ):
        contamination(by_the_mean, x, x, torch.zeros(20, 2), x)
    with pytest.raises(ValueError, match="normal should be rows"):
        contamination(by_the_mean, torch.zeros(3), x, x, x)
