"""The fast path: an objective's loss runs as a graph, so that Pyro's Python runs only at capture.

What Python computes from its own state is frozen at capture, so a graph belongs to that state as far as it
can be seen, and is held against the eager loss, with its gradients and buffers, when it is made, at its calls
2, 4, 8, ... and at the end: where it cannot be made, cannot run or disagrees, training goes on without it and
one warning says why.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Hashable
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from probgen.capture.casts import forget_casts
from probgen.capture.comparison import check_outcome, difference, summary
from probgen.capture.loss_graph import Captured, capture
from probgen.capture.modes import COMPILE_CALLS, auto_mode, check_mode
from probgen.capture.python_state import PythonState
from probgen.capture.replay import Outcome, Run, WithGradients, guarded, plain, runner
from probgen.capture.seen_shapes import SeenShapes
from probgen.capture.set_attributes import Places, places_of, set_before_read, tensors_at
from probgen.capture.told_state import State
from probgen.capture.traced_function import first_line
from probgen.capture.undisturbed import Changes, undisturbed
from probgen.core import Objective, Terms

logger = logging.getLogger("probgen")

MAX_GRAPHS = 16
"""Graphs that one training makes; making one costs what about two hundred captured steps save."""
MAX_STATES = 4
"""Graphs that are made for new values of Python's numbers."""


@dataclass
class Graph:
    """A captured loss and how it runs."""

    captured: Captured
    tensors: tuple[Tensor, ...]  # the objective's: kept, so that no other takes the identity of one
    weights: dict[str, Tensor]  # those that have a gradient
    run: Run
    batch: tuple[Tensor, ...]  # the last one
    calls: int = 1
    checked: int = 1  # at which call


