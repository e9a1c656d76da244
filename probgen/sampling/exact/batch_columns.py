"""Values of a batch of laws as columns: one row per draw, one column per law."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor


class Columns:
    r"""Values of shape (\*sample, \*batch), as columns (n, laws) and back.

    The laws have a shape of their own, of which singleton dimensions may have been expanded to the batch:
    those count as draws.
    """

    def __init__(self, own: Sequence[int]) -> None:
        self.own = torch.Size(own)
        self.count = self.own.numel()

    def of(self, value: Tensor) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
        """Return a value as columns, and what puts columns into the value's shape."""
        own = (1,) * (value.dim() - len(self.own)) + tuple(self.own)
        order = sorted(range(value.dim()), key=lambda d: own[d] != 1)
        back = sorted(range(value.dim()), key=order.__getitem__)
        moved = value.permute(order)
        return moved.reshape(-1, self.count), lambda found: found.reshape(moved.shape).permute(back)

    def into(self, shape: Sequence[int]) -> Callable[[Tensor], Tensor]:
        """Return what puts columns into a shape."""
        return self.of(torch.empty(tuple(shape), device="meta"))[1]

    def called(self, function: Callable[[Tensor], Tensor], columns: Tensor) -> Tensor:
        """Return an elementwise function's values at columns."""
        values = columns.reshape(-1, *self.own)
        return function(values).expand(values.shape).reshape(columns.shape)
