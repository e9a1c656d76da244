"""What a numerical inversion is worth, by a second quadrature."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from probgen.sampling.exact.inversion import chebyshev_series as series
from probgen.sampling.exact.inversion.numerical_inversion import (
    Masses,
    Mesh,
    Table,
    cumulated,
    looked_up,
    panel_of,
    quantile,
)
from probgen.sampling.exact.inversion.quadrature_panels import (
    Panels,
    argument,
    distance,
    in_chunks,
    log_density,
)
from probgen.sampling.exact.inversion.target import Target

_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(13)
_SLOPES = series.derivative(_NODES)
_CUT = 0.382  # panels are cut in two, unequally, to be integrated again


class Errors(NamedTuple):
    """The errors of the worst law: see InverseReport."""

    u: float
    worst_u: float
    worst_x: float
    x: float
    normaliser: float


@torch.no_grad()
def integrated_again(target: Target, mesh: Mesh, found: Masses) -> Masses:
    """Return the masses of the panels by other nodes on other panels; those of the pieces are as found."""
    panels = mesh.panels
    halves = panels.cut(panels.start + _CUT * (panels.stop - panels.start))
    both = Panels(torch.cat([half.fields for half in halves], 1))
    mass = sum(_integrated(target, mesh, both).chunk(2))
    return found._replace(panels=torch.where(panels.piece > 0, found.panels, mass))


@torch.no_grad()
def measured(target: Target, mesh: Mesh, found: Masses, again: Masses, table: Table) -> Errors:
    """Compare quantiles with the CDF by the masses as integrated again.

    A quantile counts as right where u lies between the CDF at the float64 numbers below and above it.
    """
    z = _levels(mesh.peak)
    lower, tail = z > 0, z.abs()
    median = quantile(table, torch.cat([z, torch.full_like(z[:1], 0.5)]))
    x, median = median[:-1], median[-1]
    bend, unfitted = _of_poles(target, mesh, found)
    below, above, f, width = _independent(target, mesh, again, table, x, bend)

    before, after = (torch.nextafter(x, torch.full_like(x, end)) for end in (-torch.inf, torch.inf))
    slack_below = torch.where(before <= target.low, below, f * (x - before))
    slack_above = torch.where(after >= target.high, above, f * (after - x))
    over = torch.where(lower, below - tail, tail - above)  # F(x) − u
    error = torch.maximum(over - slack_below, -over - slack_above).clamp(min=0)
    x_error = torch.where(f > 0, error / f, width) / (x - median).abs() * (tail < 0.01)
    normaliser = (again.total / found.total - 1).abs() + unfitted / found.total
    worst = error.nan_to_num(torch.inf).argmax()
    return Errors(
        float(error.flatten()[worst]),
        float(torch.where(lower, z, 1 + z).flatten()[worst]),
        float(x.flatten()[worst]),
        float(x_error.nan_to_num(0.0).max()),
        float(normaliser.max()),
    )


def _integrated(target: Target, mesh: Mesh, panels: Panels) -> Tensor:
    """Integrate the densities over panels by another rule than that of the mesh."""

    def of_few(panels: Panels) -> Tensor:
        _, height, offset = log_density(target.log_prob, panels, _NODES, _SLOPES)
        return series.apply(_WEIGHTS[None], (height + offset - mesh.peak).exp())

    return in_chunks(of_few, panels, len(_NODES))[0]


def _of_poles(target: Target, mesh: Mesh, found: Masses) -> tuple[Tensor, Tensor]:
    """Return the bend c w of the law C r^(power − 1) (1 + c r) in each panel, and how far the masses are off.

    The law was fitted from w outwards; it is held against integrals over three octaves below w.
    """
    beside, power, mass = mesh.panels.take(mesh.pieces), found.power.power, found.power.mass
    is_pole = mass != 0
    if not is_pole.any():
        return torch.zeros_like(found.panels), torch.zeros_like(found.total)
    x = torch.where(is_pole, beside.origin + beside.sign * beside.log_width.exp(), target.somewhere)
    height = (target.log_prob(x) + beside.log_width - mesh.peak).exp()
    bend = torch.where(is_pole, (1 - mass * power / height) * (power + 1), 0.0)
    actual, fitted = torch.zeros_like(mass), torch.zeros_like(mass)
    for octave in range(3):
        share = torch.full_like(mass, 0.5**octave)
        start, stop = (share / 2).asinh(), share.asinh()
        part = [beside.origin, beside.sign, beside.log_width, start, stop, start, (~is_pole).to(mass.dtype)]
        actual += _integrated(target, mesh, Panels(torch.stack(part)))
        for side, r in ((1, share), (-1, share / 2)):
            fitted += side * height * r**power * ((1 - bend) / power + bend * r / (power + 1))
    error = torch.where(is_pole, mass.abs() * (actual / fitted - 1).abs(), 0.0)
    return torch.zeros_like(found.panels).scatter(0, mesh.pieces, bend), error.sum(0)


def _independent(
    target: Target, mesh: Mesh, again: Masses, table: Table, x: Tensor, bend: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return F(x), 1 − F(x), the density at x, and how wide the panel is."""
    panel = panel_of(table, x)
    origin, sign, log_width, start, end, power = looked_up(table.fields[:6], panel)
    probability = again.panels / again.total
    before, after, inside = (levels.gather(0, panel) for levels in (*cumulated(probability), probability))
    is_panel, r = power.isnan(), (x - origin).abs()
    stop = argument(log_width, r).maximum(start)
    part = Panels(torch.stack([origin, sign, log_width, start, stop, start, (~is_panel).to(r.dtype)]))
    of_panel = _integrated(target, mesh, part) / again.total
    log_share, bent = r.log() - log_width, bend.gather(0, panel) * power / (power + 1)
    of_piece = inside * (log_share * power).exp() * (1 + bent * log_share.exp()) / (1 + bent)
    mass = torch.where(is_panel, of_panel, of_piece)
    rest = inside - mass
    f = (target.log_prob(x) - mesh.peak).exp() / again.total
    width = distance(log_width, end)[0] - distance(log_width, start)[0]
    return before + torch.where(sign > 0, mass, rest), after + torch.where(sign > 0, rest, mass), f, width


def _levels(like: Tensor) -> Tensor:
    """Return signed tail probabilities for each law: one an octave in both tails, and 31 evenly between.

    In a batch of 64 laws or more, half as many.
    """
    step = 1 if len(like) < 64 else 2
    tail = torch.as_tensor(0.4999 * 2.0 ** -np.arange(0.0, 52.0, step), device=like.device)
    even = torch.as_tensor(np.arange(1, 32, step) / 32 - 0.507, device=like.device)
    return torch.cat([tail, even, -tail])[:, None].expand(-1, len(like))
