"""The processes of a training: one, or several that share its data and hold the same weights.

Each process takes its share of every batch; gradients are added up in one flat tensor, weighted by the rows
behind them, so that a step is the step that one process would take on the whole batch. Noise differs from
process to process.
"""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TYPE_CHECKING, Any

import torch
import torch.distributed
from torch import Tensor, nn

if TYPE_CHECKING:
    from lightning_fabric import Fabric

Batch = tuple[Tensor, ...]

PRECISIONS = ("32-true", "bf16-mixed")


class Processes:
    """What the processes of a training say to one another; without Fabric there is one, which says nothing.

    Args:
        fabric: Lightning's Fabric, which knows devices, processes, precision and loggers. It is launched here
            unless it has been.

    Raises:
        ValueError: for a strategy other than one device or DDP, or a precision other than 32-true and
            bf16-mixed.
    """

    def __init__(self, fabric: Fabric | None = None) -> None:
        self._fabric = fabric
        self.rank, self.world = 0, 1
        self.precision = PRECISIONS[0]
        self._buffers: dict[torch.dtype, Tensor] = {}
        if fabric is None:
            return
        from lightning_fabric.strategies import DDPStrategy, SingleDeviceStrategy

        if not isinstance(fabric.strategy, DDPStrategy | SingleDeviceStrategy):
            raise ValueError(
                "fabric should have the strategy 'ddp' or one device but has "
                f"{type(fabric.strategy).__name__}"
            )
        precision = fabric.strategy.precision.precision
        if precision not in PRECISIONS:
            raise ValueError(
                f"fabric should have precision {' or '.join(PRECISIONS)} but has {precision}: for other "
                "dtypes, convert the objective and the data"
            )
        self.precision = precision
        if isinstance(fabric.strategy, DDPStrategy) and not torch.distributed.is_initialized():
            fabric.launch()
        self.rank, self.world = fabric.global_rank, fabric.world_size

    @property
    def shard(self) -> tuple[int, int]:
        """This process's number and how many there are."""
        return self.rank, self.world

    @property
    def device(self) -> torch.device | None:
        """The device of this process; None where the objective's own is taken."""
        return None if self._fabric is None else self._fabric.device

    def autocast(self) -> AbstractContextManager[Any]:
        """Compute in the precision that is asked for."""
        return nullcontext() if self._fabric is None else self._fabric.autocast()

    def log(self, terms: Mapping[str, float], step: int) -> None:
        """Hand a report to Fabric's loggers."""
        if self._fabric is not None:
            self._fabric.log_dict(terms, step=step)

    def close_loggers(self, ended: str) -> None:
        """Have Fabric's loggers write what they hold."""
        for logger in () if self._fabric is None else self._fabric.loggers:
            logger.finalize(ended)

    def any(self, *flags: bool) -> list[bool]:
        """Say of each flag whether it holds in one of the processes."""
        if self.world == 1:
            return list(flags)
        counts = torch.tensor(flags, dtype=torch.float32, device=self.device)
        torch.distributed.all_reduce(counts)
        return [count > 0 for count in counts.tolist()]

    def sum(self, tensor: Tensor) -> Tensor:
        """Return the sum of a tensor over the processes."""
        if self.world > 1:
            tensor = tensor.clone()
            torch.distributed.all_reduce(tensor)
        return tensor

    def gather(self, value: Any) -> list[Any]:
        """Return the value that each process has."""
        if self.world == 1:
            return [value]
        values = [None] * self.world
        torch.distributed.all_gather_object(values, value)
        return values

    @contextmanager
    def together(self) -> Iterator[None]:
        """Go on in all processes or in none: where one of them fails in this block, all end with an error.

        Nothing in the block may wait for another process.

        Raises:
            its own error in a process that has one; in the others a TypeError, OSError or ValueError that
                says whose it is.
        """
        if self.world == 1:
            yield
            return
        failed: Exception | None = None
        try:
            yield
        except Exception as error:  # whatever a user's own data and modules raise
            failed = error
        told = self.gather(
            failed and (isinstance(failed, TypeError), isinstance(failed, OSError), str(failed))
        )
        if failed is not None:
            raise failed
        for rank, found in enumerate(told):
            if found is not None:
                kind = TypeError if found[0] else OSError if found[1] else ValueError
                raise kind(f"process {rank} of {self.world} cannot go on: {found[2]}")

    def agree(self, values: Mapping[str, Any]) -> None:
        """Raise ValueError in all processes where they differ in a value, naming it."""
        if self.world == 1:
            return
        told = self.gather({name: repr(value) for name, value in values.items()})
        for name in dict.fromkeys(name for mine in told for name in mine):
            first = told[0].get(name, "none")
            for rank, mine in enumerate(told):
                if mine.get(name, "none") != first:
                    raise ValueError(
                        f"all processes should have the same {name} but process 0 has {first} and process "
                        f"{rank} {mine.get(name, 'none')}: call fit alike in each, with all of the data, of "
                        "which each takes its share"
                    )

    def in_step(self, batches: Iterator[Batch], *, first: bool) -> Iterator[Batch]:
        """Yield batches that each process loads by itself, as long as all of them have one.

        Args:
            batches: this process's shares of them.
            first: whether no step was taken yet; that of the first has rows for all processes.

        Raises:
            ValueError: in all processes, where one could not load its batch, or has fewer batches.
        """
        for number in itertools.count(1):
            failed: Exception | None = None
            batch: Batch | None = None
            try:
                batch = next(batches, None)
            except Exception as error:  # whatever a user's own dataset raises
                failed = error
            bare = batch is not None and first and number == 1 and not len(batch[0])
            broken, some, none, bare = self.any(failed is not None, batch is not None, batch is None, bare)
            if failed is not None:
                raise failed
            if broken:
                raise ValueError(
                    f"batch {number} of an epoch could not be loaded in another process: see there"
                )
            if some and none:
                raise ValueError(
                    "all processes should have the same number of batches but in some of them the data end "
                    f"before batch {number}: give each the whole data, of which each takes its share"
                )
            if bare:
                raise ValueError(
                    f"the first batch should have at least {self.world} rows, one for each of {self.world} "
                    "processes: make batches larger"
                )
            if batch is None:
                return
            yield batch

    def share(self, tensors: Sequence[Tensor]) -> None:
        """Overwrite tensors with those of the first process."""
        if self.world == 1:
            return
        if any(tensor.layout is not torch.strided for tensor in tensors):
            raise ValueError(
                "buffers and parameters should be dense in a training of several processes, which share "
                "them, but one is sparse: train in one process, or make it of a dense buffer in forward"
            )
        for group in _by_dtype(tensors):
            flat = torch.cat([tensor.detach().reshape(-1) for tensor in group])
            torch.distributed.broadcast(flat, 0)
            for tensor, value in zip(group, flat.split([t.numel() for t in group]), strict=True):
                tensor.detach().copy_(value.view_as(tensor))

    def average_gradients(self, parameters: Sequence[nn.Parameter], rows: int) -> None:
        """Average the processes' gradients, each weighted by the rows behind it, in one flat tensor.

        The gradients lie in that tensor until the next call. A parameter that has no gradient in any of the
        processes stays without.
        """
        if self.world == 1:
            return
        for group in _by_dtype(parameters):
            missing = [parameter.grad is None for parameter in group]
            sizes = [parameter.numel() for parameter in group]
            flat = self._flat(group[0], sum(sizes) + 1 + len(group))
            *values, whole, held = flat.split([*sizes, 1, len(group)])
            for parameter, value in zip(group, values, strict=True):
                if parameter.grad is None:
                    value.zero_()
                else:
                    value.copy_(parameter.grad.reshape(-1))
            gradients = flat[: sum(sizes)].mul_(rows)
            whole.fill_(rows)
            held.copy_(torch.tensor([not lacks for lacks in missing]))
            torch.distributed.all_reduce(flat)
            gradients.div_(whole)
            somewhere = held.tolist() if any(missing) else [1.0] * len(group)
            for parameter, value, count in zip(group, values, somewhere, strict=True):
                parameter.grad = value.to(parameter).view_as(parameter) if count else None

    def _flat(self, like: Tensor, size: int) -> Tensor:
        """Return memory for so many numbers of at least float32, the same at each call."""
        dtype = torch.promote_types(like.dtype, torch.float32)
        kept = self._buffers.get(like.dtype)
        if kept is None or len(kept) != size:
            kept = self._buffers[like.dtype] = torch.empty(size, dtype=dtype, device=like.device)
        return kept


def _by_dtype(tensors: Sequence[Any]) -> list[list[Any]]:
    groups: dict[torch.dtype, list[Any]] = defaultdict(list)
    for tensor in tensors:
        groups[tensor.dtype].append(tensor)
    return list(groups.values())
