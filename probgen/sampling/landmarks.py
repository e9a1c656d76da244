"""Where densities on the line have their mass: ends, poles and modes, found from the log-density alone."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from probgen.sampling import series
from probgen.sampling.panels import BESIDE, LogDensity, Panels, argument, distance

FAR = 1e300
"""Where the float64 line ends for a density with infinite support."""

LOG_TAIL = -28.0
"""The logarithm of the share of the mass that may lie beyond the range of float64."""

_EXACT = 2.0**-40  # of its bracket, to which a mode is found: there may be a kink
_MODES = 4
_DIP = 0.3  # in log_prob, between two modes that are told apart
_POINTS, _LEAST_POINTS, _MOST_POINTS = 2**14, 12, 512  # of the lattice: in all, and for each law a decade
_STEPS = np.array([0.0, 0.7, 1.5, 2.5, 4.0, 7.0, 13.0, 30.0, 90.0, 300.0, 1500.0])


class Target(NamedTuple):
    """Densities on the line, one per column, and where they stand.

    ``poles`` are finite ends and the user's points, where the density may be infinite, of shape (n, batch);
    NaN where a law has none. ``hints`` are other places that deserve finer panels, ``somewhere`` is any place
    inside. With ``fixed`` nothing but values depends on the data. ``looseness`` multiplies tolerances, where
    log_prob has fewer digits than float64.
    """

    log_prob: LogDensity
    low: Tensor
    high: Tensor
    poles: Tensor
    hints: Tensor
    somewhere: Tensor
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


def laid_out(target: Target) -> tuple[Panels, Panels, Tensor]:
    """Return first panels, the pieces beside poles, and the logarithm of a scale for the masses."""
    places = anchors = torch.cat([target.poles, target.hints])
    if len(places):
        some_place = places.nan_to_num(-torch.inf).amax(0)
        anchors = torch.where(places.isnan(), torch.where(some_place.isfinite(), some_place, 0.0), places)
    else:
        anchors = torch.zeros_like(target.somewhere)[None]
    modes = _modes(target, anchors)
    modes = _modes(target, torch.cat([anchors, modes]))
    origins = torch.cat([torch.where(places.isnan(), modes[:1], places), modes]).sort(0).values
    return _segments(target, origins, (origins == target.poles[:, None]).any(0))


def heavy_tail(target: Target, log_prob: LogDensity, peak: Tensor) -> tuple[Tensor, Tensor]:
    """Say of which laws the integral of exp(log_prob) does not end within float64, and where it is cut."""
    endless, place = torch.zeros_like(peak, dtype=torch.bool), torch.full_like(peak, torch.nan)
    for x, log_mass, outside in far_out(target, log_prob, peak):
        ends = torch.cat([log_mass[1:] == -torch.inf, torch.ones_like(log_mass[:1], dtype=torch.bool)])
        heavy = ((log_mass > LOG_TAIL) & ends & (x.abs() > 1e140)).any(0) & ~outside
        endless, place = endless | heavy, torch.where(heavy, x[0].sign() * 1e140, place)
    return endless, place


def far_out(target: Target, log_prob: LogDensity, peak: Tensor) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Give, for each side, x far out, the log of the mass per unit of log x, and which laws end before."""
    far = torch.as_tensor(10.0 ** np.arange(12, 300, 6), device=peak.device)[:, None]
    for sign, end in ((-1, target.low), (1, target.high)):
        outside = end.isfinite()
        x = (sign * far).expand(-1, len(peak))
        yield x, log_prob(torch.where(outside, target.somewhere, x)) + far.log() - peak, outside


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
        around, within = (series.column(exponents, reach) for exponents in _decades(origins.shape[1]))
        sides.append(sign * torch.where(reach < FAR, reach * 10**within, 10**around))
    offsets = torch.cat([sides[0].flip(0), torch.zeros_like(origins)[None], sides[1]])
    x = (origins + offsets).transpose(0, 1).flatten(0, 1)
    low, high, found = _hills(x, target.height(x), target.inside(x), target.fixed)
    low, high = (torch.where(found, end, target.somewhere) for end in (low, high))
    modes, _ = zoomed(target.log_prob, low, high)
    return torch.where(found, modes, torch.where(found[:1], modes[:1], origins[:1]))


