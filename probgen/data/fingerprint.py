"""Whether data are those of before, told by few of their numbers."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from probgen.data.batches import Indexable, Rows, flat
from probgen.data.corruptions import Corrupted
from probgen.data.levels import Binarised, Dequantised
from probgen.data.memory_mapped import MemoryMapped
from probgen.data.ragged import Ragged
from probgen.data.sources import Source

ROWS = 64
"""Rows that are looked at, spread over the data; fewer where they are large."""
NUMBERS = 2**20
"""Numbers that are looked at, about."""
NAN = 3.0
"""What a number that is missing counts as."""
GOLDEN = (5**0.5 - 1) / 2

Fingerprint = list[Any]
"""Of each part of the data its shapes, types and sums; None of a part that is not known to stay the same."""


def fingerprint(source: Source) -> Fingerprint:
    r"""Return what tells data from other data, made of numbers, strings and lists of these.

    Of some rows, spread evenly from the first to the last, it holds Σ w_j x_j and Σ w_j |x_j|, where the
    weights w_j, between 1 and 2, differ from coordinate to coordinate. Only those rows are read. Rows that a
    user's own class or ``Dataset`` makes may be others at each look, and a ``DataLoader`` has none: of these
    there is nothing.
    """
    parts = source.parts if isinstance(source, Rows) else ()
    return [None if (still := _still(part)) is None else _of_part(still) for part in parts]


def changed(before: Fingerprint, now: Fingerprint) -> str | None:
    """Say in what data differ from those of before, but for rounding; None where nothing is seen.

    Half of the digits of their type should agree, and all of whole numbers: who computes the data anew, on
    another machine, has the last digits otherwise.
    """
    if not before or not now:
        return None
    if len(before) != len(now):
        return f"{len(now)} parts instead of {len(before)}"
    for i, (old, new) in enumerate(zip(before, now, strict=True)):
        if old is None or new is None:
            continue
        which = f"part {i + 1} has " if len(now) > 1 else ""
        for key, what in (("rows", "rows"), ("shapes", "rows of shape"), ("types", "numbers of type")):
            if old[key] != new[key]:
                return f"{which}{what} {new[key]} instead of {old[key]}"
        for dtype, first, second in zip(old["types"], old["sums"], new["sums"], strict=True):
            row = _first_other(torch.tensor(first).double(), torch.tensor(second).double(), dtype)
            if row is not None:
                return f"{which}other numbers in row {old['looked at'][row]}"
    return None


def _still(part: Indexable) -> Indexable | None:
    """Return rows that stay the same: the part, or what it draws from; None where none are known."""
    if isinstance(part, Binarised):
        return part.grey
    if isinstance(part, Dequantised):
        return part.x
    if isinstance(part, Corrupted):
        return _still(part.x)
    return part if isinstance(part, Tensor | MemoryMapped | Ragged) else None


def _of_part(part: Indexable) -> dict[str, Any]:
    n = len(part)
    row = sum(value.numel() for value in _read(part, torch.tensor([0])))
    index = torch.linspace(0, n - 1, min(n, max(2, min(ROWS, NUMBERS // row))), dtype=torch.float64).long()
    values = _read(part, index)
    return {
        "rows": n,
        "looked at": index.tolist(),
        "shapes": [list(value.shape[1:]) for value in values],
        "types": [str(value.dtype).removeprefix("torch.") for value in values],
        "sums": [_sums(value).tolist() for value in values],
    }


def _read(part: Indexable, index: Tensor) -> tuple[Tensor, ...]:
    return flat(part[index.to(part.device) if isinstance(part, Tensor) else index], "data")


def _sums(value: Tensor) -> Tensor:
    """Return the weighted sums of each row, of its numbers and of their magnitudes, shape (rows, 2)."""
    x = value.detach().cpu().double().reshape(len(value), -1).nan_to_num(nan=NAN)
    weights = 1 + torch.arange(1, x.shape[1] + 1, dtype=torch.float64).mul(GOLDEN).frac()
    return torch.stack([x @ weights, x.abs() @ weights], 1)


def _first_other(before: Tensor, now: Tensor, dtype: str) -> int | None:
    """Return the first row whose sums differ by more than rounding, in units of that of the magnitudes."""
    kind = getattr(torch, dtype)
    tolerance = torch.finfo(kind).eps ** 0.5 if kind.is_floating_point else 1e-12
    largest = torch.maximum(before[:, 1], now[:, 1])
    other = ((before - now).abs() > tolerance * largest[:, None]).any(1)
    return int(other.nonzero()[0]) if other.any() else None
