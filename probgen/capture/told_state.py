"""What tells one moment of the Python state from another, by path."""

from __future__ import annotations

import operator
import types
from collections.abc import Callable, Iterable, Sequence
from itertools import chain
from typing import Any

import numpy as np
from torch import Tensor, nn

NUMBERS = (bool, int, float, complex, str, bytes, type(None), np.generic)
NOTHING = object()


class Same:
    """An object told by its identity, and kept, so that no other takes it."""

    __slots__ = ("value",)

    def __init__(self, value: object) -> None:
        self.value = value

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Same) and self.value is other.value

    def __hash__(self) -> int:
        return id(self.value)


class State:
    """What was found, by path: equal where every value is, and quick to look up."""

    __slots__ = ("_hash", "values")

    def __init__(self, values: dict[str, Any]) -> None:
        self.values = values
        self._hash = hash(tuple(values.items()))

    def __eq__(self, other: object) -> bool:
        return self is other or (isinstance(other, State) and self.values == other.values)

    def __hash__(self) -> int:
        return self._hash

    def changes(self, later: State) -> list[str]:
        """Return the paths of the values that another state does not share."""
        paths = dict.fromkeys(chain(self.values, later.values))
        return [p for p in paths if self.values.get(p, NOTHING) != later.values.get(p, NOTHING)]

    def is_number(self, path: str) -> bool:
        """Say whether it is Python's alone: no tensor, no module and no flag of training."""
        told = self.values.get(path)
        if isinstance(told, tuple):
            told = told[0]
        held = told.value if isinstance(told, Same) else told
        is_module = isinstance(held, type) and issubclass(held, nn.Module)
        return not (isinstance(held, Tensor) or is_module or path.split(".")[-1] == "training")


def attribute_path(path: str, name: str) -> str:
    """Return the path of an attribute."""
    return f"{path}.{name}" if path else name


def words_of(names: str | Iterable[str]) -> Sequence[str]:
    """Return names that may be a single one."""
    return (names,) if isinstance(names, str) else tuple(names)


def attributes_of(names: tuple[str, ...]) -> Callable[[Any], Iterable[Any]]:
    """Return what reads attributes of an object."""
    return operator.attrgetter(*names, *names[: len(names) == 1])


def entries_of(names: tuple[str, ...]) -> Callable[[Any], Iterable[Any]]:
    """Return what reads entries of a mapping."""
    return operator.itemgetter(*names, *names[: len(names) == 1])  # of one name it would return no tuple


def content(cell: types.CellType) -> Any:
    """Return what a cell holds, or NOTHING."""
    try:
        return cell.cell_contents
    except ValueError:
        return NOTHING
