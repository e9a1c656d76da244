"""Whose move each step of a game is, and what moves once a step."""

from __future__ import annotations

import torch

from probgen.core import Objective
from probgen.training.processes import Processes


class Turns:
    """The turns of an objective, and of the objectives that it is made of, each with a cycle of its own.

    Raises:
        ValueError: for turns that are no names, or sums over processes that are no buffers.
    """

    def __init__(self, objective: Objective) -> None:
        self._parts = [part for part in objective.modules() if isinstance(part, Objective)]
        for part in self._parts:
            kind = type(part).__name__
            if not part.turns or not all(isinstance(turn, str) for turn in part.turns):
                raise ValueError(f"turns of {kind} should be names, one a step of a cycle, not {part.turns}")
            lacks = [name for name in part.summed if name not in dict(part.named_buffers())]
            if lacks:
                raise ValueError(f"summed of {kind} should name its buffers but names {lacks[0]!r}")

    def before_step(self, step: int) -> None:
        """Say whose move it is."""
        for part in self._parts:
            if len(part.turns) > 1:
                part.turn = part.turns[step % len(part.turns)]

    @torch.no_grad()
    def after_step(self, processes: Processes) -> None:
        """Add up over processes what has been summed over the parts of a batch, and let averages move."""
        for part in self._parts:
            if processes.world > 1:
                for name in part.summed:
                    buffer = part.get_buffer(name)
                    buffer.copy_(processes.sum(buffer))
            part.after_step()
