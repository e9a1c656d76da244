"""Where densities on the line have their mass: ends, poles and modes, found from the log-density alone."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from probgen.sampling import series
from probgen.sampling.panels import LogDensity, Panels, argument, distance

FAR = 1e300
"""Where the float64 line ends for a density with infinite support."""

_MODES = 4
_DIP = 0.3  # in log_prob, between two modes that are told apart
_AROUND = np.concatenate([np.arange(-300, -9, 3), np.linspace(-9, 9, 217), np.arange(12, 301, 3)])
_WITHIN = np.concatenate([np.arange(-300, -21, 3), np.linspace(-21, 0, len(_AROUND) - 93)])
_STEPS = np.array([0.0, 0.7, 1.5, 2.5, 4.0, 7.0, 13.0, 30.0, 90.0, 300.0, 1500.0])


class Target(NamedTuple):
    """Densities on the target, one per column, and where they stand.

    ``poles`` are finite ends and the user's points, where the density may be infinite, of shape (n, batch);
    NaN where a law has none. ``hints`` are other places that deserve finer panels. With ``fixed`` nothing but
    values depends on the data. ``looseness`` multiplies tolerances, where log_prob has fewer digits than
    float64.
    """

    log_prob: LogDensity
    low: Tensor
    high: Tensor
    poles: Tensor
    hints: Tensor
    fixed: bool
    looseness: float

    def inside(self, x: Tensor) -> Tensor:
        """Say which x (n, batch) are in the support and not so near a pole that their rounding shows."""
        near = (x - self.poles[:, None]).abs() <= _beside(self.poles)[:, None]
        return (x > self.low) & (x < self.high) & ~near.any(0)

    def height(self, x: Tensor) -> Tensor:
        """Return log_prob at x, −inf where x is not inside."""
        inside = self.inside(x)
        return torch.where(inside, self.log_prob(torch.where(inside, x, self.somewhere)), -torch.inf)

    @property
    def somewhere(self) -> Tensor:
        """A value inside the support."""
        one_sided = torch.where(self.low.isfinite(), self.low + 0.7, self.high - 0.7)
        one_sided = torch.where(one_sided.isfinite(), one_sided, 0.7)
        share = self.low + 0.382 * (self.high - self.low)
        return torch.where(share.isfinite(), share, one_sided)


def laid_out(target: Target) -> tuple[Panels, Panels, Tensor]:
    """Return first panels, the pieces beside poles, and the logarithm of a scale for the masses."""
    places = torch.cat([target.poles, target.hints])
    some_place = places.nan_to_num(-torch.inf).amax(0)
    anchors = torch.where(places.isnan(), torch.where(some_place.isfinite(), some_place, 0.0), places)
    modes = _modes(target, anchors)
    modes = _modes(target, torch.cat([anchors, modes]))
    origins = torch.cat([torch.where(places.isnan(), modes[:1], places), modes]).sort(0).values
    panels, pieces, peak = _segments(target, origins, (origins == target.poles[:, None]).any(0))
    if not target.fixed:
        panels = Panels(*(field[(panels.stop > panels.start).any(1)] for field in panels))
    return panels, pieces, peak


def _beside(place: Tensor) -> Tensor:
    """Return a distance from an end or a pole within which rounding of x would show."""
    return torch.where(place == 0, 1e-290, place.abs() * 2.0**-30)


def _reach(target: Target, origins: Tensor) -> tuple[Tensor, Tensor]:
    """Return how far each of the sorted origins rules, to its left and to its right."""
    half = origins.diff(dim=0) / 2
    left, right = (FAR * end.isinf().to(end.dtype) for end in (target.low, target.high))
    return torch.cat([left[None], half]), torch.cat([half, right[None]])


def _modes(target: Target, origins: Tensor) -> Tensor:
    """Return the highest modes on a lattice around the origins; the highest again where there are fewer."""
    origins = origins.sort(0).values
    sides = []
    for sign, reach in zip((-1, 1), _reach(target, origins), strict=True):
        around, within = series.column(_AROUND, reach), series.column(_WITHIN, reach)
        sides.append(sign * torch.where(reach < FAR, reach * 10**within, 10**around))
    offsets = torch.cat([sides[0].flip(0), torch.zeros_like(origins)[None], sides[1]])
    x = (origins + offsets).transpose(0, 1).flatten(0, 1)
    low, high, found = _hills(x, target.height(x), target.fixed)
    low, high = (torch.where(found, end, target.somewhere) for end in (low, high))
    modes, _ = zoomed(target.log_prob, low, high, rounds=16)
    return torch.where(found, modes, torch.where(found[:1], modes[:1], origins[:1]))


def _hills(x: Tensor, height: Tensor, fixed: bool) -> tuple[Tensor, Tensor, Tensor]:
    """Return brackets of the highest tops, with dips between them, and which of them are tops."""
    top = torch.zeros_like(height, dtype=torch.bool)
    top[1:-1] = (height[1:-1] > height[:-2]) & (height[1:-1] >= height[2:])
    top[1:-1] &= (height[:-2] > -torch.inf) & (height[2:] > -torch.inf)
    place = torch.arange(len(x), device=x.device)[:, None]
    rise = torch.full_like(x, torch.inf)
    chosen: list[Tensor] = []
    found: list[Tensor] = []
    for _ in range(_MODES + 1):
        best, index = torch.where(rise > _DIP, height, -torch.inf).max(0, keepdim=True)
        if chosen and not fixed and not (best > -torch.inf).any():
            break
        chosen.append(index)
        found.append(top.gather(0, index) & (best > -torch.inf))
        right = torch.where(place >= index, height, torch.inf).cummin(0).values
        left = torch.where(place <= index, height, torch.inf).flip(0).cummin(0).values.flip(0)
        rise = torch.minimum(rise, (height - torch.minimum(left, right)).nan_to_num(0.0, torch.inf))
    is_top, order = torch.cat(found).to(torch.int8).sort(dim=0, descending=True, stable=True)
    index = torch.cat(chosen).gather(0, order)
    low, high = x.gather(0, (index - 1).clamp(min=0)), x.gather(0, (index + 1).clamp(max=len(x) - 1))
    return low, high, is_top.bool()


def zoomed(
    function: Callable[[Tensor], Tensor], low: Tensor, high: Tensor, *, rounds: int, points: int = 17
) -> tuple[Tensor, Tensor]:
    """Return where a function is largest in [low, high], and its value there, by ever finer grids."""
    share = series.column(np.linspace(0, 1, points), low)
    for _ in range(rounds):
        x = low + (high - low) * share
        height, best = function(x.flatten(0, 1)).unflatten(0, x.shape[:2]).max(0, keepdim=True)
        low = x.gather(0, (best - 1).clamp(min=0))[0]
        high = x.gather(0, (best + 1).clamp(max=points - 1))[0]
    return x.gather(0, best)[0], height[0]


def _segments(target: Target, origins: Tensor, poles: Tensor) -> tuple[Panels, Panels, Tensor]:
    """Cut the line into two segments per origin, and each into panels that are finer near its mass."""
    reach = torch.stack(_reach(target, origins), 1).flatten(0, 1)
    segment = torch.arange(len(reach), device=reach.device)[:, None].expand_as(reach)
    sign = (2 * (segment % 2) - 1).to(reach.dtype)
    origin, pole = origins.repeat_interleave(2, 0), poles.repeat_interleave(2, 0)
    beside = torch.minimum(_beside(origin), reach * 2.0**-10).log()
    width = _width(target, torch.where(pole, target.somewhere, origin), sign, torch.where(pole, 0.0, reach))
    log_width = torch.where(pole, beside, width).clamp(min=-690.0)
    first = math.asinh(1.0) * pole.to(reach.dtype)
    last = torch.maximum(argument(log_width, reach), first)
    first = torch.where(reach > 0, first, last)

    def log_mass(t: Tensor) -> Tensor:
        t = t.unflatten(0, (-1, len(reach)))
        r, log_slope = distance(log_width, t)
        x = torch.where(reach > 0, origin + sign * r, target.somewhere)
        return (target.log_prob(x.flatten(0, 1)).unflatten(0, x.shape[:2]) + log_slope).flatten(0, 1)

    pivot, height = zoomed(log_mass, first, last, rounds=3, points=65)
    peak = torch.where(reach > 0, height, -torch.inf).amax(0)
    steps = np.concatenate([-_STEPS[:0:-1], _STEPS])
    edges = (pivot + series.column(steps, pivot)).clamp(first, last)
    count = len(steps) - 1
    panels = Panels(
        origin.repeat(count, 1),
        sign.repeat(count, 1),
        log_width.repeat(count, 1),
        edges[:-1].flatten(0, 1),
        edges[1:].flatten(0, 1),
        segment.repeat(count, 1),
    )
    zero = torch.zeros_like(reach)
    stop = math.asinh(1.0) * (pole & (reach > 0)).to(reach.dtype)
    return panels, Panels(origin, sign, log_width, zero, stop, segment), peak


def _width(target: Target, origin: Tensor, sign: Tensor, reach: Tensor) -> Tensor:
    """Return the logarithm of the distance, to a factor of two, at which the density has fallen by e."""
    level = target.log_prob(origin) - 1
    near, far = torch.full_like(reach, -1074.0), reach.log2().clamp(min=-1073.0)
    for _ in range(11):
        middle = (near + far) / 2
        x = origin + sign * middle.exp2()
        fallen = ~(target.log_prob(torch.where(middle <= far, x, origin)) >= level)
        near, far = torch.where(fallen, near, middle), torch.where(fallen, middle, far)
    return far * math.log(2)
