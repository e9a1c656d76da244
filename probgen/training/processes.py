"""The processes of a training: one, or several that share its data and hold the same weights.

Each process takes its share of every batch; gradients are added up in one flat tensor, weighted by the rows
behind them, so that a step is the step that one process would take on the whole batch. Noise differs from
process to process.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any

import torch
import torch.distributed
from torch import Tensor, nn

if TYPE_CHECKING:
    from lightning_fabric import Fabric

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
