"""Whether data are those of before, told by sums of their numbers."""

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
from probgen.data.transposed import Transposed

ROWS = 64
"""Rows of a file that are looked at, spread over the data; fewer where they are large."""
BLOCKS = 4096
"""Blocks of rows, of data in memory, each of which has sums of its own."""
NUMBERS = 2**20
"""Numbers that are looked at in a file, about, and at one time in memory."""
NAN = 3.0
"""What a number that is missing counts as."""
GOLDEN = (5**0.5 - 1) / 2

Fingerprint = list[Any]
"""Of each part of the data its shapes, types and sums; None of a part that is not known to stay the same."""


def fingerprint(source: Source) -> Fingerprint:
    r"""Return what tells data from other data, made of numbers, strings and lists of these.

    Of each row x_i it takes Σ_j w_j x_ij and Σ_j w_j |x_ij|, where the weights w_j, between 1 and 2, differ
    from coordinate to coordinate. Of data in memory all rows count: of up to 4,096 blocks of rows it holds
    the sums, rows weighted likewise. Of ``MemoryMapped`` data only some rows are read, spread evenly from the
    first to the last. Rows that a user's own class or ``Dataset`` makes may be others at each look, and a
    ``DataLoader`` has none: of these there is nothing.
    """
    parts = source.parts if isinstance(source, Rows) else ()
    return [None if (still := _still(part)) is None else _of_part(still) for part in parts]


def changed(before: Fingerprint, now: Fingerprint) -> str | None:
    """Say in what data differ from those of before, but for rounding; None where nothing is seen.

    Half of the digits of their type should agree, of a type of 16 bits all but the last, and all of whole
    numbers: who computes the data anew, on another machine, has the last digits otherwise.
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
        if old["looked at"] != new["looked at"]:  # by an older version
            continue
        for dtype, first, second in zip(old["types"], old["sums"], new["sums"], strict=True):
            there, here = (torch.tensor(sums, dtype=torch.float64) for sums in (first, second))
            line = _first_other(there, here, dtype)
            if line is not None:
                start, each = new["looked at"][line], new["each"]
                last = min(start + each, new["rows"]) - 1
                rows = f"row {start}" if last == start else f"rows {start} to {last}"
                return f"{which}other numbers in {rows}"
    return None


def _still(part: Indexable) -> Indexable | None:
    """Return rows that stay the same: the part, or what it draws from; None where none are known."""
    if isinstance(part, Binarised):
        return part.grey
    if isinstance(part, Dequantised):
        return part.x
    if isinstance(part, Corrupted):
        return _still(part.x)
    if isinstance(part, Transposed):
        return part.pieces
    return part if isinstance(part, Tensor | MemoryMapped | Ragged) else None


def _of_part(part: Indexable) -> dict[str, Any]:
    n, longest = len(part), int(part.lengths.argmax()) if isinstance(part, Ragged) else 0
    like = _read(part, torch.tensor([longest]))
    at_once = max(1, NUMBERS // max(1, sum(value.numel() for value in like)))
    # All rows in blocks; of a file some rows, each a block of its own.
    each, rows = -(-n // BLOCKS), torch.arange(n)
    if isinstance(part, MemoryMapped):
        some = min(n, max(2, min(ROWS, at_once)))
        each, rows = 1, torch.linspace(0, n - 1, some, dtype=torch.float64).long()
    block = torch.arange(len(rows)) // each
    sums = [torch.zeros(int(block[-1]) + 1, 2, dtype=torch.float64) for _ in like]
    for index, place in zip(rows.split(at_once), block.split(at_once), strict=True):
        values = part[int(index[0]) : int(index[-1]) + 1] if isinstance(part, Tensor) else _read(part, index)
        for total, value in zip(sums, flat(values, "data"), strict=True):
            weights = _weights(index % each)[:, None] if each > 1 else 1.0
            total.index_add_(0, place, _sums(value) * weights)
    return {
        "rows": n,
        "looked at": rows[::each].tolist(),
        "each": each,
        "shapes": [list(value.shape[1:]) for value in like],
        "types": [str(value.dtype).removeprefix("torch.") for value in like],
        "sums": [total.tolist() for total in sums],
    }


def _read(part: Indexable, index: Tensor) -> tuple[Tensor, ...]:
    return flat(part[index.to(part.device) if isinstance(part, Tensor) else index], "data")


def _weights(place: Tensor) -> Tensor:
    """Return numbers between 1 and 2 that differ from place to place."""
    return 1 + (place.double() + 1).mul(GOLDEN).frac()


def _sums(value: Tensor) -> Tensor:
    """Return the weighted sums of each row, of its numbers and of their magnitudes, shape (rows, 2).

    In float32 for what has no more digits, where that has room for them: its rounding is far below what
    counts as a difference.
    """
    x = value.detach().reshape(len(value), -1)
    x = x.nan_to_num(nan=NAN) if x.is_floating_point() else x
    weights = _weights(torch.arange(x.shape[1])).to(x.device)
    if value.is_floating_point() and value.element_size() <= 4:
        few, w = x.float(), weights.float()
        sums = torch.stack([few @ w, few.abs() @ w], 1)
        if sums.isfinite().all():
            return sums.double().cpu()
    x = x.double()
    return torch.stack([x @ weights, x.abs() @ weights], 1).cpu()


def _first_other(before: Tensor, now: Tensor, dtype: str) -> int | None:
    """Return the first row whose sums differ by more than rounding, in units of that of the magnitudes."""
    kind = getattr(torch, dtype)
    if not kind.is_floating_point:
        tolerance = 1e-12
    else:  # half of the digits of 16 bits are so few that sums of other numbers agree in them
        finfo = torch.finfo(kind)
        tolerance = finfo.eps**0.5 if finfo.bits > 16 else 2 * finfo.eps
    largest = torch.maximum(before[:, 1], now[:, 1])
    other = ((before - now).abs() > tolerance * largest[:, None]).any(1)
    return int(other.nonzero()[0]) if other.any() else None
