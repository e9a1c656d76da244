"""Scores of a discriminator, made log density ratios on data that it was not trained on, and tested there."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from probgen.core import Estimate

LEAST = 20
_STEPS = 100
_GROUPS, _EXPECTED = 10, 10.0
"""Groups of neighbouring scores, and how many data and draws each expects at least."""


class ScoreCalibration(NamedTuple):
    """A logistic regression of held-out data against draws on their scores, and what other ones say of it.

    ``slope`` and ``intercept`` are a and b of P(datum | d) = σ(a d + b), fitted to half of the points. On the
    other half ``z`` tests that as many are data as it says, and ``p_value`` that so many are at each level
    of the score: where it is right, one is standard normal and the other uniform, with the error of the fit
    accounted for. ``rows`` is the number of data in the tested half.
    """

    slope: Estimate
    intercept: Estimate
    z: float
    p_value: float
    rows: int


def calibrated(real: Tensor, fake: Tensor, *, seed: int, up_to: float = math.inf) -> ScoreCalibration:
    r"""Fit a and b of P(datum | d) = σ(a d + b) to half of the scores, and test it on the other half.

    With n data and m draws, a d + b is log n/m more than the logarithm of the ratio of the two laws *of
    scores*; where d is a log p/q + any constant it is that of the laws of x, and ``intercept`` has log n/m
    taken off. Both tests are of sums of y − D over points of the tested half, y = 1 for data, D = σ(a d + b):
    of all for ``z``, of up to ten groups of neighbouring scores for ``p_value``, by a χ². How many are data
    is fixed, so that the covariance of the sums is that within data and within draws, plus G V G′, with V
    the covariance of the fit, likewise, and G the derivative of the sums in (a, b). As b is free, ``z`` is
    blind to scores that are all too high; it is the groups that see a score which is no linear function of
    log p/q.

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
    # Newton's steps on standardised scores; the information gives the covariance.
    centre, unit = first.mean(), first.std()
    if not unit > 0:
        raise ValueError(f"scores should differ but are {float(centre):.4g} for all data and draws")
    regressors = torch.stack([(first - centre) / unit, torch.ones_like(first)], 1)
    weights = torch.zeros(2, dtype=torch.float64)
    for _ in range(_STEPS):
        p = (regressors @ weights).sigmoid()
        information = regressors.T @ (regressors * (p * (1 - p)).unsqueeze(1))
        step = torch.linalg.solve(information, regressors.T @ (y - p))
        step = step * min(1.0, 2.0 / float(step.norm()))
        weights = weights + step
        if float(step.norm()) < 1e-10:
            break
    else:
        raise ValueError(
            "the scores tell held-out data from draws all but without a mistake, so that no ratio can be "
            "calibrated: the generator makes next to nothing like the data"
        )
    inverse = torch.linalg.inv(information)
    covariance = inverse @ _within(regressors * (y - p).unsqueeze(1), y) @ inverse
    tested = torch.stack([(second - centre) / unit, torch.ones_like(second)], 1)
    p = (tested @ weights).sigmoid()
    groups = _groups(p)
    sums = groups @ (y_tested - p)
    derivative = groups @ (tested * (p * (1 - p)).unsqueeze(1))
    errors = _within((groups * (y_tested - p)).T, y_tested) + derivative @ covariance @ derivative.T
    z = float(sums.sum() / errors.sum().sqrt())
    statistic = float(sums @ torch.linalg.solve(errors, sums))
    p_value = float(torch.special.gammaincc(torch.tensor(len(sums) / 2.0), torch.tensor(statistic / 2)))
    # From standardised scores back to d.
    slope = Estimate(float(weights[0] / unit), math.sqrt(float(covariance[0, 0])) / float(unit))
    back = torch.stack([-centre / unit, torch.ones_like(unit)])
    constant = float(back @ weights) - prior
    intercept = Estimate(constant, math.sqrt(float(back @ covariance @ back)))
    return ScoreCalibration(slope, intercept, z, p_value, len(real) // 2)


def _within(terms: Tensor, y: Tensor) -> Tensor:
    """Return the covariance of a sum of terms, (n, k), over fixed numbers of points of either kind."""
    total = terms.new_zeros(terms.shape[1], terms.shape[1])
    for kind in (terms[y == 0], terms[y == 1]):
        apart = kind - kind.mean(0)
        total += apart.T @ apart
    return total


def _groups(p: Tensor) -> Tensor:
    """Return up to ten groups of neighbouring D, (groups, n) of 0 and 1, enough in each for a normal law."""
    order = p.argsort()
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
