"""Where densities on the line have their mass: ends, poles and modes, found from the log-density alone."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from probgen.sampling.exact.inversion import chebyshev_series as series
from probgen.sampling.exact.inversion import hills
from probgen.sampling.exact.inversion.quadrature_panels import BESIDE, LogDensity, Panels, argument, distance
from probgen.sampling.exact.inversion.target import Target, beside, poles_beside, zoomed

LOG_TAIL = -28.0
"""The logarithm of the share of the mass that may lie beyond the range of float64."""

FarOut = list[tuple[Tensor, Tensor, Tensor]]

_FAR_OUT = 10.0 ** np.arange(12, 300, 6)
_OCTAVES, _FARTHER = 2.0 ** np.arange(5), 2.0 ** np.arange(0, 10, 3)
_STEPS = np.array([0.0, 0.7, 1.5, 2.5, 4.0, 7.0, 13.0, 30.0, 90.0, 300.0, 1500.0])


def laid_out(target: Target) -> tuple[Panels, Panels, Tensor]:
    """Return first panels, the pieces beside poles, and the logarithm of a scale for the masses."""
    places = anchors = torch.cat([target.poles, target.hints])
    if len(places):
        some_place = places.nan_to_num(-torch.inf).amax(0)
        anchors = torch.where(places.isnan(), torch.where(some_place.isfinite(), some_place, 0.0), places)
    else:
        anchors = torch.zeros_like(target.somewhere)[None]
    modes = hills.modes(target, anchors)
    origins = torch.cat([torch.where(places.isnan(), modes[:1], places), modes]).sort(0).values
    return _segments(target, origins, (origins == poles_beside(target.poles, origins)).any(0))


def heavy_tail(sides: FarOut, peak: Tensor) -> tuple[Tensor, Tensor]:
    """Say of which laws the integral of exp(log_prob) does not end within float64, and where it is cut."""
    endless, place = torch.zeros_like(peak, dtype=torch.bool), torch.full_like(peak, torch.nan)
    for x, log_mass, outside in sides:
        ends = torch.cat([log_mass[1:] == -torch.inf, torch.ones_like(log_mass[:1], dtype=torch.bool)])
        heavy = ((log_mass > LOG_TAIL) & ends & (x.abs() > 1e140)).any(0) & ~outside
        endless, place = endless | heavy, torch.where(heavy, x[0].sign() * 1e140, place)
    return endless, place


def far_out(target: Target, log_prob: LogDensity, peak: Tensor) -> FarOut:
    """Return, for each side, x far out, the log of the mass per unit of log x, and which laws end before."""
    far = series.column(_FAR_OUT, peak)
    outside = torch.stack([target.low, target.high]).isfinite()
    x = torch.stack([-far, far]).expand(-1, -1, len(peak))
    height = log_prob(torch.where(outside[:, None], target.somewhere, x).flatten(0, 1))
    log_mass = height.unflatten(0, (2, -1)) + far.log() - peak
    return list(zip(x, log_mass, outside, strict=True))


def _segments(target: Target, origins: Tensor, poles: Tensor) -> tuple[Panels, Panels, Tensor]:
    """Cut the line into two segments per origin, and each into panels that are finer near its mass."""
    reach = torch.stack(hills.reach(target, origins), 1).flatten(0, 1)
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

    pivot, height = zoomed(log_mass, inner, outer, part=2.0**-15, copies=target.copies)
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
    few = origin.abs() * 2.0**-50  # some float64 numbers
    near = torch.minimum(beside(origin), reach * 2.0**-10).maximum(torch.minimum(few, reach))
    least = torch.minimum(origin.abs() * 2.0**-40, reach * 2.0**-13).maximum(2 * few)
    for most in (1e-8, 1e-4, 1e-4):
        x = torch.where(pole, origin + sign * near * series.column(BESIDE, near), target.somewhere)
        height, log_r = target.log_prob(x.flatten(0, 1)).unflatten(0, x.shape[:2]), (x - origin).abs().log()
        bend = (height.diff(dim=0) / log_r.diff(dim=0)).diff(dim=0)[0].abs()
        near = torch.where((bend > most) & (near > least), (near / 64).maximum(few), near)
    near = _best_fitted(target, origin, sign, near, reach, pole)
    return (origin + sign * near - origin).abs()  # without rounding from here on


def _best_fitted(
    target: Target, origin: Tensor, sign: Tensor, near: Tensor, reach: Tensor, pole: Tensor
) -> Tensor:
    """Return a distance, from ``near`` on, where C r^(power − 1) (1 + c r) fits best.

    Beside a pole that is not at 0 the formula may round, as 1 − x^a does: farther out it rounds less.
    """
    r = (near * series.column(_FARTHER, near)).minimum(torch.maximum(near, reach * 2.0**-10))
    x = torch.where(pole, origin + sign * r * series.column(_OCTAVES, r), target.somewhere)
    height = target.log_prob(x.flatten(0, 2)).unflatten(0, x.shape[:3])
    slope = height.diff(dim=0) / (x - origin).abs().log().diff(dim=0)
    bend = slope.diff(dim=0)  # small and in proportion to r, if the law fits
    off = (bend[1:] - 2 * bend[:-1]).abs().amax(0) + (100 * bend[0]).square()
    share = (r / near) ** (1 + slope[-1]).clamp(0, 1)  # of the mass
    best = (off * share).nan_to_num(torch.inf).argmin(0, keepdim=True)
    return torch.where(origin == 0, near, r.gather(0, best)[0])
