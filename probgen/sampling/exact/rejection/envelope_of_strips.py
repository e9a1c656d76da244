r"""Envelopes ("hats") of transformed density rejection, of equal areas over strips of the line.

With t = 1 / √density, the density is T₋½-concave where t is convex; every log-concave density is, and so are
Cauchy's and Student's. A chord of t, prolonged, lies below t outside its two points and above t between them,
so that the chord of a neighbouring strip gives the hat (start + slope · distance)⁻² and the strip's own chord
the squeeze: no derivative is needed, and kinks do no harm.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from probgen.sampling.exact.rejection.checked_density import Line, rounding
from probgen.sampling.exact.rejection.mass_from_density import Bulk, find_bulk

_MOST = 2**14
"""The largest number of strips."""

_RULES, _END_RULES = (
    [((nodes + 1) / 2, weights / 2) for nodes, weights in map(np.polynomial.legendre.leggauss, orders)]
    for orders in ((4, 5), (6, 8))
)

_AUDITED = 2**17
"""The number of places at which the densities of a batch are held against hat and squeeze."""

_SPARE = 16
"""The largest number of cells that are not a strip's first."""


class Strips(NamedTuple):
    r"""A hat (start + slope · distance from the anchor)⁻² on each strip, rows x strips.

    ``touch`` is the share of the hat below which the density cannot fall: the squeeze. Densities are relative
    to exp(top). The area is infinite where the neighbouring chords bound nothing yet.
    """

    anchor: Tensor
    start: Tensor
    slope: Tensor
    side: Tensor
    area: Tensor
    touch: Tensor

    def places(self, share: Tensor) -> Tensor:
        """Return the places short of which, seen from the anchors, lie such shares of the hats' areas."""
        return self.anchor + self.side * distances(self.area, self.start, self.slope, share)

    def log_hat(self, x: Tensor) -> Tensor:
        """Return the logarithm of each strip's hat at x in it."""
        return -2 * (self.start + self.slope * (x - self.anchor).abs()).log()


def distances(area: Tensor, start: Tensor, slope: Tensor, share: Tensor) -> Tensor:
    """Return the distances within which the hats (start + slope · distance)⁻² have such shares of an area."""
    return area * start**2 * share / (1 - area * start * slope * share)


def check_between(line: Line, x: Tensor, log_prob: Tensor, top: Tensor, strips: Strips) -> Tensor:
    """Return the logarithm of density over hat at x, each in its strip; raise where it is out of bounds."""
    log_level = log_prob - top - strips.log_hat(x)
    room = rounding(line.eps, log_prob) + rounding(line.eps, top)
    high, low = log_level > room, log_level < strips.touch.log() - room
    wrong = high | low
    if wrong.any():
        bound = "hat" if high[wrong][0] else "squeeze"
        ratio = torch.where(high, log_level, log_level - strips.touch.log()).exp()
        raise ValueError(
            f"the density should be T-concave (1 / √density convex) but {line.at(x, wrong)} it is "
            f"{float(ratio[wrong][0]):.6g} times its {bound}"
        )
    return log_level


