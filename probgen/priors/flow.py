"""A flow as a learned prior: standard normal numbers through an invertible network."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pyro.distributions as dist
from torch import Tensor, nn
from torch.distributions import Transform

from probgen.nets import Couplings
from probgen.priors.normal import StandardNormal


class Flow(nn.Module):
    r"""The law of z = f(u), u ~ N(0, I), f invertible: log p(z) = log N(f⁻¹(z)) + log |det ∂f⁻¹/∂z|.

    Args:
        dim: the number of coordinates.
        transforms: f, one after the other: a module that returns such, as ``nets.Couplings``, the default;
            or Pyro's, such as ``[pyro.distributions.transforms.spline_coupling(2)]``, of which those that
            are modules are learned. They should be inverted without iteration, as a prior scores z. Pyro's
            remember what they were last called with, so that such a loss is not captured but runs eagerly.

    See Rezende and Mohamed (2015), Variational inference with normalizing flows; Chen and others (2017),
    Variational lossy autoencoder, for a flow as the prior.

    >>> Flow(4)().sample((3,)).shape
    torch.Size([3, 4])
    """

    def __init__(self, dim: int, *, transforms: nn.Module | Sequence[Transform] | None = None) -> None:
        super().__init__()
        self.base = StandardNormal(dim)
        self._given: tuple[Transform, ...] = ()
        self.transforms: Callable[[], Sequence[Transform]] | None = None
        if transforms is None or isinstance(transforms, nn.Module):
            self.transforms = Couplings(dim) if transforms is None else transforms
        else:
            self._given = tuple(transforms)
            self.learned = nn.ModuleList(part for part in transforms if isinstance(part, nn.Module))

    def forward(self, *context: Tensor) -> dist.TransformedDistribution:
        """Return the law, the same whatever the context."""
        parts = self._given if self.transforms is None else self.transforms()
        return dist.TransformedDistribution(self.base(), list(parts))
