"""Targets that are mixtures of equal round Gaussians, over points or along curves."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pyro.distributions as dist
import torch
from torch import Tensor
from torch.special import ndtr

from probgen.data.targets.base import Target, normals

Centre = Callable[[int, torch.Generator | None, torch.dtype, torch.device], Tensor]


class RoundMixture:
    """The law of C + scale Z, with Z standard normal in the plane and C on ``centres`` with ``weights``.

    Where C moves along a curve, centres and weights are the nodes of a quadrature rule for it: the mean of a
    Gaussian over the curve converges geometrically once the nodes are closer than the Gaussian is wide.
    """

    def __init__(self, centres: Tensor, weights: Tensor, scale: float) -> None:
        self.centres, self.weights, self.scale = centres, weights, scale

    def log_prob(self, x: Tensor) -> Tensor:
        parts = self._log_parts(x[..., 0], 0) - 0.5 * self._standardised(x[..., 1], 1) ** 2
        return parts.logsumexp(-1) - math.log(2 * math.pi * self.scale**2)

    def cdf0(self, x0: Tensor) -> Tensor:
        return ndtr(self._standardised(x0, 0)) @ self.weights.to(x0)

    def cdf1(self, x1: Tensor, x0: Tensor) -> Tensor:
        responsibilities = self._log_parts(x0, 0).softmax(-1)
        return (responsibilities * ndtr(self._standardised(x1, 1))).sum(-1)

    def widened(self, dtype: torch.dtype, device: torch.device) -> dist.TorchDistribution:
        """Return the same mixture with √2 times the scale: each part, so the whole, is at least half of p."""
        centres = self.centres.to(device=device, dtype=dtype)
        weights = dist.Categorical(probs=self.weights.to(device=device, dtype=dtype))
        return dist.MixtureSameFamily(weights, dist.Normal(centres, math.sqrt(2) * self.scale).to_event(1))

    def target(self, name: str, what: str, centre: Centre, *, separate: bool) -> Target:
        def draw(
            n: int, generator: torch.Generator | None, dtype: torch.dtype, device: torch.device
        ) -> Tensor:
            place = centre(n, generator, dtype, device)
            return place + self.scale * normals(n, generator, dtype, device)

        return Target(
            name=name,
            version="1",
            what=what,
            log_prob=self.log_prob,
            conditional_cdfs=(self.cdf0, self.cdf1),
            log_bound=math.log(2) + 1e-4,
            draw=draw,
            propose=self.widened,
            modes=self.centres if separate else None,
            mode_scale=self.scale if separate else None,
        )

    def _standardised(self, x: Tensor, coordinate: int) -> Tensor:
        return (x.unsqueeze(-1) - self.centres[:, coordinate].to(x)) / self.scale

    def _log_parts(self, x: Tensor, coordinate: int) -> Tensor:
        return self.weights.log().to(x) - 0.5 * self._standardised(x, coordinate) ** 2


def ring() -> Target:
    """Eight Gaussians on a ring, version 1: that of WGAN-GP (Gulrajani et al., 2017).

    Radius 2, standard deviation 0.02, both divided by 1.414. (PacGAN's has radius 1 and 0.01, FFJORD's
    4 and 0.5, divided by 1.414: other laws under the same name.)
    """
    angle = torch.arange(8, dtype=torch.float64) * (math.pi / 4)
    centres = 2 / 1.414 * torch.stack([angle.cos(), angle.sin()], -1)
    return _modes("ring", "8 narrow Gaussians on a circle", centres, 0.02 / 1.414)


def grid() -> Target:
    """Twenty-five Gaussians on the grid {-4, -2, 0, 2, 4}², version 1: standard deviation 0.05 (PacGAN)."""
    side = torch.arange(-4, 5, 2, dtype=torch.float64)
    return _modes("grid", "25 narrow Gaussians on a grid", torch.cartesian_prod(side, side), 0.05)


def two_moons() -> Target:
    """Two half circles, version 1: scikit-learn's ``make_moons`` with noise 0.1 and the arc uniform.

    With T ~ U(0, π), a point is (cos T, sin T) or (1 - cos T, 1/2 - sin T), half of them each, plus
    N(0, 0.1²). The density is a Gauss-Legendre sum over T with 160 nodes, exact to
    1e-9 relative in [-6, 6]².
    """

    def arcs(t: Tensor) -> tuple[Tensor, Tensor]:
        upper = torch.stack([t.cos(), t.sin()], -1)
        return upper, torch.tensor([1.0, 0.5]).to(t) - upper

    t, weights = _legendre(160, 0, math.pi)

    def centre(n: int, generator: torch.Generator | None, dtype: torch.dtype, device: torch.device) -> Tensor:
        t = math.pi * _uniform(n, generator, dtype, device)
        upper, lower = arcs(t)
        return torch.where(_uniform(n, generator, dtype, device)[:, None] < 0.5, upper, lower)

    law = RoundMixture(torch.cat(arcs(t)), weights.repeat(2) / 2, 0.1)
    return law.target("two-moons", "two interleaved half circles with noise 0.1", centre, separate=False)


def swiss_roll() -> Target:
    """A spiral, version 1 (as in FFJORD): scikit-learn's ``make_swiss_roll`` seen from above, divided by 5.

    With T ~ U(1.5 π, 4.5 π), a point is (T cos T, T sin T) plus N(0, 1), all divided by 5. The density is a
    Gauss-Legendre sum over T with 352 nodes, exact to 1e-9 relative in [-6, 6]².
    """

    def spiral(t: Tensor) -> Tensor:
        return torch.stack([t * t.cos(), t * t.sin()], -1) / 5

    t, weights = _legendre(352, 1.5 * math.pi, 4.5 * math.pi)

    def centre(n: int, generator: torch.Generator | None, dtype: torch.dtype, device: torch.device) -> Tensor:
        return spiral(1.5 * math.pi * (1 + 2 * _uniform(n, generator, dtype, device)))

    law = RoundMixture(spiral(t), weights, 0.2)
    return law.target("swiss-roll", "a spiral of one and a half turns with noise 0.2", centre, separate=False)


def _modes(name: str, what: str, centres: Tensor, scale: float) -> Target:
    def centre(n: int, generator: torch.Generator | None, dtype: torch.dtype, device: torch.device) -> Tensor:
        source = device if generator is None else generator.device
        which = torch.randint(len(centres), (n,), generator=generator, device=source)
        return centres.to(source)[which].to(device=device, dtype=dtype)

    weights = torch.full((len(centres),), 1 / len(centres), dtype=torch.float64)
    return RoundMixture(centres, weights, scale).target(name, what, centre, separate=True)


def _legendre(nodes: int, low: float, high: float) -> tuple[Tensor, Tensor]:
    node, weight = np.polynomial.legendre.leggauss(nodes)
    return torch.as_tensor(low + (high - low) * (node + 1) / 2), torch.as_tensor(weight / 2)


def _uniform(n: int, generator: torch.Generator | None, dtype: torch.dtype, device: torch.device) -> Tensor:
    source = device if generator is None else generator.device
    return torch.rand(n, generator=generator, dtype=dtype, device=source).to(device)
