"""Batches cut straight from rows, on the device where they lie."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence

from probgen.core import check_count


@runtime_checkable
class Indexable(Protocol):
    """Rows of data: a tensor, or anything that returns rows, in a tensor or several, for a tensor of indices.

    An attribute ``device`` says where the indices should lie; the CPU without it.
    """

    def __len__(self) -> int: ...
    def __getitem__(self, index: Tensor, /) -> Tensor | tuple[Tensor, ...]: ...


@runtime_checkable
class Arranging(Protocol):
    """Rows that have a say in which of them share a batch."""

    def arranged(self, order: Tensor, batch_size: int, generator: torch.Generator | None) -> Tensor:
        """Return the rows of an epoch in another order than the one drawn."""


NO_ROWS = (str, bytes, np.ndarray, Mapping, list, tuple)
"""What has rows in a way, but does not give them for a tensor of indices."""

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
    return Rows(_parts(data, "data"), "data").batches(batch_size, generator=generator, shuffle=shuffle)


class Rows:
    """A source that is read by row: tensors and other indexables, in an order drawn here."""

    own_batches = False

    def __init__(
        self,
        parts: tuple[Indexable, ...],
        name: str,
        least_rows: int = 1,
        *,
        row_multiple: int = 1,
        missing: bool = False,
    ) -> None:
        self.parts = parts
        self._least_rows, self._row_multiple, self._missing = least_rows, row_multiple, missing
        self.rows: int | None = len(parts[0])
        self.batch_size: int | None = None
        resident = tuple(part for part in parts if isinstance(part, Tensor))
        self.tensors: tuple[Tensor, ...] = resident if len(resident) == len(parts) else ()
        self._labels = [_label(name, i, len(parts)) for i in range(len(parts))]

    def steps(self, batch_size: int | None = None) -> int | None:
        """Return the number of batches in an epoch."""
        return len(self._starts(_at_least_one(batch_size)))

    def batches(
        self,
        batch_size: int | None = None,
        *,
        generator: torch.Generator | None = None,
        shuffle: bool = True,
        shard: tuple[int, int] = (0, 1),
        skip: int = 0,
        device: torch.device | None = None,
    ) -> Iterator[tuple[Tensor, ...]]:
        """Iterate over one epoch, as :class:`probgen.data.Source` says; what is skipped is not read."""
        size, n = _at_least_one(batch_size), len(self.parts[0])
        share(n, shard)  # refuses here, not at the first batch
        places = [torch.device(getattr(part, "device", "cpu")) for part in self.parts]
        if shuffle:
            source = places[0] if generator is None else generator.device
            order = torch.randperm(n, generator=generator, device=source)
            for part in self.parts:
                if isinstance(part, Arranging):
                    order = part.arranged(order, size, generator)
        else:
            order = torch.arange(n, device=places[0])
        starts = self._starts(size)
        return self._cut(order[: starts.stop], places, starts[skip:], size, shard, device)

    def _starts(self, size: int) -> range:
        """Return the first rows of batches; it stops at the rows that are left out of a last one, or with it.

        These are what is over of a multiple, and all of a last batch that then is too small.
        """
        n = len(self.parts[0])
        last = n % size
        left_out = last % self._row_multiple
        if n > size and last - left_out < self._least_rows:
            left_out = last
        return range(0, n - left_out, size)

    def _cut(
        self,
        order: Tensor,
        places: list[torch.device],
        starts: Iterable[int],
        size: int,
        shard: tuple[int, int],
        device: torch.device | None,
    ) -> Iterator[tuple[Tensor, ...]]:
        orders = {place: order.to(place) for place in places}
        columns = list(zip(self.parts, (orders[place] for place in places), self._labels, strict=True))
        for start in starts:
            rows = share(min(size, len(order) - start), shard)
            cut = slice(start + rows.start, start + rows.stop)
            batch: list[Tensor] = []
            for part, order_there, label in columns:
                index = order_there[cut]
                if isinstance(part, Tensor):
                    batch.append(part.index_select(0, index))
                else:
                    batch.extend(_load(part, index, label, self._missing))
            yield to_device(tuple(batch), device)


def check_data(data: Data, *, name: str = "data", missing: bool = False) -> tuple[Indexable, ...]:
    """Return ``data`` as a tuple of indexables after checking that it can be learned from.

    Tensors should be dense and finite. They may be of any real type: x may be tokens, counts or booleans.
    ``name`` is what messages call it; ``missing`` says whether NaN stands for what is missing.

    Raises:
        TypeError: where a part is no indexable, or complex.
        ValueError: where ``data`` is empty, the parts differ in length, a part is not dense, or a row holds
            NaN or infinity.
    """
    parts = _parts(data, name)
    for i, part in enumerate(parts):
        label = _label(name, i, len(parts))
        if not isinstance(part, Tensor):
            continue
        if part.numel() == 0:
            raise ValueError(f"{label} should hold at least one value but has shape {tuple(part.shape)}")
        check_real(part, label)
        if part.is_meta:
            raise ValueError(f"{label} should hold numbers but lies on the meta device, where there are none")
        check_finite(part, label, missing=missing)
    return parts


def check_list(data: Any, name: str) -> None:
    """Raise TypeError for a list of tensors of one shape: they may be rows, or x and its context."""
    if not isinstance(data, list) or not all(isinstance(part, Tensor) for part in data):
        return
    if len({tuple(part.shape) for part in data}) == 1:
        raise TypeError(
            f"{name} should be a tensor or a tuple of tensors but is a list of {len(data)}: where they are "
            "rows, give torch.stack(rows), where they are parts, such as x and its context, a tuple"
        )


def flat(value: Any, label: str) -> tuple[Tensor, ...]:
    """Return the tensors in a batch, the tuples in it laid out one after the other; TypeError for others."""
    if isinstance(value, Tensor):
        return (value,)
    if not isinstance(value, tuple | list):
        raise TypeError(
            f"{label} should give tensors or tuples of tensors but gave a {type(value).__name__}: "
            "use a Dataset or a collate_fn that returns a tuple"
        )
    return tuple(tensor for part in value for tensor in flat(part, label))


def check_real(part: Tensor, label: str) -> None:
    """Raise where a tensor has no dense memory, ValueError, or holds no real numbers, TypeError."""
    if part.is_nested:
        raise ValueError(f"{label} should be a dense tensor but is nested: give data.Ragged(x.unbind())")
    if part.layout is not torch.strided:
        raise ValueError(f"{label} should be a dense tensor but is {part.layout}: give x.to_dense()")
    if part.is_quantized:
        raise TypeError(f"{label} should hold real numbers but is {part.dtype}: give x.dequantize()")
    if part.is_complex():
        raise TypeError(
            f"{label} should hold real numbers but is {part.dtype}: give real and imaginary parts, as "
            "torch.view_as_real does"
        )


def check_finite(x: Tensor, label: str, *, missing: bool = False, where: str = "row {}") -> None:
    """Raise ValueError for a row that holds infinity or, unless it stands for what is missing, NaN."""
    bad = row_not_finite(x, missing=missing)
    if bad is None:
        return
    place = where.format(bad)
    if missing:
        raise ValueError(f"{label} should be finite or NaN where it is missing but {place} holds infinity")
    way_out = (
        ": leave out what is missing, pad sequences with 0, or give a model with nets.MixedHead"
        if x[bad].isnan().any()
        else ""
    )
    raise ValueError(f"{label} should be finite but {place} holds NaN or infinity{way_out}")


def row_not_finite(x: Tensor, *, missing: bool = False) -> int | None:
    """Return the first row that holds infinity, or NaN unless it stands for what is missing, or None."""
    if not x.is_floating_point():
        return None
    if x.sum().isfinite():  # a twentieth of the cost; a sum that overflows is looked at again
        return None
    bad = x.isinf() if missing else ~x.isfinite()
    return int(bad.reshape(len(x), -1).any(1).nonzero()[0]) if bad.any() else None


def share(rows: int, shard: tuple[int, int]) -> slice:
    """Return which of the rows of a batch are process ``rank``'s, ``shard`` being (rank, world).

    The shares do not overlap, are all the rows together, and differ in size by one at most.

    >>> [share(5, (rank, 3)) for rank in range(3)]
    [slice(0, 2, None), slice(2, 4, None), slice(4, 5, None)]
    """
    rank, world = shard
    if not 0 <= rank < world:
        raise ValueError(f"shard should be (rank, world) with 0 <= rank < world but got {shard}")
    return slice(-(-rows * rank // world), -(-rows * (rank + 1) // world))


def rows_at(x: Any, index: Any) -> Any:
    """Return ``x[index]``; of a tensor on a CPU, for a vector of places, in a fifth of the time or less."""
    places = isinstance(index, Tensor) and index.dtype == torch.int64 and index.dim() == 1 and len(index)
    here = places and isinstance(x, Tensor) and x.device.type == index.device.type == "cpu"
    if here and index.min() >= 0:  # index_select does not count from the end
        return x.index_select(0, index)
    return x[index]


def to_device(batch: tuple[Tensor, ...], device: torch.device | None) -> tuple[Tensor, ...]:
    """Return the batch on ``device``, or as it is where that is None."""
    return batch if device is None else tuple(part.to(device, non_blocking=True) for part in batch)


def _load(part: Indexable, index: Tensor, label: str, missing: bool) -> tuple[Tensor, ...]:
    """Read rows from what is no tensor, and check them: on the CPU also that they are finite."""
    try:
        read = part[index]
    except (KeyError, IndexError, TypeError) as error:
        if type(part).__module__.startswith("probgen."):  # it says itself what is wrong
            raise
        raise TypeError(
            f"{label} should give rows for a tensor of indices but is a {type(part).__name__}, which raised "
            f"{type(error).__name__}: give a tensor, or a Dataset, which is asked for one row at a time"
        ) from error
    values = flat(read, label)
    for value in values:
        check_real(value, label)
        if not value.dim() or len(value) != len(index):
            raise ValueError(
                f"{label} should give a row per index but gave shape {tuple(value.shape)} for {len(index)}"
            )
        bad = row_not_finite(value, missing=missing) if value.device.type == "cpu" else None
        if bad is not None:
            check_finite(value, label, missing=missing, where=f"row {int(index[bad])}")
    return values


def _parts(data: Data, name: str) -> tuple[Indexable, ...]:
    check_list(data, name)
    parts = tuple(data) if isinstance(data, tuple | list) else (data,)
    for part in parts:
        foreign = isinstance(part, NO_ROWS) or any(hasattr(part, name) for name in ("to_numpy", "tocsr"))
        if not isinstance(part, Indexable) or foreign:
            raise TypeError(
                f"{name} should be a tensor or a tuple of tensors but holds a {type(part).__name__}"
                f"{_way_out(part)}"
            )
        if isinstance(part, Tensor) and part.dim() == 0:
            raise ValueError(f"{name} should have a row per datum but is a scalar")
    lengths = [len(part) for part in parts]
    if not lengths or not min(lengths):
        raise ValueError(f"{name} should have at least one row but is empty")
    if len(set(lengths)) > 1:
        raise ValueError(
            f"the parts of {name} should be equally long but have {lengths} rows: "
            "sequences of different lengths go into data.Ragged"
        )
    return parts


def _way_out(part: Any) -> str:
    """Return what to give instead of something that is no rows for a tensor of indices."""
    if isinstance(part, np.ndarray):
        return ": use torch.from_numpy or data.MemoryMapped"
    if hasattr(part, "to_numpy"):  # a table or a column of pandas, polars, xarray
        return ": use torch.as_tensor(x.to_numpy()), with the dtype of the weights for what is continuous"
    if hasattr(part, "tocsr"):  # a sparse matrix of SciPy
        return ": use torch.as_tensor(x.toarray())"
    if isinstance(part, Mapping):
        return f": give its columns in a tuple, ({', '.join(f'd[{key!r}]' for key in list(part)[:2])}, ...)"
    if isinstance(part, PackedSequence):
        return ": use data.Ragged(sequences)"
    if isinstance(part, tuple | list):
        return ": use torch.tensor or torch.stack, and lay nested tuples out in one"
    return ""


def _at_least_one(batch_size: int | None) -> int:
    if batch_size is None:
        raise ValueError("batch_size should be at least 1 but got None")
    return check_count("batch_size", batch_size)


def _label(name: str, i: int, parts: int) -> str:
    return name if parts == 1 else f"{name}[{i}]"
