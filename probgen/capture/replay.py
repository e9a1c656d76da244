"""How a captured loss runs: as it stands, under torch.compile, or as a CUDA graph."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.fx import GraphModule

from probgen.core import Terms


class Outcome(NamedTuple):
    """What one call computes."""

    loss: Tensor
    terms: Terms
    gradients: Sequence[Tensor]  # of the weights that have one, in order


Run = Callable[..., Outcome]


def plain(
    graph: Callable[..., list[Tensor]], terms: Sequence[str], tensors: Sequence[Tensor], *, casts: bool
) -> Run:
    """Run a graph of (*tensors, *batch) that returns the loss, its terms and gradients.

    With ``casts`` the graph was captured under autocast and holds its casts: it runs with autocast off.
    """
    device = tensors[0].device.type
    first = 1 + len(terms)
    autocast_off = torch.autocast(device, enabled=False) if casts else nullcontext()

    def run(*batch: Tensor) -> Outcome:
        with torch.no_grad(), autocast_off:
            results = graph(*tensors, *batch)
        return Outcome(results[0], dict(zip(terms, results[1:first], strict=True)), results[first:])

    return run


def guarded(run: Run, written: list[Tensor], device: torch.device) -> Run:
    """Run; where that fails, put torch's random numbers and what it writes into back before raising."""
    kept = [tensor.detach().clone() for tensor in written]
    on_cuda = device.type == "cuda"

    def guarded_run(*batch: Tensor) -> Outcome:
        noise = torch.cuda.get_rng_state(device) if on_cuda else torch.get_rng_state()
        if kept:
            with torch.no_grad():
                torch._foreach_copy_(kept, written)
        try:
            return run(*batch)
        except Exception:
            torch.cuda.set_rng_state(noise, device) if on_cuda else torch.set_rng_state(noise)
            with torch.no_grad():
                for tensor, value in zip(written, kept, strict=True):
                    tensor.copy_(value)
            raise

    return guarded_run


def compiled(graph: GraphModule) -> Callable[..., list[Tensor]]:
    """Give a graph to torch.compile, with torch's own random numbers.

    They are those of the eager loss, so that the two can be compared, and a training that resumes from
    torch's random state goes on to the same bits.
    """
    return torch.compile(graph, fullgraph=True, dynamic=False, options={"fallback_random": True})


def recorded(
    graph: Callable[..., list[Tensor]], tensors: Sequence[Tensor], batch: Sequence[Tensor]
) -> Callable[..., list[Tensor]]:
    """Record a graph as a CUDA graph, whose replay costs one launch for all its kernels.

    It reads and writes the memory of ``tensors`` in place, and reads a batch from copies of ``batch``. What
    it returns is copied, so that the next replay does not overwrite it. CUDA graphs draw fresh random
    numbers at each replay, from torch's generator as it stands then.
    """
    device = batch[0].device
    inputs = [x.clone() for x in batch]
    with torch.cuda.device(device), torch.no_grad():
        aside = torch.cuda.Stream(device)
        aside.wait_stream(torch.cuda.current_stream(device))
        with torch.cuda.stream(aside):
            for _ in range(3):  # libraries set themselves up, which cannot be recorded
                graph(*tensors, *inputs)
        torch.cuda.current_stream(device).wait_stream(aside)
        recording = torch.cuda.CUDAGraph()
        with torch.cuda.graph(recording):
            results = graph(*tensors, *inputs)

    def replay(*arguments: Tensor) -> list[Tensor]:
        for mine, given in zip(inputs, arguments[len(tensors) :], strict=True):
            mine.copy_(given, non_blocking=True)
        recording.replay()
        return list(torch._foreach_mul(results, 1))

    return replay


class WithGradients(torch.autograd.Function):
    """A loss whose gradients are known already, for autograd to hand to the weights."""

    @staticmethod
    def forward(ctx: Any, loss: Tensor, gradients: Sequence[Tensor], *weights: Tensor) -> Tensor:
        """Return the loss, differentiable in the weights."""
        ctx.gradients = gradients
        return loss.view_as(loss)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, scale: Tensor) -> Any:
        """Return the gradients, times the loss's own."""
        gradients, ctx.gradients = ctx.gradients, None
        if gradients is None:
            raise RuntimeError("the loss of a captured graph should be differentiated once")
        if scale.is_cuda or scale != 1:  # comparing on CUDA would wait for it
            gradients = torch._foreach_mul(gradients, scale)
        return None, None, *gradients
