"""Where a density on the line has its mass, found from the log-density alone."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from probgen.sampling.exact.bisection import first_reaching
from probgen.sampling.exact.rejection.checked_density import Line


class Bulk(NamedTuple):
    """A peak of a density and how wide it is; one number per row.

    At ``mode − left`` and ``mode + right`` log_prob is about 1 below ``top``, its value at the mode, unless
    an end comes first. The density is positive between ``low`` and ``high``; log_prob there is ``at_low``
    and ``at_high``, −inf where not known. ``first`` and ``last`` are the outermost places to be evaluated.
    """

    mode: Tensor
    top: Tensor
    left: Tensor
    right: Tensor
    low: Tensor
    high: Tensor
    at_low: Tensor
    at_high: Tensor
    first: Tensor
    last: Tensor


@torch.no_grad()
def find_bulk(line: Line) -> tuple[Bulk, Tensor, Tensor]:
    """Find a mode of each density and the width of its peak; return also the first grid and its values.

    The search starts on a geometric grid about 0 or about the finite ends, two points an octave, and encloses
    the highest place by grids that are eight times finer each time. Where the density rises to one mode and
    falls, this leads there from anywhere; of several modes it finds one.
    """
    x = _wide_grid(line)
    value = line(x)
    low, high, at_low, at_high = _positive_part(line, x, value)
    first, last = torch.where(low > line.low, low, line.first), torch.where(high < line.high, high, line.last)
    mode, top, near = _enclosed(line, x, value, first[:, None], last[:, None])
    left = _reach(line, mode, top, (near - mode).abs(), first[:, None], low.isinf(), sign=-1)
    right = _reach(line, mode, top, (near - mode).abs(), last[:, None], high.isinf(), sign=1)
    bulk = Bulk(mode[:, 0], top[:, 0], left, right, low, high, at_low, at_high, first, last)
    return bulk, x, value


def _wide_grid(line: Line) -> Tensor:
    """Return increasing points all over the open interval."""
    r = torch.arange(-100, 100.5, 0.5, dtype=torch.float64, device=line.device).exp2()
    real = torch.cat([-r.flip(0), r.new_zeros(1), r])
    away = torch.linspace(-100, 100, len(real), dtype=torch.float64, device=line.device).exp2()
    half = torch.linspace(0, 1, len(r) + 1, dtype=torch.float64, device=line.device)
    half = half / 2 * torch.exp2(-52 * (1 - half) ** 2)
    low, high = line.low[:, None], line.high[:, None]
    within = torch.cat([low + (high - low) * half, high - (high - low) * half[:-1].flip(0)], -1)
    one_sided = torch.where(
        low.isfinite(), low + away, torch.where(high.isfinite(), high - away.flip(0), real)
    )
    x = torch.where(low.isfinite() & high.isfinite(), within, one_sided)
    return x.clamp(line.first[:, None], line.last[:, None])


def _positive_part(line: Line, x: Tensor, value: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return the ends between which the density is positive, and log_prob there where it is known."""
    positive = value > -torch.inf
    empty = ~positive.any(-1, keepdim=True)
    if empty.any():
        raise ValueError(
            f"log_prob should be above -inf somewhere but is -inf at all {x.shape[-1]} places looked at, the "
            f"first {line.at(x, empty.expand_as(x))}; give a support that leaves out the empty parts"
        )
    (low, high), (at_low, at_high) = (line.low, line.high), line.ends()
    if not positive[:, 0].all():
        low, at_low = _edge(line, x, positive, low, at_low, sign=1)
    if not positive[:, -1].all():
        high, at_high = _edge(line, x, positive, high, at_high, sign=-1)
    return low, high, at_low, at_high


def _edge(
    line: Line, x: Tensor, positive: Tensor, end: Tensor, at_end: Tensor, *, sign: int
) -> tuple[Tensor, Tensor]:
    """Replace an end, where the density is zero beside it, by the outermost number at which it is not."""
    if sign < 0:
        x, positive = -x.flip(-1), positive.flip(-1)
    place = positive.to(torch.uint8).argmax(-1, keepdim=True)
    outside, inside = x.gather(-1, (place - 1).clamp(min=0)), x.gather(-1, place)
    found = sign * first_reaching(
        lambda y: (line(sign * y) > -torch.inf).to(torch.float64),
        torch.full_like(inside, 0.5),
        outside,
        inside,
    )
    beside = place[:, 0] > 0
    found = torch.where(beside[:, None], found, sign * inside)
    return torch.where(beside, found[:, 0], end), torch.where(beside, line(found)[:, 0], at_end)


