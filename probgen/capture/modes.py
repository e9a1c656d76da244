"""How a graph may run, and when recording it, or compiling it, takes less time than it saves."""

from __future__ import annotations

import logging
import os
import shutil

import torch
from torch import Tensor
from torch.fx import GraphModule

logger = logging.getLogger("probgen")

MODES = ("auto", "eager", "graph", "compile", "cudagraph")
COMPILE_STEPS = 50_000
"""Steps from which "auto" compiles a loss on a CPU: torch's compiler takes 10 to 20 s for one and saves 0.1
to 0.5 ms a step, so that it pays from 20,000 to 200,000 steps on."""
COMPILE_CALLS = 20_000
"""Calls to come of one shape from which "auto" compiles it, where it compiles."""
RECORD_CALLS = 500
"""Calls to come from which "auto" records a function: a graph costs 1.3 to 1.8 ms an operation, which is what
200 to 1,600 calls save."""
NODE_SECONDS, NUMBER_SECONDS = 2.5e-6, 8e-10
"""What "auto" takes an operation of a graph to cost, and each number that it computes."""
COMPILE_SECONDS, COMPILE_NODE_SECONDS = 4.5, 0.01
"""What "auto" takes the compilation of a log-density to cost, once and for each operation."""
SAVED = 0.7
"""The share of an operation's cost that compilation saves, about."""


def check_mode(mode: str, among: tuple[str, ...] = MODES) -> None:
    """Raise for an unknown mode."""
    if mode not in among:
        raise ValueError(f"compile should be one of {', '.join(among)} but got {mode!r}")


def auto_mode(device: torch.device, steps: int) -> str:
    """Return the mode for a device and a number of steps: the same on every run, whatever the clock says."""
    if device.type == "cuda":
        return "cudagraph"
    if device.type != "cpu" or steps < COMPILE_STEPS:
        return "graph"
    if has_compiler():
        return "compile"
    logger.warning("the loss runs as a plain graph, since compile='auto' finds no C++ compiler")
    return "graph"


def compiling_pays(graph: GraphModule, calls: float) -> bool:
    """Say whether compiling a graph takes less time than it saves, by the size of the graph alone."""
    values = [node.meta.get("val") for node in graph.graph.nodes if node.op == "call_function"]
    numbers = sum(value.numel() for value in values if isinstance(value, Tensor))
    saved = SAVED * calls * (NODE_SECONDS * len(values) + NUMBER_SECONDS * numbers)
    return saved > COMPILE_SECONDS + COMPILE_NODE_SECONDS * len(values) and has_compiler()


def has_compiler() -> bool:
    """Say whether there is a C++ compiler."""
    return any(map(shutil.which, (os.environ.get("CXX", "c++"), "g++", "clang++", "cl")))
