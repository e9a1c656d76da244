"""Mean, variance and entropy of densities on the line, by quadrature; NaN where there is none."""

from __future__ import annotations

import torch
from torch import Tensor

from probgen.sampling import series
from probgen.sampling.inversion import Masses, Mesh, masses, remeshed
from probgen.sampling.panels import distance
from probgen.sampling.target import Target

_UNRESOLVED = 1e-8  # of the absolute moment


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
    """Return E (x − c)^power, NaN where E |x − c|^power does not exist or is not found to 1e-8."""

    def weighted(x: Tensor) -> Tensor:
        return target.log_prob(x) + power * (x - centre).abs().log()

    with torch.no_grad():
        size = len(found.values) * len(mesh.panels)
        log_mass = weighted(mesh.x) + torch.where(mesh.offset > -torch.inf, mesh.offset, -torch.inf)
        peak = log_mass[:size].amax(0)
        beside = mesh.panels.take(mesh.pieces)
        fine = remeshed(target._replace(log_prob=weighted), mesh.panels, beside, mesh.peak + peak)
    parts = masses(weighted, fine)
    panels = fine.panels
    r, _ = distance(panels.log_width, (panels.start + panels.stop) / 2)
    sign = (panels.origin + panels.sign * r - centre).sign() ** power
    exists = ~fine.endless & (parts.error.detach() < _UNRESOLVED * target.looseness)
    result = (parts.panels * sign).sum(0) / found.total * peak.exp()
    return torch.where(exists, result, torch.nan)
