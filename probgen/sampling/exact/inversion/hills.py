"""Modes of densities on the line: the tops of all hills that lattices show, from the log-density alone."""

from __future__ import annotations

import functools
import math

import numpy as np
import torch
from torch import Tensor

from probgen.sampling.exact.inversion import chebyshev_series as series
from probgen.sampling.exact.inversion.target import FAR, Target, zoomed

_DIP = 0.3  # in log_prob, between two modes that are told apart
_FIXED_MODES = 5
_POINTS, _FINE_POINTS = 2**14, 2**16  # of a lattice: first, and once something was seen
_EVEN_POINTS = 2**17  # between modes
_LEAST_POINTS, _MOST_POINTS = 12, 512  # a decade for each law; the most at first
_ROUNDS, _MOST_MODES = 16, 2**12
_ASKED, _CLOSE_POINTS = 64, 2**21  # modes whose width is asked for; places between them
_ALIKE, _FALLING = 8.0, 0.05  # times as wide; the least fall of log_prob over an octave of the distance
_LIGHT = 90.0  # the logarithm of how small a share of the mass a hill may hold to be left out
_NOISE = 2.0**-42  # of log_prob: a dip may be rounding


def modes(target: Target, anchors: Tensor) -> Tensor:
    """Return the modes that lattices around the anchors (n, batch) show; one again where there are fewer.

    Of ``fixed`` laws they are the highest five. Of others they are all: the lattice becomes finer where
    modes were seen, and goes on beyond them, until it shows no more.
    """
    if target.fixed:
        found = _highest(target, anchors)
        return _highest(target, torch.cat([anchors, found]))
    found = seen(target, lattice(target, anchors, _POINTS, _MOST_POINTS), anchors)
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

    About twice ``points`` are laid in all.
    """
    origins = origins.sort(0).values
    share = points // (18 * origins.numel())
    decade = max(share if most is None else min(share, most), _LEAST_POINTS)
    sides = []
    for sign, radius in zip((-1, 1), reach(target, origins), strict=True):
        outer, inner = (series.column(distances, radius) for distances in _decades(decade, sign))
        if not target.fixed and (radius >= FAR).all():
            sides.append(outer.expand(-1, *radius.shape))
        else:
            sides.append(torch.where(radius < FAR, radius * inner, outer))
    offsets = torch.cat([sides[0], torch.zeros_like(origins)[None], sides[1]])
    return (origins + offsets).transpose(0, 1).flatten(0, 1)


@functools.lru_cache(maxsize=16)
def _decades(points: int, sign: int) -> tuple[np.ndarray, np.ndarray]:
    """Return places beside an origin, from left to right: on an endless side; on others, as shares of it."""
    around = np.concatenate(
        [np.arange(-300, -9, 3), np.linspace(-9, 9, 18 * points + 1), np.arange(12, 301, 3)]
    )
    sparse = np.arange(-300, -18, 3)
    within = np.concatenate([sparse, np.linspace(-18, 0, len(around) - len(sparse))])
    return sign * 10.0 ** around[::sign], sign * 10.0 ** within[::sign]


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
    named = torch.where(target.poles.isfinite(), target.poles, found[:1])[:_ASKED]
    tops = torch.cat([found, named])
    within = _seen_within(target, tops)
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


def _seen_within(target: Target, tops: Tensor) -> Tensor:
    """Return from how far log_prob rises towards each top; inf where that is much of the way to the next."""
    return isolated(tops, rises_from(target, tops))


def isolated(tops: Tensor, within: Tensor) -> Tensor:
    """Return from how far tops are seen, inf where that is much of the way to the next."""
    ordered, order = tops.sort(0)
    gap = ordered.diff(dim=0)
    gap = torch.where(gap > ordered[1:].abs() * 2.0**-28, gap, torch.inf)
    none = torch.full_like(ordered[:1], torch.inf)
    nearest = torch.minimum(torch.cat([none, gap]), torch.cat([gap, none]))
    nearest = torch.zeros_like(nearest).scatter(0, order, nearest)
    return torch.where(within < nearest / _ALIKE, within, torch.inf)


def rises_from(target: Target, tops: Tensor) -> Tensor:
    """Return from how far log_prob rises towards each top, to an octave; inf where that does not end."""
    return rises_and_widths(target, tops)[0]


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


def seen(target: Target, x: Tensor, anchors: Tensor) -> Tensor:
    """Return the modes in hills that the lattice x shows and that may hold mass."""
    inside = target.inside(x)
    if inside.all():
        height = target.log_prob(x)
    else:
        height = torch.where(inside, target.log_prob(torch.where(inside, x, target.somewhere)), -torch.inf)
    values, within = (part.T.contiguous().cpu().numpy() for part in (height, inside))
    law, index = _tops(values, within, target.looseness)
    if len(law) == 0:
        return anchors[:1]
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
    has_top = torch.as_tensor(some, device=x.device)
    low, high = (x.gather(0, place + side) for side in (-1, 1))
    low, high = (torch.where(has_top, end, target.somewhere) for end in (low, high))
    found, top = zoomed(target.log_prob, low, high)
    found = torch.where(has_top, found, anchors[:1])
    return found if len(found) == 1 else _heavy(found, top, x, height)


def _heavy(found: Tensor, top: Tensor, x: Tensor, height: Tensor) -> Tensor:
    """Leave out modes that cannot hold mass: not if all between their neighbours were as high."""
    lower = torch.minimum(height[1:], height[:-1])
    peak = lower.amax(0).clamp(min=-FAR)
    least = peak + ((lower - peak).exp_() * x.diff(dim=0)).sum(0).log()
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


def _tops(height: np.ndarray, inside: np.ndarray, looseness: float) -> tuple[np.ndarray, np.ndarray]:
    """Return of which laws and where on the lattice are tops with dips between them, from left to right.

    Rows are laws. Where the support or a stretch beside a pole ends, the density may be higher: no top.
    """
    rises = height[:, 1:] > height[:, :-1]
    top, edge = np.zeros_like(inside), inside.copy()
    top[:, 1:-1] = rises[:, :-1] & ~rises[:, 1:]
    if inside.all():
        edge[:, 1:-1] = False
    else:
        amid = inside[:, :-2] & inside[:, 2:]
        top[:, 1:-1] &= amid
        edge[:, 1:-1] &= ~amid
    place = np.flatnonzero((top | edge) & (height > -np.inf))
    if len(place) == 0:
        return place, place
    values, is_top = height.ravel(), top.ravel()
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
    is_top, order = torch.cat(found, 1).to(torch.int8).sort(dim=1, descending=True, stable=True)
    index = torch.cat(chosen, 1).gather(1, order)
    low, high = x.gather(1, (index - 1).clamp(min=0)), x.gather(1, (index + 1).clamp(max=x.shape[1] - 1))
    return low.T, high.T, is_top.T.bool()
