"""How a captured loss may run, and which way "auto" is."""

from __future__ import annotations

import logging
import os
import shutil

import torch

logger = logging.getLogger("probgen")

MODES = ("auto", "eager", "graph", "compile", "cudagraph")
COMPILE_STEPS = 50_000
"""Steps from which "auto" compiles on a CPU: torch.compile takes 10 to 20 s and saves 0.1 to 0.5 ms a step,
so that it pays from 20,000 to 200,000 steps on."""


def auto_mode(device: torch.device, steps: int) -> str:
    """Return the mode for a device and a number of steps: the same on every run, whatever the clock says."""
    if device.type == "cuda":
        return "cudagraph"
    if device.type != "cpu" or steps < COMPILE_STEPS:
        return "graph"
    if any(map(shutil.which, (os.environ.get("CXX", "g++"), "clang++", "cl"))):
        return "compile"
    logger.warning("the loss runs as a plain graph, since compile='auto' finds no C++ compiler")
    return "graph"
