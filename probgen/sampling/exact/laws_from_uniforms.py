"""What follows for a law of several coordinates from a map that turns uniform numbers into draws."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from pyro.distributions import TorchDistribution
from torch import Tensor
from torch.distributions import Distribution, constraints
from torch.distributions.constraints import Constraint

from probgen.core.density.mapped import is_mapped
from probgen.core.supports import support_of
from probgen.sampling.uniforms import uniform


class ByUniforms(TorchDistribution):
    r"""A law of vectors whose draws are T(U), U uniform on a unit cube of ``uniforms`` dimensions.

    A subclass supplies ``_from_uniform``, T, which maps shape (\*sample, \*batch, uniforms) to (\*sample,
    \*batch, d) with derivatives to the law's parameters, in the dtype of its draws or in one with more
    digits; and sets ``device``.
    """

    arg_constraints = {}  # noqa: RUF012
    has_rsample = True
    uniforms: int
    device: torch.device
    _support: Constraint

    def _from_uniform(self, u: Tensor, least: torch.dtype) -> Tensor:
        raise NotImplementedError

    def from_uniform(self, u: Tensor) -> Tensor:
        """Return x from independent uniforms inside (0, 1); float64 where u or the law is."""
        return self._from_uniform(self._checked_uniforms(u), u.dtype)

    def placed(self, u: Tensor) -> Tensor:
        """Return x from independent uniforms, in the dtype of the law's draws."""
        return self._from_uniform(self._checked_uniforms(u), torch.bool)

    @constraints.dependent_property(is_discrete=False, event_dim=1)
    def support(self) -> Constraint:
        return self._support

    def expand(self, batch_shape: Sequence[int], _instance: Any = None) -> Any:
        new = self._get_checked_instance(type(self), _instance)
        new.__dict__.update(self.__dict__)
        shape = torch.empty(self.batch_shape, device="meta").expand(tuple(batch_shape)).shape
        super(ByUniforms, new).__init__(shape, self.event_shape, validate_args=False)
        new._validate_args = self._validate_args
        return new

    def sample(self, sample_shape: Sequence[int] = (), *, generator: torch.Generator | None = None) -> Tensor:
        """Draw without gradient; ``generator`` is torch's global one where not given."""
        with torch.no_grad():
            return self.rsample(sample_shape, generator=generator)

    def rsample(
        self, sample_shape: Sequence[int] = (), *, generator: torch.Generator | None = None
    ) -> Tensor:
        """Draw with first derivatives to the parameters."""
        shape = (*sample_shape, *self.batch_shape, self.uniforms)
        return self.placed(uniform(shape, device=self.device, generator=generator))

    def _checked_uniforms(self, u: Tensor) -> Tensor:
        if u.shape[-1] != self.uniforms:
            raise ValueError(f"u should have {self.uniforms} coordinates but has {u.shape[-1]}")
        if self._validate_args and not ((u > 0) & (u < 1)).all():
            raise ValueError(f"u should be inside (0, 1) but got {float(u[~((u > 0) & (u < 1))][0])}")
        return u.to(torch.float64)


def joint_support(laws: Sequence[Distribution]) -> Constraint:
    """Return the support of a vector whose coordinates have these laws, whatever the other coordinates."""
    supports = [support_of(law) for law in laws]
    if all(same_support(supports[0], other) for other in supports):
        return constraints.independent(supports[0], 1)
    return constraints.stack(supports, -1)


def same_support(first: Constraint, second: Constraint) -> bool:
    """Say whether two supports are intervals with the same ends; False where ``torch.vmap`` does not tell."""
    ends = [
        (getattr(first, name, 0.0), getattr(second, name, 0.0)) for name in ("lower_bound", "upper_bound")
    ]
    if first is second or is_mapped(*(end for pair in ends for end in pair if isinstance(end, Tensor))):
        return first is second
    return type(first) is type(second) and all(
        torch.equal(*torch.broadcast_tensors(*map(torch.as_tensor, pair))) for pair in ends
    )
