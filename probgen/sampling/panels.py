"""Panels on which a density is a polynomial to rounding: graded towards ends and modes, split as needed."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from probgen.sampling import series

LogDensity = Callable[[Tensor], Tensor]

TAIL = 2.0**-100
"""Tails are resolved in relative terms down to this probability."""

_ABSOLUTE, _RELATIVE = 5e-12, 1e-9  # what a panel may be off, of the total and of its own tail
_ROUNDS, _FIXED_ROUNDS, _FIXED_SPLITS = 100, 8, 24
_MOST = 4096


class Panels(NamedTuple):
    r"""Panels of the line, along the first dimension, one column per law.

    A panel holds the x = origin + sign · w sinh(t) with t from ``start`` to ``stop``; its series are in
    ξ = (2t − start − stop) / (stop − start). Segments, from one side of an origin to halfway to the next, are
    numbered from left to right.
    """

    origin: Tensor
    sign: Tensor
    log_width: Tensor
    start: Tensor
    stop: Tensor
    segment: Tensor

    @property
    def place(self) -> Tensor:
        """Numbers that increase from left to right."""
        return 4096 * self.segment + self.sign * (self.start + self.stop) / 2

    def take(self, index: Tensor) -> Panels:
        """Return the panels at an index along the first dimension."""
        return Panels(*(field.gather(0, index) for field in self))


def distance(log_width: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
    """Return r = w sinh(t) and log(dr/dt) = log(w cosh(t)), without overflow."""
    base = log_width - math.log(2)
    r = (base + t).exp() - (base - t).exp()
    return r, base + t + (-2 * t).exp().log1p()


def argument(log_width: Tensor, r: Tensor) -> Tensor:
    """Return t = asinh(r / w), without overflow."""
    return (r + torch.hypot(r, log_width.exp())).log() - log_width


def nodes(panels: Panels) -> tuple[Tensor, Tensor, Tensor]:
    """Return, along a new first dimension, x at the nodes, log(dx/dξ), and x's rounding in units of ξ."""
    half = (panels.stop - panels.start) / 2
    t = (panels.stop + panels.start) / 2 + half * series.column(series.NODES, half)
    r, log_slope = distance(panels.log_width, t)
    x = panels.origin + panels.sign * r
    log_scale = log_slope + half.log()
    rounding = (r - (x - panels.origin).abs()) * (-log_scale).exp()
    return x, log_scale, torch.where(rounding.abs() < 0.05, rounding, 0.0)


def log_density(log_prob: LogDensity, panels: Panels) -> tuple[Tensor, Tensor, Tensor]:
    """Return x at the nodes, log_prob there, and what is added to it for the log-density in ξ.

    That is log(dx/dξ), and the correction, to first order, of log_prob to where x would stand unrounded.
    """
    x, log_scale, rounding = nodes(panels)
    height = log_prob(x.flatten(0, 1)).unflatten(0, x.shape[:2])
    slope = series.apply(series.DERIVATIVE, height)
    return x, height, log_scale + torch.where(slope.isfinite(), slope * rounding, 0.0)


def measured(values: Tensor) -> tuple[Tensor, Tensor]:
    """Return each panel's mass, and how far its series may be off."""
    mass = (values * series.column(series.WEIGHTS, values[0])).sum(0)
    return mass, series.apply(series.COEFFICIENTS[-2:], values).abs().sum(0) / 2


class Power(NamedTuple):
    """The law C r^(power − 1) between a pole and r = w."""

    mass: Tensor
    error: Tensor
    power: Tensor


_BESIDE = np.array([1.0, 2.0, 4.0])  # where, in units of w, the density beside a pole is looked at


