"""Densities on the line as inversion takes them: one per column, with what is known of each."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from probgen.sampling.exact.inversion import chebyshev_series as series
from probgen.sampling.exact.inversion.quadrature_panels import LogDensity

FAR = 1e300
"""Where the float64 line ends for a density with infinite support."""

EXACT = 2.0**-40
"""To what part of its bracket a mode is found: there may be a kink."""

_BESIDE = np.array([-4.0, -2.0, -1.0, 0.0, 1.0, 2.0, 4.0])
_CHANGE = 1e-3  # of log_prob between these, in 2⁻⁵⁰ of the place: it is more beside a pole or at a jump
_FEW = 8  # poles, that are compared one by one


class Target(NamedTuple):
    """Densities on the line, one per column, and where they stand.

    ``named`` are finite ends and the user's points, of shape (n, batch), from left to right; NaN where a law
    has none. ``poles`` are those of them where the density may be infinite. ``hints`` are other places that
    deserve finer panels, ``somewhere`` is any place inside. With ``fixed`` nothing but values depends on the
    data. ``looseness`` multiplies tolerances, where log_prob has fewer digits than float64. Each law is one
    of so many ``copies`` under ``torch.vmap``.
    """

    log_prob: LogDensity
    low: Tensor
    high: Tensor
    named: Tensor
    poles: Tensor
    hints: Tensor
    somewhere: Tensor
    fixed: bool
    looseness: float
    copies: int = 1

    def inside(self, x: Tensor) -> Tensor:
        """Say which x (n, batch) are in the support and not so near a pole that their rounding shows."""
        inside = (x > self.low) & (x < self.high)
        if not len(self.poles):
            return inside
        poles = poles_beside(self.poles, x)
        return inside & ~((x - poles).abs() <= beside(poles)).any(0)

    def height(self, x: Tensor) -> Tensor:
        """Return log_prob at x, −inf where x is not inside."""
        inside = self.inside(x)
        return torch.where(inside, self.log_prob(torch.where(inside, x, self.somewhere)), -torch.inf)

    def without_smooth_poles(self, log_prob: LogDensity) -> Target:
        """Return the same with those poles as hints beside which log_prob, NaN as given, hardly changes.

        It is looked at some float64 numbers from each. Such a place may be a mode that is narrow for its
        distance from 0: as a pole it would lose the stretch on which rounding of x shows.
        """
        poles = self.named
        x = poles + poles.abs() * 2.0**-50 * series.column(_BESIDE, poles)
        inside = (x > self.low) & (x < self.high)
        height = log_prob(torch.where(inside, x, self.somewhere).flatten(0, 1)).unflatten(0, x.shape[:2])
        smooth = inside.all(0) & (poles != 0) & (height.diff(dim=0).abs() <= _CHANGE).all(0)
        poles, hints = torch.where(smooth, torch.nan, poles), torch.where(smooth, poles, torch.nan)
        poles, hints = (places[~places.isnan().all(1)] for places in (poles.sort(0).values, hints))
        return self._replace(poles=poles, hints=hints)

    def way_out(self, usual: str) -> str:
        """Say what helps where a law is not found: few float64 numbers may lie in its support."""
        short = (self.high - self.low < 2.0**-28 * torch.maximum(self.low.abs(), self.high.abs())).any()
        return "shift x so that its support, short for its distance from 0, begins there" if short else usual


def poles_beside(poles: Tensor, x: Tensor) -> Tensor:
    """Return, along a new first dimension, the poles at or next to x (n, batch); all where they are few."""
    if len(poles) <= _FEW:
        return poles[:, None]
    above = torch.searchsorted(poles.T.contiguous(), x.detach().T.contiguous()).T
    return torch.stack([poles.gather(0, (above - side).clamp(0, len(poles) - 1)) for side in (1, 0)])


def beside(place: Tensor) -> Tensor:
    """Return a distance from an end or a pole within which rounding of x would show."""
    return torch.where(place == 0, 1e-290, place.abs() * 2.0**-30)


def zoomed(
    function: Callable[[Tensor], Tensor], low: Tensor, high: Tensor, *, part: float = EXACT, copies: int = 1
) -> tuple[Tensor, Tensor]:
    """Return where a function is largest in [low, high], to a part of it, and its value there.

    Grids become ever finer: many points in few rounds for a single law, few points for a batch.
    """
    points = 513 if low.numel() * copies <= 64 else 17
    share = series.column(np.linspace(0, 1, points), low)
    for _ in range(math.ceil(math.log(1 / part) / math.log(points // 2))):
        x = low + (high - low) * share
        height, best = function(x.flatten(0, 1)).unflatten(0, x.shape[:2]).max(0, keepdim=True)
        low = x.gather(0, (best - 1).clamp(min=0))[0]
        high = x.gather(0, (best + 1).clamp(max=points - 1))[0]
    return x.gather(0, best)[0], height[0]
