"""Checks that a density on the line can be integrated, and a search for what its panels overlooked."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from probgen.sampling.exact.inversion import chebyshev_series as series
from probgen.sampling.exact.inversion import hills
from probgen.sampling.exact.inversion.ends_poles_modes import LOG_TAIL, far_out, heavy_tail
from probgen.sampling.exact.inversion.numerical_inversion import (
    Masses,
    Mesh,
    Table,
    panel_of,
    quantile,
)
from probgen.sampling.exact.inversion.quadrature_panels import LogDensity, argument, distance, places
from probgen.sampling.exact.inversion.target import Target, zoomed
from probgen.sampling.exact.verification import first

_POINTS, _LEAST_POINTS = 2**19, 2**11  # in all, and for each law
_HEAVY, _RUN = 16, 2**6
_TOGETHER = 2**9 - 2**3  # runs, whose points are too few for torch to share among threads: that costs more
_WITHIN = np.arange(_RUN) + 0.5
_LOOKS = 8
_BEND, _GAP = 1e-6, 1e-6
_EVEN_POINTS, _LEAST_EVEN = 2**17, 2**8  # evenly spaced ones, in all and for each law
_MOST_EVEN = 2**21  # in all, where modes are narrow
_PART = 2**16  # of them, looked at together
_OUT = 1e6  # times half the stretch that is looked at evenly: how far out it is looked beyond
_UNLIKE = 100  # times as wide as another
_ROUGHLY = 2.0**-24  # of its bracket: where a top is only looked at
_SHARE = 1e-3  # of the mass, beyond either end of the stretch that is looked at evenly
_NO_MASS = 1e-11  # of the total: what a feature may be off in the density in ξ, whose range is 2
_FIRST, _LAST = 29, 50  # from 2⁻²⁹ of the place of a pole, where its piece begins, nearly to rounding
_VAGUE = 1e-6  # of the mass: how far off the piece beside a pole may be


@torch.no_grad()
def check_mass(target: Target, mesh: Mesh, found: Masses, log_prob: LogDensity) -> None:
    """Raise where a density is zero everywhere or cannot be integrated; ``log_prob`` is NaN as given."""
    power = found.power
    empty = mesh.peak == -torch.inf
    if empty.any():
        raise ValueError(
            f"log_prob should be above -inf somewhere but is -inf wherever it was looked at between "
            f"{first(target.low, empty)} and {first(target.high, empty)}; name a place with mass by points="
        )
    sides = far_out(target, log_prob, mesh.peak)
    for x, log_mass, outside in sides:
        fails = (log_mass[:-1] > LOG_TAIL) & log_mass[1:].isnan() & ~outside
        if fails.any():
            raise ValueError(f"log_prob should be a number but is nan at x = {first(x[1:], fails)}")
    endless, place = heavy_tail(sides, mesh.peak)
    if endless.any():
        raise ValueError(
            f"log_prob should be integrable but falls too slowly: there is mass beyond "
            f"x = {first(place, endless):.0e}"
        )
    steep = (power.mass != 0) & (power.power < 1e-3)
    if steep.any():
        raise ValueError(
            f"log_prob should be integrable but the density grows like "
            f"|x - a|^({first(power.power, steep) - 1:.4g}) "
            f"at a = {first(mesh.panels.origin.gather(0, mesh.pieces), steep)}"
        )
    vague = ~(power.error <= _VAGUE * target.looseness * found.total)
    if vague.any():
        pole = mesh.panels.take(mesh.pieces)
        a, share = first(pole.origin, vague), first(power.mass / found.total, vague)
        way_out = "" if a == 0 else "; shift or reflect the line so that the pole stands at 0"
        raise ValueError(
            f"the density should grow like a power of |x - a| at its pole a = {a} but does not within "
            f"{first(pole.log_width.exp(), vague):.1e}, where {share:.2g} of the mass lies{way_out}"
        )
    _check_growth(target, mesh, found, log_prob)


def _check_growth(target: Target, mesh: Mesh, found: Masses, log_prob: LogDensity) -> None:
    """Raise where a density grows faster than 1 / |x - a| towards a pole: it is a narrow mode."""
    a = target.poles
    if not len(a):
        return
    k = series.column(np.arange(_FIRST, _LAST), a)
    r = a.abs() * 2.0**-k
    x = torch.cat([a - r, a + r])
    inside = (x > target.low) & (x < target.high)
    inside &= (a != 0) & (a > target.low) & (a < target.high)  # an end far from 0 rules over all of a law
    height = log_prob(torch.where(inside, x, target.somewhere).flatten(0, 1)).unflatten(0, x.shape[:2])
    height = torch.where(inside, height, torch.nan).unflatten(0, (2, -1))
    grown = height - height[:, :1] > (k - _FIRST) * math.log(2) + 1
    heavy = height + r.log() - mesh.peak > (_NO_MASS * target.looseness * found.total).log()
    fast = (grown & heavy).flatten(0, 1).any(0)
    if fast.any():
        raise ValueError(
            f"log_prob should have modes wider than a few hundred float64 numbers but has one at "
            f"x = {first(a, fast)} that is narrower; shift the line so that it stands at 0"
        )


@torch.no_grad()
def overlooked(target: Target, mesh: Mesh, found: Masses) -> Tensor | None:
    """Look for features too narrow for the panels: a place for each law, NaN where none is, or None at all.

    For a single law 2¹⁵ points are laid in each of the sixteen panels that hold most; in a batch fewer, 2⁷ at
    least. Where log_prob bends most between neighbouring points, it is held against the panel's series.
    """
    batch = mesh.x.shape[1]
    runs = max(_LEAST_POINTS, _POINTS // batch) // (_HEAVY * _RUN)
    mass = torch.where(mesh.panels.piece > 0, 0.0, found.panels)
    most, heavy = mass.topk(min(_HEAVY, len(mass)), 0)
    heavy = torch.where(most > 0, heavy, heavy[:1])  # a panel without mass may lie on a pole
    edges = places(mesh.panels.take(heavy), np.linspace(-1, 1, runs + 1))[0]
    low, width = edges[:-1].flatten(0, 1), edges.diff(dim=0).flatten(0, 1) / _RUN
    parts = list(zip(*(a.split(max(1, _TOGETHER // batch)) for a in (low, width)), strict=True))
    sharpest = torch.cat([_bend(target, *part).amax(0) for part in parts])
    if sharpest.isnan().any():
        sharpest = torch.cat([_bend(target, *part).nan_to_num_(0.0, torch.inf).amax(0) for part in parts])
    sharpest, run = sharpest.topk(min(_LOOKS, len(sharpest)), 0)
    if not (sharpest > _BEND * target.looseness).any():
        return None

    panel, low, width = heavy.gather(0, run % len(heavy)), low.gather(0, run), width.gather(0, run)
    point = _bend(target, low, width).nan_to_num_(0.0, torch.inf).argmax(0)
    x = torch.cat([low + width * (point + side) for side in (0.5, 1.5, 2.5)])
    gap, _ = _gap(target, mesh, found, panel.repeat(3, 1), x)
    wrong, most = torch.where(gap.abs() > _GAP * target.looseness, sharpest.repeat(3, 1), 0.0).max(
        0, keepdim=True
    )
    if not (wrong > 0).any():
        return None
    x, width, sign = x.gather(0, most), width.repeat(3, 1).gather(0, most), gap.gather(0, most).sign()
    x, width = torch.where(wrong > 0, x, target.somewhere), torch.where(wrong > 0, width, 0.0)
    place, _ = zoomed(lambda x: sign * target.log_prob(x), x - width, x + width)
    return torch.where(wrong > 0, place, torch.nan)[0]


class Look(NamedTuple):
    """Modes that the panels do not hold, as columns, NaN where there are no more, and where it was looked.

    ``narrowest`` is the spacing, for each law, of the places between the quantiles at 0.001 and 0.999;
    ``beyond`` that of those outside, as a share of the distance from the middle of that stretch.
    """

    modes: Tensor
    narrowest: Tensor
    beyond: float


@torch.no_grad()
def unseen_hills(target: Target, mesh: Mesh, found: Masses, table: Table) -> Look:
    """Look at places in panels of little mass too, for modes that the panels do not hold.

    Between the quantiles at 0.001 and 0.999 they are evenly spaced, 2¹⁷ of them for a single law; where it
    has modes on flat ground, that show from nearby only, as close as half the distance from which the
    narrowest shows. Outside, 2¹⁶ on either side, they are spaced in proportion to the distance, up to 10⁶
    times half the stretch. Raises where two modes or more are so narrow that this needs too many places, and
    not all of them are named.
    """
    batch = mesh.x.shape[1]
    ends = torch.full_like(mesh.peak, _SHARE)
    low, high = quantile(table, torch.stack([ends, -ends]), steps=0)
    origins = mesh.panels.take(mesh.pieces[::2]).origin
    # where there are several modes of very different widths, all places that can be afforded
    within, width = hills.rises_and_widths(target, origins)
    named = hills.are_named(target, origins, within, width)
    narrow = torch.where(named, torch.inf, hills.isolated(origins, within))
    few, many = (max(points // batch, _LEAST_EVEN) for points in (_EVEN_POINTS, _MOST_EVEN))
    width = torch.where(named, torch.nan, width)
    unlike = width.nan_to_num(0.0, 0.0).amax(0) > _UNLIKE * width.nan_to_num(torch.inf).amin(0)
    closely = unlike | _several(origins, narrow < torch.inf)
    step = (high - low) / torch.where(closely, many, few)
    # as close as the narrowest mode shows that is not named
    narrowest, which = torch.where(named, torch.inf, within).min(0, keepdim=True)
    closest = narrowest[0] / 2
    beyond = closest < (high - low) / many
    refused = beyond & _several(origins, within / 2 < step)
    if refused.any():
        place = origins.gather(0, which)[0]
        raise ValueError(
            f"log_prob has narrow modes, as that at x = {first(place, refused):.6g} that is "
            f"{first(2 * closest, refused):.1e} wide, and more mass may be there than can be seen; name "
            f"places of all modes by points="
        )
    step = torch.where(beyond, step, step.minimum(closest))
    count = int(((high - low) / step).max()) + 1
    share, grown = _growing(many // 4 if closely.any() else few // 2)
    tops = _tops(target, low, high, count, grown)
    # those that the panels' series do not hold, on either side: at a jump a panel ends
    near = (tops[2] - tops[0]) * 2.0**-13
    beside = tops[1] - near
    x = torch.cat([beside, tops[1] + near, _climbed(target, origins, tops, beside)])
    x = torch.where(target.inside(x), x, target.somewhere)
    gap, excess = _gap(target, mesh, found, panel_of(table, x), x)
    missed = (gap.abs() > _GAP * target.looseness) & (excess > _NO_MASS * target.looseness * found.total)
    missed = missed.unflatten(0, (3, -1)).any(0)
    modes = tops[1, missed.any(1)]
    if len(modes):
        found_at, _ = zoomed(target.log_prob, *tops[::2, missed.any(1)])
        modes = torch.where(missed[missed.any(1)], found_at, torch.nan)
    return Look(modes, (high - low) / count, share)


def _climbed(target: Target, origins: Tensor, tops: Tensor, beside: Tensor) -> Tensor:
    """Return the top between the places beside each, where no panel begins there; else a place ``beside`` it.

    Far out on its flank a steep mode may be high above all that is around, and yet hold no mass.
    """
    ordered = origins.sort(0).values.T.contiguous()
    below, upto = (
        torch.searchsorted(ordered, end.T.contiguous(), right=right).T
        for end, right in ((tops[0], False), (tops[2], True))
    )
    unknown = (below == upto) & (tops[0] < tops[2])
    some = unknown.any(1)
    climbed = beside.clone()
    if some.any():
        place, _ = zoomed(target.log_prob, *tops[::2, some], part=_ROUGHLY)
        climbed[some] = torch.where(unknown[some], place, beside[some])
    return climbed


def _tops(target: Target, low: Tensor, high: Tensor, count: int, grown: np.ndarray) -> Tensor:
    """Return, for all tops seen, the place before, that of the top and the one after: (3, n, batch).

    So many places lie evenly between low and high, and others, as far as the support goes, at the ``grown``
    distances below and above, in units of half the stretch.
    """
    half, somewhere = (high - low) / 2, target.somewhere.expand(3, 1, -1)
    room = [float((room / half).nan_to_num(0.0).max()) for room in (low - target.low, target.high - high)]
    below, above = (grown[: np.searchsorted(grown, distance)] for distance in room)
    ends = len(below), len(below) + count, len(below) + count + len(above)
    part = max(_PART // len(half), _LEAST_EVEN)
    tops = [somewhere]
    for start in range(0, ends[2], part):
        stop = min(start + part + 2, ends[2])  # parts overlap: a top is between two others
        even = np.arange(max(start, ends[0]), min(stop, ends[1])) - ends[0] + 0.5
        beyond = above[max(start - ends[1], 0) : max(stop - ends[1], 0)]
        units = np.concatenate([-below[::-1][start:stop], even * (2 / count), 2 + beyond])
        shown = hills.shown(target, torch.addcmul(low, half, series.column(units, half)))
        if shown is not None:
            tops.append(torch.where(shown.some, torch.stack(shown[:3]), somewhere))
    return torch.cat(tops, 1)


@lru_cache(maxsize=16)
def _growing(points: int) -> tuple[float, np.ndarray]:
    """Return a share, and distances from 0, up to 10⁶, that are that share of those from −1 apart."""
    share = math.log1p(_OUT) / points
    return share, np.expm1(share * (np.arange(points) + 0.5))


def _several(tops: Tensor, which: Tensor) -> Tensor:
    """Say of which laws some of the tops are different."""
    low, high = (torch.where(which, tops, end) for end in (torch.inf, -torch.inf))
    low, high = low.amin(0), high.amax(0)
    return high - low > 2.0**-30 * torch.maximum(high.abs(), low.abs())


def _bend(target: Target, low: Tensor, width: Tensor) -> Tensor:
    """Return how much log_prob bends at each of the points of runs, along a new first dimension.

    It is NaN beside −inf.
    """
    x = torch.addcmul(low, width, series.column(_WITHIN, width))
    height = target.log_prob(x.flatten(0, 1)).unflatten(0, x.shape[:2])
    return (height[2:] + height[:-2]).sub_(height[1:-1], alpha=2).abs_()


def _gap(target: Target, mesh: Mesh, found: Masses, panel: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
    """Return how far the density in ξ at x, in a panel, is from its series: in units of either; and as is."""
    panels = mesh.panels.take(panel)
    t = argument(panels.log_width, (x - panels.origin).abs())
    xi = ((2 * t - panels.start - panels.stop) / (panels.stop - panels.start)).nan_to_num(0.0).clamp(-1, 1)
    coefficients = series.apply(series.COEFFICIENTS, found.values)
    coefficients = coefficients.gather(1, panel.expand(series.ORDER, -1, -1))
    expected = (coefficients * series.basis(xi)[:-1]).sum(0)
    log_scale = distance(panels.log_width, t)[1].log() + ((panels.stop - panels.start) / 2).log()
    actual = (target.log_prob(x) + log_scale - mesh.peak).exp()
    gap = actual - expected
    return (gap / torch.maximum(actual, expected.abs())).nan_to_num(0.0), gap
