"""Mean, variance and entropy of densities on the line, by quadrature; NaN where there is none."""

from __future__ import annotations

from math import comb

import torch
from torch import Tensor

from probgen.sampling.exact.inversion import chebyshev_series as series
from probgen.sampling.exact.inversion.numerical_inversion import Masses, Mesh, remeshed
from probgen.sampling.exact.inversion.quadrature_panels import distance
from probgen.sampling.exact.inversion.target import Target
from probgen.sampling.exact.verification import first

_UNRESOLVED = 1e-8  # of the absolute moment
_VAGUE = 1e-6  # of it: what the cautious estimate of the error beside poles may be


def mean(target: Target, mesh: Mesh, found: Masses) -> Tensor:
    """Return the means of the laws, with gradients."""
    centre = _centre(mesh, found)
    return centre + _moment(target, mesh, found, 1, centre)


def variance(target: Target, mesh: Mesh, found: Masses) -> Tensor:
    """Return the variances of the laws, with gradients."""
    centre = _centre(mesh, found)
    return _moment(target, mesh, found, 2, centre) - _moment(target, mesh, found, 1, centre).square()


def entropy(target: Target, mesh: Mesh, found: Masses) -> Tensor:
    """Return −E log p, in nats, with gradients: log Z less the mean of log_prob."""
    height = torch.where(mesh.offset > -torch.inf, target.log_prob(mesh.x), 0.0) - mesh.peak
    size = len(found.values) * len(mesh.panels)
    weights = found.values * series.column(series.WEIGHTS, found.values[0])
    inside = (weights.flatten(0, 1) * height[:size]).sum(0)
    # in a piece, log p = log p(w) + (power - 1) log(r / w), and -log(r / w) is exponential with rate power
    power = found.power
    beside = power.mass * (height[size : size + len(power.mass)] - (power.power - 1) / power.power)
    return found.total.log() - (inside + beside.sum(0)) / found.total


def _centre(mesh: Mesh, found: Masses) -> Tensor:
    """Return the origin of the panel that holds most: no panel lies on both of its sides."""
    return mesh.panels.origin.gather(0, found.panels.detach().argmax(0, keepdim=True))[0]


def _moment(target: Target, mesh: Mesh, found: Masses, power: int, centre: Tensor) -> Tensor:
    """Return E (x − c)^power, NaN where there is none; raise where it is not known.

    It is known to 1e-8 of E |x − c|^power, or to what a step to the next float64 number makes of it.
    """

    def weighted(x: Tensor) -> Tensor:
        return target.log_prob(x) + power * (x - centre).abs().log()

    with torch.no_grad():
        size = len(found.values) * len(mesh.panels)
        log_mass = weighted(mesh.x) + torch.where(mesh.offset > -torch.inf, mesh.offset, -torch.inf)
        peak = log_mass[:size].amax(0)
        beside = mesh.panels.take(mesh.pieces)
        fine = remeshed(target._replace(log_prob=weighted), mesh.panels, beside, mesh.peak + peak)
    panels = fine.panels
    values = (weighted(fine.x) + fine.offset)[: len(found.values) * len(panels)].exp()  # 0 in pieces
    mass, *unresolved = series.apply(series.MEASURES, values.unflatten(0, (len(found.values), -1)))[:3]
    of_pieces = _moments_beside_poles(target, mesh, found, power, centre) * (-peak).exp()
    with torch.no_grad():
        vague = (found.power.error / found.power.mass).nan_to_num(0.0) * of_pieces.abs()
        error = sum(part.abs().sum(0) for part in unresolved) + vague.sum(0) * (_UNRESOLVED / _VAGUE)
        absolute = mass.sum(0) + of_pieces.abs().sum(0)
        error, scale = error / absolute, (absolute / found.total * peak.exp()) ** (1 / power)
        room = _UNRESOLVED * target.looseness + power * 2.0**-52 * centre.abs() / scale
        unknown = ~fine.endless & ~(error <= room)
        if not target.fixed and unknown.any():
            raise ValueError(
                f"the moment of order {power} should be found to {_UNRESOLVED:.0e} but is known only to "
                f"{first(error, unknown):.1g} of the absolute one; "
                f"{target.way_out('where log_prob has a pole, a kink or a spike, name the place by points=')}"
            )
    r, _ = distance(panels.log_width, (panels.start + panels.stop) / 2)
    sign = (panels.origin + panels.sign * r - centre).sign() ** power
    result = ((mass * sign).sum(0) + of_pieces.sum(0)) / found.total * peak.exp()
    return torch.where(fine.endless | unknown, torch.nan, result)


def _moments_beside_poles(target: Target, mesh: Mesh, found: Masses, power: int, centre: Tensor) -> Tensor:
    """Return the integral of (x − c)^power in each piece, (segment, batch), in units of exp(peak).

    There r f(r) = h (r / w)^p ((1 − b) + b r / w), so that rʲ has the integral h wʲ ((1 − b) / (p + j) +
    b / (p + j + 1)), of which the first is the mass.
    """
    fitted, beside = found.power, mesh.panels.take(mesh.pieces)
    size, is_pole = len(found.values) * len(mesh.panels), fitted.mass.detach() != 0
    rows = slice(size, size + len(fitted.mass))
    h = (target.log_prob(mesh.x[rows]) + torch.where(is_pole, mesh.offset[rows], 0.0)).exp()
    p, h = torch.where(is_pole, fitted.power, 1.0), torch.where(is_pole, h, 1.0)
    bend = torch.where(is_pole, (1 - fitted.mass * p / h) * (p + 1), 0.0)
    away, w = beside.origin - centre, mesh.log_r[0].exp()
    result = away**power * fitted.mass
    for j in range(1, power + 1):
        of_r = h * w**j * ((1 - bend) / (p + j) + bend / (p + j + 1))
        result = result + comb(power, j) * away ** (power - j) * beside.sign**j * of_r
    return torch.where(is_pole, result, 0.0)
