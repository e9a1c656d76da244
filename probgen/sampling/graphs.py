"""Functions of tensors, recorded as graphs that hold no Python, and compiled where that pays.

A Markov chain calls its log-density thousands of times on tensors of one shape. Recorded once below autograd,
as plain ATen operations, it costs neither Pyro's Python nor autograd's; compiled, it is a few loops.
"""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

Function = Callable[..., tuple[Tensor, ...]]
Wrap = Callable[[Function], Function]


def as_written(function: Function) -> Function:
    """Leave a function as it is."""
    return function
