"""Numerical inversion of densities on the line: integrals, CDFs and quantiles, a batch of laws at a time."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from probgen.sampling import series
from probgen.sampling.landmarks import Target, laid_out
from probgen.sampling.panels import (
    LogDensity,
    Panels,
    Power,
    argument,
    beside_poles,
    distance,
    log_density,
    measured,
    power_law,
    refined,
)

_NEWTON_STEPS = 5
HEAD = 9
"""How many of a table's fields are not coefficients."""

_CHEBYSHEV = slice(HEAD, HEAD + series.ORDER + 1)
_SLOPE = slice(_CHEBYSHEV.stop, _CHEBYSHEV.stop + series.ORDER)
_LADDER = slice(_SLOPE.stop, _SLOPE.stop + series.ORDER + 1)


class Mesh(NamedTuple):
    """Panels that suit a batch of densities, and where log_prob is looked at; columns are laws.

    ``x`` (n, batch) holds the nodes of the panels, then three x beside each pole; ``offset`` is what is added
    to log_prob there. Where there is no mass, offset is −inf and x stands elsewhere: gradients are safe.
    """

    panels: Panels
    pieces: Panels
    peak: Tensor
    x: Tensor
    offset: Tensor
    log_r: Tensor  # (3, pieces, batch)
    first: Tensor  # the lowest and highest number inside the support
    last: Tensor


class Masses(NamedTuple):
    """Integrals of exp(log_prob − peak) over panels and pieces; differentiable where log_prob is."""

    values: Tensor  # (node, panel, batch), the density in ξ
    panels: Tensor
    errors: Tensor
    pieces: Power

    @property
    def total(self) -> Tensor:
        return self.panels.sum(0) + self.pieces.mass.sum(0)

    @property
    def error(self) -> Tensor:
        """How far the total may be off, in units of it."""
        return (self.errors.sum(0) + self.pieces.error.sum(0)) / self.total


class Table(NamedTuple):
    r"""The CDFs of a batch of laws on their panels and pieces, from left to right.

    ``fields`` has one column per law and panel: origin, sign, log width, start, stop and power (NaN but for
    pieces), the probabilities to the left, to the right and inside, then the coefficients of the CDF and of
    the density in ξ, and the CDF on the ladder.
    """

    fields: Tensor  # (field, batch * panels)
    below: Tensor  # (batch, panels), increasing from left to right
    above: Tensor  # (batch, panels), increasing from right to left
    ends: Tensor  # (batch, panels), right ends
    first: Tensor
    last: Tensor


@torch.no_grad()
def meshed(target: Target) -> Mesh:
    """Find the mass of the densities and cut the line into panels that suit it."""
    panels, pieces, peak = laid_out(target)
    beside, log_r, beside_offset = beside_poles(pieces, target.somewhere)
    beside_height = target.log_prob(beside.flatten(0, 1)).unflatten(0, beside.shape[:2])
    power = power_law(beside_height + beside_offset - peak, log_r)
    panels, _, _ = refined(
        target.log_prob, panels, pieces, power, peak, fixed=target.fixed, looseness=target.looseness
    )
    x, height, offset = log_density(target.log_prob, panels)
    x, height, offset = (
        torch.cat([of_panels.flatten(0, 1), of_pieces.flatten(0, 1)])
        for of_panels, of_pieces in ((x, beside), (height, beside_height), (offset, beside_offset))
    )
    offset = torch.where(height + offset - peak > -230, offset - peak, -torch.inf)
    best = x.gather(0, (height + offset).max(0, keepdim=True).indices)
    x = torch.where(offset > -torch.inf, x, best)
    first, last = (torch.nextafter(*ends) for ends in ((target.low, target.high), (target.high, target.low)))
    return Mesh(panels, pieces, peak, x, offset, log_r, first, last)


def masses(log_prob: LogDensity, mesh: Mesh) -> Masses:
    """Integrate the densities over the mesh."""
    log_density = log_prob(mesh.x) + mesh.offset
    size = series.ORDER * len(mesh.panels.start)
    values = log_density[:size].exp().unflatten(0, (series.ORDER, -1))
    pieces = log_density[size:].unflatten(0, mesh.log_r.shape[:2])
    return Masses(values, *measured(values), power_law(pieces, mesh.log_r))


