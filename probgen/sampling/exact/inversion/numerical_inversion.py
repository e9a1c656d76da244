"""Numerical inversion of densities on the line: integrals, CDFs and quantiles, a batch of laws at a time."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.fx.experimental.proxy_tensor import get_proxy_mode

from probgen.core.density.mapped import is_mapped
from probgen.sampling.exact.inversion import chebyshev_series as series
from probgen.sampling.exact.inversion.ends_poles_modes import far_out, heavy_tail, laid_out
from probgen.sampling.exact.inversion.quadrature_panels import (
    ABSOLUTE,
    LogDensity,
    Panels,
    Power,
    argument,
    beside_poles,
    distance,
    divisible,
    in_chunks,
    log_density,
    pieces,
    power_law,
    refined,
)
from probgen.sampling.exact.inversion.target import Target

_NEWTON_STEPS, _NEAR = 5, 1e-7  # a step so short is the last: its error is a multiple of its square
_HEAD = 10
"""How many of a table's fields are not coefficients."""

_CHEBYSHEV = slice(_HEAD, _HEAD + series.ORDER + 1)
_SLOPE = slice(_CHEBYSHEV.stop, _CHEBYSHEV.stop + series.ORDER)
_LADDER = slice(_SLOPE.stop, _SLOPE.stop + series.ORDER + 1)


class Mesh(NamedTuple):
    """Panels that suit a batch of densities, and where log_prob is looked at; columns are laws.

    ``x`` (n, batch) holds the nodes of the panels, then three x beside each pole; ``offset`` is what is added
    to log_prob there. Where there is no mass, offset is −inf and x stands elsewhere: gradients are safe.
    """

    panels: Panels
    pieces: Tensor  # (segment, batch), which panels are pieces
    peak: Tensor
    x: Tensor
    offset: Tensor
    log_r: Tensor  # (3, segment, batch)
    first: Tensor  # the lowest and highest number inside the support
    last: Tensor
    endless: Tensor  # of which laws the mass goes on beyond the range of float64


class Masses(NamedTuple):
    """Integrals of exp(log_prob − peak) over panels; differentiable where log_prob is."""

    values: Tensor  # (node, panel, batch), the density in ξ, 0 in pieces
    panels: Tensor
    power: Power  # the pieces
    error: Tensor  # of the total, in units of it

    @property
    def total(self) -> Tensor:
        return self.panels.sum(0)