def _decades(batch: int) -> tuple[np.ndarray, np.ndarray]:
    """Return exponents of distances from an origin: on an endless side; on others, in units of the reach."""
    count = 18 * min(max(_POINTS // (18 * batch), _LEAST_POINTS), _MOST_POINTS) + 1
    around = np.concatenate([np.arange(-300, -9, 3), np.linspace(-9, 9, count), np.arange(12, 301, 3)])
    sparse = np.arange(-300, -18, 3)
    return around, np.concatenate([sparse, np.linspace(-18, 0, len(around) - len(sparse))])


def _hills(x: Tensor, height: Tensor, inside: Tensor, fixed: bool) -> tuple[Tensor, Tensor, Tensor]:
    """Return brackets of the highest tops, with dips between them, and which of them are tops."""
    x, height, inside = (values.T.contiguous() for values in (x, height, inside))  # scans are along rows
    top = torch.zeros_like(inside)
    higher = (height[:, 1:-1] > height[:, :-2]) & (height[:, 1:-1] >= height[:, 2:])
    top[:, 1:-1] = higher & inside[:, :-2] & inside[:, 2:]
    place = torch.arange(x.shape[1], device=x.device)
    rise = torch.full_like(x, torch.inf)
    chosen: list[Tensor] = []
    found: list[Tensor] = []
    for _ in range(_MODES + 1):
        best, index = torch.where(rise > _DIP, height, -torch.inf).max(1, keepdim=True)
        if chosen and not fixed and not (best > -torch.inf).any():
            break
        chosen.append(index)
        found.append(top.gather(1, index) & (best > -torch.inf))
        right = torch.where(place >= index, height, torch.inf).cummin(1).values
        left = torch.where(place <= index, height, torch.inf).flip(1).cummin(1).values.flip(1)
        rise = torch.minimum(rise, (height - torch.minimum(left, right)).nan_to_num(0.0, torch.inf))
    is_top, order = torch.cat(found, 1).to(torch.int8).sort(dim=1, descending=True, stable=True)
    index = torch.cat(chosen, 1).gather(1, order)
    low, high = x.gather(1, (index - 1).clamp(min=0)), x.gather(1, (index + 1).clamp(max=x.shape[1] - 1))
    return low.T, high.T, is_top.T.bool()


def zoomed(
    function: Callable[[Tensor], Tensor], low: Tensor, high: Tensor, *, part: float = _EXACT
) -> tuple[Tensor, Tensor]:
    """Return where a function is largest in [low, high], to a part of it, and its value there.

    Grids become ever finer: many points in few rounds for a single law, few points for a batch.
    """
    points = 513 if low.numel() <= 64 else 17
    share = series.column(np.linspace(0, 1, points), low)
    for _ in range(math.ceil(math.log(1 / part) / math.log(points // 2))):
        x = low + (high - low) * share
        height, best = function(x.flatten(0, 1)).unflatten(0, x.shape[:2]).max(0, keepdim=True)
        low = x.gather(0, (best - 1).clamp(min=0))[0]
        high = x.gather(0, (best + 1).clamp(max=points - 1))[0]
    return x.gather(0, best)[0], height[0]


def _segments(target: Target, origins: Tensor, poles: Tensor) -> tuple[Panels, Panels, Tensor]:
    """Cut the line into two segments per origin, and each into panels that are finer near its mass."""
    reach = torch.stack(_reach(target, origins), 1).flatten(0, 1)
    segment = torch.arange(len(reach), dtype=reach.dtype, device=reach.device)[:, None].expand_as(reach)
    sign = 2 * (segment % 2) - 1
    origin, pole = origins.repeat_interleave(2, 0), poles.repeat_interleave(2, 0) & (reach > 0)
    log_width = _widths(target, origin, sign, reach, pole)
    inner = math.asinh(1.0) * pole.to(reach.dtype)
    outer = torch.where(reach > 0, torch.maximum(argument(log_width, reach), inner), inner)

    def log_mass(t: Tensor) -> Tensor:
        t = t.unflatten(0, (-1, len(reach)))
        r, slope = distance(log_width, t)
        x = torch.where(reach > 0, origin + sign * r, target.somewhere)
        return target.log_prob(x.flatten(0, 1)) + slope.log().flatten(0, 1)

    pivot, height = zoomed(log_mass, inner, outer, part=2.0**-15)
    peak = torch.where(reach > 0, height, -torch.inf).amax(0)
    steps = np.concatenate([-_STEPS[:0:-1], _STEPS])
    edges = (pivot + series.column(steps, pivot)).clamp(inner, outer)
    start = torch.cat([torch.zeros_like(inner)[None], edges[:-1]])
    stop = torch.cat([inner[None], edges[1:]])
    is_piece = torch.zeros_like(start)
    is_piece[0] = 1
    fields = torch.broadcast_tensors(origin, sign, log_width, start, stop, segment, is_piece)
    pieces = Panels(torch.stack([field[0] for field in fields]))
    panels = Panels(torch.stack(fields).flatten(1, 2))
    panels = panels.take(panels.order())
    if not target.fixed:
        panels = Panels(panels.fields[:, ((panels.stop > panels.start) | (panels.piece > 0)).any(1)])
    return panels, pieces, peak


def _widths(target: Target, origin: Tensor, sign: Tensor, reach: Tensor, pole: Tensor) -> Tensor:
    """Return log w for each segment.

    Beside a pole the density is a power up to w; else log_prob has changed by 1 at w, to a factor of two.
    """
    top = torch.where(pole, target.somewhere, origin)
    height = target.log_prob(top)
    near, far = torch.full_like(reach, -1074.0), reach.log2().clamp(min=-1073.0)
    far = torch.where(pole, -1073.0, far)
    for points in (47, 47):
        step = (far - near) / (points - 1)
        exponent = near + step * series.column(np.arange(1.0, points), near)
        x = top + sign * exponent.exp2()
        changed = (target.log_prob(x.flatten(0, 1)).unflatten(0, x.shape[:2]) - height).abs() >= 1
        changed = torch.cat([changed[:-1], torch.ones_like(changed[:1])])
        count = (changed.cumsum(0) == 0).sum(0)  # of the first points, before it changes
        near, far = near + step * count, near + step * (count + 1)
    log_width = far * math.log(2)
    if len(target.poles):
        log_width = torch.where(pole, _power_up_to(target, origin, sign, reach, pole).log(), log_width)
    return log_width.clamp(min=-690.0)


def _power_up_to(target: Target, origin: Tensor, sign: Tensor, reach: Tensor, pole: Tensor) -> Tensor:
    """Return how far from a pole the density is a power of the distance."""
    beside = torch.minimum(_beside(origin), reach * 2.0**-10)
    for most in (1e-8, 1e-4, 1e-4):
        x = torch.where(pole, origin + sign * beside * series.column(BESIDE, beside), target.somewhere)
        height, log_r = target.log_prob(x.flatten(0, 1)).unflatten(0, x.shape[:2]), (x - origin).abs().log()
        bend = (height.diff(dim=0) / log_r.diff(dim=0)).diff(dim=0)[0].abs()
        beside = torch.where((bend > most) & (beside > origin.abs() * 2.0**-40), beside / 64, beside)
    return (origin + sign * beside - origin).abs()  # without rounding from here on
