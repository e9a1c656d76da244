"""Chains that do not look at one another may be moved a piece at a time, which stays in the cache."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

PIECE = 2**15
"""Numbers of a piece's positions, about: with their noise and log-densities they fit a core's cache."""
ENOUGH = 4
"""Pieces from which on it pays to cut."""


class ByChain:
    """A step that moves each chain by itself, so that a run may move them a piece at a time."""

    def __init__(self, step: Callable[[Any, torch.Generator], tuple[Any, Any]]) -> None:
        self._step = step

    def __call__(self, state: Any, generator: torch.Generator) -> tuple[Any, Any]:
        """Move every chain once."""
        return self._step(state, generator)


def pieces(position: Tensor) -> list[slice]:
    r"""Cut chains, (chains, \*batch, dim), into pieces; one for all where they are few, or not on a CPU.

    All pieces have the same size where that divides the number of chains, so that one graph serves them all.
    """
    chains, least = len(position), position.numel() // PIECE
    if least < ENOUGH or position.device.type != "cpu":
        return [slice(0, chains)]
    even = (many for many in range(least, min(2 * least, chains) + 1) if chains % many == 0)
    size = -(-chains // next(even, min(least, chains)))
    return [slice(start, min(start + size, chains)) for start in range(0, chains, size)]


def cut(state: Any, rows: slice) -> Any:
    """Return the states of some chains."""
    return type(state)(*(value[rows] for value in state))


def joined(states: list[Any]) -> Any:
    """Return the states of all chains."""
    if len(states) == 1:
        return states[0]
    return type(states[0])(*(torch.cat(values) for values in zip(*states, strict=True)))
