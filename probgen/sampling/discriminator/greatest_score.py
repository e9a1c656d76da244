"""The greatest score that a generator's draws reach: the best of many draws, and of climbs from these."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from probgen.core import Density, Estimate
from probgen.sampling.discriminator.scored_noise import ScoredNoise

CLIMBERS, _STEPS, _RATE = 64, 200, 0.1
SLACK = 0.01
"""Nats that are added to the greatest score that was found, for what climbs fell short of it."""


class Trial(NamedTuple):
    """Scores of many draws, times the slope; the greatest found, and how."""

    scores: Tensor
    greatest: float
    found: str

    def log_mean_ratio(self) -> Estimate:
        """Return log E_q exp(d) over the draws, with its standard error."""
        weights = (self.scores.double() - self.greatest).exp()
        mean = float(weights.mean())
        error = float(weights.std()) / len(weights) ** 0.5
        return Estimate(self.greatest + float(torch.tensor(mean).log()), error / mean)

    def acceptance(self, maximum: float) -> float:
        """Return the share of draws that rejection accepts under a maximum."""
        return float((self.scores.double() - maximum).exp().clamp(max=1).mean())


def trial(noise: ScoredNoise, slope: float, draws: int) -> Trial:
    """Score many draws, and look for the greatest score of those and above them.

    From the best draws climb, in noise, by gradients, no farther out than the least likely of all the draws:
    what lies beyond comes once in as many draws as these.
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
        start = density.unconstrain(z[scores.topk(min(CLIMBERS, draws)).indices])
    except (ValueError, NotImplementedError):  # noise on no support that the line can be mapped to
        return Trial(scores, float(scores.max()), best)
    floor = noise.log_prob(z).min()
    climbed = _climbed(noise, density, slope, start, floor)
    if not climbed > float(scores.max()):
        return Trial(scores, float(scores.max()), best)
    return Trial(scores, climbed, f"{best} and of climbs from the best {len(start)} of these")


def _climbed(noise: ScoredNoise, density: Density, slope: float, start: Tensor, floor: Tensor) -> float:
    """Return the greatest score on the way of Adam's ascents, where noise is as likely as ``floor``."""
    position = start.clone().requires_grad_()
    ascent = torch.optim.Adam([position], lr=_RATE, maximize=True)
    greatest = -torch.inf
    with torch.enable_grad():
        for step in range(_STEPS):
            (z,) = density.constrain(position).values()
            scores = slope * noise.scores_of_noise(z)
            if not scores.requires_grad:
                break
            inside = (noise.log_prob(z) >= floor).detach() & scores.isfinite()
            if inside.any():
                greatest = max(greatest, float(scores.detach()[inside].max()))
            ascent.param_groups[0]["lr"] = _RATE * 0.5 ** (6 * step / _STEPS)
            (gradient,) = torch.autograd.grad(scores.sum(), position)
            # Who is outside goes back to where it started: the climb of the others is not disturbed.
            position.grad = torch.where(inside.reshape(-1, 1), gradient, 0.0)
            ascent.step()
            with torch.no_grad():
                position.copy_(torch.where(inside.reshape(-1, 1), position, start))
    return greatest
