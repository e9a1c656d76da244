"""Scores of a discriminator, made log density ratios on data that it was not trained on, and tested there."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from probgen.core import Estimate

LEAST = 20
_STEPS, _MISTAKES = 100, 1e-3
"""Of Newton's method: steps, and the variance of the number of data from which on scores tell them apart."""

_GROUPS, _EXPECTED = 10, 10.0
"""Groups of neighbouring scores, and how many data and draws each expects at least."""

_PIECES, _PIECE = 16, 250
"""Pieces of a calibration at most, and how many data and how many draws each has at least."""

_MANY = 1000
"""Data and draws from which on the calibration may bend."""


class ScoreCurve(NamedTuple):
    """A continuous function of a score d that is linear between ``bends``; ``slopes`` has one more of them.

    >>> ScoreCurve((1.0,), (2.0, 0.5))(torch.tensor([0.0, 1.0, 3.0]))
    tensor([0., 2., 3.])
    """

    bends: tuple[float, ...] = ()
    slopes: tuple[float, ...] = (1.0,)

    def __call__(self, scores: Tensor) -> Tensor:
        found = self.slopes[0] * scores
        for bend, before, after in zip(self.bends, self.slopes, self.slopes[1:], strict=False):
            found = found + (after - before) * (scores - bend).clamp(min=0)
        return found


class ScoreCalibration(NamedTuple):
    """A logistic regression of held-out data against draws on their scores, and what other ones say of it.

    ``curve`` and ``intercept`` are r and b of P(datum | d) = σ(r(d) + b), fitted to half of the points, and
    ``slope`` is that of the straight line fitted to them, which is the curve where the points are few. On the
    other half ``z`` tests that as many are data as it says, and ``p_value`` that so many are at each level
    of the score: where it is right, one is standard normal and the other uniform, with the error of the fit
    accounted for. ``rows`` is the number of data in the tested half.
    """

    curve: ScoreCurve
    slope: Estimate
    intercept: Estimate
    z: float
    p_value: float
    rows: int


