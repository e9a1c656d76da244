"""How often log-densities were evaluated, counted where they are."""

from __future__ import annotations

import threading
from typing import NamedTuple


class Evaluations(NamedTuple):
    """How many log-densities were evaluated, and how many of them with their gradient.

    A call that evaluates as many as there are chains counts for each of them.
    """

    log_probs: int = 0
    gradients: int = 0

    def since(self, before: Evaluations) -> Evaluations:
        """Return what was evaluated since an earlier count."""
        return Evaluations(self.log_probs - before.log_probs, self.gradients - before.gradients)

    def plus(self, more: Evaluations) -> Evaluations:
        """Return the sum."""
        return Evaluations(self.log_probs + more.log_probs, self.gradients + more.gradients)


class _Count(threading.local):
    log_probs = 0
    gradients = 0


COUNT = _Count()
"""What this thread has evaluated so far, where a function call would cost too much."""


def evaluations() -> Evaluations:
    """Return what this thread has evaluated so far; the difference of two counts is what lies between."""
    return Evaluations(COUNT.log_probs, COUNT.gradients)


def count_evaluations(log_probs: int, gradients: int = 0) -> None:
    """Count log-densities that are evaluated, or, where a graph stands for the function, would be."""
    COUNT.log_probs += log_probs
    COUNT.gradients += gradients


def set_evaluations(count: Evaluations) -> None:
    """Put the count back, after what is no evaluation, such as a trace."""
    COUNT.log_probs, COUNT.gradients = count
