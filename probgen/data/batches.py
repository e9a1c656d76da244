"""Batches cut straight from tensors, on the device where they lie."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from torch import Tensor


@runtime_checkable
class Indexable(Protocol):
    """Rows of data: a tensor, or anything that returns a tensor of rows for a tensor of indices."""

    def __len__(self) -> int: ...
    def __getitem__(self, index: Tensor, /) -> Tensor: ...


Data = Indexable | Sequence[Indexable]
"""A tensor or another indexable, or a tuple of equally long ones (x and its context)."""


def batches(
    data: Data,
    batch_size: int,
    *,
    generator: torch.Generator | None = None,
    shuffle: bool = True,
) -> Iterator[tuple[Tensor, ...]]:
    r"""Iterate once over the rows of ``data``, ``batch_size`` at a time; the last batch may be smaller.

    Args:
        data: a tensor of shape (n, \*event) or a tuple of equally long indexables.
        batch_size: rows per batch.
        generator: of the order of the rows; torch's global one where None.
        shuffle: in random order, else in the order of the data.

    Raises:
        ValueError: where ``batch_size`` is below 1, or the parts of ``data`` differ in length or are empty.

    >>> [len(x) for (x,) in batches(torch.rand(10, 2), 4)]
    [4, 4, 2]
    """
    parts = _parts(data, "data")
    if batch_size < 1:
        raise ValueError(f"batch_size should be at least 1 but got {batch_size}")
    device = torch.device(getattr(parts[0], "device", "cpu"))
    n = len(parts[0])
    if shuffle:
        source = device if generator is None else generator.device
        order = torch.randperm(n, generator=generator, device=source).to(device)
    else:
        order = torch.arange(n, device=device)
    return (tuple(part[index] for part in parts) for index in order.split(batch_size))


def check_data(data: Data, *, name: str = "data") -> tuple[Indexable, ...]:
    """Return ``data`` as a tuple of indexables after checking that it can be learned from.

    The first one, x, should be floating point; tensors should be finite. ``name`` is what messages call it.

    Raises:
        TypeError: where a part is no indexable, or x is not floating point.
        ValueError: where ``data`` is empty, the parts differ in length, or a row holds NaN or infinity.
    """
    parts = _parts(data, name)
    for i, part in enumerate(parts):
        label = name if len(parts) == 1 else f"{name}[{i}]"
        if not isinstance(part, Tensor):
            continue
        if part.numel() == 0:
            raise ValueError(f"{label} should hold at least one value but has shape {tuple(part.shape)}")
        if i == 0 and not part.is_floating_point():
            raise TypeError(f"{label} should be floating point but is {part.dtype}: convert it with .float()")
        finite = part.isfinite()
        if not finite.all():
            row = int((~finite).reshape(len(part), -1).any(1).nonzero()[0])
            raise ValueError(f"{label} should be finite but row {row} holds NaN or infinity")
    return parts


def _parts(data: Data, name: str) -> tuple[Indexable, ...]:
    parts = tuple(data) if isinstance(data, tuple | list) else (data,)
    for part in parts:
        if not isinstance(part, Indexable) or isinstance(part, str | np.ndarray):
            raise TypeError(
                f"{name} should be a tensor or a tuple of tensors but holds a {type(part).__name__}"
            )
        if isinstance(part, Tensor) and part.dim() == 0:
            raise ValueError(f"{name} should have a row per datum but is a scalar")
    lengths = [len(part) for part in parts]
    if not lengths or not min(lengths):
        raise ValueError(f"{name} should have at least one row but is empty")
    if len(set(lengths)) > 1:
        raise ValueError(f"the parts of {name} should be equally long but have {lengths} rows")
    return parts