def calibrated(real: Tensor, fake: Tensor, *, seed: int, up_to: float = math.inf) -> ScoreCalibration:
    r"""Fit r and b of P(datum | d) = σ(r(d) + b) to half of the scores, and test it on the other half.

    With n data and m draws, r(d) + b is log n/m more than the logarithm of the ratio of the two laws *of
    scores*; where d is a function of log p/q it is that of the laws of x, and ``intercept`` has log n/m
    taken off. r is linear between bends that have a sixteenth of all points between them, 250 data and 250
    draws at least: a straight line, as Platt's, where there are fewer than a thousand of either in the half.
    Both tests are of sums of y − D over points of the tested half, y = 1 for data, D = σ(r(d) + b): of all
    for ``z``, of up to ten groups of neighbouring scores for ``p_value``, by a χ². How many are data is
    fixed, so that the covariance of the sums is that within data and within draws, plus G V G′, with V the
    covariance of the fit, likewise, and G the derivative of the sums in its parameters. As b is free, ``z``
    is blind to scores that are all too high; it is the groups that see a score whose ratio r does not follow.

    Args:
        real, fake: scores of held-out data, shape (n,), and of draws, (m,), no fewer than 20 each.
        seed: of the halves.
        up_to: scores above it are left out, as where a generator has none: given its score, what is data and
            what a draw is the same with a cut or without.

    Raises:
        ValueError: for scores that are too few or that tell data from draws without a mistake.

    Source: Platt (1999), Probabilistic outputs for support vector machines; Turner, Hung, Frank, Saatchi and
    Yosinski (2019), Metropolis-Hastings generative adversarial networks, for ``z``; Hosmer and Lemeshow
    (1980), Goodness of fit tests for the multiple logistic regression model, for the groups.
    """
    generator = torch.Generator().manual_seed(seed)
    prior = math.log(len(real) / len(fake))
    real, fake = real[real <= up_to], fake[fake <= up_to]
    if min(len(real), len(fake)) < LEAST:
        raise ValueError(
            f"held_out should have at least {LEAST} scores among those of draws, up to {up_to:.4g}, but has "
            f"{len(real)}: the generator makes nothing like the data, and there is no ratio to calibrate"
        )
    halves = []
    for part in (real, fake):
        shuffled = part.detach().double().cpu()[torch.randperm(len(part), generator=generator)]
        halves.append(shuffled.split([(len(part) + 1) // 2, len(part) // 2]))
    first, second = (torch.cat([r, f]) for r, f in zip(*halves, strict=True))
    y, y_tested = (
        torch.cat([torch.ones(len(r)), torch.zeros(len(f))]).double() for r, f in zip(*halves, strict=True)
    )
    # Regressions on standardised scores: on a line, and on a line that bends.
    centre, unit = first.mean(), first.std()
    if not unit > 0:
        raise ValueError(f"scores should differ but are {float(centre):.4g} for all data and draws")
    standard = (first - centre) / unit
    line, of_line = _logistic(_pieces(standard, []), y)
    bends = _bends(standard, y)
    weights, covariance = _logistic(_pieces(standard, bends), y)
    # Sums over groups of the other half, and their covariance.
    tested = _pieces((second - centre) / unit, bends)
    p = (tested @ weights).sigmoid()
    groups = _groups(p, second.argsort())
    sums = groups @ (y_tested - p)
    derivative = groups @ (tested * (p * (1 - p)).unsqueeze(1))
    errors = _within((groups * (y_tested - p)).T, y_tested) + derivative @ covariance @ derivative.T
    z = float(sums.sum() / errors.sum().sqrt())
    statistic = float(sums @ torch.linalg.solve(errors, sums))
    p_value = float(torch.special.gammaincc(torch.tensor(len(sums) / 2.0), torch.tensor(statistic / 2)))
    # From standardised scores back to d.
    slope = Estimate(float(line[1] / unit), math.sqrt(float(of_line[1, 1])) / float(unit))
    curve = ScoreCurve(
        tuple(float(centre + unit * bend) for bend in bends),
        tuple((weights[1:].cumsum(0) / unit).tolist()),
    )
    back = torch.zeros_like(weights)
    back[0], back[1] = 1.0, -centre / unit
    intercept = Estimate(float(back @ weights) - prior, math.sqrt(float(back @ covariance @ back)))
    return ScoreCalibration(curve, slope, intercept, z, p_value, len(real) // 2)


def _pieces(scores: Tensor, bends: list[float]) -> Tensor:
    """Return the regressors of a line that bends, (n, 2 + bends): 1, d, and d − bend where it is positive."""
    columns = [torch.ones_like(scores), scores, *((scores - bend).clamp(min=0) for bend in bends)]
    return torch.stack(columns, 1)


def _bends(scores: Tensor, y: Tensor) -> list[float]:
    """Return scores at which a line may bend, with enough data and draws, ``y`` of 1 and 0, in each piece."""
    if min(y.sum(), (1 - y).sum()) < _MANY:
        return []
    order = scores.argsort()
    data = y[order].cumsum(0)
    draws = torch.arange(1, len(y) + 1).to(data) - data
    # Ties stay together, and the least score has another beside it.
    ends = (scores[order].diff(append=scores.new_tensor([math.inf])) > 0) & (scores[order] > scores.min())
    bends: list[float] = []
    at = 0
    while True:
        own = [part - (part[at - 1] if at else 0.0) for part in (data, draws)]
        full = (
            ends & (own[0] >= _PIECE) & (own[1] >= _PIECE) & (own[0] + own[1] >= len(y) / _PIECES)
        ).nonzero()
        if not len(full):
            return bends
        at = int(full[0]) + 1
        if min(data[-1] - data[at - 1], draws[-1] - draws[at - 1]) < _PIECE:  # the last piece takes the rest
            return bends
        bends.append(float(scores[order[at - 1]]))


def _logistic(regressors: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Return the weights of a logistic regression and their covariance, the numbers of both kinds fixed."""
    weights = torch.zeros(regressors.shape[1], dtype=torch.float64)
    for _ in range(_STEPS):
        p = (regressors @ weights).sigmoid()
        information = regressors.T @ (regressors * (p * (1 - p)).unsqueeze(1))
        if float(information[0, 0]) < _MISTAKES:
            break
        gradient = regressors.T @ (y - p)
        step = torch.linalg.solve(information, gradient)
        weights = weights + step * min(1.0, 2.0 / max(float(step.norm()), 1.0))
        if float(gradient @ step) < 1e-12:  # twice what there is to gain
            inverse = torch.linalg.inv(information)
            return weights, inverse @ _within(regressors * (y - p).unsqueeze(1), y) @ inverse
    raise ValueError(
        "the scores tell held-out data from draws all but without a mistake, so that no ratio can be "
        "calibrated: the generator makes next to nothing like the data"
    )


def _within(terms: Tensor, y: Tensor) -> Tensor:
    """Return the covariance of a sum of terms, (n, k), over fixed numbers of points of either kind."""
    total = terms.new_zeros(terms.shape[1], terms.shape[1])
    for kind in (terms[y == 0], terms[y == 1]):
        apart = kind - kind.mean(0)
        total += apart.T @ apart
    return total


def _groups(p: Tensor, order: Tensor) -> Tensor:
    """Return up to ten groups of neighbours, (groups, n) of 0 and 1, enough in each for a normal law."""
    least = len(p) / _GROUPS
    ends, data, draws, size = [], 0.0, 0.0, 0
    for place, expected in enumerate(p[order].tolist()):
        data, draws, size = data + expected, draws + 1 - expected, size + 1
        if size >= least and min(data, draws) >= _EXPECTED:
            ends.append(place + 1)
            data, draws, size = 0.0, 0.0, 0
    # What is left over belongs to the last group.
    ends = [*ends[:-1], len(p)] if size else ends
    groups = torch.zeros(max(len(ends), 1), len(p), dtype=p.dtype)
    begin = 0
    for group, end in zip(groups, ends or [len(p)], strict=True):
        group[order[begin:end]] = 1
        begin = end
    return groups
