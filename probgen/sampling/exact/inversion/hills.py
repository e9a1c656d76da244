"""Modes of densities on the line: the tops of all hills that lattices show, from the log-density alone."""

from __future__ import annotations

import functools
import math
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.fx.experimental.proxy_tensor import get_proxy_mode

from probgen.core.density.mapped import over_copies
from probgen.sampling.exact.inversion import chebyshev_series as series
from probgen.sampling.exact.inversion.target import EXACT, FAR, Target, poles_beside, zoomed

_ROUGHLY = 2.0**-16  # of its bracket: where a mode is only looked around
_DIP = 0.3  # in log_prob, between two modes that are told apart
_FIXED_MODES = 5
_POINTS, _FINE_POINTS = 2**14, 3 * 2**15  # of a lattice: first, and once something was seen
_EVEN_POINTS = 2**16  # between modes
_LEAST_POINTS, _MOST_POINTS = 12, 512  # a decade for each law; the most at first
_ROUNDS, _MOST_MODES = 16, 2**12
_ASKED, _CLOSE_POINTS = 64, 2**21  # modes whose width is asked for; places between them
_ALIKE, _FALLING = 8.0, 0.05  # times as wide; the least fall of log_prob over an octave of the distance
_LIGHT = 90.0  # the logarithm of how small a share of the mass a hill may hold to be left out
_SEVERAL = 64  # tops, that are passed over one by one
_NOISE = 2.0**-42  # of log_prob: a dip may be rounding


def modes(target: Target, anchors: Tensor) -> Tensor:
    """Return the modes that lattices around the anchors (n, batch) show; one again where there are fewer.

    Of ``fixed`` laws they are the highest five. Of others they are all: the lattice becomes finer where
    modes were seen, and goes on beyond them, until it shows no more.
    """
    if target.fixed:
        found = _highest(target, anchors)
        return _highest(target, torch.cat([anchors, found]))
    found = seen(target, lattice(target, anchors, _POINTS, _MOST_POINTS), anchors, part=_ROUGHLY)
    closely: Tensor | None = None
    for _ in range(_ROUNDS):
        before = len(found)
        x = lattice(target, torch.cat([anchors, found]), _FINE_POINTS)
        if closely is not None:
            x = _together(x, closely)
        elif before > 1:
            x = _together(x, _evenly(target, found))
        found = seen(target, x, anchors)
        if len(found) > _MOST_MODES:
            break
        if len(found) <= before:
            if closely is not None:
                return found
            closely = _closely(target, found)
            if closely is None:
                return found
        elif closely is not None:
            closely = _closely(target, found)
    raise ValueError(
        f"log_prob should have modes that can be counted but {len(found)} were found from "
        f"x = {float(found.min()):.6g} to {float(found.max()):.6g}, and more may be there; give a support "
        f"that holds fewer"
    )


def reach(target: Target, origins: Tensor) -> tuple[Tensor, Tensor]:
    """Return how far each of the sorted origins rules, to its left and to its right."""
    half = origins.diff(dim=0) / 2
    left, right = (FAR * end.isinf().to(end.dtype) for end in (target.low, target.high))
    return torch.cat([left[None], half]), torch.cat([half, right[None]])


def lattice(target: Target, origins: Tensor, points: int, most: int | None = None) -> Tensor:
    """Return places around the origins, from left to right, so many a decade of the distance from them.

    About so many ``points`` are laid in all.
    """
    origins = origins.sort(0).values
    endless = [target.low.isinf(), target.high.isinf()]
    goes_on = [target.fixed or bool(side.any()) for side in endless]
    if not target.fixed and origins.shape[1] == 1:
        origins = origins.unique(dim=0)
    share = points // (18 * max(1, 2 * len(origins) - 2 + sum(goes_on)))
    beyond, within = _decades(max(share if most is None else min(share, most), _LEAST_POINTS))
    inner, outer = (torch.as_tensor(part, device=origins.device)[:, None] for part in (within, beyond))
    left, half = origins[:-1, None], (origins.diff(dim=0) / 2)[:, None]
    between = torch.cat([left, left + half * inner, origins[1:, None] - half * inner.flip(0)], 1)
    parts = [between.flatten(0, 1), origins[-1:]]
    if goes_on[0]:
        parts = [origins[:1] - outer.flip(0) * endless[0], *parts]
    if goes_on[1]:
        parts = [*parts, origins[-1:] + outer * endless[1]]
    return torch.cat(parts)


