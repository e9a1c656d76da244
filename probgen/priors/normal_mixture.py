"""Mixtures of many normal laws, their density by one matrix product; as a learned prior."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from pyro.distributions import TorchDistribution
from torch import Tensor, nn
from torch.distributions import constraints

from probgen.core import check_count


class ManyNormals(TorchDistribution):
    r"""The law Σ_k w_k N(μ_k, diag σ_k²) on R^d, for many k.

    With τ = 1/σ², log N(z; μ_k, σ_k²) = −½ Σ_j (z_j² τ_kj − 2 z_j μ_kj τ_kj) + c_k is a matrix product of
    (z², z) and (τ, μτ): no (n, K, d) numbers are made. Its terms cancel where σ is small, so that the product
    is taken in float64: it is right to 1e-6 in z's dtype where σ ≥ 1e-4 |z|.

    Args:
        loc, scale: μ and σ > 0, (K, d).
        logits: log w, (K), up to a constant; equal weights where not given.

    >>> law = ManyNormals(torch.tensor([[-2.0], [2.0]]), torch.ones(2, 1))
    >>> law.log_prob(torch.zeros(3, 1))
    tensor([-2.9189, -2.9189, -2.9189])
    """

    arg_constraints = {}  # noqa: RUF012
    support = constraints.real_vector
    has_rsample = False

    def __init__(
        self,
        loc: Tensor,
        scale: Tensor,
        logits: Tensor | None = None,
        *,
        batch_shape: Sequence[int] = (),
        validate_args: bool | None = None,
    ) -> None:
        if loc.dim() != 2 or scale.shape != loc.shape:
            raise ValueError(
                "loc and scale should have one shape (K, d) but have "
                f"{tuple(loc.shape)} and {tuple(scale.shape)}"
            )
        self.loc, self.scale = loc, scale
        self.logits = loc.new_zeros(len(loc)) if logits is None else logits
        super().__init__(torch.Size(batch_shape), loc.shape[1:], validate_args=validate_args)

    def expand(self, batch_shape: Sequence[int], _instance: Any = None) -> ManyNormals:
        new = ManyNormals(self.loc, self.scale, self.logits, batch_shape=batch_shape, validate_args=False)
        new._validate_args = self._validate_args
        return new

    @torch.no_grad()
    def sample(self, sample_shape: Sequence[int] = ()) -> Tensor:
        """Draw a component, then from it; without gradient."""
        shape = torch.Size(sample_shape) + self.batch_shape
        which = torch.distributions.Categorical(logits=self.logits, validate_args=False).sample(shape)
        return torch.normal(self.loc[which], self.scale[which])

    def log_prob(self, value: Tensor) -> Tensor:
        """Return the log-density, in the dtype of z."""
        if self._validate_args:
            self._validate_sample(value)
        z, loc, scale = value.double(), self.loc.double(), self.scale.double()
        precision = scale.square().reciprocal()
        # c_k = log w_k − ½ Σ_j μ_kj² τ_kj − Σ_j log σ_kj − ½ d log 2π
        constant = self.logits.double().log_softmax(0) - scale.log().sum(1)
        constant = constant - (loc * loc * precision).sum(1) / 2 - loc.shape[1] * math.log(2 * math.pi) / 2
        factors = torch.cat([-precision / 2, loc * precision], 1)
        each = torch.cat([z * z, z], -1) @ factors.T + constant
        result = each.logsumexp(-1).to(value.dtype)
        return result.expand(torch.broadcast_shapes(result.shape, self.batch_shape))

    @property
    def mean(self) -> Tensor:
        return (self.logits.softmax(0) @ self.loc).expand(*self.batch_shape, -1)

    @property
    def variance(self) -> Tensor:
        second = self.logits.softmax(0) @ (self.scale.square() + self.loc.square())
        return second.expand(*self.batch_shape, -1) - self.mean.square()


class NormalMixture(nn.Module):
    r"""A learned prior: a mixture of ``components`` normal laws on ``dim`` coordinates.

    Means start as draws of N(0, I), scales at 1 and weights equal.

    See Dilokthanakul and others (2016), Deep unsupervised clustering with Gaussian mixture VAEs; Tomczak and
    Welling (2018), who call it the MoG prior.

    >>> NormalMixture(2, 10)().event_shape
    torch.Size([2])
    """

    def __init__(self, dim: int, components: int) -> None:
        super().__init__()
        dim, components = check_count("dim", dim), check_count("components", components)
        self.loc = nn.Parameter(torch.randn(components, dim))
        self.log_scale = nn.Parameter(torch.zeros(components, dim))
        self.logits = nn.Parameter(torch.zeros(components))

    def forward(self, *context: Tensor) -> ManyNormals:
        """Return the law, the same whatever the context."""
        return ManyNormals(self.loc, self.log_scale.exp(), self.logits)
