"""Gaps and spread of codes against what is known of circles and of normal laws."""

import math

import pytest
import torch
from torch.distributions import Independent, Normal

from probgen.evaluation import code_gaps, code_spread


def circle(n, seed):
    angle = 2 * math.pi * torch.rand(n, generator=torch.Generator().manual_seed(seed)).double()
    return torch.stack([angle.cos(), angle.sin()], 1)


class InThePlane:
    """The code is the point itself: half-way between two of a circle lies its inside."""

    def encode(self, x, *context):
        return Normal(x, 1.0)

    def decode(self, z, *context):
        return Normal(z, 1.0)


class Angle:
    """The code is the angle: half-way between two lies the circle."""

    def encode(self, x, *context):
        return Normal(torch.atan2(x[:, 1:], x[:, :1]), 1.0)

    def decode(self, z, *context):
        return Normal(torch.cat([z.cos(), z.sin()], 1), 1.0)


X, DATA = circle(1000, 0), circle(10_000, 1)
PAIRS = 5000


def test_the_inside_of_a_circle_is_a_gap():
    """Half-way between two points of a circle, an even angle 2φ apart, the radius is |cos φ|: it is below
    1 − t with probability 1 − (2 / π) arccos(1 − t), t the distance at which a point is far.
    """
    found = code_gaps(InThePlane(), X, DATA, pairs=PAIRS)
    ends = torch.cdist(X, DATA).min(1).values
    t = float(ends.quantile(0.95))
    expected = 1 - 2 / math.pi * math.acos(1 - t)
    assert expected < 1 - 4.4 * found.stderr
    assert found.value == pytest.approx(expected, abs=4.4 * found.stderr)
    assert found.stderr == pytest.approx(math.sqrt(found.value * (1 - found.value) / PAIRS), rel=0.01)


def test_without_gaps_the_share_is_the_level():
    """Half the sum of two even angles is even on the circle but for the join; pairs share 1,000 ends."""
    for level in (0.05, 0.2):
        found = code_gaps(Angle(), X, DATA, pairs=PAIRS, level=level)
        error = math.sqrt(level * (1 - level) * (1 / PAIRS + 1 / 1000))
        assert found.value == pytest.approx(level, abs=4.4 * error)


def test_half_way_between_normal_points_is_nearer_to_data():
    x = torch.randn(1000, 3, generator=torch.Generator().manual_seed(0)).double()
    data = torch.randn(5000, 3, generator=torch.Generator().manual_seed(1)).double()
    assert code_gaps(InThePlane(), x, data).value < 0.01


def test_the_same_seed_draws_the_same_pairs():
    one, two, other = (code_gaps(InThePlane(), X, DATA[:500], pairs=50, seed=s) for s in (1, 1, 2))
    assert one == two
    assert one != other


class OfSpread:
    """Three coordinates: a point, a law as wide as its means are spread, and one that says nothing."""

    def encode(self, x, *context):
        means = x * torch.tensor([2.0, 1.0, 0.0])
        return Independent(Normal(means, torch.tensor([1e-9, 1.0, 1.0]).expand_as(means)), 1)

    def decode(self, z, *context):
        return Normal(z, 1.0)


def test_spread_is_that_of_the_laws():
    """Of N(0, I) the variances between are 4, 1, 0, those within 0, 1, 1: their share is 2 / 7."""
    x = torch.randn(20_000, 3, generator=torch.Generator().manual_seed(0))
    found = code_spread(OfSpread(), x)
    assert found.own == pytest.approx(2 / 7, abs=4.4 * 0.2 * math.sqrt(2 / 20_000) * 2)
    assert found.active == 2
    assert code_spread(OfSpread(), x, threshold=0.6).active == 1


class Everything(OfSpread):
    def encode(self, x, *context):
        return Normal(torch.zeros_like(x), 0.0, validate_args=False)


class Discrete(InThePlane):
    def encode(self, x, *context):
        law = Normal(x, 1.0)
        return type("Law", (), {"mean": law.mean.long()})()


class Wide(InThePlane):
    def decode(self, z, *context):
        return Normal(torch.cat([z, z], 1), 1.0)


@pytest.mark.parametrize(
    ("call", "kind", "sentence"),
    [
        (lambda: code_gaps(InThePlane(), X[:1], X), ValueError, "x should have at least 2 rows"),
        (lambda: code_gaps(InThePlane(), X, X, level=1.0), ValueError, "level should be above 0 and below 1"),
        (lambda: code_gaps(Discrete(), X, X), TypeError, "codes should be real numbers but are torch.int64"),
        (lambda: code_gaps(Wide(), X, X), ValueError, r"event shape of data, \(2,\), but have \(4,\)"),
        (lambda: code_gaps(None, X, X), TypeError, "model should have encode and decode but is NoneType"),
        (lambda: code_spread(InThePlane(), X[:1]), ValueError, "x should have at least 2 rows"),
        (lambda: code_spread(Everything(), X), ValueError, "codes should have a variance .* but have 0"),
        (lambda: code_spread(OfSpread(), X, threshold=2), ValueError, "threshold should be from 0 to 1"),
    ],
)
def test_what_has_no_answer_is_said(call, kind, sentence):
    with pytest.raises(kind, match=sentence):
        call()