def tabulated(mesh: Mesh, found: Masses) -> Table:
    """Cumulate the masses from both ends, and the series inside the panels."""
    order = torch.cat([mesh.panels.place, mesh.pieces.place]).argsort(0)
    count, batch = order.shape
    total = found.total
    inside = torch.cat([found.panels, found.pieces.mass]).gather(0, order) / total
    before, after = _exclusive(inside), _exclusive(inside.flip(0)).flip(0)

    head = [torch.cat(pair) for pair in zip(mesh.panels[:5], mesh.pieces[:5], strict=True)]
    head.append(torch.cat([torch.full_like(found.panels, torch.nan), found.pieces.power]))
    matrices = np.concatenate([series.ANTIDERIVATIVE, series.COEFFICIENTS, series.LEVELS])
    body = series.apply(matrices, found.values / total)
    body = torch.cat([body, torch.zeros_like(body[:, :1]).expand(-1, count - body.shape[1], -1)], 1)
    fields = torch.cat([torch.stack(head), body]).gather(1, order.expand(len(head) + len(body), -1, -1))
    fields = torch.cat([fields[:6], torch.stack([before, after, inside]), fields[6:]])

    origin, sign, log_width, start, stop = fields[:5].detach()
    ends = origin + sign * distance(log_width, torch.where(sign > 0, stop, start))[0]
    return Table(
        fields.transpose(1, 2).reshape(-1, batch * count).contiguous(),
        before.detach().T.contiguous(),
        after.detach().flip(0).T.contiguous(),
        ends.T.contiguous(),
        mesh.first,
        mesh.last,
    )


def quantile(table: Table, u: Tensor) -> Tensor:
    """Return F⁻¹(u) at u in (0, 1), shape (n, batch), from the nearer end so that tails keep their digits."""
    lower = u <= 0.5
    tail = torch.where(lower, u, 1 - u)
    keys = tail.T.contiguous()
    from_left = torch.searchsorted(table.below, keys).sub(1).clamp(min=0)
    from_right = table.above.shape[1] - torch.searchsorted(table.above, keys).clamp(min=1)
    found = looked_up(table, torch.where(lower, from_left.T, from_right.T))
    origin, sign, log_width, start, stop, power, before, after, inside = found[:HEAD]
    left = torch.where(lower, tail - before, inside - (tail - after))
    right = torch.where(lower, inside - (tail - before), tail - after)
    target = torch.where(sign > 0, left, right)  # the probability between the panel's start and x

    t = (start + stop) / 2 + (stop - start) / 2 * _solved(found, target)
    beside_pole = (log_width + (target / inside).log() / power).exp()
    x = origin + sign * torch.where(power.isnan(), distance(log_width, t)[0], beside_pole)
    return x.maximum(table.first).minimum(table.last)  # where it was rounded to an open end


def tails(table: Table, x: Tensor) -> tuple[Tensor, Tensor]:
    """Return F(x) and 1 − F(x), each to its own relative precision, at x of shape (n, batch)."""
    found = looked_up(table, panel_of(table, x))
    origin, sign, log_width, start, stop, power, before, after, inside = found[:HEAD]
    r = (x - origin).abs()
    xi = (2 * argument(log_width, r) - start - stop) / (stop - start)
    of_panel = series.evaluate(found[_CHEBYSHEV], xi.nan_to_num(0.0).clamp(-1, 1).acos())
    is_panel = power.isnan()
    share = (torch.where(is_panel, 1.0, power) * (r.log() - log_width).clamp(-1e4, 0.0)).exp()
    mass = torch.where(is_panel, of_panel, inside * share)
    rest = inside - mass
    return before + torch.where(sign > 0, mass, rest), after + torch.where(sign > 0, rest, mass)


def _exclusive(probability: Tensor) -> Tensor:
    return torch.cat([torch.zeros_like(probability[:1]), probability.cumsum(0)[:-1]])


def panel_of(table: Table, x: Tensor) -> Tensor:
    """Return which panel x (n, batch) lies in."""
    return torch.searchsorted(table.ends, x.T.contiguous()).clamp(max=table.ends.shape[1] - 1).T


def looked_up(table: Table, panel: Tensor) -> Tensor:
    """Return the fields of panels (n, batch), along a new first dimension."""
    batch, size = table.ends.shape
    index = panel + size * torch.arange(batch, device=panel.device)
    return table.fields.index_select(1, index.flatten()).unflatten(1, panel.shape)


def _solved(found: Tensor, target: Tensor) -> Tensor:
    """Return ξ in [−1, 1] at which the panel's CDF has the target value, by Newton steps inside a bracket."""
    ladder = series.column(series.LADDER, target).expand_as(found[_LADDER])
    reached = (found[_LADDER] <= target).sum(0, keepdim=True).clamp(1, series.ORDER)
    low, high = (ladder.gather(0, reached - side)[0] for side in (1, 0))
    under, over = (found[_LADDER].gather(0, reached - side)[0] for side in (1, 0))
    xi = low + (high - low) * ((target - under) / (over - under)).nan_to_num(0.5).clamp(0, 1)
    for _ in range(_NEWTON_STEPS):
        angle = xi.acos()
        excess = series.evaluate(found[_CHEBYSHEV], angle) - target
        low, high = torch.where(excess <= 0, xi, low), torch.where(excess >= 0, xi, high)
        step = xi - excess / series.evaluate(found[_SLOPE], angle)
        xi = torch.where((step >= low) & (step <= high), step, (low + high) / 2)
    return xi
