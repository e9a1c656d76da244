"""Functions of tensors, recorded as graphs that hold no Python, and compiled where that pays.

A Markov chain calls its log-density thousands of times on tensors of one shape. Recorded once below autograd,
as plain ATen operations, it costs neither Pyro's Python nor autograd's; compiled, it is a few loops. What
Python computes from its own state is frozen in the recording, so that it is held against the function itself
at calls 1, 2, 4, 8, ...: where it disagrees, or cannot be made, the function runs on as it is written and a
log entry says why.
"""

from __future__ import annotations

import logging
import os
import shutil
import warnings
from collections import Counter
from collections.abc import Callable
from functools import partial

import pyro
import torch
from torch import Tensor
from torch.fx import GraphModule
from torch.fx.experimental.proxy_tensor import make_fx

from probgen.capture.quick_calls import call_quickly
from probgen.capture.simplified import simplified

logger = logging.getLogger("probgen")

Function = Callable[..., tuple[Tensor, ...]]
Wrap = Callable[[Function], Function]

MODES = ("auto", "eager", "graph", "compile")
RECORD_CALLS = 500
"""Calls from which "auto" records: making a graph costs what about two hundred calls save."""
NODE_SECONDS, NUMBER_SECONDS = 2.5e-6, 8e-10
"""What "auto" takes an operation of a graph to cost, and each number that it computes."""
COMPILE_SECONDS, COMPILE_NODE_SECONDS = 4.5, 0.01
"""What "auto" takes compilation to cost, once and for each operation."""
SAVED = 0.7
"""The share of an operation's cost that compilation saves, about."""

COMPILER = {"cpp.vec_isa_ok": True, "compile_threads": 1, "cpp.min_chunk_size": 2**15}
"""Instructions that the processor names are not tried out first, and no pool of workers is started for a few
loops: both save half of the compilation. Short loops stay on one core, as torch's own do."""


def as_written(function: Function) -> Function:
    """Leave a function as it is."""
    return function


def wrapper(mode: str, *, calls: int, steps: int = 1) -> Wrap:
    """Return what makes a function of tensors faster.

    How often a step will call it may be known better on the way: see :func:`expect`.

    Args:
        mode: ``"eager"`` leaves it as it is; ``"graph"`` records it, to the same bits; ``"compile"`` gives
            the recording to torch's compiler; ``"auto"`` chooses by the number of calls and the size of the
            graph, not by a clock, so that the same run makes the same choices.
        calls: how often a step will call it, about.
        steps: how many steps there will be.

    Raises:
        ValueError: for an unknown mode.
    """
    if mode not in MODES:
        raise ValueError(f"compile should be one of {', '.join(MODES)} but got {mode!r}")
    if mode == "eager":
        return as_written
    return partial(Recorded, mode=mode, calls=calls, steps=steps)


def expect(function: Function, *, calls: float, done: int) -> None:
    """Say how often a step calls a function, as found in the steps that are done.

    Where ``"auto"`` chooses its mode, it chooses anew for the steps to come: it may record or compile it now.
    """
    if isinstance(function, Recorded):
        function.expect(calls, done)


