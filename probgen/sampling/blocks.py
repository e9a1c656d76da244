"""Draws by table look-up are made in blocks that fit the cache."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor


def empty(n: int, *, dtype: torch.dtype, device: torch.device) -> Tensor:
    """Return room for n numbers; on CPUs from NumPy, whose large pages are several times faster to touch."""
    if device.type != "cpu" or n == 0:
        return torch.empty(n, dtype=dtype, device=device)
    return torch.from_numpy(np.empty(n * dtype.itemsize, dtype=np.uint8)).view(dtype)


def blocks(n: int, rows: int, width: int, device: torch.device) -> Iterator[tuple[slice, Tensor]]:
    """Cut the n x rows draws of a batch, its rows running fastest, into blocks.

    Each block comes with the place of its rows' first cells in a flat table, rows x width, int32 where the
    table allows it; of shape (1,) where there is one row.
    """
    size = 3 * 2**13 if device.type == "cpu" else 2**24
    size = max(size // rows, 1) * rows
    dtype = torch.int32 if rows * width < 2**31 else torch.int64
    place = torch.arange(rows, dtype=dtype, device=device) * width
    if rows > 1:
        place = place.repeat(min(size // rows, n))
    for start in range(0, n * rows, size):
        stop = min(start + size, n * rows)
        yield slice(start, stop), place[: stop - start] if rows > 1 else place