class Table(NamedTuple):
    r"""The CDFs of a batch of laws on their panels and pieces, from left to right.

    ``fields`` has one column per law and panel: origin, sign, log width, start, stop, power and bend (NaN but
    for pieces), the probabilities to the left, to the right and inside, then the coefficients of the CDF and
    of the density in ξ, and the CDF on the ladder.
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
    return remeshed(target, *laid_out(target))


@torch.no_grad()
def remeshed(target: Target, panels: Panels, beside: Panels, peak: Tensor) -> Mesh:
    """Refine panels until they suit the densities; ``beside`` holds those that are pieces."""
    x_beside, log_r, offset_beside = beside_poles(beside, target.somewhere)
    height_beside = target.log_prob(x_beside.flatten(0, 1)).unflatten(0, x_beside.shape[:2])
    power = power_law(height_beside + offset_beside - peak, log_r)
    panels = refined(target.log_prob, panels, power, peak, fixed=target.fixed, looseness=target.looseness)
    nodes = in_chunks(lambda few: torch.cat(log_density(target.log_prob, few)), panels, series.ORDER)
    x, height, offset = (
        torch.cat([of_panels.flatten(0, 1), of_pieces.flatten(0, 1)])
        for of_panels, of_pieces in zip(nodes.chunk(3), (x_beside, height_beside, offset_beside), strict=True)
    )
    offset = torch.where(height + offset - peak > -230, offset - peak, -torch.inf)
    best = x.gather(0, (height + offset).max(0, keepdim=True).indices)
    x = torch.where(offset > -torch.inf, x, best)
    first, last = (torch.nextafter(*ends) for ends in ((target.low, target.high), (target.high, target.low)))
    endless, _ = heavy_tail(far_out(target, target.log_prob, peak), peak)
    return Mesh(panels, pieces(panels, power), peak, x, offset, log_r, first, last, endless)


def split(target: Target, mesh: Mesh, mass: Tensor, again: Tensor) -> Mesh | None:
    """Cut the panels whose mass is not what it is by another quadrature, and refine; None if all agree."""
    panels = mesh.panels
    wrong = (mass - again).abs() > ABSOLUTE * target.looseness * mass.sum(0)
    wrong &= divisible(panels, target.looseness) & (panels.piece == 0)
    index = wrong.any(1).nonzero()
    if len(index) == 0:
        return None
    parents = panels.fields[:, index[:, 0]]
    kept = panels.fields[:, ~wrong.any(1)]
    cut = Panels(torch.cat([kept, Panels(parents).halves().fields], 1))
    return remeshed(target, cut.take(cut.order()), panels.take(mesh.pieces), mesh.peak)


def masses(log_prob: LogDensity, mesh: Mesh) -> Masses:
    """Integrate the densities over the mesh."""
    log_density = log_prob(mesh.x) + mesh.offset
    size = series.ORDER * len(mesh.panels)
    values = log_density[:size].exp().unflatten(0, (series.ORDER, -1))
    power = power_law(log_density[size:].unflatten(0, mesh.log_r.shape[:2]), mesh.log_r)
    mass, *unresolved = series.apply(series.MEASURES, values)[:3]
    mass = mass.scatter(0, mesh.pieces, power.mass)
    error = sum(part.abs().sum(0) for part in unresolved) + power.error.sum(0)
    return Masses(values, mass, power, error / mass.sum(0))


def of_laws(table: Table, first: int, last: int) -> Table:
    """Return the table of some of the laws."""
    panels = table.below.shape[1]
    rows = (field[first:last] for field in table[1:])
    return Table(table.fields[:, first * panels : last * panels], *rows)


def tabulated(mesh: Mesh, found: Masses) -> Table:
    """Cumulate the masses from both ends, and the series inside the panels."""
    panels, total = mesh.panels, found.total
    inside = found.panels / total
    before, after = cumulated(inside)
    power, bend = (
        torch.full_like(inside, torch.nan).scatter(0, mesh.pieces, of_pieces)
        for of_pieces in (found.power.power, _bend(found.power))
    )
    matrices = np.concatenate([series.ANTIDERIVATIVE, series.COEFFICIENTS, series.LEVELS])
    heads = torch.cat([panels.fields[:5], torch.stack([power, bend, before, after, inside])])
    heads, values = (part.transpose(1, 2).flatten(1) for part in (heads, found.values / total))
    fields = torch.cat([heads, series.apply(matrices, values)])

    outer = torch.where(panels.sign > 0, panels.stop, panels.start)
    ends = panels.origin + panels.sign * distance(panels.log_width, outer)[0]
    return Table(
        fields,
        before.detach().T.contiguous(),
        after.detach().flip(0).T.contiguous(),
        ends.T.contiguous(),
        mesh.first,
        mesh.last,
    )


def quantile(table: Table, z: Tensor, *, steps: int = _NEWTON_STEPS) -> Tensor:
    """Return quantiles at signed tail probabilities z (n, batch): u up to ½, u − 1 beyond.

    Without Newton ``steps`` they are right to some hundredths of a panel.
    """
    lower, tail = z > 0, z.abs()
    keys = tail.T.contiguous()
    from_left = _searched(table.below, keys).sub(1).clamp(min=0)
    from_right = table.above.shape[1] - _searched(table.above, keys).clamp(min=1)
    found = looked_up(table.fields, torch.where(lower, from_left.T, from_right.T))
    origin, sign, log_width, start, stop, power, bend, before, after, inside = found[:_HEAD]
    left = torch.where(lower, tail - before, inside - (tail - after))
    right = torch.where(lower, inside - (tail - before), tail - after)
    target = torch.where(sign > 0, left, right)  # the probability between the panel's start and x

    t = (start + stop) / 2 + (stop - start) / 2 * _solved(found, target, steps)
    share = (target / inside).log()  # of the piece: t^power (1 + bend (t − 1)), to first order in bend
    beside_pole = (log_width + (share - bend * (share / power).expm1()) / power).exp()
    x = origin + sign * torch.where(power.isnan(), distance(log_width, t)[0], beside_pole)
    return x.maximum(table.first).minimum(table.last)  # where it was rounded to an open end


def tails(table: Table, x: Tensor) -> tuple[Tensor, Tensor]:
    """Return F(x) and 1 − F(x), each to its own relative precision, at x of shape (n, batch)."""
    found = looked_up(table.fields, panel_of(table, x))
    origin, sign, log_width, start, stop, power, bend, before, after, inside = found[:_HEAD]
    r = (x - origin).abs()
    xi = (2 * argument(log_width, r) - start - stop) / (stop - start)
    of_panel = (found[_CHEBYSHEV] * series.basis(xi.nan_to_num(0.0).clamp(-1, 1))).sum(0)
    is_panel = power.isnan()
    power, bend = torch.where(is_panel, 1.0, power), torch.where(is_panel, 0.0, bend)  # gradients are safe
    log_t = (r.log() - log_width).clamp(-1e4, 0.0)
    of_piece = inside * (power * log_t).exp() * (1 + bend * log_t.expm1())
    mass = torch.where(is_panel, of_panel, of_piece)
    rest = inside - mass
    return before + torch.where(sign > 0, mass, rest), after + torch.where(sign > 0, rest, mass)


def _bend(power: Power) -> Tensor:
    """Return b in the law of the share of a piece, t^power (1 + b (t − 1)), where t is that of its width."""
    return power.bend * power.power / (power.power + 1)


def cumulated(inside: Tensor) -> tuple[Tensor, Tensor]:
    """Return the probabilities to the left and to the right of each panel, each summed from its own end."""
    none = torch.zeros_like(inside[:1])
    before = torch.cat([none, inside.cumsum(0)[:-1]])
    return before, torch.cat([inside.flip(0).cumsum(0)[:-1].flip(0), none])


def panel_of(table: Table, x: Tensor) -> Tensor:
    """Return which panel x (n, batch) lies in."""
    return _searched(table.ends, x.T.contiguous()).clamp(max=table.ends.shape[1] - 1).T


def _searched(table: Tensor, keys: Tensor) -> Tensor:
    """Return where keys (batch, n) fall in a sorted table (batch, m)."""
    if is_mapped(table, keys):  # torch.vmap expands one that is not mapped, which searchsorted then copies
        table, keys = (
            one + torch.zeros_like(other.sum(1, keepdim=True))
            for one, other in ((table, keys), (keys, table))
        )
    return torch.searchsorted(table, keys)


def looked_up(fields: Tensor, panel: Tensor) -> Tensor:
    """Return the fields (field, batch * panels) of panels (n, batch), along a new first dimension."""
    batch = panel.shape[1]
    index = panel + fields.shape[1] // batch * torch.arange(batch, device=panel.device)
    return fields.index_select(1, index.flatten()).unflatten(1, panel.shape)


def _solved(found: Tensor, target: Tensor, steps: int) -> Tensor:
    """Return ξ in [−1, 1] at which the panel's CDF has the target value, by Newton steps inside a bracket."""
    ladder = series.column(series.LADDER, target).expand_as(found[_LADDER])
    reached = (found[_LADDER] <= target).sum(0, keepdim=True).clamp(1, series.ORDER)
    low, high = (ladder.gather(0, reached - side)[0] for side in (1, 0))
    under, over = (found[_LADDER].gather(0, reached - side)[0] for side in (1, 0))
    xi = low + (high - low) * ((target - under) / (over - under)).nan_to_num(0.5).clamp(0, 1)
    may_ask = target.device.type == "cpu" and get_proxy_mode() is None and not is_mapped(target, found)
    for _ in range(steps):
        basis = series.basis(xi)
        excess = (found[_CHEBYSHEV] * basis).sum(0) - target
        low, high = torch.where(excess <= 0, xi, low), torch.where(excess >= 0, xi, high)
        step = xi - excess / (found[_SLOPE] * basis[:-1]).sum(0)
        last, xi = xi, torch.where((step >= low) & (step <= high), step, (low + high) / 2)
        if may_ask and ((xi - last).abs() < _NEAR).all():
            break
    return xi