class Recorded:
    """A function of tensors that runs as a graph, made at its first call; one for each form of arguments."""

    def __init__(self, function: Function, *, mode: str, calls: float, steps: int = 1) -> None:
        self._function, self._mode, self._steps = function, mode, steps
        self._to_come = calls * steps
        self._graphs: dict[object, Function] = {}
        self._open: dict[object, GraphModule] = {}  # those that may still be compiled
        self._asked: set[object] = set()  # those for which more calls are expected than before
        self._called: Counter[object] = Counter()
        self._given_up = False

    def __call__(self, *args: Tensor) -> tuple[Tensor, ...]:
        """Run the graph of these arguments' form, and now and then the function beside it."""
        if self._given_up or (not self._graphs and self._mode == "auto" and self._to_come < RECORD_CALLS):
            return self._function(*args)
        form = tuple((x.shape, x.dtype, x.device) for x in args)
        self._called[form] += 1
        if (form not in self._graphs or form in self._asked) and not self._make(form, args):
            return self._function(*args)
        found = self._graphs[form](*args)
        if self._called[form] & (self._called[form] - 1):
            return found
        expected = self._function(*args)
        if all(_agree(a, b) for a, b in zip(found, expected, strict=True)):
            return found
        self._give_up("its results differ from those of the function: does it keep a state, or draw?")
        return expected

    def expect(self, calls: float, done: int) -> None:
        """Take in how often a step calls the function, and how many steps are done."""
        to_come = calls * (self._steps - done)
        if self._mode == "auto" and to_come > self._to_come * (1 - done / self._steps):
            self._asked = set(self._open)
        self._to_come = to_come

    def _make(self, form: object, args: tuple[Tensor, ...]) -> bool:
        """Record the function, or compile what was recorded, whichever is due; say whether that went well."""
        self._asked.discard(form)
        try:
            with torch.no_grad(), pyro.validation_enabled(False), warnings.catch_warnings():
                warnings.simplefilter("ignore")  # those of torch about itself
                graph = self._open.pop(form, None)
                if graph is None:
                    graph = simplified(make_fx(lambda *inputs: tuple(self._function(*inputs)))(*args), args)
                    call_quickly(graph)
                if self._mode == "compile" or (self._mode == "auto" and _pays(graph, self._to_come)):
                    from torch import _inductor

                    as_bytes = make_fx(_with_bytes(graph))(*args)
                    compiled = _inductor.compile(as_bytes, list(args), options=COMPILER)
                    self._graphs[form] = _with_flags(compiled)
                else:
                    self._graphs[form] = self._open[form] = graph
        except Exception as error:  # whatever a user's function, or the compiler, may raise
            first = str(error).strip().split("\n")[0]
            self._give_up(f"{type(error).__name__}: {first}")
            return False
        return True

    def _give_up(self, reason: str) -> None:
        self._given_up = True
        logger.warning(f"the log-density runs as it is written, not as a graph: {reason}")


def _with_bytes(graph: Function) -> Function:
    """Return a function that gives flags as bytes: compiled loops store bools one at a time."""

    def function(*args: Tensor) -> tuple[Tensor, ...]:
        found = graph(*args)
        return tuple(torch.where(x, 1.0, 0.0).to(torch.uint8) if x.dtype == torch.bool else x for x in found)

    return function


def _with_flags(compiled: Function) -> Function:
    """Return the compiled function with its bytes, which are 0 and 1, as flags again."""

    def function(*args: Tensor) -> tuple[Tensor, ...]:
        found = compiled(*args)
        return tuple(x.view(torch.bool) if x.dtype == torch.uint8 else x for x in found)

    return function


def _pays(graph: GraphModule, calls: float) -> bool:
    """Say whether compiling a graph takes less time than it saves, by the size of the graph alone."""
    values = [node.meta.get("val") for node in graph.graph.nodes if node.op == "call_function"]
    numbers = sum(value.numel() for value in values if isinstance(value, Tensor))
    saved = SAVED * calls * (NODE_SECONDS * len(values) + NUMBER_SECONDS * numbers)
    compilers = any(shutil.which(name) for name in (os.environ.get("CXX", "c++"), "g++", "clang++"))
    return saved > COMPILE_SECONDS + COMPILE_NODE_SECONDS * len(values) and compilers


def _agree(found: Tensor, expected: Tensor) -> bool:
    """Say whether two results are the same up to rounding.

    One row in a thousand may differ, since rounding decides a comparison now and then.
    """
    if found.shape != expected.shape or found.dtype != expected.dtype:
        return False
    if found.is_floating_point():
        tolerance = torch.finfo(found.dtype).eps ** 0.5
        same = torch.isclose(found, expected, rtol=tolerance, atol=tolerance, equal_nan=True)
    else:
        same = found == expected
    wrong = ~same.flatten(1).all(1) if same.dim() > 1 else ~same
    return int(wrong.sum()) <= wrong.numel() // 1000
