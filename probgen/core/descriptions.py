"""How laws and densities describe themselves."""

from __future__ import annotations

from typing import Any

from torch import Tensor
from torch.distributions import Distribution


def described(law: Distribution, *facts: object, **parameters: object) -> str:
    """Return ``Name(facts, name=value, batch_shape=...)``; a tensor of several numbers is told by its shape.

    >>> from torch.distributions import Normal
    >>> described(Normal(0.0, 1.0), "by hand", low=0.5)
    'Normal(by hand, low=0.5)'
    """
    words = [str(fact) for fact in facts] + [f"{name}={told(value)}" for name, value in parameters.items()]
    if law.batch_shape:
        words.append(f"batch_shape={tuple(law.batch_shape)}")
    return f"{type(law).__name__}({', '.join(words)})"


def told(value: Any) -> str:
    """Return a number as it is, a tensor by its shape, a function by its name."""
    if isinstance(value, Tensor):
        return f"{value.item():.6g}" if value.numel() == 1 else f"Tensor{tuple(value.shape)}"
    if callable(value) and not isinstance(value, Distribution):
        return getattr(value, "__qualname__", type(value).__name__).rpartition(".<locals>.")[2]
    return str(value)
