"""Principal components as a linear autoencoder with a normal law of its codes."""

from __future__ import annotations

from typing import NamedTuple

import torch
from pyro.distributions import Delta
from torch import Tensor
from torch.distributions import Distribution, LowRankMultivariateNormal

from probgen.cli.classical import EM_ROWS, as_images, dequantised, dequantised_log_prob
from probgen.compare import Fitted, Method
from probgen.core import seeded
from probgen.recipes import Task


class Plane(NamedTuple):
    """The plane of the first principal components: a point of it (d) and its directions (d, size)."""

    centre: Tensor
    axes: Tensor

    def encode(self, x: Tensor, *context: Tensor) -> Distribution:
        return Delta((x - self.centre) @ self.axes, event_dim=1)

    def decode(self, z: Tensor, *context: Tensor) -> Distribution:
        return Delta(self.centre + z @ self.axes.T, event_dim=1)


def principal_components(task: Task) -> Method:
    r"""Principal components, as many as a VAE of the task has coordinates, and a normal law.

    x = μ + W z + ε, z ~ N(0, I), ε ~ N(0, σ² I): with variances λ_1 ≥ λ_2 ≥ ... of the components the
    likelihood is largest where W_j = √(λ_j − σ²) u_j and σ² is the mean of the λ_j that are left out. It is
    fitted to dequantised pictures; its codes are the projections of pictures as they are.

    Source: Tipping and Bishop (1999), Probabilistic principal component analysis.
    """
    levels, size = task.levels, task.sizes.latent

    def fit(train: Tensor, seed: int) -> Fitted:
        y = dequantised(train[:EM_ROWS], levels, seed)
        centre = y.mean(0)
        variances, axes = (part.flip(-1) for part in torch.linalg.eigh((y - centre).T.cov()))
        noise = variances[size:].mean()
        law = LowRankMultivariateNormal(
            centre, axes[:, :size] * (variances[:size] - noise).sqrt(), noise.expand(y.shape[1]).contiguous()
        )

        def sample(n: int, *, seed: int) -> Tensor:
            with seeded(seed):
                return as_images(law.sample((n,)), levels).to(train.dtype)

        _, plane = torch.linalg.eigh((train.double() - train.double().mean(0)).T.cov())
        coded = Plane(train.mean(0), plane.flip(1)[:, :size].to(train))
        return Fitted(sample, dequantised_log_prob(law.log_prob, levels), coded=coded)

    return Method(
        fit,
        f"{size} principal components: the best linear autoencoder; draws are of a normal law in their plane "
        "with even noise about it, rounded to grey levels, and its likelihood is the bound by dequantisation",
    )