class CapturedLoss:
    """An objective's loss, captured once per batch shape; a drop-in for calling the objective.

    A graph belongs to the shapes of the batch, to the objective's parameters (which there are, and which
    learn), to its modules' training flags, to their plain attributes with what those hold (numbers, words,
    containers, plain objects, functions with what they enclose and the globals they read) and to autocast:
    where one of these is new, so is the graph, up to 16 in all, and up to 4 for other numbers. A loss that
    changes such state when it is called, a counter say, is not captured; tensors that it sets as attributes
    of its modules before it reads them (``self.kl = kl``) are set by the graph too, detached. Without
    gradients (``torch.no_grad``) the objective itself is called.

    Args:
        objective: the module whose forward pass is the loss.
        mode: ``"eager"`` never captures, ``"graph"`` runs the ATen graph (to the same bits), ``"compile"``
            gives it to torch's compiler, ``"cudagraph"`` records it as a CUDA graph. ``"auto"`` is
            "cudagraph" on CUDA; on a CPU it is "graph", or "compile" where ``steps`` is 50,000 or more and a
            C++ compiler is there, for shapes that were seen 32 times and promise enough calls to come: 500
            for a graph, 20,000 for the compiler. The attribute ``mode`` is the mode in force.
        steps: the number of optimizer steps planned in all, where known.
        parts: the calls of a step.
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
        parts: int = 1,
        batch_size: int | None = None,
    ) -> None:
        check_mode(mode)
        self._device = next((p.device for p in objective.parameters()), torch.device("cpu"))
        if mode == "cudagraph" and self._device.type != "cuda":
            raise ValueError(f"compile='cudagraph' needs a CUDA device but the data are on {self._device}")
        self.objective = objective
        self.mode = auto_mode(self._device, steps or 0) if mode == "auto" else mode
        self._asked, self._start = mode, self.mode
        waits = mode == "auto" and self._device.type != "cuda"
        self._seen = SeenShapes(None if steps is None else steps * parts) if waits else None
        self._places: Places = {}  # of tensors that it sets as attributes
        self._batch_size = batch_size
        self._python: PythonState | None = None
        self._graphs: dict[Hashable, Graph] = {}
        self._state: State | None = None  # of the latest graph
        self._numbers = 0  # graphs made because a number of Python's was new
        self._checked = False  # whether what the objective returns was looked at
        self._said: set[str] = set()  # what was said once and is not to be said again
        self._failure: str | None = None  # of a graph that ran, where the eager loss is to run instead

    def __call__(self, *batch: Tensor) -> tuple[Tensor, Terms]:
        """Return the loss and its terms."""
        found = self._by_graph(batch) if torch.is_grad_enabled() else None
        return self._eager(batch) if found is None else _differentiable(*found)

    def backward(self, *batch: Tensor, scale: float = 1.0) -> tuple[Tensor, Terms]:
        """Add the gradient of the loss, times ``scale``, to the weights' ``grad``; return loss and terms.

        As ``(scale * loss).backward()`` on the loss of a call. A graph's gradients are there already and
        need not pass through autograd, which would be a tenth of the step of a small net; they do where a
        parameter has hooks to run afterwards.
        """
        found = self._by_graph(batch)
        if found is None or any(w._post_accumulate_grad_hooks for w in found[0].weights.values()):
            loss, terms = self._eager(batch) if found is None else _differentiable(*found)
            with torch.autocast(self._device.type, enabled=False):
                (loss if scale == 1 else scale * loss).backward()
            return loss.detach(), terms
        graph, (loss, terms, gradients) = found
        if scale != 1:
            gradients = torch._foreach_mul(list(gradients), scale)
        for weight, gradient in zip(graph.weights.values(), gradients, strict=True):
            if weight.grad is None:
                weight.grad = gradient
            else:
                weight.grad.add_(gradient)
        return loss, terms

    def state_dict(self) -> dict[str, Any]:
        """Return what a resumed training must know to run on in the same way."""
        return {"mode": self._start, "seen": None if self._seen is None else self._seen.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on in the mode of before, where none was asked for: the bits are those of the mode."""
        if self._asked == "auto" and state["mode"] != "cudagraph":
            self.mode = self._start = state["mode"]
            if state["seen"] is None or self._seen is None:
                self._seen = None
            else:
                self._seen.load_state_dict(state["seen"])

    def check(self) -> None:
        """Hold the graphs of the objective as it stands against the eager loss, on their last batches.

        At the end of a training: what a check finds only then was wrong since the one before.
        """
        for key, graph in [*self._graphs.items()]:
            if graph.checked < graph.calls and self._key(graph.batch) == key:
                reason = self._wrong(graph, graph.batch, unseen=graph.calls - graph.checked)
                if reason is not None:
                    self._give_up(reason)
                    return

    def _eager(self, batch: tuple[Tensor, ...]) -> tuple[Tensor, Terms]:
        """Call the objective itself, with casts of the weights as they are now."""
        failure, self._failure = self._failure, None
        forget_casts(self._device)
        outcome = self.objective(*batch)
        # Once, and in each turn of a game in which no one has anything to learn.
        if torch.is_grad_enabled() and not (self._checked and outcome[0].requires_grad):
            check_outcome(outcome, self.objective)
            self._checked = True
        if failure is not None:  # and the eager loss did what the graph could not
            self._give_up(failure)
        return outcome

    def _by_graph(self, batch: tuple[Tensor, ...]) -> tuple[Graph, Outcome] | None:
        """Run the graph for a batch; None where there is none, or it fails, for the eager loss to try."""
        graph = self._graph(batch)
        if graph is None:
            return None
        try:
            return graph, graph.run(*batch)
        except Exception as error:
            self._failure = f"could not be run: {first_line(error)}"
            return None

    def _graph(self, batch: tuple[Tensor, ...]) -> Graph | None:
        """Return the graph for a batch, made and checked if need be, or None where the loss runs eagerly."""
        if self.mode == "eager":
            return None
        to_come = math.inf if self._seen is None else self._seen.calls_to_come(batch)
        if not to_come:
            return None
        key = self._key(batch)
        graph = self._graphs.get(key)
        if graph is None:
            return self._made(key, batch, compiles=to_come >= COMPILE_CALLS)
        graph.calls += 1
        graph.batch = batch
        if graph.calls & (graph.calls - 1) == 0:
            reason = self._wrong(graph, batch, unseen=graph.calls - graph.checked - 1)
            if reason is not None:
                self._give_up(reason)
                return None
        return graph

    def _made(self, key: tuple[Hashable, ...], batch: tuple[Tensor, ...], *, compiles: bool) -> Graph | None:
        """Return a new graph, held against the eager loss, or None where there is none."""
        state = self._python_state.now()
        if self._python_state.iterator is not None:  # which a trial would move
            self._give_up(f"would not move the iterator {self._python_state.iterator!r}")
            return None
        if not self._room(state):
            return None
        # A call that changes Python's state runs eagerly; one that does so again and again does so for ever.
        with self._undisturbed() as changed:
            expected = self._summary(batch)  # a user's error surfaces here, in its own words
            moved = changed().what
            if moved is not None:
                with self._undisturbed() as changed:
                    self._summary(batch)
                    again = changed()
                moved = self._not_set(again, batch)
                if moved is not None:
                    self._give_up(f"would not change {moved} as a call of the loss does")
                return None
        try:
            with self._undisturbed():
                graph = self._capture(batch)
            reason = self._disagreement(graph, batch, expected, cast=torch.float64)
        except Exception as error:  # whatever the story's Python does, the eager loss can still be right
            reason = f"could not be made: {first_line(error)}"
        if reason is not None:
            self._give_up(reason)
            return None
        self._state = state
        if compiles or self.mode != "compile":
            graph = self._accelerated(graph, batch, expected)
        self._graphs[key] = graph
        return graph

    def _not_set(self, changes: Changes, batch: tuple[Tensor, ...]) -> str | None:
        """Note attributes that a loss sets before it reads them; return what else it changes, if anything."""
        places = places_of(self.objective, changes.paths)
        others = [repr(path) for path in changes.paths if path not in places]
        if others or not places:
            return others[0] if others else changes.what
        if not set_before_read(places, lambda: self._summary(batch), self._undisturbed):
            return changes.what
        self._places = {**self._places, **places}
        self._python = None
        return None

    def _room(self, state: State) -> bool:
        """Say whether there is room for another graph; where there is none, say so once."""
        path = next(iter(self._state.changes(state)), None) if self._state is not None else None
        if path is not None and state.is_number(path):
            if self._numbers == MAX_STATES:
                self._say(
                    "values",
                    f"the loss runs eagerly for further values of {path!r}, since it has graphs for "
                    f"{MAX_STATES + 1}; a buffer may change without a new graph",
                )
                return False
            self._numbers += 1
        if len(self._graphs) == MAX_GRAPHS:
            self._say("shapes", f"the loss runs eagerly on further shapes, since it has {MAX_GRAPHS} graphs")
            return False
        return True

    def _say(self, topic: str, sentence: str) -> None:
        if topic not in self._said:
            self._said.add(topic)
            logger.warning(sentence)

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
        captured = capture(self.objective, weights, state, batch, self._places)
        tensors = (*weights.values(), *state.values())
        run = self._run(runner("graph", captured.graph, tensors, batch), captured, tensors)
        return Graph(captured, tensors, {name: weights[name] for name in captured.weights}, run, batch)

    def _accelerated(self, graph: Graph, batch: tuple[Tensor, ...], expected: dict[str, Tensor]) -> Graph:
        """Return the graph as the mode in force runs it: as it is, where that cannot be done or disagrees."""
        if self.mode == "graph" or self._batch_size not in (None, len(batch[0])):
            return graph
        captured, tensors = graph.captured, graph.tensors
        try:
            with self._undisturbed():
                fast = runner(self.mode, captured.graph, tensors, batch)
            raises = self.mode == "compile"  # a replay raises nothing that could be caught
            faster = replace(graph, run=self._run(fast, captured, tensors, guard=raises))
            reason = self._disagreement(faster, batch, expected, cast=self._rounding())
        except Exception as error:  # a missing compiler, an operation that a CUDA graph cannot hold
            reason = f"could not be made: {first_line(error)}"
        if reason is None:
            return faster
        logger.warning("the loss runs as a plain graph, since with compile=%r it %s", self.mode, reason)
        self.mode = "graph"
        return graph

    def _run(
        self,
        function: Callable[..., list[Tensor]],
        captured: Captured,
        tensors: tuple[Tensor, ...],
        *,
        guard: bool = True,
    ) -> Run:
        casts, places = self._cast() is not None, captured.places
        run = plain(function, captured.terms, tensors, casts=casts, places=places)
        if not guard:
            return run
        return guarded(run, [tensors[i] for i in captured.writes if i < len(tensors)], self._device)

    def _cast(self) -> torch.dtype | None:
        """Return the type that autocast casts to, or None where it is off."""
        kind = self._device.type
        return torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else None

    def _rounding(self) -> torch.dtype:
        """Return the type in which a compiled loss may round otherwise than the eager one."""
        return (self._cast() if self.mode == "compile" else None) or torch.float64

    @property
    def _python_state(self) -> PythonState:
        if self._python is None:
            self._python = PythonState(self.objective, self._places.values())
        return self._python

    def _key(self, batch: tuple[Tensor, ...]) -> tuple[Hashable, ...]:
        """Return what a graph is made for; it stands in every step."""
        key: list[Hashable] = [self._python_state.now(), self._cast(), torch.get_default_dtype()]
        for x in batch:
            key += (x.shape, x.stride(), x.dtype, x.device)
        if self.mode == "cudagraph":  # which reads memory, whatever tensor it belongs to
            key += (t.data_ptr() for t in (*self.objective.parameters(), *self.objective.buffers()))
        return tuple(key)

    def _summary(self, batch: tuple[Tensor, ...]) -> dict[str, Tensor]:
        """Return in brief what the eager loss computes, and leaves in the buffers."""
        weights = {name: p for name, p in self.objective.named_parameters() if p.requires_grad}
        with torch.enable_grad():
            loss, terms = self._eager(batch)
        with torch.autocast(self._device.type, enabled=False):
            found = torch.autograd.grad(loss, list(weights.values()), allow_unused=True)
        gradients = {name: g for name, g in zip(weights, found, strict=True) if g is not None}
        return summary(loss, terms, gradients, self._left())

    def _wrong(self, graph: Graph, batch: tuple[Tensor, ...], *, unseen: int) -> str | None:
        """Say in what a graph differs from the eager loss, and that it may have at calls not checked."""
        with self._undisturbed():
            expected = self._summary(batch)
        graph.checked = graph.calls
        try:
            reason = self._disagreement(graph, batch, expected, cast=self._rounding())
        except Exception as error:
            return f"could not be run: {first_line(error)}"
        if reason is not None and unseen:
            reason += f", and may have done so at the {unseen} calls before"
        return reason

    def _disagreement(
        self, graph: Graph, batch: tuple[Tensor, ...], expected: dict[str, Tensor], *, cast: torch.dtype
    ) -> str | None:
        with self._undisturbed():
            outcome: Outcome = graph.run(*batch)
            gradients = dict(zip(graph.weights, outcome.gradients, strict=True))
            found = summary(outcome.loss, outcome.terms, gradients, self._left())
            return difference(found, expected, cast)

    def _left(self) -> dict[str, Tensor]:
        """Return what a call leaves behind: buffers, and attributes that it sets."""
        return dict(self.objective.named_buffers()) | dict(tensors_at(self._places))

    def _undisturbed(self) -> AbstractContextManager[Callable[[], Changes]]:
        return undisturbed(self._python_state, self._device, self.objective.parameters())


def _differentiable(graph: Graph, outcome: Outcome) -> tuple[Tensor, Terms]:
    """Return the loss, for autograd to differentiate, and its terms."""
    loss = WithGradients.apply(outcome.loss, outcome.gradients, *graph.weights.values())
    return loss, outcome.terms
