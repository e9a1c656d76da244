"""The fast path: an objective's loss runs as a graph, so that Pyro's Python runs only at capture.

What Python computes from its own state is frozen at capture, so each graph is held against the eager loss,
with its gradients and buffers, when it is made and at calls 1, 2, 4, 8, ...: where it cannot be made or
disagrees, training goes on without it and one warning says why.
"""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

import torch
from torch import Tensor

from probgen.core import Objective, Terms
from probgen.inference.agreement import check_outcome, difference, summary
from probgen.inference.graph import Captured, bind, capture
from probgen.inference.replay import Outcome, Run, WithGradients, compiled, plain, recorded

logger = logging.getLogger("probgen")

MODES = ("auto", "eager", "graph", "compile", "cudagraph")
MAX_GRAPHS = 16
"""Graphs that one training makes; making one costs what about two hundred captured steps save."""
COMPILE_STEPS = 50_000
"""Steps from which "auto" compiles on a CPU: torch.compile takes 10 to 20 s and saves 0.1 to 0.5 ms a step,
so that it pays from 20,000 to 200,000 steps on."""


class Graph(NamedTuple):
    """A captured loss and how it runs."""

    captured: Captured
    tensors: tuple[Tensor, ...]  # the objective's: kept, so that no other takes the identity of one
    weights: dict[str, Tensor]  # those that have a gradient
    run: Run


