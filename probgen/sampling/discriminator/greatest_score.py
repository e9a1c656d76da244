"""The greatest score that a generator's draws reach: the best of many draws, and of climbs from these."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from probgen.core import Density, Estimate
from probgen.sampling.discriminator.scored_noise import ScoredNoise

CLIMBERS, _STEPS, _RATES = 512, 60, (0.1, 0.01)
SLACK = 0.05
"""Nats that are added to the greatest score that was found, for what climbs fell short of it."""


class Trial(NamedTuple):
    """Scores of many draws, times the slope; the greatest found, and how."""

    scores: Tensor
    greatest: float
    found: str

    def log_mean_ratio(self) -> Estimate:
        """Return log E_q exp(d) over the draws, with its standard error."""
        n = len(self.scores)
        relative_variance = max(1 / self.worth() - 1, 0)  # of the weights; rounding may leave it below 0
        return Estimate(
            float(self.scores.double().logsumexp(0)) - math.log(n), (relative_variance / n) ** 0.5
        )

    def worth(self) -> float:
        """Return the effective draws of a draw, (Σ w)² / (n Σ w²) with w = exp(d), however small w are."""
        scores = self.scores.double()
        return float((2 * scores.logsumexp(0) - (2 * scores).logsumexp(0)).exp()) / len(scores)

    def acceptance(self, maximum: float) -> float:
        """Return the share of draws that rejection accepts under a maximum."""
        return float((self.scores.double() - maximum).exp().clamp(max=1).mean())


def trial(noise: ScoredNoise, slope: float, draws: int) -> Trial:
    """Score many draws, and look for the greatest score of those and above them.

    The draws are dealt into groups, and the best of each climbs, in noise, by gradients, so that climbs start
    in all modes; no farther out than the least likely of all the draws: what lies beyond comes once in as
    many draws as these.
    """
    with torch.no_grad():
        z = noise.draw(draws)
        scores = slope * noise.scores_of_noise(z)
    bad = ~scores.isfinite()
    if bad.any():
        raise ValueError(
            f"scores should be finite but are {float(scores[bad][0])} at {int(bad.sum())} of {draws} draws"
        )
    best = f"the greatest of {draws:,} draws"
    if not z.is_floating_point():
        return Trial(scores, float(scores.max()), best)
    try:
        density = noise.density(slope)
        start = density.unconstrain(z[_best_of_groups(scores)])
    except (ValueError, NotImplementedError):  # noise on no support that the line can be mapped to
        return Trial(scores, float(scores.max()), best)
    floor = noise.log_prob(z).min()
    climbed = _climbed(noise, density, slope, start, floor)
    if not climbed > float(scores.max()):
        return Trial(scores, float(scores.max()), best)
    return Trial(scores, climbed, f"{best} and of climbs from the best of {len(start)} groups of these")


def _best_of_groups(scores: Tensor) -> Tensor:
    """Return where the best draw of each group stands."""
    size = -(-len(scores) // CLIMBERS)
    whole = scores[: len(scores) // size * size].reshape(-1, size)
    best = whole.argmax(1) + size * torch.arange(len(whole), device=scores.device)
    return torch.cat([best, scores.argmax().reshape(1)])


def _climbed(noise: ScoredNoise, density: Density, slope: float, start: Tensor, floor: Tensor) -> float:
    """Return the greatest score on the way of Adam's ascents, where noise is as likely as ``floor``.

    Long steps look for the hill, short ones, from the best place of each climb, for its top.
    """
    best, place = start.new_full((len(start),), -torch.inf), start.clone()
    for rate in _RATES:
        begin = place.clone()
        position = begin.clone().requires_grad_()
        ascent = torch.optim.Adam([position], lr=rate, maximize=True)
        for step in range(_STEPS):
            with torch.enable_grad():
                (z,) = density.constrain(position).values()
                scores = slope * noise.scores_of_noise(z)
            if not scores.requires_grad:
                return float(scores.max())
            with torch.no_grad():
                inside = (noise.log_prob(z) >= floor) & scores.isfinite()
                better = inside & (scores > best)
                best = torch.where(better, scores, best)
                place[better] = position[better]
            (gradient,) = torch.autograd.grad(scores.sum(), position)
            ascent.param_groups[0]["lr"] = rate * 0.5 ** (4 * step / _STEPS)
            # Who is outside goes back to where it began: the climbs of the others are not disturbed.
            position.grad = torch.where(inside.unsqueeze(1), gradient, 0.0)
            ascent.step()
            with torch.no_grad():
                position.copy_(torch.where(inside.unsqueeze(1), position, begin))
    return float(best.max())
