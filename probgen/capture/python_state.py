"""The Python state that a loss may read: attributes of its modules, and what they hold.

A captured graph keeps what Python computed from this state when it was made. The state is found by a walk
from the objective through modules, containers, functions and plain objects; whether it is still what it was
is asked at every step, and costs a few microseconds.
"""

from __future__ import annotations

import functools
import io
import operator
import random
import sys
import types
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from enum import Enum
from itertools import chain
from typing import Any

import numpy as np
import torch
from pyro.poutine.messenger import Messenger
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler
from torch.utils.data import DataLoader, Dataset

from probgen.capture.outer_names import can_change, functions_of, in_library, is_users, names_in

LARGEST = 256
"""Entries up to which a container is looked into; a larger one is told by its identity and its size."""
MOST = 4096
"""Values that are looked into in all, those near the objective first."""
NUMBERS = (bool, int, float, complex, str, bytes, type(None), np.generic)
MEMBERS = ("_modules", "_parameters", "_buffers")
HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks")
INTERNAL = frozenset(vars(nn.Module())) - {"training"}
DERIVED = ("_orig", "_v")
"""Ends of names of weights from which torch makes others anew at each call: spectral norm, weight norm."""
PLAIN_HOMES = ("types", "dataclasses", "argparse", "collections")
"""Modules of the standard library whose objects are namespaces and records."""
OPAQUE = (
    Enum, type, types.ModuleType, types.BuiltinFunctionType, torch.dtype, torch.device,
    Optimizer, LRScheduler, Dataset, DataLoader,
)  # fmt: skip
"""What is told by its identity: it holds nothing, or nothing that a loss reads."""
GENERATORS = (random.Random, torch.Generator, np.random.Generator, np.random.RandomState)
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

    def change(self, later: State) -> str | None:
        """Return the path of the first value that another state does not share, or None."""
        paths = chain(self.values, later.values)
        differ = (p for p in paths if self.values.get(p, NOTHING) != later.values.get(p, NOTHING))
        return next(differ, None)

    def is_number(self, path: str) -> bool:
        """Say whether it is Python's alone: no tensor, no module and no flag of training."""
        told = self.values.get(path)
        if isinstance(told, tuple):
            told = told[0]
        held = told.value if isinstance(told, Same) else told
        is_module = isinstance(held, type) and issubclass(held, nn.Module)
        return not (isinstance(held, Tensor) or is_module or path.split(".")[-1] == "training")


