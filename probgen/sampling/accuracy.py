"""What a numerical inversion is worth: an independent quadrature, and a search for what it overlooked."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from numpy.polynomial import chebyshev
from torch import Tensor

from probgen.sampling import series
from probgen.sampling.inversion import HEAD, Masses, Mesh, Table, looked_up, panel_of, quantile, tabulated
from probgen.sampling.landmarks import Target, zoomed
from probgen.sampling.panels import LogDensity, Panels, Power, argument, distance
from probgen.sampling.verification import first

_POINTS, _LEAST_POINTS, _HEAVY = 2**18, 2**12, 8
_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(20)
_LOG_TAIL = -28.0  # of what may lie beyond the range of float64, against the total
_CUT = 0.382  # panels are cut in two, unequally, to be integrated again
_SHARES = np.concatenate([_CUT * (_NODES + 1) / 2, _CUT + (1 - _CUT) * (_NODES + 1) / 2])
_SHARE_WEIGHTS = np.concatenate([_CUT * _WEIGHTS / 2, (1 - _CUT) * _WEIGHTS / 2])
_SLOPES = np.zeros((len(_SHARES), len(_SHARES)))  # from values at the shares to derivatives in the share
for _half, _length in ((slice(0, 20), _CUT), (slice(20, 40), 1 - _CUT)):
    _SLOPES[_half, _half] = series.derivative(_NODES) * 2 / _length


class Errors(NamedTuple):
    """The errors of the worst law: see InverseReport."""

    u: float
    worst_u: float
    worst_x: float
    x: float
    normaliser: float


@torch.no_grad()
def check_mass(target: Target, mesh: Mesh, pieces: Power, log_prob: LogDensity) -> None:
    """Raise where a density is zero everywhere or cannot be integrated; ``log_prob`` is NaN as given."""
    empty = mesh.peak == -torch.inf
    if empty.any():
        raise ValueError(
            f"log_prob should be above -inf somewhere but is -inf wherever it was looked at between "
            f"{first(target.low, empty)} and {first(target.high, empty)}; name a place with mass by points="
        )
    far = torch.as_tensor(10.0 ** np.arange(12, 300, 6), device=mesh.peak.device)[:, None]
    for sign, end in ((-1, target.low), (1, target.high)):
        x = torch.where(end.isinf(), sign * far, target.somewhere)
        height = log_prob(x)
        heavy = (height + far.log() - mesh.peak > _LOG_TAIL) & end.isinf()
        if heavy[far[:, 0] > 1e140].any():
            raise ValueError(
                f"log_prob should be integrable but falls too slowly towards {sign * torch.inf}: "
                f"there is mass beyond x = {sign * 1e140:.0e}"
            )
        fails = heavy[:-1] & height[1:].isnan()
        if fails.any():
            raise ValueError(f"log_prob should be a number but is nan at x = {first(x[1:], fails)}")
    steep = (pieces.mass != 0) & (pieces.power < 1e-3)
    if steep.any():
        power = first(pieces.power, steep) - 1
        raise ValueError(
            f"log_prob should be integrable but the density grows like |x - a|^({power:.4g}) "
            f"at a = {first(mesh.pieces.origin, steep)}"
        )


@torch.no_grad()
def overlooked(target: Target, mesh: Mesh, found: Masses) -> Tensor:
    """Look for narrow features that the panels' series do not have; return a place for each law, or NaN.

    For a single law 2¹⁵ points are laid in each of the eight panels that hold most (in a batch fewer, 2⁹ at
    least), and fewer in the others.
    """
    batch = mesh.x.shape[1]
    points = max(_LEAST_POINTS, _POINTS // batch)
    heavy = found.panels.topk(min(_HEAVY, len(found.panels)), 0).indices
    everywhere = torch.arange(len(found.panels), device=heavy.device)[:, None].expand(-1, batch)
    worst, low, high, sign = (torch.full_like(mesh.peak, value) for value in (1.0, 0.0, 0.0, torch.nan))
    for index, count in ((heavy, points // _HEAVY), (everywhere, max(32, points // 2**11))):
        panels, mass = mesh.panels.take(index), found.panels.gather(0, index)
        shares = (np.arange(count) + 0.5) / count
        matrix = chebyshev.chebvander(2 * shares - 1, series.ORDER - 1) @ series.COEFFICIENTS
        expected = 2 * series.apply(matrix, found.values.gather(1, index.expand(len(found.values), -1, -1)))
        x, density = _density(target, mesh, panels, shares)
        gap = density - expected
        spacing = torch.nextafter(x, torch.full_like(x, torch.inf)) - x
        rounding = density.diff(dim=0).abs() / x.diff(dim=0).abs() * spacing[1:]
        rounding = torch.cat([rounding[:1], rounding]).nan_to_num(torch.inf, torch.inf)
        sure = torch.where(mass > 1e-4 * found.total, 1e-6 * mass, torch.inf)
        missed = (
            (gap.abs() - rounding).clamp(min=0)
            / torch.minimum(sure, 1e-11 * found.total * count)
            / target.looseness
        )
        most, where = missed.flatten(0, 1).max(0, keepdim=True)
        x = x.flatten(0, 1)
        step = len(index)  # the neighbours inside the panel are so far away in the flattened points
        around = torch.stack([x.gather(0, (where + side * step).clamp(0, len(x) - 1))[0] for side in (-1, 1)])
        is_worse = most[0] > worst
        worst = torch.where(is_worse, most[0], worst)
        low, high = torch.where(is_worse, around.amin(0), low), torch.where(is_worse, around.amax(0), high)
        sign = torch.where(is_worse, gap.flatten(0, 1).gather(0, where)[0].sign(), sign)
    if sign.isnan().all():
        return sign
    low, high = (torch.where(sign.isnan(), target.somewhere, end)[None] for end in (low, high))
    place, _ = zoomed(lambda x: sign.nan_to_num(1.0) * target.log_prob(x), low, high, rounds=16)
    return torch.where(sign.isnan(), torch.nan, place[0])


@torch.no_grad()
def measured(target: Target, mesh: Mesh, found: Masses, table: Table) -> Errors:
    """Compare quantiles with the CDF by other nodes on other panels.

    A quantile counts as right where u lies between the CDF at the float64 numbers below and above it.
    """
    _, density = _density(target, mesh, mesh.panels, _SHARES)
    again = found._replace(panels=(density * series.column(_SHARE_WEIGHTS, found.panels)).sum(0))
    u = _levels(mesh.peak)
    lower = u <= 0.5
    tail = torch.where(lower, u, 1 - u)
    x = quantile(table, u)
    below, above, f = _independent(target, mesh, again, x)

    before, after = (torch.nextafter(x, torch.full_like(x, end)) for end in (-torch.inf, torch.inf))
    slack_below = torch.where(before <= target.low, below, f * (x - before))
    slack_above = torch.where(after >= target.high, above, f * (after - x))
    over = torch.where(lower, below - tail, tail - above)  # F(x) − u
    error = torch.maximum(over - slack_below, -over - slack_above).clamp(min=0)
    median = quantile(table, torch.full_like(u[:1], 0.5))
    x_error = error / (f * (x - median).abs()) * (tail < 0.01) * (tail > 2.0**-52)
    normaliser = (again.total / found.total - 1).abs() + found.pieces.error.sum(0) / found.total
    worst = error.nan_to_num(torch.inf).argmax()
    return Errors(
        float(error.flatten()[worst]),
        float(u.flatten()[worst]),
        float(x.flatten()[worst]),
        float(x_error.nan_to_num(0.0).max()),
        float(normaliser.max()),
    )


def _independent(target: Target, mesh: Mesh, again: Masses, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return F(x), 1 − F(x) and the density at x."""
    table = tabulated(mesh, again)
    fields = looked_up(table, panel_of(table, x))
    origin, sign, log_width, start, _, power, before, after, inside = fields[:HEAD]
    r = (x - origin).abs()
    length = argument(log_width, r) - start
    t = start + length * series.column((_NODES + 1) / 2, x)
    r_nodes, log_slope = distance(log_width, t)
    is_panel = power.isnan()
    nodes = torch.where(is_panel, origin + sign * r_nodes, target.somewhere)
    height = target.log_prob(nodes.flatten(0, 1)).unflatten(0, nodes.shape[:2]) + log_slope - mesh.peak
    part = (height.exp() * series.column(_WEIGHTS / 2, x)).sum(0) * length / again.total
    beside_pole = inside * ((r.log() - log_width) * power).exp()
    part = torch.where(is_panel, part, beside_pole)
    f = (target.log_prob(x) - mesh.peak).exp() / again.total
    rest = inside - part
    return before + torch.where(sign > 0, part, rest), after + torch.where(sign > 0, rest, part), f


def _levels(like: Tensor) -> Tensor:
    """Return u for each law: two an octave in both tails, and 63 evenly between."""
    tail = torch.as_tensor(0.4999 * 2.0 ** -np.arange(0, 51.5, 0.5), device=like.device)
    even = torch.as_tensor(np.arange(1, 64) / 64 - 1 / 137, device=like.device)
    return torch.cat([tail, even, 1 - tail])[:, None].expand(-1, len(like))


def _density(target: Target, mesh: Mesh, panels: Panels, shares: np.ndarray) -> tuple[Tensor, Tensor]:
    """Return x at shares of the panels' t, along a new first dimension, and the density in the share."""
    length = panels.stop - panels.start
    t = panels.start + length * series.column(shares, length)
    r, log_slope = distance(panels.log_width, t)
    x = panels.origin + panels.sign * r
    height = target.log_prob(x.flatten(0, 1)).unflatten(0, x.shape[:2])
    log_scale = log_slope + length.log()
    if shares is _SHARES:
        rounding = (r - (x - panels.origin).abs()) * (-log_scale).exp()
        repair = series.apply(_SLOPES, height) * rounding
        height = height + torch.where(repair.abs() < 0.1, repair, 0.0)
    return x, (height + log_scale - mesh.peak).exp()
