"""Panels on which a density is a polynomial to rounding: graded towards ends and modes, split as needed."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.fx.experimental.proxy_tensor import get_proxy_mode

from probgen.core.density.mapped import over_copies
from probgen.sampling.exact.inversion import chebyshev_series as series

LogDensity = Callable[[Tensor], Tensor]

TAIL = 2.0**-100
"""Tails are resolved in relative terms down to this probability."""

ABSOLUTE = 5e-12
"""What a panel may be off, of the total."""

_RELATIVE = 1e-9  # and of its own tail
_LONGEST, _FAR = 4.0, 24.0  # in t, lest derivatives go astray that fall faster; and up to where
_ROUNDS, _MOST = 100, 4096
_FAR_OFF = 2.0**16  # times its tolerance that a panel is cut in four: halves gain no more at degree 15
_FIELDS = 7
_CHUNK = 2**16
_FIXED_ROUNDS, _FIXED_SPLITS = 12, 12  # a kink at a mode takes as many rounds as the others together
_MOST_FIXED_SPLITS = 48  # where it may be asked how many are needed
_SMOOTH_ROUNDS = 4  # what is still off then is beside a kink: halves gain little


class Panels:
    r"""Panels of the line, from left to right along the first dimension, one column per law.

    A panel holds the x = origin + sign · w sinh(t) with t from ``start`` to ``stop``; its series are in
    ξ = (2t − start − stop) / (stop − start). Segments, from one side of an origin to halfway to the next, are
    numbered. The first panel of each, a *piece* of its own kind, goes from r = 0 to w beside an origin that
    may be a pole, and has no width where there is none.
    """

    def __init__(self, fields: Tensor) -> None:
        self.fields = fields  # (field, panel, batch)
        self.origin, self.sign, self.log_width, self.start, self.stop, self.segment, self.piece = (
            fields.unbind()
        )

    def __len__(self) -> int:
        return self.fields.shape[1]

    def take(self, index: Tensor) -> Panels:
        """Return the panels at an index along the first dimension."""
        return Panels(self.fields.gather(1, index.expand(len(self.fields), -1, -1)))

    def cut(self, t: Tensor) -> tuple[Panels, Panels]:
        """Return the parts of each panel up to t and from t on."""
        below, above = self.fields.clone(), self.fields.clone()
        below[4], above[3] = t, t
        return Panels(below), Panels(above)

    def halves(self) -> Panels:
        """Return the lower halves in t, then the upper ones."""
        return Panels(torch.cat([half.fields for half in self.cut((self.start + self.stop) / 2)], 1))

    def order(self) -> Tensor:
        """Return the index that sorts panels from left to right."""
        return (4096 * self.segment + self.sign * (self.start + self.stop) / 2).argsort(0)


def distance(log_width: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
    """Return r = w sinh(t) and dr/dt = w cosh(t), without overflow."""
    base = log_width - math.log(2)
    grown, shrunk = (base + t).exp(), (base - t).exp()
    return grown - shrunk, grown + shrunk


def argument(log_width: Tensor, r: Tensor) -> Tensor:
    """Return t = asinh(r / w), without overflow."""
    return (r + torch.hypot(r, log_width.exp())).log() - log_width


def places(panels: Panels, xi: np.ndarray) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return, along a new first dimension, x at ξ, r, and dr/dt; and half the width in t."""
    half = (panels.stop - panels.start) / 2
    t = (panels.stop + panels.start) / 2 + half * series.column(xi, half)
    r, slope = distance(panels.log_width, t)
    return panels.origin + panels.sign * r, r, slope, half


def placed(panels: Panels, xi: np.ndarray) -> tuple[Tensor, Tensor, Tensor]:
    """Return, along a new first dimension, x at ξ, log(dr/dξ), and x's rounding in units of ξ."""
    x, r, slope, half = places(panels, xi)
    return x, slope.log() + half.log(), (r - (x - panels.origin).abs()) / (slope * half)


