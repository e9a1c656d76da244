"""Integrals over (0, 1), of functions of the quantiles of a batch of laws: E g(X) = ∫₀¹ g(F⁻(u)) du."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from numpy.polynomial import chebyshev
from torch import Tensor

from probgen.sampling.exact.inversion import chebyshev_series as series
from probgen.sampling.exact.inversion.quadrature_panels import BESIDE, power_law

_NODES, _WEIGHTS = series.gauss_lobatto(series.ORDER)
_LAST = np.linalg.inv(chebyshev.chebvander(_NODES, series.ORDER - 1))[-2:]
_ENDS = 2.0**-30, 2.0**-36, 2.0**-42  # distances from 0 and 1; within the first that suits, g is a power
_BENT = 1e-5
_MEET = 0.618  # the u at which the sides meet: no special place of a law
_PANELS, _PARTS, _MOST, _ROUNDS = 12, 4, 4096, 30
_TOLERANCE, _JUMP = 1e-11, 1e-5  # of ∫ |g|: what a panel may be off, and what counts as a jump
_FIELDS = 3

UNRESOLVED = 1e-6
"""The largest error of an integral, of ∫ |g|."""

Integrand = Callable[[Tensor], tuple[Tensor, Tensor]]
"""Columns of u (n, batch) to g there, with gradients, and to how far its own rounding may be off."""


class Integral(NamedTuple):
    """∫₀¹ g du of each law, and where it does not exist.

    ``error`` is how far it may be off, in units of what is allowed. ``jump`` is the u of a jump of g, NaN
    where there is none.
    """

    value: Tensor
    endless: Tensor
    error: Tensor
    jump: Tensor


class _Panels(NamedTuple):
    """Panels (panel, batch): u is r on the lower side, 1 − r on the upper, log r goes from start to stop."""

    upper: Tensor
    start: Tensor
    stop: Tensor

    def placed(self) -> tuple[Tensor, Tensor]:
        """Return u at the nodes, along a new first dimension, and dr/dξ there."""
        half = (self.stop - self.start) / 2
        r = ((self.start + self.stop) / 2 + half * series.column(_NODES, half)).exp()
        return torch.where(self.upper > 0, 1 - r, r), r * half


def integral(function: Integrand, like: Tensor, *, unit: float = 0.0, rounding: float = 2.0**-52) -> Integral:
    """Integrate a function of u over (0, 1), for each law of a batch; ``like`` is one column of it.

    Panels, geometric towards 0 and 1, are cut into four until a polynomial of degree 15 represents the
    function, or a jump is so near that it does not matter, or nothing is left but rounding, that of u
    included. Beside 0 and 1, where float64 knows few u, or none, the function is taken for a power, which is
    fitted.

    Args:
        function: the integrand.
        like: of shape (batch), with the dtype and device of u.
        unit: is added to ∫ |g|, to which errors are relative.
        rounding: how far u may be off.
    """
    ends = _ends(function, like)
    panels, (inside, size, error, noise, jump) = _refined(function, ends, unit, rounding)
    values, r = _beside(function, ends)
    if values.requires_grad:
        inside = _measured(function, panels, rounding)[0]
    power = power_law((r * values.abs()).log(), r.log())
    value = inside.sum(0) + (values[0].sign() * power.mass).sum(0)
    with torch.no_grad():
        whole = size.sum(0) + power.mass.abs().sum(0) + unit
        endless = ((power.mass != 0) & (power.power < 1e-5)).any(0)
        error = (error.sum(0) + power.error.sum(0)) / (UNRESOLVED * whole + 2 * noise.sum(0))
        highest, place = (jump / whole).max(0, keepdim=True)
        u = panels.placed()[0][0].gather(0, place)
        place = torch.where(highest > _JUMP, u, torch.nan)[0]
    return Integral(value, endless, torch.where(whole == 0, 0.0, error), place)


def _beside(function: Integrand, ends: Tensor) -> tuple[Tensor, Tensor]:
    """Return the function's values beside 0 and 1, (3, side, batch), and the distances from there."""
    r = ends * series.column(BESIDE, ends)
    values, _ = function(torch.stack([r[:, 0], 1 - r[:, 1]], 1).flatten(0, 1))
    return values.unflatten(0, r.shape[:2]), r


@torch.no_grad()
def _ends(function: Integrand, like: Tensor) -> Tensor:
    """Return the distances from 0 and from 1, (side, batch), within which the function is a power."""
    ends = torch.full_like(like, _ENDS[0]).expand(2, -1)
    for closer in _ENDS[1:]:
        values, r = _beside(function, ends)
        bend = (values.abs().log().diff(dim=0) / r.log().diff(dim=0)).diff(dim=0)[0].abs()
        ends = torch.where(bend > _BENT, closer, ends)
    return ends


@torch.no_grad()
def _refined(function: Integrand, ends: Tensor, unit: float, rounding: float) -> tuple[_Panels, Tensor]:
    """Cut both sides into panels, and those into four that are further off than they may be; measure all."""
    meet = series.column(np.log([_MEET, 1 - _MEET]), ends[0])
    upper = series.column(np.array([0.0, 1.0]), ends[0]).expand_as(ends)
    rows = _cut(function, _Panels(upper, ends.log(), meet.expand_as(ends)), _PANELS, rounding)
    for _ in range(_ROUNDS):
        _, size, error, noise, _ = rows[_FIELDS:]
        allowed = _TOLERANCE * (size.sum(0) + unit) + noise
        wrong = error > allowed
        splits = int(wrong.sum(0).max())
        if splits == 0 or rows.shape[1] > _MOST:
            break
        index = torch.where(wrong, error / allowed, 0.0).topk(splits, 0).indices
        parents = rows[:_FIELDS].gather(1, index.expand(_FIELDS, -1, -1))
        parts = _cut(function, _Panels(*parents), _PARTS, rounding)
        rows.scatter_(1, index.expand(len(rows), -1, -1), parts[:, :splits])
        rows = torch.cat([rows, parts[:, splits:]], 1)
    return _Panels(*rows[:_FIELDS]), rows[_FIELDS:]


def _cut(function: Integrand, panels: _Panels, count: int, rounding: float) -> Tensor:
    """Cut each panel into so many, and measure these: (field, panel, batch)."""
    share = series.column(np.linspace(0, 1, count + 1), panels.start)
    edges = panels.start + (panels.stop - panels.start) * share
    fields = torch.stack([panels.upper.expand_as(edges[1:]), edges[:-1], edges[1:]]).flatten(1, 2)
    return torch.cat([fields, _measured(function, _Panels(*fields), rounding)])


def _measured(function: Integrand, panels: _Panels, rounding: float) -> Tensor:
    """Return of each panel ∫ g, ∫ |g|, how far off it may be, how far by rounding, and a jump of g."""
    half = (panels.stop - panels.start) / 2
    u, slope = panels.placed()
    values, own = (part.unflatten(0, u.shape[:2]) for part in function(u.flatten(0, 1)))
    weights = series.column(_WEIGHTS, half)
    inside = (weights * slope * values).sum(0)
    size = (weights * slope * values.abs()).sum(0)
    error = series.apply(_LAST, slope * values).abs().sum(0)
    noise = (weights * (slope * own + 8 * rounding * half * values.abs())).sum(0)
    change = values.amax(0) - values.amin(0)
    jumps = series.apply(_LAST, values).abs().sum(0) > 1e-3 * change
    return torch.stack([inside, size, error, noise, torch.where(jumps, change, 0.0)])
