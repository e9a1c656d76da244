"""Data of which a part is known: a law of the whole given that part, and the part as inputs of a net."""

from __future__ import annotations

from typing import Any

import torch
from pyro.distributions import Independent, TorchDistribution
from torch import Tensor, nn
from torch.distributions.constraints import Constraint

from probgen.nets.mixed_columns import MixedColumns


class Completed(TorchDistribution):
    r"""The law of x of which some coordinates are known: these are as they are, the others of a given law.

    log p is that of the others alone: where a coordinate is known, that of the value is not looked at.

    Args:
        law: of independent coordinates, (\*batch, d): an ``Independent``, or a law of mixed columns.
        known: NaN where a coordinate is not known; broadcast with (\*batch, d).

    Raises:
        TypeError: for another law, of whose coordinates some would have to be drawn given the others.
    """

    arg_constraints = {}  # noqa: RUF012

    def __init__(self, law: Any, known: Tensor, *, validate_args: bool | None = None) -> None:
        if not isinstance(law, Independent | MixedColumns) or len(law.event_shape) != 1:
            raise TypeError(
                "law should be one of independent coordinates, of event shape (d,), to be completed, but is "
                f"a {type(law).__name__}"
            )
        self.law = law
        self.known = known.expand(*law.batch_shape, *law.event_shape)
        super().__init__(law.batch_shape, law.event_shape, validate_args=validate_args)

    @property
    def support(self) -> Constraint:
        return self.law.support

    def expand(self, batch_shape: Any, _instance: Any = None) -> Completed:
        known = self.known.expand(*batch_shape, *self.event_shape)
        new = Completed(self.law.expand(torch.Size(batch_shape)), known, validate_args=False)
        new._validate_args = self._validate_args
        return new

    def log_prob(self, value: Tensor) -> Tensor:
        """Return the log-density of the coordinates that are not known."""
        there = ~self.known.isnan()
        if isinstance(self.law, Independent):
            return torch.where(there, 0, self.law.base_dist.log_prob(value)).sum(-1)
        return self.law.log_prob(torch.where(there, torch.nan, value))  # what is missing adds nothing

    @torch.no_grad()
    def sample(self, sample_shape: Any = ()) -> Tensor:
        return self._completed(self.law.sample(torch.Size(sample_shape)))

    @property
    def mean(self) -> Tensor:
        return self._completed(self.law.mean)

    def _completed(self, x: Tensor) -> Tensor:
        return torch.where(self.known.isnan(), x, self.known.to(x))


class Completing(nn.Module):
    r"""A conditional whose context is the datum itself as far as it is known, NaN elsewhere.

    Args:
        conditional: from a code and the context to the law of a whole datum, of independent coordinates.

    >>> from probgen.nets import MLP, Joined, NormalHead
    >>> decoder = Completing(NormalHead(Joined(MLP(2 + 6, 3), None, KnownInput())))
    >>> known = torch.tensor([[1.0, torch.nan, torch.nan]])
    >>> decoder(torch.zeros(1, 2), known).sample()[0, 0]
    tensor(1.)
    """

    takes_missing = True

    def __init__(self, conditional: nn.Module) -> None:
        super().__init__()
        self.conditional = conditional

    def forward(self, z: Tensor, known: Tensor, *context: Tensor) -> Completed:
        """Return the law of x given its code and what of x is known."""
        return Completed(self.conditional(z, known, *context), known)


class KnownInput(nn.Module):
    r"""What is known of data, (\*batch, d), NaN elsewhere, as inputs of a net, (\*batch, 2d).

    First the numbers, 0 where they are not known, then 1 where they are, else 0.

    >>> KnownInput()(torch.tensor([3.0, torch.nan]))
    tensor([3., 0., 1., 0.])
    """

    def forward(self, known: Tensor) -> Tensor:
        there = ~known.isnan()
        return torch.cat([torch.where(there, known, 0), there.to(known)], -1)
