"""Several processes that share the work over pairs: each takes its turns, and their results are summed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from itertools import islice
from typing import Any, TypeVar

import torch
import torch.distributed
from torch import Tensor

_Item = TypeVar("_Item")
_group: ContextVar[Any] = ContextVar("group", default=None)


@contextmanager
def shared(group: Any = None) -> Iterator[None]:
    """Share the tiles of everything in ``probgen.mmd`` among the processes of torch.distributed.

    Every process makes the same calls with the same samples (gather them before, say by
    ``torch.distributed.nn.functional.all_gather``, through which gradients flow back) and receives the same
    result and the same gradients as one process alone, to rounding. The time is that of its share of the
    tiles; each process holds all the points. Random choices are the same in all processes only if their
    generators are.

    Args:
        group: a process group; by default all processes.

    Raises:
        RuntimeError: where torch.distributed is not initialised.
    """
    if not torch.distributed.is_initialized():
        raise RuntimeError("shared needs processes: call torch.distributed.init_process_group first")
    token = _group.set(torch.distributed.group.WORLD if group is None else group)
    try:
        yield
    finally:
        _group.reset(token)


def is_shared() -> bool:
    """Say whether the work is shared among processes."""
    return _group.get() is not None


def turns(tiles: Iterable[_Item]) -> Iterator[_Item]:
    """Return the tiles of this process: all of them, or every k-th where k processes share them."""
    group = _group.get()
    if group is None:
        return iter(tiles)
    return islice(tiles, torch.distributed.get_rank(group), None, torch.distributed.get_world_size(group))


def summed(partial: Tensor) -> Tensor:
    """Sum the partial results of the processes in place; no gradient flows through it."""
    group = _group.get()
    if group is not None:
        torch.distributed.all_reduce(partial, group=group)
    return partial


def shared_input(points: Tensor) -> Tensor:
    """Return the points; their gradient is the sum of those of the processes."""
    return _SharedInput.apply(points, _group.get()) if is_shared() else points


def summed_with_gradient(partial: Tensor) -> Tensor:
    """Return the sum of the partial results of the processes, each of which passes its gradient on."""
    return _Summed.apply(partial, _group.get()) if is_shared() else partial


class _SharedInput(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, points: Tensor, group: Any) -> Tensor:
        ctx.group = group
        return points.view_as(points)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        gradient = gradient.clone()
        torch.distributed.all_reduce(gradient, group=ctx.group)
        return gradient, None


class _Summed(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, partial: Tensor, group: Any) -> Tensor:
        total = partial.clone()
        torch.distributed.all_reduce(total, group=group)
        return total

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return gradient, None
