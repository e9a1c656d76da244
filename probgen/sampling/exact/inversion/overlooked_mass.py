"""Checks that a density on the line can be integrated, and a search for what its panels overlooked."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from probgen.sampling.exact.inversion import chebyshev_series as series
from probgen.sampling.exact.inversion.ends_poles_modes import LOG_TAIL, far_out, heavy_tail
from probgen.sampling.exact.inversion.numerical_inversion import Masses, Mesh
from probgen.sampling.exact.inversion.quadrature_panels import LogDensity, argument, distance, places
from probgen.sampling.exact.inversion.target import Target, zoomed
from probgen.sampling.exact.verification import first

_POINTS, _LEAST_POINTS = 2**20, 2**11  # in all, and for each law
_HEAVY, _RUN = 16, 2**6
_TOGETHER = 2**9 - 2**3  # runs, whose points are too few for torch to share among threads: that costs more
_WITHIN = np.arange(_RUN) + 0.5
_LOOKS = 8
_BEND, _GAP = 1e-6, 1e-6
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


@torch.no_grad()
def overlooked(target: Target, mesh: Mesh, found: Masses) -> Tensor | None:
    """Look for features too narrow for the panels: a place for each law, NaN where none is, or None at all.

    For a single law 2¹⁶ points are laid in each of the sixteen panels that hold most; in a batch fewer, 2⁷ at
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
    gap = _gap(target, mesh, found, panel.repeat(3, 1), x)
    wrong, most = torch.where(gap.abs() > _GAP * target.looseness, sharpest.repeat(3, 1), 0.0).max(
        0, keepdim=True
    )
    if not (wrong > 0).any():
        return None
    x, width, sign = x.gather(0, most), width.repeat(3, 1).gather(0, most), gap.gather(0, most).sign()
    x, width = torch.where(wrong > 0, x, target.somewhere), torch.where(wrong > 0, width, 0.0)
    place, _ = zoomed(lambda x: sign * target.log_prob(x), x - width, x + width)
    return torch.where(wrong > 0, place, torch.nan)[0]


def _bend(target: Target, low: Tensor, width: Tensor) -> Tensor:
    """Return how much log_prob bends at each of the points of runs, along a new first dimension.

    It is NaN beside −inf.
    """
    x = torch.addcmul(low, width, series.column(_WITHIN, width))
    height = target.log_prob(x.flatten(0, 1)).unflatten(0, x.shape[:2])
    return (height[2:] + height[:-2]).sub_(height[1:-1], alpha=2).abs_()


def _gap(target: Target, mesh: Mesh, found: Masses, panel: Tensor, x: Tensor) -> Tensor:
    """Return how far the density at x, in a panel, is from the panel's series, in units of either."""
    panels = mesh.panels.take(panel)
    t = argument(panels.log_width, (x - panels.origin).abs())
    xi = ((2 * t - panels.start - panels.stop) / (panels.stop - panels.start)).nan_to_num(0.0).clamp(-1, 1)
    coefficients = series.apply(series.COEFFICIENTS, found.values)
    coefficients = coefficients.gather(1, panel.expand(series.ORDER, -1, -1))
    expected = (coefficients * series.basis(xi)[:-1]).sum(0)
    log_scale = distance(panels.log_width, t)[1].log() + ((panels.stop - panels.start) / 2).log()
    actual = (target.log_prob(x) + log_scale - mesh.peak).exp()
    return ((actual - expected) / torch.maximum(actual, expected.abs())).nan_to_num(0.0)
