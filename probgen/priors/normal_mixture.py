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
    (z², z) and (−τ/2, μτ): no (n, K, d) numbers are made. Its terms cancel where σ is small beside the spread
    of the means, so that z and μ are taken from the mean of all μ_k and the product is one of float64: it is
    right to 1e-6 in z's dtype where σ ≥ 1e-4 |z − mean|. (In float32 it would take no less time, since
    numbers near 0 that float32 cannot write as normal ones slow its exponentials down.)

    Args:
        loc, scale: μ and σ > 0, (K, d).
        logits: log w, (K), up to a constant, or (\*batch, K), weights of each of a batch of mixtures; equal
            weights where not given.

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
        batch_shape: Sequence[int] | None = None,
        validate_args: bool | None = None,
    ) -> None:
        if loc.dim() != 2 or scale.shape != loc.shape:
            raise ValueError(
                "loc and scale should have one shape (K, d) but have "
                f"{tuple(loc.shape)} and {tuple(scale.shape)}"
            )
        self.loc, self.scale = loc, scale
        self.logits = loc.new_zeros(len(loc)) if logits is None else logits
        if self.logits.shape[-1:] != (len(loc),):
            raise ValueError(
                f"logits should have shape (..., {len(loc)}), one for each law, but have "
                f"{tuple(self.logits.shape)}"
            )
        batch = self.logits.shape[:-1] if batch_shape is None else torch.Size(batch_shape)
        super().__init__(batch, loc.shape[1:], validate_args=validate_args)

    def __repr__(self) -> str:
        batch = f", batch_shape={tuple(self.batch_shape)}" if self.batch_shape else ""
        return f"ManyNormals({len(self.loc)} in {self.loc.shape[1]} coordinates{batch})"

    def expand(self, batch_shape: Sequence[int], _instance: Any = None) -> ManyNormals:
        logits = self.logits if self.logits.dim() == 1 else self.logits.expand(*batch_shape, -1)
        new = ManyNormals(self.loc, self.scale, logits, batch_shape=batch_shape, validate_args=False)
        new._validate_args = self._validate_args
        return new

    @torch.no_grad()
    def sample(self, sample_shape: Sequence[int] = ()) -> Tensor:
        """Draw a component, then from it; without gradient."""
        shape = torch.Size(sample_shape)
        if self.logits.dim() == 1:
            shape += self.batch_shape
        which = torch.distributions.Categorical(logits=self.logits, validate_args=False).sample(shape)
        return torch.normal(self.loc[which], self.scale[which])

    def log_prob(self, value: Tensor) -> Tensor:
        """Return the log-density, in the dtype of z."""
        if self._validate_args:
            self._validate_sample(value)
        loc = self.loc.double()
        centre = loc.mean(0).detach()
        z, loc, root = value.double() - centre, loc - centre, self.scale.double().reciprocal()
        # With τ = root²: c_k = Σ_j log root_kj − ½ Σ_j μ_kj² τ_kj − ½ d log 2π, and log w_k beside it.
        white = loc * root
        constant = root.log().sum(1) - white.square().sum(1) / 2 - loc.shape[1] * math.log(2 * math.pi) / 2
        factors = torch.cat([root.square() / -2, white * root], 1)
        each = torch.cat([z * z, z], -1) @ factors.T + (constant + self.logits.double().log_softmax(-1))
        result = each.logsumexp(-1).to(value.dtype)
        return result.expand(torch.broadcast_shapes(result.shape, self.batch_shape))

    @property
    def mean(self) -> Tensor:
        return (self.logits.softmax(-1) @ self.loc).expand(*self.batch_shape, -1)

    @property
    def variance(self) -> Tensor:
        second = self.logits.softmax(-1) @ (self.scale.square() + self.loc.square())
        return second.expand(*self.batch_shape, -1) - self.mean.square()


class NormalMixture(nn.Module):
    r"""A learned prior: a mixture of ``components`` normal laws whose coordinates are independent.

    It is for priors that are learned beside their encoder, which can turn codes so that a diagonal covariance
    fits: hundreds of laws cost a matrix product. :class:`GaussianMixture` describes codes that stay as they
    are: a few laws with full covariances, found by EM.

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

    def extra_repr(self) -> str:
        return f"dim={self.loc.shape[1]}, components={len(self.loc)}"

    def forward(self, *context: Tensor) -> ManyNormals:
        """Return the law, the same whatever the context."""
        return ManyNormals(self.loc, self.log_scale.exp(), self.logits)
