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
    """Cut the draws of a batch, n of a row and then n of the next, into blocks that touch few rows' tables.

    Each block comes with the places of its rows' first cells in a flat table, rows x width, int32 where the
    table allows it; of shape (1,) where it lies in one row.
    """
    size = 3 * 2**13 if device.type == "cpu" else 2**24
    dtype = torch.int32 if rows * width < 2**31 else torch.int64
    first = torch.arange(rows, dtype=dtype, device=device) * width
    if rows == 1 or n >= size:
        for row in range(rows):
            for start in range(row * n, row * n + n, size):
                yield slice(start, min(start + size, row * n + n)), first[row : row + 1]
    elif n > 0:
        together = size // n
        for row in range(0, rows, together):
            last = min(row + together, rows)
            yield slice(row * n, last * n), first[row:last].repeat_interleave(n)
