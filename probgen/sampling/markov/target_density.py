"""Whatever a user would draw from, as a density: a law, a Pyro model with its arguments, a function."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from torch import nn
from torch.distributions import Distribution, constraints
from torch.distributions.constraints import Constraint

from probgen.core import Density

Target = Density | Distribution | Callable[..., Any]
"""What :func:`sample` draws from."""


def density_of(
    target: Target, arguments: tuple[Any, ...], *, dim: int | None, support: Constraint | None
) -> Density:
    """Return the density of a law, of a Pyro model with its arguments, or of a function with its support.

    Raises:
        ValueError, TypeError: for what is none of them, and for a function of which nothing tells whether it
            is a log-density or a model.
    """
    described = dim is not None or support is not None
    if isinstance(target, Density | Distribution):
        if described or arguments:
            raise TypeError(
                f"dim= and support= belong to a function, and arguments to a Pyro model, but the target is a "
                f"{type(target).__name__}"
            )
        return target if isinstance(target, Density) else Density.from_distribution(target)
    if isinstance(target, type):
        raise TypeError(
            f"the target should be an instance, with its parameters, but got the class {target.__name__}"
        )
    if not callable(target):
        if hasattr(target, "logpdf") or hasattr(target, "logpmf"):
            raise TypeError(
                "the target should be a law of torch.distributions or Pyro, with gradients and devices, "
                "but got one of SciPy: most have a namesake there"
            )
        got = f"type {type(target).__name__}" if hasattr(target, "shape") else repr(target)
        raise TypeError(
            f"the target should be a Density, a distribution, a Pyro model with its arguments or a "
            f"log-density with its support= or dim=, but got {got}"
        )
    if described and arguments:
        raise TypeError("a function takes either arguments of a Pyro model or dim= and support= but got both")
    if described:
        return _of_function(target, dim, support)
    if not _takes(target, arguments):
        raise TypeError(
            f"{_name(target)} cannot be called with {len(arguments)} arguments: a log-density needs its "
            f"support= or dim=, a Pyro model its arguments after it, as in sample(model, data)"
        )
    return Density.from_model(target, *arguments)


def _of_function(log_prob: Callable[..., Any], dim: int | None, support: Constraint | None) -> Density:
    """Return the density of a function of one number, or of ``dim`` numbers."""
    if dim is not None and dim < 1:
        raise ValueError(f"dim should be at least 1 but got {dim}; leave it out for a function of a number")
    if support is None:
        support = constraints.real_vector
    if not isinstance(support, Constraint):
        raise TypeError(
            f"support should be a constraint, such as torch.distributions.constraints.positive, but got "
            f"{support!r}"
        )
    if support.event_dim > 0 and dim is None:
        raise ValueError(f"a log-density on {support} needs dim=, the numbers of one value")
    return Density(log_prob, support=support, event_shape=() if dim is None else (dim,))


def _takes(function: Callable[..., Any], arguments: tuple[Any, ...]) -> bool:
    """Say whether a function can be called with so many arguments."""
    try:
        called = inspect.signature(function.forward if isinstance(function, nn.Module) else function)
    except (ValueError, TypeError):  # of a function that is not written in Python
        return bool(arguments)
    try:
        called.bind(*arguments)
    except TypeError:
        return False
    return True


def _name(function: Callable[..., Any]) -> str:
    return getattr(function, "__name__", type(function).__name__)
