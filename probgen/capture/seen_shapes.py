"""Which shapes of batches pay for a graph: those seen often that will be seen often again."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from probgen.capture.modes import RECORD_CALLS

FEWEST = 32
"""Calls of a shape from which on its share of all calls is believed."""

Shapes = tuple[tuple[int, ...], ...]


class SeenShapes:
    """How often each shape was called with, and what that promises.

    Counts alone decide, so that a run makes the same choices each time, also where it is resumed: they belong
    in its checkpoint.

    Args:
        calls: how many calls are planned in all; None for no end.
    """

    def __init__(self, calls: int | None) -> None:
        self._planned = calls
        self._calls = 0
        self._counts: dict[Shapes, int] = {}
        self._promised: dict[Shapes, float] = {}

    def calls_to_come(self, batch: Sequence[Tensor]) -> float:
        """Count a call, and return how many of this shape are to come; 0 where that is not known or too few.

        They are the share of the calls so far that had this shape, times the calls to come, as of the first
        time when there are enough to pay for a graph.
        """
        shapes = tuple(tuple(x.shape) for x in batch)
        self._calls += 1
        if shapes not in self._promised:
            self._counts[shapes] = count = self._counts.get(shapes, 0) + 1
            left = float("inf") if self._planned is None else self._planned - self._calls
            to_come = count / self._calls * left
            if count < FEWEST or to_come < RECORD_CALLS:
                return 0.0
            self._promised[shapes] = to_come
        return self._promised[shapes]

    def state_dict(self) -> dict[str, Any]:
        """Return the counts as numbers and lists."""
        return {
            "calls": self._calls,
            "counts": [[[*map(list, key)], count] for key, count in self._counts.items()],
            "promised": [[[*map(list, key)], calls] for key, calls in self._promised.items()],
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on with the counts of before."""
        self._calls = state["calls"]
        self._counts = {tuple(map(tuple, key)): count for key, count in state["counts"]}
        self._promised = {tuple(map(tuple, key)): calls for key, calls in state["promised"]}
