"""How far chains agree, while they run, and a warm-up that goes on until they do."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import pyro
import torch
from torch import Tensor

from probgen.core import Density
from probgen.sampling.markov.warmup.step_size_and_shape import WarmedUp

logger = logging.getLogger("probgen")

AGREED = 1.05
"""R-hat of a trial run at which a warm-up ends: about ten independent draws a chain, from one law."""
FIRST, LAST = 250, 8000
"""Steps of the first attempt, and of the last."""


class Agreement:
    r"""R-hat of every coordinate so far, √(1 + B / W − 1 / n), from sums alone.

    B is the variance of the chains' means of n draws, W the mean of the chains' variances, (n − 1 in the
    denominator). It is the plain R-hat of Gelman and Rubin (1992), for a quick look: that of
    :meth:`Chains.summary` ranks draws and splits chains.
    """

    def __init__(self) -> None:
        self._count = 0

    def add(self, position: Tensor) -> None:
        r"""Take in one draw of all chains, (chains, \*batch, dim)."""
        if self._count == 0:
            self._centre = position.to(torch.float64).mean(0)
            self._sum = torch.zeros_like(position, dtype=torch.float64)
            self._squares = torch.zeros_like(self._sum)
        apart = position - self._centre
        self._count += 1
        self._sum += apart
        self._squares += apart**2

    def r_hat(self) -> Tensor:
        r"""Return R-hat of every coordinate, (\*batch, dim); NaN for one chain, one draw, or constants."""
        n = self._count
        mean = self._sum / n
        within = ((self._squares / n - mean**2) * n / max(n - 1, 1)).mean(0)
        between = mean.var(0) if len(mean) > 1 else torch.full_like(within, torch.nan)
        return (1 + between / within - 1 / n).sqrt()

    def shown(self) -> dict[str, str]:
        """Return what a progress bar says."""
        found = self.r_hat()
        known = found[~found.isnan()]
        return {"r_hat": f"{float(known.max()):.3f}"} if len(known) else {}


@torch.no_grad()
def warm_up_until_agreed(
    warm_up: Callable[..., WarmedUp],
    density: Density,
    position: Tensor,
    *,
    generator: torch.Generator,
    **options: Any,
) -> WarmedUp:
    """Warm up for 250, 500, 1000, ... steps, each time from where the last ended, until the chains agree.

    They agree when R-hat of every coordinate is at most 1.05 in a trial run, half as long, of the transition
    that was found. After an attempt of 8,000 steps the warm-up ends with a warning in the log.

    Raises:
        ValueError: for a single chain, which cannot agree with another.
    """
    if len(position) < 2:
        raise ValueError("warmup='auto' needs at least 2 chains but got 1")
    steps = FIRST
    while True:
        found = warm_up(density, position, steps=steps, generator=generator, **options)
        state, agreement = found.transition.init(found.position), Agreement()
        with pyro.validation_enabled(False):
            for _ in range(steps // 2):
                state, _ = found.transition.step(state, generator)
                agreement.add(state.position)
        position, worst = state.position, float(agreement.r_hat().nan_to_num(1.0).max())
        if worst <= AGREED or steps >= LAST:
            break
        steps *= 2
    if worst > AGREED:
        logger.warning(f"the warm-up ended before the chains agreed: R-hat is {worst:.3f} after {LAST} steps")
    return found._replace(position=position)