def _enclosed(
    line: Line, x: Tensor, value: Tensor, first: Tensor, last: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Return a mode, its log_prob, and a place beside it that is at most 1 lower."""
    top, best = value.max(-1, keepdim=True)
    mode = x.gather(-1, best)
    # The highest place that was seen: a peak, unless it is the last one before infinity.
    outermost = ((best == 0) & (first < -1e300)) | ((best == x.shape[-1] - 1) & (last > 1e300))
    if outermost.any():
        raise ValueError(f"log_prob should fall towards infinity but is largest {line.at(mode, outermost)}")
    # Narrow the interval about it, 17 places at a time, until a neighbour is at most 1 lower.
    (left, _), (right, _) = _beside(x, mode)
    left, right = torch.maximum(left, first), torch.minimum(right, last)
    share = torch.linspace(0, 1, 17, dtype=torch.float64, device=x.device)
    near, found = mode, torch.zeros_like(mode, dtype=torch.bool)
    for _ in range(400):
        grid = torch.cat([left + (right - left) * share, mode], -1).sort(-1).values.clamp(first, last)
        height = line(grid)
        highest, best = height.max(-1, keepdim=True)
        place = grid.gather(-1, best)
        top, mode = torch.where(found, top, highest), torch.where(found, mode, place)
        sides = _beside(grid, place)
        for beside, index in sides:
            wide = ~found & beside.isfinite() & (highest - height.gather(-1, index) <= 1)
            near, found = torch.where(wide, beside, near), found | wide
        left, right = (torch.where(beside.isfinite(), beside, place) for beside, _ in sides)
        if found.all():
            break
    # A peak should be wide for the numbers there: over 64 of them log_prob should hardly change.
    ulp = torch.nextafter(mode.abs(), torch.full_like(mode, torch.inf)) - mode.abs()
    places = torch.cat([torch.maximum(mode - 64 * ulp, first), torch.minimum(mode + 64 * ulp, last)], -1)
    drop = torch.where(places == mode, torch.inf, top - line(places)).amin(-1, keepdim=True)
    narrow = ~found | (drop > 0.1)
    if narrow.any():
        raise ValueError(
            f"log_prob should be bounded, and its peak wide for the float64 numbers there, but it changes by "
            f"{float(drop[narrow][0]):.3g} over 64 of them {line.at(mode, narrow)}"
        )
    return mode, top, near


def _beside(grid: Tensor, place: Tensor) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
    """Return the neighbours of a place and their indices; infinite where there is none."""
    below, above = torch.where(grid < place, grid, -torch.inf), torch.where(grid > place, grid, torch.inf)
    return below.max(-1, keepdim=True), above.min(-1, keepdim=True)


def _reach(
    line: Line, mode: Tensor, top: Tensor, step: Tensor, end: Tensor, unbounded: Tensor, *, sign: int
) -> Tensor:
    """Return how far from the mode log_prob is just 1 lower, or the distance of the end where it never is."""
    room = (end - mode).abs()

    def fallen(away: Tensor) -> Tensor:
        place = torch.minimum(mode + away, end) if sign > 0 else torch.maximum(mode - away, end)
        return top - line(place) >= 1

    reach = torch.full_like(mode, torch.nan)
    # By doubling, outward, until log_prob has fallen by 1 or the end is reached.
    for start in range(-64, 256, 32):
        away = torch.arange(start, start + 32, dtype=torch.float64, device=mode.device).exp2() * step
        away = torch.minimum(away, room)
        low = fallen(away)
        first = away.gather(-1, low.to(torch.uint8).argmax(-1, keepdim=True))
        reach = torch.where(reach.isnan() & low.any(-1, keepdim=True), first, reach)
        if not (reach.isnan() & (away[:, -1:] < room)).any():
            break
    flat = reach.isnan() & unbounded[:, None]
    if flat.any():
        raise ValueError(
            f"log_prob should fall towards {'-' if sign < 0 else '+'}inf but is as high far out as "
            f"{line.at(mode, flat)}: its integral is infinite"
        )
    reach = torch.where(reach.isnan(), room, reach)
    # Then the place itself between the last two, 32 parts at a time.
    near, share = reach / 2, torch.linspace(0, 1, 33, dtype=torch.float64, device=mode.device)[1:]
    for _ in range(5):
        away = near + (reach - near) * share
        index = (~fallen(away)).sum(-1, keepdim=True).clamp(max=31)
        near = torch.where(index > 0, away.gather(-1, (index - 1).clamp(min=0)), near)
        reach = away.gather(-1, index)
    return reach[:, 0]