class PythonState:
    """What an objective's Python can read, found by a walk.

    Attributes:
        containers: the dictionaries, lists, sets, cells and small arrays that can change in place.
        names: (owner, names): classes, objects with slots and globals, of which those names are read.
        tensors: buffers, and tensors that are plain attributes.
        generators: sources of random numbers.
        iterator: the path of an iterator, whose place cannot be put back, if there is one.
    """

    def __init__(self, objective: nn.Module) -> None:
        self._objective = objective
        self._walk()

    def now(self) -> State:
        """Return the state as it stands; the very same object where nothing was replaced."""
        try:
            unchanged = self._ids == self._identities() and self._forms == self._shapes()
        except (LookupError, AttributeError, ValueError, RuntimeError):  # something is gone
            unchanged = False
        if not unchanged:
            self._walk()
        return self._state

    def _identities(self) -> list[Any]:
        """Return the identity of all that is held, the size of what holds it and the modules' classes."""
        ids: list[Any] = [*map(id, chain.from_iterable(map(operator.call, self._readers, self._places)))]
        ids += map(len, self._sized)
        ids += map(type, self._modules)
        return ids

    def _shapes(self) -> list[Any]:
        forms: list[Any] = [
            (w.requires_grad, w.dtype, w.shape, bool(w._backward_hooks)) for w in self._weights
        ]
        forms += [array.tobytes() for array in self._arrays]
        return forms

    def _walk(self) -> None:
        """Visit what can be reached, what is near first, and note how it stands."""
        self.containers: list[Any] = []
        self.names: list[tuple[Any, tuple[str, ...]]] = []
        self.tensors: list[Tensor] = []
        self.generators: list[Any] = []
        self.iterator: str | None = None
        self._readers: list[Callable[[Any], Iterable[Any]]] = []
        self._places: list[Any] = []
        self._sized: list[Any] = []
        self._modules: list[nn.Module] = []
        self._weights: list[nn.Parameter] = []
        self._arrays: list[np.ndarray] = []
        self._paths: dict[int, str] = {}
        self._kept: list[object] = []  # what was visited, so that nothing else takes its identity
        values: dict[str, Any] = {}
        self._queue: deque[tuple[str, Any]] = deque([("", self._objective)])
        while self._queue:
            path, value = self._queue.popleft()
            try:
                values[path] = self._visit(path, value, deep=len(values) < MOST)
            except Exception:  # an object that does not let itself be looked into
                values[path] = Same(value)
        self._state = State(values)
        self._ids, self._forms = self._identities(), self._shapes()

    def _visit(self, path: str, value: Any, *, deep: bool) -> Any:
        """Return what tells a value, and queue what it holds."""
        kind = type(value)
        if isinstance(value, NUMBERS) and not isinstance(value, Enum):
            return kind, value if kind in (bool, int, str, bytes) else repr(value)  # repr: -0.0 is not 0.0
        if isinstance(value, Messenger):  # Pyro makes them anew, and winds them, at each call
            return kind
        if isinstance(value, (*OPAQUE, PythonState)):
            return Same(value)
        if id(value) in self._paths:
            return "again", self._paths[id(value)]
        self._paths[id(value)] = path
        self._kept.append(value)
        if isinstance(value, Tensor):
            return self._tensor(value)
        if isinstance(value, nn.Module):
            return self._module(path, value)
        if isinstance(value, np.ndarray):
            return self._array(value)
        if isinstance(value, dict | list | tuple | set | frozenset | deque):
            if not isinstance(value, tuple | frozenset):
                self.containers.append(value)
            return self._entries(path, value) if deep and len(value) <= LARGEST else self._large(value)
        if isinstance(value, GENERATORS):
            self.generators.append(value)
        elif isinstance(value, Iterator) and not isinstance(value, io.IOBase):
            self.iterator = self.iterator or path
        elif deep:
            return self._object(path, value)
        return Same(value)

    def _hold(self, place: Any, *readers: Callable[[Any], Iterable[Any]]) -> None:
        self._readers += readers
        self._places += [place] * len(readers)

    def _tensor(self, value: Tensor) -> Any:
        if not isinstance(value, nn.Parameter):
            self.tensors.append(value)
            return Same(value)
        self._weights.append(value)
        return Same(value), value.requires_grad, value.dtype, value.shape, bool(value._backward_hooks)

    def _module(self, path: str, module: nn.Module) -> Any:
        if isinstance(module, torch.jit.ScriptModule):  # which holds no Python
            self._queue += chain(module.named_parameters(path), module.named_buffers(path))
            return Same(module)
        held = vars(module)
        derived = {name.rpartition("_")[0] for name in held["_parameters"] if name.endswith(DERIVED)}
        own = tuple(name for name in held if name not in INTERNAL and name not in derived)
        self.containers.append(held)
        self._hold(held, _getter(own))
        self._sized.append(held)
        self._modules.append(module)
        for members in MEMBERS:
            self.containers.append(held[members])
            if held[members]:
                self._hold(held[members], dict.values)
            else:
                self._sized.append(held[members])
            self._queue.extend((_attribute(path, name), value) for name, value in held[members].items())
        hooks = tuple(Same(hook) for name in HOOKS for hook in held[name].values())
        self._sized += (held[name] for name in HOOKS)
        self._queue.extend((_attribute(path, name), held[name]) for name in own)
        self._outside(type(module))
        return type(module), hooks

    def _array(self, array: np.ndarray) -> Any:
        if array.size > LARGEST or array.dtype.hasobject:
            return Same(array)
        self.containers.append(array)
        self._arrays.append(array)
        return array.dtype.str, array.shape, array.tobytes()

    def _entries(self, path: str, value: Any) -> Any:
        entries: Iterable[tuple[Any, Any]] = enumerate(value)
        if isinstance(value, dict):
            entries = value.items()
            self._hold(value, dict.keys, dict.values)
        elif isinstance(value, list | set | deque):
            self._hold(value, iter)
        if isinstance(value, set | frozenset) and all(type(entry) in NUMBERS for entry in value):
            return type(value), frozenset((type(entry), entry) for entry in value)
        told = []
        for place, (key, entry) in enumerate(tuple(entries)):
            plain = type(key) in NUMBERS
            told.append((type(key), key) if plain else Same(key))
            self._queue.append((f"{path}[{key!r}]" if plain else f"{path}[its key {place}]", entry))
        return type(value), *told

    def _large(self, value: Any) -> Any:
        self._sized.append(value)
        return Same(value), len(value)

    def _object(self, path: str, value: Any) -> Any:
        """Look into a function, or into an object that is not one of the standard library."""
        kind = type(value)
        if isinstance(value, types.FunctionType):
            return self._function(path, value)
        if isinstance(value, types.MethodType):
            self._queue += (_attribute(path, "__self__"), value.__self__), (path + "()", value.__func__)
            return kind
        if isinstance(value, functools.partial):
            self._queue += (
                (path + "()", value.func),
                (_attribute(path, "args"), value.args),
                (_attribute(path, "keywords"), value.keywords),
            )
            return kind
        home = kind.__module__.split(".")[0]
        if home in sys.stdlib_module_names and home not in PLAIN_HOMES:
            return Same(value)
        held = getattr(value, "__dict__", None)
        slots = [s for base in kind.__mro__ for s in _words(vars(base).get("__slots__", ()))]
        own = tuple(s for s in slots if s not in ("__dict__", "__weakref__") and hasattr(value, s))
        if not isinstance(held, dict) and not own:
            return Same(value)
        if isinstance(held, dict) and len(held) <= LARGEST:
            self.containers.append(held)
            self._hold(held, dict.values)
            self._sized.append(held)
            self._queue.extend((_attribute(path, name), entry) for name, entry in held.items())
        if own:
            self._named(value, own, _attributes(own))
            self._queue.extend((_attribute(path, name), getattr(value, name)) for name in own)
        self._outside(kind)
        return kind

    def _function(self, path: str, function: types.FunctionType) -> Any:
        if in_library(function) and not function.__closure__:
            return Same(function)
        for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
            if id(cell) not in self._paths:
                self._paths[id(cell)] = _attribute(path, name)
                self._kept.append(cell)
                self.containers.append(cell)
                self._hold(cell, lambda cell: (content(cell),))
                self._queue.append((_attribute(path, name), content(cell)))
        for name in ("__defaults__", "__kwdefaults__", "__dict__"):
            if getattr(function, name):
                self._queue.append((_attribute(path, name), getattr(function, name)))
        self._globals(function)
        return Same(function.__code__)

    def _outside(self, kind: type) -> None:
        """Look at the attributes of a user's classes, and at the globals that their functions read."""
        for base in kind.__mro__:
            if in_library(base) or base.__module__ in sys.stdlib_module_names or id(base) in self._paths:
                continue
            self._paths[id(base)] = base.__name__
            self._kept.append(base)
            own = tuple(name for name in vars(base) if not name.startswith("__") and name != "_abc_impl")
            if own:
                self.names.append((base, own))
                self._hold(vars(base), _getter(own))
                self._queue.extend((f"{base.__name__}.{name}", vars(base)[name]) for name in own)
            functions = functions_of(base)
            self._queue.extend((f"{base.__name__}.{name}()", function) for name, function in functions)

    def _globals(self, function: types.FunctionType) -> None:
        if in_library(function):
            return
        held = function.__globals__
        outside, attributes = names_in(function.__code__)
        found = sorted(outside & held.keys())
        own = tuple(name for name in found if can_change(name, held[name]))
        if own:
            self.names.append((held, own))
            self._hold(held, _getter(own))
        for name in found:
            value, path = held[name], f"{function.__module__}.{name}"
            if name in own or isinstance(value, types.FunctionType):
                self._queue.append((path, value))
            elif isinstance(value, types.ModuleType) and is_users(value):
                inner = vars(value)
                read = tuple(n for n in sorted(attributes & inner.keys()) if can_change(n, inner[n]))
                if read:
                    self.names.append((inner, read))
                    self._hold(inner, _getter(read))
                    self._queue.extend((f"{value.__name__}.{n}", inner[n]) for n in read)

    def _named(self, owner: Any, names: tuple[str, ...], reader: Callable[[Any], Iterable[Any]]) -> None:
        self.names.append((owner, names))
        self._hold(owner, reader)


def _attribute(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


def _words(names: str | Iterable[str]) -> Sequence[str]:
    return (names,) if isinstance(names, str) else tuple(names)


def _attributes(names: tuple[str, ...]) -> Callable[[Any], Iterable[Any]]:
    return operator.attrgetter(*names, *names[: len(names) == 1])


def _getter(names: tuple[str, ...]) -> Callable[[Any], Iterable[Any]]:
    return operator.itemgetter(*names, *names[: len(names) == 1])  # of one name it would return no tuple


def content(cell: types.CellType) -> Any:
    """Return what a cell holds, or NOTHING."""
    try:
        return cell.cell_contents
    except ValueError:
        return NOTHING