def beside_poles(pieces: Panels, somewhere: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return x at w, 2w and 4w from each pole, log r, and log r again; −inf where a piece has no width."""
    origin, sign, log_width, _, stop, _ = pieces
    x = origin + sign * log_width.exp() * series.column(_BESIDE, sign)
    x = torch.where(stop > 0, x, somewhere)
    log_r = torch.where(stop > 0, (x - origin).abs().log(), series.column(np.log(_BESIDE), sign))
    return x, log_r, torch.where(stop > 0, log_r, -torch.inf)


def power_law(log_mass: Tensor, log_r: Tensor) -> Power:
    """Fit C r^(power − 1) (1 + c r) to the density at three r, the first dimension; integrate to the first.

    ``log_mass`` is log(r density), −inf where there is no pole.
    """
    some = (log_mass > -230).all(0)
    log_mass = torch.where(some, log_mass, log_r)
    slope = log_mass.diff(dim=0) / log_r.diff(dim=0)
    power = 2 * slope[0] - slope[1]
    bend = (slope[1] - slope[0]) / power
    mass = torch.where(some, log_mass[0].exp() / power * (1 - bend / (power + 1)), 0.0)
    return Power(mass, mass.abs() * (100 * bend).square(), power)


def refined(
    log_prob: LogDensity,
    panels: Panels,
    pieces: Panels,
    power: Power,
    peak: Tensor,
    *,
    fixed: bool,
    looseness: float,
) -> tuple[Panels, Tensor, Tensor]:
    """Split panels until each is within its tolerance; return them, their masses and errors.

    With ``fixed`` nothing depends on the data but the choice of which are split. ``looseness`` multiplies the
    tolerances.
    """

    def measure(panels: Panels) -> tuple[Tensor, Tensor]:
        _, height, offset = log_density(log_prob, panels)
        return measured((height + offset - peak).exp())

    mass, error = measure(panels)
    for _ in range(_FIXED_ROUNDS if fixed else _ROUNDS):
        urgency = _urgency(panels, mass, error / looseness, pieces, power)
        splits = _FIXED_SPLITS if fixed else int((urgency > 1).sum(0).max())
        if splits == 0 or len(mass) > _MOST:
            break
        index = urgency.topk(splits, 0).indices
        parents = panels.take(index)
        middle = (parents.start + parents.stop) / 2
        halves = parents._replace(stop=middle), parents._replace(start=middle)
        children = Panels(*map(torch.cat, zip(*halves, strict=True)))
        new_mass, new_error = measure(children)
        panels = Panels(*(_replaced(old, index, new) for old, new in zip(panels, children, strict=True)))
        mass, error = _replaced(mass, index, new_mass), _replaced(error, index, new_error)
    return panels, mass, error


def _replaced(old: Tensor, index: Tensor, new: Tensor) -> Tensor:
    """Put the first half of the new rows in the places of the index, the second half at the end."""
    first, second = new.chunk(2)
    return torch.cat([old.scatter(0, index, first), second])


def _urgency(panels: Panels, mass: Tensor, error: Tensor, pieces: Panels, power: Power) -> Tensor:
    """Return how many times its tolerance each panel is off; in the tails, relative to the tail's mass."""
    order = torch.cat([panels.place, pieces.place]).argsort(0)
    sorted_mass = torch.cat([mass, power.mass]).gather(0, order)
    from_left, from_right = sorted_mass.cumsum(0), sorted_mass.flip(0).cumsum(0).flip(0)
    total = from_left[-1]
    inner = torch.minimum(from_left, from_right)
    steep = (inner > TAIL * total) & (inner - sorted_mass < 1e-4 * inner) & (inner < 0.1 * total)
    ranks = order.argsort(0)[: len(mass)]
    inner, steep = inner.gather(0, ranks), steep.gather(0, ranks)
    tolerance = (_RELATIVE * inner).clamp(_RELATIVE * TAIL * total, _ABSOLUTE * total)
    urgency = torch.maximum(error / tolerance, torch.where(steep, 2.0, 0.0))
    return torch.where(panels.stop - panels.start > 1e-13 * (1 + panels.stop), urgency, 0.0)
