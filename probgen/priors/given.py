"""A distribution as a prior: what models make of one that they are given in the place of a module."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pyro.distributions as dist
import torch
from torch import Tensor, nn
from torch.distributions import Distribution
from torch.distributions.constraints import Constraint
from torch.distributions.transforms import Transform

from probgen.priors.monotone_spline import MonotoneSpline


class Given(nn.Module):
    r"""A prior that is a distribution, the same whatever the context; it moves with the model it is in.

    Args:
        law: of codes, with event shape (dim,), or of numbers: one for all coordinates, or one for each.
        dim: the number of coordinates of a code; of one law for all it has to be told.

    Raises:
        TypeError, ValueError: for what is no distribution or has other shapes, and for a law with parameters
            that need a gradient, which a module should own to learn them.

    >>> Given(torch.distributions.Laplace(0.0, 1.0), dim=2)().event_shape
    torch.Size([2])
    """

    def __init__(self, law: Distribution, *, dim: int | None = None) -> None:
        super().__init__()
        if not isinstance(law, Distribution):
            raise TypeError(
                f"prior should be a distribution, or a module that returns one, but is a {type(law).__name__}"
            )
        if _needs_gradient(law):
            raise ValueError(
                "a prior given as a distribution should not need gradients but does: to learn its "
                "parameters, write a module that owns them and returns the distribution"
            )
        if not law.event_shape and len(law.batch_shape) < 2:
            if not law.batch_shape and dim is None:
                raise ValueError("dim should be told, the number of coordinates, with a law of one number")
            law = dist.Independent(law if dim is None or law.batch_shape else law.expand((dim,)), 1)
        if law.batch_shape or len(law.event_shape) != 1 or dim not in (None, *law.event_shape):
            wanted = "of any length" if dim is None else f"({dim},)"
            raise ValueError(
                f"prior should have no batch shape and an event shape {wanted}, that of a code, but has "
                f"{tuple(law.batch_shape)} and {tuple(law.event_shape)}"
            )
        self._law = dist.Independent(law, 0)  # one of Pyro's, also where the law is torch's

    def forward(self, *context: Tensor) -> Distribution:
        """Return the law."""
        return self._law

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Given:
        self._law = _mapped(self._law, fn)
        return super()._apply(fn, recurse)

    def extra_repr(self) -> str:
        return repr(self._law.base_dist)


def _mapped(part: Any, fn: Callable[[Tensor], Tensor], seen: dict[int, Any] | None = None) -> Any:
    """Return a copy of a law, or of a part of one, with a function applied to its tensors and dtypes.

    ``seen`` holds the copies so far: a transform and its inverse know one another.
    """
    seen = {} if seen is None else seen
    if isinstance(part, Tensor):
        return fn(part)
    if isinstance(part, torch.dtype):
        return fn(torch.empty(0, dtype=part)).dtype
    if type(part) in (list, tuple):
        return type(part)(_mapped(one, fn, seen) for one in part)
    if not isinstance(part, Distribution | Transform | Constraint | MonotoneSpline):
        return part
    if id(part) not in seen:
        seen[id(part)] = moved = copy.copy(part)
        moved.__dict__.update({name: _mapped(value, fn, seen) for name, value in vars(part).items()})
    return seen[id(part)]


def _needs_gradient(law: Distribution) -> bool:
    needed = []

    def look(tensor: Tensor) -> Tensor:
        needed.append(tensor.requires_grad)
        return tensor

    _mapped(law, look)
    return any(needed)
