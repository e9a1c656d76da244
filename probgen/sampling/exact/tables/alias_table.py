"""Walker's alias method in whole numbers: the table holds each probability exactly, to 2⁻⁶³."""

from __future__ import annotations

import torch
from torch import Tensor

from probgen.sampling.exact.tables.cache_blocks import blocks, empty

_BITS = 62


class AliasTable:
    r"""Draws categories 0, ..., K − 1 at a cost that does not depend on K.

    M ≥ K cells, a power of two, are equally probable; cell k gives category k where the rest of the uniform
    number is below its threshold, and the category ``alias[k]`` above it. Probabilities are rounded to
    multiples of 2⁻⁶² and everything after is in 64-bit integers, so that the cells add up to them exactly.

    The table is built without a loop: shortfalls of the cells below average and excesses of those above it
    are summed along the cells; where one sum passes the other says which cell gives to which.

    Args:
        probs: rows x K, float64, non-negative, with sum 1.

    See Walker (1977); Vose (1991), A Linear Algorithm for Generating Random Numbers with a Given
    Distribution; Hübschle-Schneider and Sanders (2022), Parallel Weighted Random Sampling.
    """

    def __init__(self, probs: Tensor) -> None:
        self._rows, categories = probs.shape
        self._shift = _BITS - (categories - 1).bit_length()
        self._cells = 1 << (_BITS - self._shift)
        mass = torch.nn.functional.pad(_whole(probs), (0, self._cells - categories))
        self.threshold, self.alias = _assign(mass, 1 << self._shift)
        small = torch.int32 if self._cells < 2**31 else torch.int64
        self._thresholds, self._aliases = self.threshold.flatten(), self.alias.to(small).flatten()

    def draw(self, n: int, *, generator: torch.Generator | None = None) -> Tensor:
        """Draw n categories of each row: shape (n, rows), int64; those of a row lie together in memory."""
        device = self._thresholds.device
        draws = empty(n * self._rows, dtype=torch.int64, device=device)
        for block, place in blocks(n, self._rows, self._cells, device):
            bits = draws[block].random_(0, 1 << _BITS, generator=generator)
            cell = (bits >> self._shift).to(place.dtype)
            index = cell + place if self._rows > 1 else cell
            own = bits.bitwise_and_((1 << self._shift) - 1) < self._thresholds.index_select(0, index)
            other = self._aliases.index_select(0, index)
            bits.copy_(other.add_(cell.sub_(other).mul_(own)))  # twice as fast as torch.where
        return draws.reshape(self._rows, n).T


def _whole(probs: Tensor) -> Tensor:
    """Round rows of probabilities to whole numbers that add up to 2⁶²."""
    mass = (probs * 2.0**_BITS).round().to(torch.int64)
    missing = (1 << _BITS) - mass.sum(-1, keepdim=True)
    return mass.scatter_add_(-1, probs.argmax(-1, keepdim=True), missing)


def _assign(mass: Tensor, cell: int) -> tuple[Tensor, Tensor]:
    """Return thresholds and aliases for rows of masses whose mean is ``cell``."""
    missing, extra = (cell - mass).clamp(min=0), (mass - cell).clamp(min=0)
    taken, given = missing.cumsum(-1), extra.cumsum(-1)
    last = mass.shape[-1] - 1
    exhausted = torch.searchsorted(given, taken, right=True)  # how many have given all, cell by cell
    start = (given == 0).sum(-1, keepdim=True)
    giver = torch.cat([start, exhausted[:, :-1]], -1).clamp(max=last)
    counts = mass.new_zeros(len(mass), last + 2).scatter_add_(-1, exhausted, torch.ones_like(exhausted))
    taker = counts.cumsum(-1)[:, :-1].clamp(max=last)  # the cell that takes the last of what each has to give
    overdrawn = (taken.gather(-1, taker) - given).clamp(min=0)
    places = torch.arange(last + 1, device=mass.device)
    giving = torch.where(extra > 0, places, last).flip(-1).cummin(-1).values.flip(-1)
    following = torch.cat([giving[:, 1:], giving[:, -1:]], -1)
    threshold = torch.where(extra > 0, cell - overdrawn, cell - missing)
    return threshold, torch.where(extra > 0, following, giver)