def audit(line: Line, strips: Strips, top: Tensor) -> None:
    """Raise where a density is out of bounds, at 160,000 places or fewer in all.

    2¹⁷ are spread evenly over the hats of the strips. 2¹⁵ lie where the hat may be 0, from 2⁻³⁰ to 2⁶⁰
    on both sides of 0, and show a second mode.
    """
    rows, each = len(strips.area), _AUDITED // strips.area.numel()
    if each == 0:
        return
    spread = Strips(*(field.repeat_interleave(each, -1) for field in strips))
    share = (torch.arange(each, dtype=top.dtype, device=top.device) + 0.5) / each
    x = spread.places(share.repeat(strips.area.shape[-1]).expand(rows, -1))
    check_between(line, x, line(x), top[:, None], spread)
    away = torch.linspace(-30, 60, _AUDITED // (8 * rows), dtype=top.dtype, device=top.device).exp2()
    x = torch.cat([-away.flip(0), away]).clamp(line.first[:, None], line.last[:, None])
    check_convex(line, x, line(x), top)


def roots(log_prob: Tensor, top: Tensor) -> Tensor:
    """Return t = 1 / √(density / exp(top)), inf where the density is 0 or too small to be told from it."""
    return ((top[:, None] - log_prob) / 2).exp()


def check_convex(line: Line, x: Tensor, log_prob: Tensor, top: Tensor) -> None:
    """Raise where t is not convex along increasing x: above the chord beside it, or higher between two lower.

    The latter is seen of log_prob, also where the density is too small for t to be finite.
    """
    t = roots(log_prob, top)
    width = x.diff(dim=-1)
    before, after = width[:, :-1], width[:, 1:]
    chord = (t[:, :-2] * after + t[:, 2:] * before) / (before + after)
    excess = 2 * (t[:, 1:-1] / chord).log()
    room = rounding(line.eps, log_prob) + rounding(line.eps, top[:, None])
    wrong = torch.nn.functional.pad((excess > room[:, 1:-1]) & (before > 0) & (after > 0), (1, 1))
    ends = torch.minimum(log_prob.cummax(-1).values, log_prob.flip(-1).cummax(-1).values.flip(-1))
    dip = log_prob < ends - room
    if (wrong | dip).any():
        wrong |= dip
        ratio = torch.where(dip, (log_prob - ends).exp(), torch.nn.functional.pad((-excess).exp(), (1, 1)))
        wrong &= ratio == ratio[wrong].min()
        raise ValueError(
            f"the density should be T-concave (1 / √density convex) but {line.at(x, wrong)} it is "
            f"{float(ratio[wrong][0]):.4g} times what its values beside it ask for at least"
        )


def cut(x: Tensor, t: Tensor) -> Strips:
    """Return the hats between increasing places x, rows x (K + 1), at which t = 1 / √density is known."""
    width = x.diff(dim=-1)
    chord = t.diff(dim=-1) / width
    nan = torch.full_like(chord[:, :1], torch.nan)
    sides = []
    for start, slope in (
        (t[:, :-1], torch.cat([nan, chord[:, :-1]], -1)),
        (t[:, 1:], torch.cat([-chord[:, 1:], nan], -1)),
    ):
        lean = start / width + slope
        valid = start.isfinite() & slope.isfinite() & (lean > 0)
        sides.append((start, slope, torch.where(valid, 1 / (start * lean), torch.inf)))
    (start, slope, area), (start_right, slope_right, area_right) = sides
    left = area <= area_right
    start, slope = torch.where(left, start, start_right), torch.where(left, slope, slope_right)
    area = torch.where(left, area, area_right)
    far = torch.where(left, t[:, 1:], t[:, :-1])
    touch = ((start + slope * width) / far) ** 2
    touch = torch.where(far.isfinite() & area.isfinite(), touch, 0.0).clamp(max=1.0)
    empty = t[:, :-1].isinf() & t[:, 1:].isinf()
    area = torch.where(empty, 0.0, area)
    side = torch.where(left, 1.0, -1.0).to(x.dtype)
    return Strips(torch.where(left, x[:, :-1], x[:, 1:]), start, slope, side, area, touch)


def respaced(x: Tensor, strips: Strips, count: int) -> Tensor:
    """Return the ends of x and, between them, places that cut the hat into ``count`` equal areas."""
    width = x.diff(dim=-1)
    bounded = strips.area.isfinite()
    area = torch.where(bounded, strips.area, width)
    below = area.cumsum(-1)
    level = torch.linspace(0, 1, count + 1, dtype=x.dtype, device=x.device)[1:-1] * below[:, -1:]
    index = torch.searchsorted(below, level).clamp(max=width.shape[-1] - 1)
    share = (1 - (below.gather(-1, index) - level) / area.gather(-1, index)).clamp(0, 1)
    picked = Strips(*(field.gather(-1, index) for field in strips))
    hat = picked.places(torch.where(picked.side > 0, share, 1 - share))
    even = x[:, :-1].gather(-1, index) + share * width.gather(-1, index)
    inner = torch.where(bounded.gather(-1, index), hat, even)
    return torch.cat([x[:, :1], inner, x[:, -1:]], -1)


def _first_places(bulk: Bulk) -> Tensor:
    """Return the ends, the mode, and places on both sides of it."""
    away = []
    for reach, end in ((bulk.left, bulk.low), (bulk.right, bulk.high)):
        room = (end - bulk.mode).abs()
        away.append([torch.minimum(reach * 2.0 ** (k - 3), room * k / 6) for k in range(1, 6)])
    left = [bulk.mode - distance for distance in reversed(away[0])]
    right = [bulk.mode + distance for distance in away[1]]
    inner = torch.stack([*left, bulk.mode, *right], -1).clamp(bulk.first[:, None], bulk.last[:, None])
    return torch.cat([bulk.low[:, None], inner, bulk.high[:, None]], -1)


@torch.no_grad()
def cut_evenly(line: Line, ratio: float) -> tuple[Strips, Tensor, Tensor, Tensor]:
    """Cut densities into strips of about equal hat area.

    The number of strips is doubled until equally probable cells, one or more for each strip, cover hats whose
    area is at most ``ratio`` times that of the squeeze.

    Returns:
        the strips, the strip of each cell, the area of a cell in each row, and log_prob at the top of each
        density.
    """
    bulk, grid, values = find_bulk(line)
    top, x = bulk.top, _first_places(bulk)
    check_convex(line, grid, values, top)
    count, best = 32, math.inf
    while count <= _MOST:
        inner = line(x[:, 1:-1])
        height = torch.cat([bulk.at_low[:, None], inner, bulk.at_high[:, None]], -1)
        top = torch.maximum(top, inner.amax(-1))
        check_convex(line, x, height, top)
        strips = cut(x, roots(height, top))
        _check_bounded(line, x, strips)
        squeezed = (strips.area * strips.touch).sum(-1)
        index, cell = _cells(strips.area, squeezed)
        reached = float((index.shape[-1] * cell / squeezed).max())
        if reached <= ratio and (strips.area > 0).all():
            return strips, index, cell, top
        best = min(best, reached)
        x, count = respaced(x, strips, count), 2 * count
        x[:, 1] = torch.where(bulk.low.isinf(), torch.minimum(x[:, 1], bulk.mode - bulk.left), x[:, 1])
        x[:, -2] = torch.where(bulk.high.isinf(), torch.maximum(x[:, -2], bulk.mode + bulk.right), x[:, -2])
    raise ValueError(
        f"ratio should be within reach of {_MOST} strips: {ratio} was asked for, but the hat is {best:.5g} "
        f"times the squeeze; a density too narrow for the float64 numbers at its place can be shifted to 0"
    )


def _cells(area: Tensor, squeezed: Tensor) -> tuple[Tensor, Tensor]:
    """Return the strip of each of equally probable cells, rows x cells, and their area.

    Every strip has a cell. Some more go to the strips that are largest for theirs, as many as keep the total
    area smallest.
    """
    rows, strips = area.shape
    cells = torch.ones_like(area)
    given, largest = [], []
    for _ in range(_SPARE):
        load, strip = (area / cells).max(-1, keepdim=True)
        given.append(strip)
        largest.append(load)
        cells.scatter_add_(-1, strip, torch.ones_like(load))
    total = torch.stack([load * (strips + k) for k, load in enumerate(largest)])[..., 0] / squeezed
    spare = int(total.amax(-1).argmin())
    cells = torch.ones(rows, strips, dtype=torch.int64, device=area.device)
    for strip in given[:spare]:
        cells.scatter_add_(-1, strip, torch.ones_like(strip))
    order = torch.arange(strips + spare, device=area.device).expand(rows, -1).contiguous()
    return torch.searchsorted(cells.cumsum(-1), order, right=True), largest[spare][:, 0]


def _check_bounded(line: Line, x: Tensor, strips: Strips) -> None:
    """Raise where a density does not fall fast enough for a hat of finite area."""
    endless = strips.area.isinf() & x.diff(dim=-1).isinf()
    if endless.any():
        last = torch.where(x[:, 1:].isinf(), x[:, :-1], x[:, 1:])
        raise ValueError(
            f"the density should be T-concave (1 / √density convex) and fall to 0 towards infinity but does "
            f"not beyond {line.at(last, endless)}"
        )


def integration_parts(strips: Strips, rule: int) -> Iterator[tuple[Tensor, Tensor, Strips]]:
    """Yield places x, log w and the strips of x, part by part: ∫ f ≈ Σ w f(x) / hat(x) for f up to the hat.

    They are Gauss-Legendre points in the share of each strip's hat, by the rule 0 or the better rule 1. The
    two outermost strips, where the density may fall off in any way, are halved towards their far ends 32
    times.
    """
    starts = 1 - 0.5 ** np.arange(33)
    widths = np.diff(starts, append=1.0)[:, None]
    nodes, weights = _END_RULES[rule]
    graded, graded_weights = (starts[:, None] + widths * nodes).ravel(), (widths * weights).ravel()
    ends = Strips(*(field[:, [0, -1]].repeat_interleave(graded.size, -1) for field in strips))
    inside = Strips(*(field[:, 1:-1] for field in strips))
    points = [
        (inside, np.array([node]), np.array([weight])) for node, weight in zip(*_RULES[rule], strict=True)
    ]
    for part, share, weight in (*points, (ends, np.tile(graded, 2), np.tile(graded_weights, 2))):
        x = part.places(torch.as_tensor(share, device=part.area.device))
        yield x, part.area.log() + torch.as_tensor(weight, device=x.device).log(), part
