"""Functions of tensors, recorded as graphs that hold no Python, and compiled where that pays.

A Markov chain calls its log-density thousands of times on tensors of one shape. Recorded once below autograd,
as plain ATen operations, it costs neither Pyro's Python nor autograd's; compiled, it is a few loops. What
Python computes from its own state is frozen in the recording, so that it is held against the function itself
at calls 1, 2, 4, 8, ...: where it disagrees, or cannot be made, the function runs on as it is written and a
log entry says why. The log-densities that a call evaluates are counted alike, however it runs.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.fx import GraphModule

from probgen.capture.comparison import rows_agree
from probgen.capture.modes import RECORD_CALLS, check_mode, compiling_pays
from probgen.capture.replay import runner
from probgen.capture.simplified import simplify
from probgen.capture.traced_function import first_line, traced
from probgen.core import Evaluations, count_evaluations, evaluations, set_evaluations

logger = logging.getLogger("probgen")

Function = Callable[..., tuple[Tensor, ...]]
Wrap = Callable[[Function], Function]

MODES = ("auto", "eager", "graph", "compile")


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
    check_mode(mode, MODES)
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
        self._graphs: dict[object, Callable[..., Sequence[Tensor]]] = {}
        self._open: dict[object, GraphModule] = {}  # those that may still be compiled
        self._asked: set[object] = set()  # those for which more calls are expected than before
        self._called: Counter[object] = Counter()
        self._evaluated: dict[object, Evaluations] = {}  # by a call, as the function counts them
        self._given_up = False

    def __call__(self, *args: Tensor) -> tuple[Tensor, ...]:
        """Run the graph of these arguments' form, and now and then the function beside it."""
        if self._given_up or (not self._graphs and self._mode == "auto" and self._to_come < RECORD_CALLS):
            return self._function(*args)
        form = tuple((x.shape, x.stride(), x.dtype, x.device) for x in args)
        self._called[form] += 1
        if (form not in self._graphs or form in self._asked) and not self._make(form, args):
            return self._function(*args)
        with torch.no_grad():
            found = tuple(self._graphs[form](*args))
        if self._called[form] & (self._called[form] - 1):
            count_evaluations(*self._evaluated[form])
            return found
        before = evaluations()
        expected = self._function(*args)
        self._evaluated[form] = evaluations().since(before)
        if rows_agree(found, expected):
            return found
        self._give_up("its results differ from those of the function: does it keep a state, or draw?")
        return expected

    def __getstate__(self) -> dict[str, Any]:
        """Return the function without its graphs, which no other process can read: it records its own."""
        made: dict[str, Any] = {
            "_graphs": {},
            "_open": {},
            "_asked": set(),
            "_called": Counter(),
            "_evaluated": {},
        }
        return self.__dict__ | made

    def expect(self, calls: float, done: int) -> None:
        """Take in how often a step calls the function, and how many steps are done."""
        to_come = calls * (self._steps - done)
        if self._mode == "auto" and to_come > self._to_come * (1 - done / self._steps):
            self._asked = set(self._open)
        self._to_come = to_come

    def _make(self, form: object, args: tuple[Tensor, ...]) -> bool:
        """Record the function, or compile what was recorded, whichever is due; say whether that went well."""
        self._asked.discard(form)
        before = evaluations()
        try:
            graph = self._open.pop(form, None)
            if graph is None:
                with torch.no_grad():
                    graph = traced(self._function, args, still=True)
                simplify(graph, still=True)
            compiles = self._mode == "compile" or (
                self._mode == "auto" and compiling_pays(graph, self._to_come)
            )
            self._graphs[form] = runner("compile" if compiles else "graph", graph, (), args)
            if not compiles:
                self._open[form] = graph
        except Exception as error:  # whatever a user's function, or the compiler, may raise
            self._give_up(f"{type(error).__name__}: {first_line(error)}")
            return False
        finally:
            set_evaluations(before)  # a trace calls the function, but evaluates nothing
        return True

    def _give_up(self, reason: str) -> None:
        self._given_up = True
        logger.warning(f"the log-density runs as it is written, not as a graph: {reason}")