@functools.lru_cache(maxsize=16)
def _decades(points: int) -> tuple[np.ndarray, np.ndarray]:
    """Return distances from an origin: on an endless side; and on others, as shares of how far they go."""
    around = np.concatenate(
        [np.arange(-300, -9, 3), np.linspace(-9, 9, 18 * points + 1), np.arange(12, 301, 3)]
    )
    within = np.concatenate([np.arange(-300, -18, 3), np.linspace(-18, 0, 18 * points + 1)])
    return 10.0**around, 10.0**within


def _together(lattice: Tensor, more: Tensor) -> Tensor:
    """Return the places (n, batch) of two lattices from left to right."""
    x = torch.cat([lattice, more])
    if x.device.type != "cpu":
        return x.sort(0).values
    merged = np.sort(x.T.contiguous().numpy(), kind="stable")  # which is quick for what is in order in parts
    return torch.from_numpy(merged).T.contiguous()


def _evenly(target: Target, found: Tensor) -> Tensor:
    """Return places that are evenly spaced between neighbouring modes, and as far beyond as they reach."""
    ordered = found.sort(0).values
    low, high = ordered[0], ordered[-1]
    beyond = ((2 * low - high).maximum(target.low)[None], (2 * high - low).minimum(target.high)[None])
    edges = torch.cat([beyond[0], ordered, beyond[1]])
    count = max(_EVEN_POINTS // edges[1:].numel(), _LEAST_POINTS)
    share = series.column((np.arange(count) + 0.5) / count, ordered)
    return (edges[:-1] + edges.diff(dim=0) * share).flatten(0, 1)


def _closely(target: Target, found: Tensor) -> Tensor | None:
    """Return places half as far apart as hills can be seen from that stand on flat ground, or on none.

    Such hills show from nearby only: where there are some, equal ones may lie between and beside them. None
    where there are no such hills. Raises where unnamed ones need more places than can be looked at.
    """
    batch = found.shape[1]
    found = found[:_ASKED]
    named = torch.where(target.named.isfinite(), target.named, found[:1])[:_ASKED]
    tops = torch.cat([found, named])
    rises, width = rises_and_widths(target, tops)
    within = isolated(tops, rises)
    narrowest = within.amin(0)
    if not (narrowest < torch.inf).any():
        return None
    # the stretch of those that are about as narrow, and beyond
    step = narrowest / 2
    alike = within <= _ALIKE * narrowest
    low = torch.where(alike, tops, torch.inf).amin(0)
    high = torch.where(alike, tops, -torch.inf).amax(0)
    beyond = torch.maximum((high - low) / 2, step * (_FINE_POINTS / 2 / batch))
    low, high = (low - beyond).maximum(target.low), (high + beyond).minimum(target.high)
    count = ((high - low) / step).nan_to_num(0.0, 0.0)
    many = count > _CLOSE_POINTS / batch
    again = found == found[:1]
    again[0] = False
    again |= are_named(target, tops, rises, width)[: len(found)]
    refused = many & ((alike[: len(found)] & ~again).sum(0) > 1)
    if refused.any():
        place = tops.gather(0, within.argmin(0, keepdim=True))[0]
        raise ValueError(
            f"log_prob has narrow modes, as that at x = {float(place[refused][0]):.6g} that is "
            f"{float(narrowest[refused][0]):.1e} wide, and more mass may be there than can be seen; name "
            f"places of all modes by points="
        )
    here = (narrowest < torch.inf) & ~many
    if not here.any():
        return None
    x = low + step * series.column(np.arange(int(count[here].max()) + 1) + 0.5, low)
    return torch.where(here & (x < high), x, found[:1])


def isolated(tops: Tensor, within: Tensor) -> Tensor:
    """Return from how far tops are seen, inf where that is much of the way to the next."""
    ordered, order = tops.sort(0)
    gap = ordered.diff(dim=0)
    gap = torch.where(gap > ordered[1:].abs() * 2.0**-28, gap, torch.inf)
    none = torch.full_like(ordered[:1], torch.inf)
    nearest = torch.minimum(torch.cat([none, gap]), torch.cat([gap, none]))
    nearest = torch.zeros_like(nearest).scatter(0, order, nearest)
    return torch.where(within < nearest / _ALIKE, within, torch.inf)


def are_named(target: Target, tops: Tensor, within: Tensor, width: Tensor) -> Tensor:
    """Say which tops, that rise from ``within``, are those of places that were named."""
    beside = torch.where(within < torch.inf, within, width / 8)
    return ((tops - poles_beside(target.named, tops)).abs() <= beside).any(0)


def rises_and_widths(target: Target, tops: Tensor) -> tuple[Tensor, Tensor]:
    """Return from how far log_prob rises towards each top, and how far from there it has fallen by 1.

    To an octave, on the wider side; inf where that does not end.
    """
    r = series.column(2.0 ** np.arange(-60.0, 40.0), tops)
    x = torch.stack([tops - r, tops + r])  # (side, distance, top, batch)
    height = target.height(x.flatten(0, 2)).unflatten(0, x.shape[:3])
    fallen = height < height.cummax(1).values - 1
    fallen = (fallen.to(torch.int8).cummax(1).values > 0)[:, :-1] & (r[:-1] > tops.abs() * 2.0**-28)
    inside = ((x > target.low) & (x < target.high))[:, 1:]
    flat = inside & fallen & ~(height[:, 1:] < height[:, :-1] - _FALLING)
    within, width = (torch.where(some, r[:-1], torch.inf).amin(1).amax(0) for some in (flat, fallen & inside))
    return within, width


def seen(target: Target, x: Tensor, anchors: Tensor, *, part: float = EXACT) -> Tensor:
    """Return the modes, to a part of their brackets, that the lattice x shows and that may hold mass."""
    tops = shown(target, x)
    if tops is None:
        return anchors[:1]
    low, high = (torch.where(tops.some, end, target.somewhere) for end in (tops.low, tops.high))
    found, top = zoomed(target.log_prob, low, high, part=part)
    found = torch.where(tops.some, found, anchors[:1])
    return found if len(found) == 1 else _heavy(found, top, x, tops.height)


class Tops(NamedTuple):
    """Tops on a lattice, (n, batch), each law's highest first and again where it has fewer.

    They are at ``x``, between the places ``low`` and ``high``; ``some`` says which laws have any, and
    ``height`` is log_prob on the lattice.
    """

    low: Tensor
    x: Tensor
    high: Tensor
    some: Tensor
    height: Tensor


def shown(target: Target, x: Tensor) -> Tops | None:
    """Return the tops, with dips between them, that the lattice x shows; None if there are none."""
    inside = target.inside(x)
    everywhere = bool(inside.all())
    if everywhere:
        height = target.log_prob(x)
    else:
        height = torch.where(inside, target.log_prob(torch.where(inside, x, target.somewhere)), -torch.inf)
    values = height.T.contiguous().cpu().numpy()
    law, index = _tops(values, None if everywhere else inside.T.contiguous().cpu().numpy(), target.looseness)
    if len(law) == 0:
        return None
    # columns of tops, each law's highest first and again where it has fewer
    batch = x.shape[1]
    tallest = np.lexsort((-values[law, index], law))
    law, index = law[tallest], index[tallest]
    start = np.searchsorted(law, np.arange(batch))
    rank = np.arange(len(law)) - start[law]
    keep = rank < 2 * _MOST_MODES
    law, index, rank = law[keep], index[keep], rank[keep]
    some = np.zeros(batch, dtype=bool)
    some[law] = True
    table = np.ones((rank.max() + 1, batch), dtype=np.int64)
    table[:, law[rank == 0]] = index[rank == 0]
    table[rank, law] = index
    place = torch.as_tensor(table, device=x.device)
    low, top, high = (x.gather(0, place + side) for side in (-1, 0, 1))
    return Tops(low, top, high, torch.as_tensor(some, device=x.device), height)


def _heavy(found: Tensor, top: Tensor, x: Tensor, height: Tensor) -> Tensor:
    """Leave out modes that cannot hold mass: not if all between their neighbours were as high."""
    lower = torch.minimum(height[1:], height[:-1])
    enough = lower.amax(0).clamp(min=-FAR) - 1
    least = enough + torch.where(lower >= enough, x.diff(dim=0), 0.0).sum(0).log()
    ordered, order = found.sort(0)
    beyond = torch.full_like(ordered[:1], FAR)
    width = torch.cat([ordered[1:], beyond]) - torch.cat([-beyond, ordered[:-1]])
    width = torch.zeros_like(width).scatter(0, order, width)
    light = top + width.log() < least - _LIGHT
    light[0] = False
    found = torch.where(light, found[:1], found)
    again = torch.zeros_like(light)
    ordered, order = found.sort(0)
    again.scatter_(0, order[1:], ordered.diff(dim=0) == 0)
    count = int((~again).sum(0).max())
    kept = again.to(torch.int8).argsort(dim=0, stable=True)[:count]
    return torch.where(again.gather(0, kept), found[:1], found.gather(0, kept))


def _tops(height: np.ndarray, inside: np.ndarray | None, looseness: float) -> tuple[np.ndarray, np.ndarray]:
    """Return of which laws and where on the lattice are tops with dips between them, from left to right.

    Rows are laws; all is ``inside`` where that is None. Where the support or a stretch beside a pole ends,
    the density may be higher: no top.
    """
    rises = height[:, 1:] > height[:, :-1]
    top = np.zeros(height.shape, dtype=bool)
    np.greater(rises[:, :-1], rises[:, 1:], out=top[:, 1:-1])
    if not top.any():
        return np.empty(0, dtype=np.int64), np.empty(0, dtype=np.int64)
    edge = np.zeros_like(top)
    edge[:, [0, -1]] = True
    if inside is not None:
        amid = inside[:, :-2] & inside[:, 2:]
        top[:, 1:-1] &= amid
        edge[:, 1:-1] = ~amid
        edge &= inside
    place = np.flatnonzero(top | edge)
    place = place[height.ravel()[place] > -np.inf]
    if len(place) == 0:
        return place, place
    values, is_top = height.ravel(), top.ravel()
    if len(place) > _SEVERAL:
        place = _without_ripples(values, place, height.shape[1])
    valleys = np.minimum.reduceat(values, place)
    law, index = np.divmod(place, height.shape[1])
    chosen: list[int] = []
    best, low = 0, math.inf
    noise = _NOISE * looseness
    tall, which = values[place].tolist(), law.tolist()
    for k in range(1, len(place)):
        low = min(low, float(valleys[k - 1]))
        if which[k] != which[best] or min(tall[best], tall[k]) - low > _DIP + noise * max(
            abs(tall[best]), abs(tall[k])
        ):
            chosen.append(best)
            best, low = k, math.inf
        elif tall[k] > tall[best]:
            best, low = k, math.inf
    chosen.append(best)
    kept = np.array([k for k in chosen if is_top[place[k]]], dtype=np.int64)
    return law[kept], index[kept]


def _without_ripples(values: np.ndarray, place: np.ndarray, columns: int) -> np.ndarray:
    """Leave out the small tops, of which rounding makes thousands, beside one at least as high.

    Those hide no dip, and from left to right they would be passed over one by one.
    """
    for later in (True, False):
        tall, law, low = values[place], place // columns, np.minimum.reduceat(values, place)[:-1]
        ours, beside = (tall[1:], tall[:-1]) if later else (tall[:-1], tall[1:])
        lower = ours <= beside if later else ours < beside
        ripple = lower & (ours - low <= _DIP) & (law[1:] == law[:-1])
        place = place[~np.insert(ripple, 0 if later else len(ripple), False)]
    return place


def _highest(target: Target, origins: Tensor) -> Tensor:
    """Return the highest modes on a lattice, the highest again where there are fewer, in so many steps."""
    x = lattice(target, origins, _POINTS * len(origins) // target.copies, _MOST_POINTS)
    low, high, found = _highest_tops(x, target.height(x), target.inside(x))
    low, high = (torch.where(found, end, target.somewhere) for end in (low, high))
    modes, _ = zoomed(target.log_prob, low, high, copies=target.copies)
    return torch.where(found, modes, torch.where(found[:1], modes[:1], origins[:1]))


def _highest_tops(x: Tensor, height: Tensor, inside: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return brackets of the highest tops, with dips between them, and which of them are tops."""
    x, height, inside = (values.T.contiguous() for values in (x, height, inside))  # scans are along rows
    higher = (height[:, 1:-1] > height[:, :-2]) & (height[:, 1:-1] >= height[:, 2:])
    top = torch.nn.functional.pad(higher & inside[:, :-2] & inside[:, 2:], (1, 1))
    place = torch.arange(x.shape[1], device=x.device)
    rise = torch.full_like(x, torch.inf)
    chosen: list[Tensor] = []
    found: list[Tensor] = []
    for _ in range(_FIXED_MODES):
        best, index = torch.where(rise > _DIP, height, -torch.inf).max(1, keepdim=True)
        chosen.append(index)
        found.append(top.gather(1, index) & (best > -torch.inf))
        right = torch.where(place >= index, height, torch.inf).cummin(1).values
        left = torch.where(place <= index, height, torch.inf).flip(1).cummin(1).values.flip(1)
        rise = torch.minimum(rise, (height - torch.minimum(left, right)).nan_to_num(0.0, torch.inf))
        more = top & (rise > _DIP) & (height > -torch.inf)
        if get_proxy_mode() is None and not over_copies(more).any():
            break
    is_top, order = torch.cat(found, 1).to(torch.int8).sort(dim=1, descending=True, stable=True)
    index = torch.cat(chosen, 1).gather(1, order)
    low, high = x.gather(1, (index - 1).clamp(min=0)), x.gather(1, (index + 1).clamp(max=x.shape[1] - 1))
    return low.T, high.T, is_top.T.bool()
