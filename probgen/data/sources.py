"""Where batches come from: tensors, indexables, a torch Dataset or DataLoader."""

from __future__ import annotations

from collections.abc import Iterator, Sized
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence
from torch.utils.data import (
    BatchSampler,
    DataLoader,
    Dataset,
    DistributedSampler,
    IterableDataset,
    Subset,
    TensorDataset,
    default_collate,
)

from probgen.core import tensor_of
from probgen.data.batches import (
    Indexable,
    Rows,
    check_data,
    check_finite,
    check_list,
    check_real,
    flat,
    share,
    to_device,
)


class Source(Protocol):
    """Data to learn from, in batches, epoch after epoch.

    Attributes:
        rows: how many data there are; None for a stream of unknown length.
        tensors: the tensors in which all of the data lie; () where some lie elsewhere.
        own_batches: whether the data come in batches of their own, so that ``batch_size`` has no say.
        batch_size: the number of data in such a batch where it is known, else None.
    """

    own_batches: bool
    rows: int | None
    batch_size: int | None
    tensors: tuple[Tensor, ...]

    def steps(self, batch_size: int | None = None) -> int | None:
        """Return the number of batches in an epoch, None for a stream of unknown length."""

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
        """Iterate over one epoch: tuples of tensors with a row per datum, what an objective's forward gets.

        The same state of ``generator`` gives the same epoch. Its draws are made at the call.

        Args:
            batch_size: data per batch; the last one may be smaller.
            generator: of the order; torch's global one where None.
            shuffle: in random order, else in the order of the data.
            shard: (rank, world): of each batch, this process's share. Shares do not overlap, are the whole
                batch together and differ by one row at most; one is empty only where a batch has fewer rows
                than there are processes.
            skip: leave out that many batches at the start of the epoch.
            device: where the batches go; they stay where they lie if None.

        Raises:
            ValueError, TypeError: at the batch that is wrong: not finite (looked for on the CPU), complex,
                no row per datum, no tensors.
        """


def source(
    data: Any,
    *,
    name: str = "data",
    least_rows: int = 1,
    row_multiple: int = 1,
    missing: bool = False,
    dtype: torch.dtype | None = None,
) -> Source:
    r"""Check ``data`` and return where its batches come from; ``name`` is what messages call it.

    Args:
        data: one of

            - a tensor (n, \*event), another :class:`Indexable` such as :class:`MemoryMapped` or
              :class:`Ragged`, or a tuple of equally long ones (x, then its context);
            - arrays of NumPy and frames of pandas in their place: real numbers become ``dtype``, whole ones
              int64;
            - a map-style ``Dataset`` whose items are tensors, numbers, arrays or tuples of these, alone or in
              such a tuple. A ``TensorDataset``, also a ``Subset`` of one, is read as its tensors;
            - a ``DataLoader``, with its own batch size, order, workers and ``collate_fn``.

            Tensors may hold whole numbers: x may be tokens, counts or booleans. A list of tensors
            of one shape is refused, since they may be rows (``torch.stack``) or parts (a tuple).

        least_rows: leave out the last batch of an epoch where it has fewer rows, unless it is the only one;
            a ``DataLoader`` has ``drop_last`` for this.
        row_multiple: cut the last batch of an epoch to a multiple of it.
        missing: whether NaN stands for what is missing, and is let through.
        dtype: of real numbers in arrays, torch's default one where not given.

    Raises:
        TypeError: where ``data`` is none of these, or complex.
        ValueError: where it is empty, its parts differ in length, a tensor is not dense, or holds NaN or
            infinity.

    >>> [len(x) for x, label in source((torch.rand(10, 2), torch.arange(10))).batches(4)]
    [4, 4, 2]
    """
    if isinstance(data, DataLoader):
        return Loader(data, name, missing=missing)
    check_list(data, name)
    parts = data if isinstance(data, tuple | list) and not isinstance(data, PackedSequence) else (data,)
    parts = [tensor_of(part, name, dtype=dtype) for part in parts]
    rows = check_data(tuple(row for part in parts for row in _by_row(part, name)), name=name, missing=missing)
    return Rows(rows, name, least_rows, row_multiple=row_multiple, missing=missing)


