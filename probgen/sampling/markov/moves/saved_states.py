"""States of chains that a file may hold: each class says so where it is defined."""

from __future__ import annotations

from typing import TypeVar

import torch

T = TypeVar("T")


def saved(state: type[T]) -> type[T]:
    """Let ``torch.load(..., weights_only=True)`` make states of a class, which a file names.

    A state is a named tuple of tensors, or of such states: nothing in a file is executed, and a class that
    is not so decorated is refused by its name.
    """
    torch.serialization.add_safe_globals([state])
    return state