def log_density(
    log_prob: LogDensity,
    panels: Panels,
    xi: np.ndarray = series.NODES,
    derivative: np.ndarray = series.DERIVATIVE,
) -> tuple[Tensor, Tensor, Tensor]:
    """Return x at ξ, log_prob there, and what is added to it for the log-density in ξ; −inf in pieces.

    That is log(dx/dξ), and the correction, to first order, of log_prob to where x would stand unrounded,
    where it is small; the matrix gives the derivative in ξ from values at ξ.
    """
    x, log_scale, rounding = placed(panels, xi)
    height = log_prob(x.flatten(0, 1)).unflatten(0, x.shape[:2])
    repair = series.apply(derivative, height) * rounding
    offset = log_scale + torch.where(repair.abs() < 1, repair, 0.0)
    return x, height, torch.where(panels.piece > 0, -torch.inf, offset)


def in_chunks(function: Callable[[Panels], Tensor], panels: Panels, nodes: int) -> Tensor:
    """Apply a function, with so many nodes a panel, to as many panels at a time as fit the cache.

    It returns a tensor whose second dimension is that of the panels.
    """
    few = max(1, _CHUNK // (nodes * panels.fields.shape[2]))
    if panels.fields.shape[1] <= few:
        return function(panels)
    parts = panels.fields.split(few, 1)
    return torch.cat([function(Panels(part)) for part in parts], 1)


class Power(NamedTuple):
    """The law C r^(power − 1) (1 + c r) in each piece, (segment, batch); ``bend`` is c times its width."""

    mass: Tensor
    error: Tensor
    power: Tensor
    bend: Tensor


BESIDE = np.array([1.0, 2.0, 4.0])
"""Where, in units of w, the density beside a pole is looked at."""


def beside_poles(pieces: Panels, somewhere: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return x at w, 2w and 4w from each pole, log r, and log r again; −inf where a piece has no width."""
    x = pieces.origin + pieces.sign * pieces.log_width.exp() * series.column(BESIDE, pieces.sign)
    is_pole = pieces.stop > 0
    x = torch.where(is_pole, x, somewhere)
    log_r = torch.where(is_pole, (x - pieces.origin).abs().log(), series.column(np.log(BESIDE), x[0]))
    return x, log_r, torch.where(is_pole, log_r, -torch.inf)


def power_law(log_mass: Tensor, log_r: Tensor) -> Power:
    """Fit C r^(power − 1) (1 + c r) to the density at three r, the first dimension; integrate to the first.

    ``log_mass`` is log(r density), −inf where there is no pole.
    """
    some = (log_mass > -230).all(0)
    log_mass = torch.where(some, log_mass, log_r)
    slope = log_mass.diff(dim=0) / log_r.diff(dim=0)
    power = 2 * slope[0] - slope[1]
    bend = (slope[1] - slope[0]) * math.log(2)  # c r at the first r
    mass = torch.where(some, log_mass[0].exp() / power * (1 - bend / (power + 1)), 0.0)
    return Power(mass, mass.abs() * (100 * bend / power).square(), power, torch.where(some, bend, 0.0))


def refined(
    log_prob: LogDensity, panels: Panels, power: Power, peak: Tensor, *, fixed: bool, looseness: float
) -> Panels:
    """Split panels until each is within its tolerance.

    With ``fixed`` so many are split at most, and while a graph is recorded nothing depends on the data but
    the choice of which. ``looseness`` multiplies the tolerances.
    """

    def of_few(panels: Panels) -> Tensor:
        _, height, offset = log_density(log_prob, panels)
        return series.apply(series.MEASURES, (height + offset - peak).exp())

    def measure(panels: Panels) -> Tensor:
        return in_chunks(of_few, panels, series.ORDER)

    most = len(panels) + _MOST
    measures = measure(panels)
    mass = measures[0].scatter(0, pieces(panels, power), power.mass)
    rows = torch.cat([panels.fields, mass[None], measures[1:]])
    for turn in range(_FIXED_ROUNDS if fixed else _ROUNDS):
        panels = Panels(rows[:_FIELDS])
        urgency = _urgency(panels, rows[_FIELDS:], looseness)
        if fixed and get_proxy_mode() is not None:
            splits, far = _FIXED_SPLITS, 0
        else:
            slow = fixed and turn >= _SMOOTH_ROUNDS
            splits, far = (_most(urgency > least, fixed) for least in (1, 1 if slow else _FAR_OFF))
        if splits == 0 or len(panels) > most:
            break
        index = urgency.topk(splits, 0).indices
        halves = panels.take(index).halves()
        if far:
            halves = _quartered(halves, far)
        new = torch.cat([halves.fields, measure(halves)])
        rows = rows.scatter(1, index.expand(len(rows), -1, -1), new[:, :splits])
        rows = torch.cat([rows, new[:, splits:]], 1)
        rows = rows.gather(1, Panels(rows[:_FIELDS]).order().expand(len(rows), -1, -1))
    return Panels(rows[:_FIELDS])


def _most(urgent: Tensor, fixed: bool) -> int:
    """Return how many panels of any law are urgent, be it of another copy under ``torch.vmap``."""
    count = int(over_copies(urgent.sum(0)).max())
    return min(count, _MOST_FIXED_SPLITS) if fixed else count


def _quartered(halves: Panels, far: int) -> Panels:
    """Cut the halves of the first so many panels again."""
    fields = halves.fields
    lower, upper = fields.chunk(2, 1)
    quarters = Panels(torch.cat([lower[:, :far], upper[:, :far]], 1)).halves().fields
    return Panels(torch.cat([quarters[:, :far], lower[:, far:], quarters[:, far:], upper[:, far:]], 1))


def pieces(panels: Panels, power: Power) -> Tensor:
    """Return which panels are the pieces, (segment, batch), from left to right."""
    return panels.piece.sort(dim=0, descending=True, stable=True).indices[: len(power.mass)]


def _urgency(panels: Panels, measures: Tensor, looseness: float) -> Tensor:
    """Return how many times its tolerance each panel is off; in the tails, relative to the tail's mass.

    Pieces are the least urgent of all: they stay whole.
    """
    mass = measures[0]
    from_left, from_right = mass.cumsum(0), mass.flip(0).cumsum(0).flip(0)
    total = from_left[-1]
    inner = torch.minimum(from_left, from_right)
    steep = (inner > TAIL * total) & (inner - mass < 1e-4 * inner) & (inner < 0.1 * total)
    long = (inner > TAIL * total) & (panels.stop - panels.start > _LONGEST) & (panels.start < _FAR)
    tolerance = looseness * (_RELATIVE * inner).clamp(_RELATIVE * TAIL * total, ABSOLUTE * total)
    error = torch.maximum(measures[1:3].abs().sum(0), _hidden(panels, measures[3:]))
    urgency = torch.maximum(error / tolerance, 2 * (steep | long).to(mass.dtype))
    return torch.where(panels.piece > 0, -1.0, torch.where(divisible(panels, looseness), urgency, 0.0))


def divisible(panels: Panels, looseness: float) -> Tensor:
    """Say which panels are wider than rounding."""
    return panels.stop - panels.start > 1e-13 * looseness * (1 + panels.stop)


def _hidden(panels: Panels, ends: Tensor) -> Tensor:
    """Return how much mass may hide beyond the outermost nodes of panels that disagree with a neighbour."""
    t = torch.stack([panels.start, panels.stop])
    scale = distance(panels.log_width, t)[1] * (panels.stop - panels.start) / 2
    scale, ends = (torch.where(panels.sign > 0, both, both.flip(0)) for both in (scale, ends))
    density = torch.where(panels.piece > 0, torch.nan, ends / scale)
    none = panels.stop == panels.start  # on both sides of an origin that is no pole: look through them
    for _ in range(2):
        left = torch.where(none[:-1], density[0, 1:], density[0, :-1])
        right = torch.where(none[1:], density[1, :-1], density[1, 1:])
        density = torch.stack([torch.cat([left, density[0, -1:]]), torch.cat([density[1, :1], right])])
    jump = (density[1, :-1] - density[0, 1:]).abs().nan_to_num(0.0, 0.0)
    none = torch.zeros_like(jump[:1])
    beside = torch.stack([torch.cat([none, jump]), torch.cat([jump, none])])
    return series.MARGIN * (beside * scale).amax(0)
