"""The names outside of them that functions and classes read: globals and class attributes."""

from __future__ import annotations

import dis
import functools
import sys
import types
from collections.abc import Iterator
from typing import Any

LIBRARIES = frozenset({"torch", "pyro", "probgen", "numpy", "scipy", "lightning_fabric", "builtins"})


def in_library(value: Any) -> bool:
    """Say whether a class or a function belongs to a library, whose globals stand still."""
    return str(getattr(value, "__module__", "")).split(".")[0] in LIBRARIES


@functools.lru_cache(maxsize=1024)
def names_in(code: types.CodeType) -> tuple[frozenset[str], frozenset[str]]:
    """Return the names of globals, and of attributes, that code and the functions written in it look up."""
    steps = [*dis.get_instructions(code)]
    outside = {step.argval for step in steps if step.opname == "LOAD_GLOBAL"}
    attributes = {step.argval for step in steps if step.opname in ("LOAD_ATTR", "LOAD_METHOD")}
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            more, further = names_in(constant)
            outside |= more
            attributes |= further
    return frozenset(outside), frozenset(attributes)


def is_users(module: types.ModuleType) -> bool:
    """Say whether a module is a user's own, whose numbers may change."""
    first = module.__name__.split(".")[0]
    return first not in LIBRARIES and first not in sys.stdlib_module_names


def functions_of(kind: type) -> Iterator[tuple[str, types.FunctionType]]:
    """Yield the functions that a class defines, properties included, by name."""
    for name, member in vars(kind).items():
        for function in (member, *(getattr(member, part, None) for part in ("__func__", "fget"))):
            if isinstance(function, types.FunctionType):
                yield name, function


def can_change(name: str, value: object) -> bool:
    """Say whether a name may stand for a state, rather than for code."""
    return not (
        name.startswith("__")
        or isinstance(value, type | types.ModuleType | types.BuiltinFunctionType)
        or hasattr(type(value), "__get__")
    )
