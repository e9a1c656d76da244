"""Guide tables: the generalised inverse of a step function by indexed search."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from probgen.sampling.exact.tables.cache_blocks import blocks, empty

_CELLS = 16
"""Cells for each category: at most one in 16 holds more than one category."""

_MOST = 2**22
"""The largest number of categories of all laws together: a table takes 64 to 128 bytes for each."""


class GuideTable:
    r"""Finds F⁻(u) = inf{k : F(k) ≥ u} in cumulative probabilities, at a cost that hardly depends on K.

    The unit interval is cut into equal cells, and F⁻ is tabulated at their ends. Where both ends of a cell
    have the same value so has all of it; between different values bisection goes on. The result is that of a
    search in the whole table, to the last bit.

    Args:
        cumulative: rows x K, float64, increasing to 1.

    See Chen and Asau (1974), On Generating Random Variates from an Empirical Distribution.
    """

    def __init__(self, cumulative: Tensor) -> None:
        self._rows, self._categories = cumulative.shape
        self._cells = 1 << (_CELLS * self._categories - 1).bit_length()
        ends = torch.arange(self._cells + 1, dtype=torch.float64, device=cumulative.device) / self._cells
        first = torch.searchsorted(cumulative, ends.expand(self._rows, -1).contiguous(), out_int32=True)
        self._cumulative, self._first = cumulative.flatten(), first
        one = first[:, :-1] == first[:, 1:]
        self._only = torch.where(one, first[:, :-1], -1).flatten()  # −1 in a cell of more than one

    def find(self, u: Tensor) -> Tensor:
        """Return F⁻ at u in (0, 1], rows x n; int64 of the same shape."""
        rows, n = u.shape
        u = u.flatten()
        found = empty(len(u), dtype=torch.int64, device=u.device)
        for block, place in blocks(n, rows, self._cells, u.device):
            part = u[block]
            cell = (part * math.nextafter(self._cells, 0)).to(place.dtype)  # at an end, on either side of it
            if rows > 1:
                cell.add_(place)
            only = self._only.index_select(0, cell)
            found[block].copy_(only)
            (several,) = (only < 0).nonzero(as_tuple=True)
            if len(several):
                found[block][several] = self._between(cell[several], part[several])
        return found.reshape(rows, n)

    def _between(self, cell: Tensor, u: Tensor) -> Tensor:
        """Return F⁻ at u in such cells, by bisection."""
        row = cell // self._cells
        low, high = (self._first.flatten()[cell + row + end].long() for end in (0, 1))
        start = row * self._categories
        for _ in range(int((high - low).max()).bit_length()):
            middle = (low + high) // 2
            below = self._cumulative[start + middle] < u
            low, high = torch.where(below, middle + 1, low), torch.where(below, high, middle)
        return low


def guide_pays(n: int, rows: int, categories: int) -> bool:
    """Say whether a guide table is worth its making for n searches in each of the rows."""
    return n >= categories * _CELLS // 2 and rows * categories <= _MOST