class CapturedLoss:
    """An objective's loss, captured once per batch shape; a drop-in for calling the objective.

    A graph belongs to the shapes of the batch, to the objective's parameters (which there are, and which
    learn), to its modules' training flags and to autocast: where one of these is new, so is the graph, up to
    16 in all. Without gradients (``torch.no_grad``) the objective itself is called.

    Args:
        objective: the module whose forward pass is the loss.
        mode: ``"eager"`` never captures, ``"graph"`` runs the ATen graph (to the same bits), ``"compile"``
            gives it to ``torch.compile``, ``"cudagraph"`` records it as a CUDA graph. ``"auto"`` is
            "cudagraph" on CUDA; on a CPU it is "graph", or "compile" where ``steps`` is 50,000 or more and a
            C++ compiler is there. The attribute ``mode`` is the mode in force.
        steps: the number of optimizer steps planned in all, where known.
        batch_size: the rows of a full batch, where known; others, such as the last of an epoch, are then run
            as plain graphs, since compiling them would not pay.

    Raises:
        ValueError: for an unknown mode, or "cudagraph" away from CUDA.
    """

    def __init__(
        self,
        objective: Objective,
        mode: str = "auto",
        steps: int | None = None,
        *,
        batch_size: int | None = None,
    ) -> None:
        if mode not in MODES:
            raise ValueError(f"compile should be one of {', '.join(MODES)} but got {mode!r}")
        self._device = next((p.device for p in objective.parameters()), torch.device("cpu"))
        if mode == "cudagraph" and self._device.type != "cuda":
            raise ValueError(f"compile='cudagraph' needs a CUDA device but the data are on {self._device}")
        self.objective = objective
        self.mode = _auto(self._device, steps or 0) if mode == "auto" else mode
        self._batch_size = batch_size
        self._graphs: dict[Hashable, Graph] = {}
        self._calls = 0
        self._full = False  # whether it was said that there are too many graphs

    def __call__(self, *batch: Tensor) -> tuple[Tensor, Terms]:
        """Return the loss and its terms."""
        return self._loss(self._graph(batch) if torch.is_grad_enabled() else None, batch)

    def backward(self, *batch: Tensor, scale: float = 1.0) -> tuple[Tensor, Terms]:
        """Add the gradient of the loss, times ``scale``, to the weights' ``grad``; return loss and terms.

        As ``(scale * loss).backward()`` on the loss of a call. A graph's gradients are there already and
        need not pass through autograd, which would be a tenth of the step of a small net; they do where a
        parameter has hooks to run afterwards.
        """
        graph = self._graph(batch)
        if graph is None or any(w._post_accumulate_grad_hooks for w in graph.weights.values()):
            loss, terms = self._loss(graph, batch)
            with torch.autocast(self._device.type, enabled=False):
                (loss if scale == 1 else scale * loss).backward()
            return loss.detach(), terms
        loss, terms, gradients = graph.run(*batch)
        if scale != 1:
            gradients = torch._foreach_mul(list(gradients), scale)
        for weight, gradient in zip(graph.weights.values(), gradients, strict=True):
            if weight.grad is None:
                weight.grad = gradient
            else:
                weight.grad.add_(gradient)
        return loss, terms

    def _loss(self, graph: Graph | None, batch: tuple[Tensor, ...]) -> tuple[Tensor, Terms]:
        if graph is None:
            return self.objective(*batch)
        loss, terms, gradients = graph.run(*batch)
        return WithGradients.apply(loss, gradients, *graph.weights.values()), terms

    def _graph(self, batch: tuple[Tensor, ...]) -> Graph | None:
        """Return the graph for a batch, made and checked if need be, or None where the loss runs eagerly."""
        self._calls += 1
        if self._calls == 1:
            with self._undisturbed():
                check_outcome(self.objective(*batch), type(self.objective).__name__)
        if self.mode == "eager":
            return None
        key = self._key(batch)
        graph = self._graphs.get(key)
        if graph is not None and self._calls & (self._calls - 1):
            return graph
        if graph is None and len(self._graphs) == MAX_GRAPHS:
            if not self._full:
                logger.warning("the loss runs eagerly on further shapes, since it has %d graphs", MAX_GRAPHS)
                self._full = True
            return None
        expected = self._eager_summary(batch)  # a user's error surfaces here, in its own words
        if graph is None:
            try:
                with self._undisturbed():
                    graph = self._capture(batch)
            except Exception as error:  # whatever the story's Python does, the eager loss can still be right
                self._give_up(f"could not be made: {_first_line(error)}")
                return None
            reason = self._disagreement(graph, batch, expected, cast=torch.float64)
            if reason is None:
                self._graphs[key] = graph = self._accelerated(graph, batch, expected)
        else:
            reason = self._disagreement(graph, batch, expected, cast=self._rounding())
        if reason is not None:
            self._give_up(reason)
            return None
        return graph

    def _give_up(self, reason: str) -> None:
        logger.warning("the loss runs eagerly, since its captured graph %s", reason)
        self.mode = "eager"
        self._graphs.clear()

    def _capture(self, batch: tuple[Tensor, ...]) -> Graph:
        """Return the plain graph, not yet checked."""
        weights: dict[str, Tensor] = dict(self.objective.named_parameters())
        hooked = [name for name, weight in weights.items() if weight._backward_hooks]
        if hooked:
            raise ValueError(f"{hooked[0]} has hooks on its gradient, which it would not run")
        state = {name: weights.pop(name) for name, p in list(weights.items()) if not p.requires_grad}
        state |= dict(self.objective.named_buffers())
        captured = capture(self.objective, weights, state, batch)
        tensors = (*weights.values(), *state.values())
        run = self._run(bind(captured.graph), captured, tensors)
        return Graph(captured, tensors, {name: weights[name] for name in captured.weights}, run)

    def _accelerated(self, graph: Graph, batch: tuple[Tensor, ...], expected: dict[str, Tensor]) -> Graph:
        """Return the graph as the mode in force runs it: as it is, where that cannot be done or disagrees."""
        if self.mode == "graph" or self._batch_size not in (None, len(batch[0])):
            return graph
        captured, tensors = graph.captured, graph.tensors
        try:
            with self._undisturbed():
                if self.mode == "compile":
                    fast = compiled(captured.graph)
                else:
                    fast = recorded(bind(captured.graph), tensors, batch)
            faster = graph._replace(run=self._run(fast, captured, tensors))
            reason = self._disagreement(faster, batch, expected, cast=self._rounding())
        except Exception as error:  # a missing compiler, an operation that a CUDA graph cannot hold
            reason = f"could not be made: {_first_line(error)}"
        if reason is None:
            return faster
        logger.warning("the loss runs as a plain graph, since with compile=%r it %s", self.mode, reason)
        self.mode = "graph"
        return graph

    def _run(
        self, function: Callable[..., list[Tensor]], captured: Captured, tensors: tuple[Tensor, ...]
    ) -> Run:
        return plain(function, captured.terms, tensors, casts=self._cast() is not None)

    def _cast(self) -> torch.dtype | None:
        """Return the type that autocast casts to, or None where it is off."""
        kind = self._device.type
        return torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else None

    def _rounding(self) -> torch.dtype:
        """Return the type in which a compiled loss may round otherwise than the eager one."""
        return (self._cast() if self.mode == "compile" else None) or torch.float64

    def _key(self, batch: tuple[Tensor, ...]) -> Hashable:
        """Return what a graph is made for; it stands in every step, hence nn.Module's own dictionaries."""
        key: list[Hashable] = [self._cast()]
        for x in batch:
            key += (x.shape, x.dtype, x.device)
        modules: list[torch.nn.Module | None] = [self.objective]
        for module in modules:
            if module is None:
                continue
            modules += module._modules.values()
            key.append(module.training)
            key += map(id, module._buffers.values())
            for weight in module._parameters.values():
                if weight is not None:
                    hooked = bool(weight._backward_hooks)
                    key += (id(weight), weight.requires_grad, weight.dtype, weight.shape, hooked)
        if self.mode == "cudagraph":  # which reads memory, whatever tensor it belongs to
            key += (t.data_ptr() for t in (*self.objective.parameters(), *self.objective.buffers()))
        return tuple(key)

    def _eager_summary(self, batch: tuple[Tensor, ...]) -> dict[str, Tensor]:
        weights = {name: p for name, p in self.objective.named_parameters() if p.requires_grad}
        with self._undisturbed():
            with torch.enable_grad():
                loss, terms = self.objective(*batch)
            with torch.autocast(self._device.type, enabled=False):
                found = torch.autograd.grad(loss, list(weights.values()), allow_unused=True)
            gradients = {name: g for name, g in zip(weights, found, strict=True) if g is not None}
            return summary(loss, terms, gradients, dict(self.objective.named_buffers()))

    def _disagreement(
        self, graph: Graph, batch: tuple[Tensor, ...], expected: dict[str, Tensor], *, cast: torch.dtype
    ) -> str | None:
        with self._undisturbed():
            outcome: Outcome = graph.run(*batch)
            gradients = dict(zip(graph.weights, outcome.gradients, strict=True))
            buffers = dict(self.objective.named_buffers())
            return difference(summary(outcome.loss, outcome.terms, gradients, buffers), expected, cast)

    @contextmanager
    def _undisturbed(self) -> Iterator[None]:
        """Put the random state and the buffers back as they were."""
        buffers = [
            (module, name, buffer, buffer.clone())
            for module in self.objective.modules()
            for name, buffer in module.named_buffers(recurse=False)
        ]
        with torch.random.fork_rng(devices=[self._device] if self._device.type == "cuda" else []):
            yield
        with torch.no_grad():
            for module, name, buffer, before in buffers:
                setattr(module, name, buffer.copy_(before))


def _auto(device: torch.device, steps: int) -> str:
    """Return the mode for a device and a number of steps: the same on every run, whatever the clock says."""
    if device.type == "cuda":
        return "cudagraph"
    if device.type != "cpu" or steps < COMPILE_STEPS:
        return "graph"
    if any(map(shutil.which, (os.environ.get("CXX", "g++"), "clang++", "cl"))):
        return "compile"
    logger.warning("the loss runs as a plain graph, since compile='auto' finds no C++ compiler")
    return "graph"


def _first_line(error: Exception) -> str:
    return (str(error).strip() or repr(error)).splitlines()[0]