class Loader:
    """A source that is a torch ``DataLoader``: its own batches, in its own order.

    Its order, and what its dataset draws, come from the epoch's ``generator``: torch's global generator
    stands apart while the loader works, and the generators of the loader and its samplers are seeded afresh.
    So an epoch can be had again, as long as nothing else is random (NumPy in the main process, persistent
    workers). Skipped batches are loaded and dropped.
    """

    own_batches = True

    def __init__(self, loader: DataLoader[Any], name: str, *, missing: bool = False) -> None:
        self._loader, self._name, self._missing = loader, name, missing
        streams = isinstance(loader.dataset, IterableDataset) or isinstance(loader.sampler, BatchSampler)
        if loader.batch_sampler is None and not streams:
            raise ValueError(
                f"{name} should come in batches but the loader has batch_size=None, by which each row is "
                "read as a batch: give it a batch_size, or, where the items are batches, an IterableDataset"
            )
        self.rows: int | None = _length(loader.dataset)
        self.batch_size: int | None = getattr(loader.batch_sampler, "batch_size", loader.batch_size)
        self.tensors: tuple[Tensor, ...] = ()
        if self.rows == 0 or self.steps() == 0:
            raise ValueError(f"{name} should have at least one row but the loader is empty")

    def steps(self, batch_size: int | None = None) -> int | None:
        """Return the number of batches in an epoch, None for a stream of unknown length."""
        return _length(self._loader)

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
        """Iterate over one epoch of the loader; ``batch_size`` and ``shuffle`` are the loader's own."""
        share(0, shard)
        if shard[1] > 1 and isinstance(self._loader.sampler, DistributedSampler):
            raise ValueError(
                f"{self._name} should give every process whole batches, of which each takes its share, "
                "but the loader has a DistributedSampler"
            )
        drawn_on = "cpu" if generator is None else generator.device
        seed = int(torch.randint(2**62, (), generator=generator, device=drawn_on))
        return self._load(seed, shard, skip, device)

    def _load(
        self, seed: int, shard: tuple[int, int], skip: int, device: torch.device | None
    ) -> Iterator[tuple[Tensor, ...]]:
        count = 0
        for count, loaded in enumerate(_replayable(self._loader, seed), start=1):
            if count > skip:
                batch = self._checked(loaded, count)
                rows = share(len(batch[0]), shard)
                yield to_device(tuple(part[rows] for part in batch), device)
        if count < max(skip, 1):
            raise ValueError(
                f"{self._name} should have at least {max(skip, 1)} batches but the loader gave {count}"
            )

    def _checked(self, loaded: Any, count: int) -> tuple[Tensor, ...]:
        batch = flat(loaded, self._name)
        shapes = [tuple(part.shape) for part in batch]
        if not all(shapes) or len({shape[0] for shape in shapes}) != 1 or not shapes[0][0]:
            raise ValueError(
                f"{self._name} should give tensors with a row per datum but those of batch {count} have "
                f"shapes {shapes}"
            )
        for part in batch:
            check_real(part, self._name)
            if part.device.type == "cpu":
                check_finite(part, self._name, missing=self._missing, where=f"row {{}} of batch {count}")
        return batch


class _Items:
    """A map-style dataset as an indexable: the items at the rows asked for, stacked."""

    def __init__(self, dataset: Dataset[Any], name: str) -> None:
        self._dataset, self._name = dataset, name
        self._get_items = getattr(dataset, "__getitems__", None)

    def __len__(self) -> int:
        return len(self._dataset)  # type: ignore[arg-type]

    def __getitem__(self, index: Tensor) -> tuple[Tensor, ...]:
        rows = index.tolist() or [0]  # an empty share still has the shape of an item
        items = self._get_items(rows) if self._get_items else [self._dataset[row] for row in rows]
        layouts = [_layout(item) for item in items]
        odd = next((i for i, layout in enumerate(layouts) if layout != layouts[0]), None)
        if odd is not None:
            raise ValueError(
                f"the items of {self._name} should be alike but row {rows[0]} is {layouts[0]} and row "
                f"{rows[odd]} {layouts[odd]}: sequences of different lengths go into data.Ragged"
            )
        try:
            stacked = default_collate(items)
        except TypeError:
            raise TypeError(
                f"the items of {self._name} should be tensors, numbers, arrays or tuples of these but row "
                f"{rows[0]} is {items[0]!r:.60}"
            ) from None
        return tuple(part[: len(index)] for part in flat(stacked, self._name))


def _by_row(part: Any, name: str) -> tuple[Indexable, ...]:
    """Return indexables for one part of the data: a dataset's tensors where it is made of them."""
    if isinstance(part, TensorDataset):
        return part.tensors
    if isinstance(part, Subset) and isinstance(part.dataset, TensorDataset):
        return tuple(tensor[list(part.indices)] for tensor in part.dataset.tensors)
    if isinstance(part, DataLoader):
        raise TypeError(f"{name} should be one DataLoader or a tuple without one")
    if isinstance(part, IterableDataset) or (isinstance(part, Dataset) and not isinstance(part, Sized)):
        raise TypeError(
            f"{name} should have rows to index but is the stream {type(part).__name__}: "
            "give DataLoader(it, batch_size=...)"
        )
    return (_Items(part, name),) if isinstance(part, Dataset) else (part,)


def _layout(item: Any) -> Any:
    """Return the shapes of an item: what its stacking needs to be the same."""
    if isinstance(item, tuple | list):
        return tuple(_layout(part) for part in item)
    return tuple(getattr(item, "shape", ()))


def _length(sized: Any) -> int | None:
    try:
        return len(sized)
    except (TypeError, NotImplementedError):
        return None


def _replayable(loader: DataLoader[Any], seed: int) -> Iterator[Any]:
    """Iterate over the loader with a stream of randomness of its own, which depends on ``seed`` alone."""
    samplers = (loader.sampler, loader.batch_sampler, getattr(loader.batch_sampler, "sampler", None))
    for i, holder in enumerate((loader, *samplers), start=1):
        generator = getattr(holder, "generator", None)
        if isinstance(generator, torch.Generator):
            generator.manual_seed(seed + i)
    inner = torch.Generator().manual_seed(seed).get_state()
    iterator: Iterator[Any] | None = None
    while True:
        outer = torch.get_rng_state()
        torch.set_rng_state(inner)
        try:
            iterator = iter(loader) if iterator is None else iterator
            batch = next(iterator)
        except StopIteration:
            return
        finally:
            inner = torch.get_rng_state()
            torch.set_rng_state(outer)
        yield batch
