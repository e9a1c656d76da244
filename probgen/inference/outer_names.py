"""The names outside of them that functions and classes read: globals and class attributes."""

from __future__ import annotations

import dis
import functools
import types
from collections.abc import Iterator
from typing import Any

LIBRARIES = frozenset({"torch", "pyro", "probgen", "numpy", "scipy", "lightning_fabric", "builtins"})


def in_library(value: Any) -> bool:
    """Say whether a class or a function belongs to a library, whose globals stand still."""
    return str(getattr(value, "__module__", "")).split(".")[0] in LIBRARIES


@functools.lru_cache(maxsize=1024)
def names_in(code: types.CodeType) -> frozenset[str]:
    """Return the names of globals that code, and the functions written inside it, look up."""
    inner = (names_in(constant) for constant in code.co_consts if isinstance(constant, types.CodeType))
    own = (step.argval for step in dis.get_instructions(code) if step.opname == "LOAD_GLOBAL")
    return frozenset(own).union(*inner)


def functions_of(kind: type) -> Iterator[types.FunctionType]:
    """Yield the functions that a class defines, properties included."""
    for member in vars(kind).values():
        for function in (member, *(getattr(member, name, None) for name in ("__func__", "fget"))):
            if isinstance(function, types.FunctionType):
                yield function


def can_change(name: str, value: object) -> bool:
    """Say whether a name may stand for a state, rather than for code."""
    return not (
        name.startswith("__")
        or isinstance(value, type | types.ModuleType | types.BuiltinFunctionType)
        or hasattr(type(value), "__get__")
    )
