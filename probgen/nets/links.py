"""The law of the links of a graph, and what makes it of the places of nodes."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from pyro.distributions import TorchDistribution
from torch import Tensor, nn
from torch.distributions import constraints
from torch.nn.functional import binary_cross_entropy_with_logits

from probgen.core import check_count
from probgen.nets.laws import of_a_law, refuse


class Links(TorchDistribution):
    r"""Independent links of the pairs of n nodes: symmetric matrices of 0 and 1, no node linked to itself.

    log p(x) = Σ_{i<j, seen} log Bernoulli(x_ij; sigmoid(l_ij)): each pair counts once.

    Args:
        logits: l, symmetric, shape (\*batch, n, n); its diagonal has no meaning.
        seen: which pairs are data, boolean, symmetric, of a shape that broadcasts with that of the logits;
            the others have no density. All pairs where None.

    >>> law = Links(torch.zeros(3, 3))
    >>> law.log_prob(torch.zeros(3, 3)).exp()
    tensor(0.1250)
    """

    arg_constraints: ClassVar = {"logits": constraints.independent(constraints.real, 2)}
    support = constraints.independent(constraints.boolean, 2)

    def __init__(
        self, logits: Tensor, seen: Tensor | None = None, *, validate_args: bool | None = None
    ) -> None:
        self.logits, self.seen = logits, seen
        super().__init__(logits.shape[:-2], logits.shape[-2:], validate_args=validate_args)

    def expand(self, batch_shape: Any, _instance: Any = None) -> Links:
        """Return the same law on a larger batch."""
        new = Links(self.logits.expand(*batch_shape, *self.event_shape), self.seen, validate_args=False)
        new._validate_args = self._validate_args
        return new

    def log_prob(self, value: Tensor) -> Tensor:
        """Return the log-probability of the links that are seen."""
        if self._validate_args:
            self._validate_sample(value)
        logits, links = torch.broadcast_tensors(self.logits, value.to(self.logits))
        each = -binary_cross_entropy_with_logits(logits, links, reduction="none")
        if self.seen is not None:
            each = torch.where(self.seen, each, 0.0)
        return each.triu(1).sum((-2, -1))

    @property
    def mean(self) -> Tensor:
        """The probability of each link; 0 on the diagonal."""
        loops = torch.eye(self.event_shape[-1], dtype=torch.bool, device=self.logits.device)
        return self.logits.sigmoid().masked_fill(loops, 0.0)

    @torch.no_grad()
    def sample(self, sample_shape: Any = ()) -> Tensor:
        """Draw graphs, all their pairs."""
        upper = torch.bernoulli(self.logits.sigmoid().expand(self._extended_shape(sample_shape))).triu(1)
        return upper + upper.transpose(-1, -2)

    def _validate_sample(self, value: Tensor) -> None:
        seen = torch.ones_like(value, dtype=torch.bool) if self.seen is None else self.seen
        refuse(
            seen,
            seen == seen.transpose(-1, -2),
            "the pairs that are seen should be symmetric, seen_ij = seen_ji,",
        )
        seen = seen.expand(value.shape)
        refuse(value, ~seen | (value == 0) | (value == 1), "the links of a graph should be 0 or 1")
        odd = value != value.transpose(-1, -2)
        refuse(value, ~(seen & odd), "the links of a graph should be symmetric, x_ij = x_ji,")
        loops = value.diagonal(dim1=-2, dim2=-1)
        refuse(loops, loops == 0, "a node should not be linked to itself, x_ii = 0,")


class InnerProduct(nn.Module):
    r"""Places z of nodes, (\*batch, n, d), to the law of their links.

    l_ij = b + u_i·u_j, and with ``effects`` l_ij = b + s (a_i + a_j) + u_i·u_j: the last coordinate of z is
    how much a node links at all, a_i, and the others are its place u_i. Without effects nodes of many links
    must lie far out, and near each other. b and s are learned. Of the product the last ``repelling`` terms
    are subtracted: there nodes that are alike link the less, as spokes of a hub, which link to the hub and
    not to each other.

    Args:
        effects: whether nodes have such effects.
        repelling: how many coordinates of a place are such.
        start: b at the start, as the log-odds of the share of pairs that are linked.

    Raises:
        ValueError: where a place has fewer coordinates than repel.

    Source: Kipf and Welling (2016), Variational graph auto-encoders; Hoff (2005), Bilinear mixed-effects
    models for dyadic data; (2008), Modeling homophily and stochastic equivalence in symmetric relational
    data, for terms of either sign.

    >>> InnerProduct()(torch.zeros(5, 20, 3)).event_shape
    torch.Size([20, 20])
    """

    def __init__(self, *, effects: bool = True, repelling: int = 0, start: float = -2.0) -> None:
        super().__init__()
        self.effects = effects
        self.repelling = check_count("repelling", repelling, least=0)
        self.bias = nn.Parameter(torch.tensor(float(start)))
        self.log_scale = nn.Parameter(torch.zeros(())) if effects else None

    def forward(self, z: Tensor, seen: Tensor | None = None) -> Links:
        """Return the law; ``seen`` as for :class:`Links`."""
        places = z[..., :-1] if self.effects else z
        attracting = places.shape[-1] - self.repelling
        if attracting < 0:
            raise ValueError(
                f"repelling should be at most the {places.shape[-1]} coordinates of a place but is "
                f"{self.repelling}"
            )
        signed = torch.cat([places[..., :attracting], -places[..., attracting:]], -1)
        logits = self.bias + places @ signed.transpose(-1, -2)
        if self.log_scale is not None:
            own = z[..., -1] * self.log_scale.exp()
            logits = logits + own.unsqueeze(-1) + own.unsqueeze(-2)
        return Links(of_a_law(logits), seen)
