"""How a graph runs: as it stands, compiled, or as a CUDA graph."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.fx import GraphModule
from torch.fx.experimental.proxy_tensor import make_fx

from probgen.capture.bound_operations import bind
from probgen.capture.set_attributes import Places
from probgen.core import Terms


class Outcome(NamedTuple):
    """What one call computes."""

    loss: Tensor
    terms: Terms
    gradients: Sequence[Tensor]  # of the weights that have one, in order


Run = Callable[..., Outcome]

COMPILER = {
    "fallback_random": True, "cpp.vec_isa_ok": True, "compile_threads": 1, "cpp.min_chunk_size": 2**15,
}  # fmt: skip
"""Random numbers are torch's own. Instructions that the processor names are not tried out first, and no pool
of workers is started: both save seconds of the first compilation. Short loops stay on one core, as torch's
own do."""


def plain(
    graph: Callable[..., list[Tensor]],
    terms: Sequence[str],
    tensors: Sequence[Tensor],
    *,
    casts: bool,
    places: Places,
) -> Run:
    """Run a graph of (*tensors, *batch) that returns the loss, its terms, attributes to set and gradients.

    With ``casts`` the graph was captured under autocast and holds its casts: it runs with autocast off.
    """
    device = tensors[0].device.type
    end = 1 + len(terms)
    first = end + len(places)
    autocast_off = torch.autocast(device, enabled=False) if casts else nullcontext()

    def run(*batch: Tensor) -> Outcome:
        with torch.no_grad(), autocast_off:
            results = graph(*tensors, *batch)
        for (module, name), value in zip(places.values(), results[end:first], strict=True):
            vars(module)[name] = value
        return Outcome(results[0], dict(zip(terms, results[1:end], strict=True)), results[first:])

    return run


def runner(
    mode: str, graph: GraphModule, tensors: Sequence[Tensor], batch: Sequence[Tensor]
) -> Callable[..., list[Tensor]]:
    """Return what runs a graph of (*tensors, *batch): as it stands, compiled, or as a CUDA graph."""
    if mode == "compile":
        return compiled(graph, (*tensors, *batch))
    return recorded(bind(graph), tensors, batch) if mode == "cudagraph" else bind(graph).forward


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


def compiled(graph: GraphModule, inputs: Sequence[Tensor]) -> Callable[..., list[Tensor]]:
    """Give a graph to torch's compiler, with torch's own random numbers.

    They are those of the eager function, so that the two can be compared, and a training that resumes from
    torch's random state goes on to the same bits.
    """
    from torch import _inductor

    returned: Any = graph.graph.output_node().args[0]
    flags = [result.meta["val"].dtype == torch.bool for result in returned]

    def as_bytes(*arguments: Tensor) -> list[Tensor]:  # compiled loops store bools one at a time
        found = zip(graph(*arguments), flags, strict=True)
        return [torch.where(x, 1.0, 0.0).to(torch.uint8) if flag else x for x, flag in found]

    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # those of torch about itself
        whole = make_fx(as_bytes)(*inputs) if any(flags) else graph
        function = _inductor.compile(whole, list(inputs), options=COMPILER)
    if not any(flags):
        return function

    def with_flags(*arguments: Tensor) -> list[Tensor]:
        found = zip(function(*arguments), flags, strict=True)
        return [x.view(torch.bool) if flag else x for x, flag in found]

    return with_flags


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
