"""The Python state that a loss may read: attributes of its modules, and what they hold.

A captured graph keeps what Python computed from this state when it was made. The state is found by a walk
from the objective through modules, containers, functions and plain objects; whether it is still what it was
is asked at every step, and costs a few microseconds.
"""

from __future__ import annotations

import array
import functools
import inspect
import io
import operator
import random
import sys
import types
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextvars import ContextVar
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
from probgen.capture.told_state import (
    NOTHING,
    NUMBERS,
    Same,
    State,
    attribute_path,
    attributes_of,
    content,
    entries_of,
    words_of,
)

LARGEST = 256
"""Entries up to which a container is looked into; of a larger one no more than the entries are told."""
LONGEST, MOST_BYTES = 4096, 2**17
"""Entries of a container, and bytes of an array, up to which they are: then identity and size tell it."""
MOST = 4096
"""Values that are looked into in all, those near the objective first."""
MEMBERS = ("_modules", "_parameters", "_buffers")
HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks")
INTERNAL = frozenset(vars(nn.Module())) - {"training"}
DERIVED = ("_orig", "_v")
"""Ends of names of weights from which torch makes others anew at each call: spectral norm, weight norm."""
HOOKS_OF_ALL = (
    nn.modules.module._global_forward_hooks,
    nn.modules.module._global_forward_pre_hooks,
    nn.modules.module._global_backward_hooks,
    nn.modules.module._global_backward_pre_hooks,
)
"""Hooks that torch runs for all modules."""
PLAIN_HOMES = ("types", "dataclasses", "argparse", "collections", "_thread")
"""Modules of the standard library whose objects are namespaces and records."""
OPAQUE = (
    Enum, types.ModuleType, types.BuiltinFunctionType, torch.dtype, torch.device, DataLoader,
)  # fmt: skip
"""What is told by its identity: it holds nothing, or nothing that a loss reads."""
RATES = {"param_groups", "last_epoch", "get_last_lr", "_last_lr", "get_lr", "_step_count"}
"""Attributes of optimizers and schedulers, which are told by their numbers where a function reads one."""
GENERATORS = (random.Random, torch.Generator, np.random.Generator, np.random.RandomState)


class PythonState:
    """What an objective's Python can read, found by a walk; some attributes of modules may be left apart.

    Attributes:
        containers: the dictionaries, lists, sets, cells and small arrays that can change in place.
        names: (owner, names): classes, objects with slots and globals, of which those names are read.
        weights: all parameters found.
        tensors: buffers, and tensors that are plain attributes.
        generators: sources of random numbers.
        iterator: the path of an iterator, whose place cannot be put back, if there is one.
    """

    def __init__(self, objective: nn.Module, apart: Iterable[tuple[nn.Module, str]] = ()) -> None:
        self._objective = objective
        self._apart = {(id(module), name) for module, name in apart}
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

    def path(self, value: object) -> str:
        """Return the path of what was found."""
        return self._paths[id(value)]

    def _identities(self) -> list[Any]:
        """Return the identity of all that is held, the size of what holds it and the modules' classes."""
        ids: list[Any] = [*map(id, chain.from_iterable(map(operator.call, self._readers, self._places)))]
        ids += map(len, self._sized)
        ids += map(type, self._modules)
        return ids

    def _shapes(self) -> list[Any]:
        forms: list[Any] = [
            (w.requires_grad, w.dtype, w.shape, bool(w._backward_hooks)) for w in self.weights
        ]
        forms += [(t.dtype, t.shape) for t in self._dense]
        forms += [array.tobytes() for array in self._arrays]
        forms += [[*(place.values() if isinstance(place, dict) else place)] for place in self._long]
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
        self.weights: list[nn.Parameter] = []
        self._dense: list[Tensor] = []  # of the tensors, those that are told by their shapes
        self._arrays: list[Any] = []
        self._long: list[Any] = []
        self._unread: list[tuple[str, Any]] = []  # optimizers and schedulers
        self._attributes: set[str] = set()  # that functions look up
        self._paths: dict[int, str] = {}
        self._kept: list[object] = []  # what was visited, so that nothing else takes its identity
        self._sized += HOOKS_OF_ALL
        hooks = tuple(Same(hook) for held in HOOKS_OF_ALL for hook in held.values())
        values: dict[str, Any] = {"hooks of all modules": hooks}
        self._queue: deque[tuple[str, Any]] = deque([("", self._objective)])
        while self._queue or self._rates():
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
        if isinstance(value, type):
            if not issubclass(value, Enum):
                self._outside(value)
            return Same(value)
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
        if isinstance(value, np.ndarray | array.array):
            return self._array(value)
        if isinstance(value, ContextVar):
            self.containers.append(value)
            self._hold(value, lambda variable: (variable.get(NOTHING),))
            self._queue.append((path + ".get()", value.get(NOTHING)))
            return Same(value)
        if isinstance(value, Optimizer | LRScheduler):
            self._unread.append((path, value))
            return Same(value)
        if isinstance(value, Dataset):
            self._numbers_in(path, value)
            return Same(value)
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
            if value.layout is not torch.strided or value.is_nested:
                return Same(value)
            self._dense.append(value)
            return Same(value), value.dtype, value.shape
        self.weights.append(value)
        return Same(value), value.requires_grad, value.dtype, value.shape, bool(value._backward_hooks)

    def _module(self, path: str, module: nn.Module) -> Any:
        if isinstance(module, torch.jit.ScriptModule):  # which holds no Python
            self._queue += chain(module.named_parameters(path), module.named_buffers(path))
            return Same(module)
        held = vars(module)
        derived = {name.rpartition("_")[0] for name in held["_parameters"] if name.endswith(DERIVED)}
        derived |= {name for name in held if (id(module), name) in self._apart}
        own = tuple(name for name in held if name not in INTERNAL and name not in derived)
        self.containers.append(held)
        self._hold(held, entries_of(own))
        self._sized.append(held)
        self._modules.append(module)
        for members in MEMBERS:
            self.containers.append(held[members])
            if held[members]:
                self._hold(held[members], dict.values)
            else:
                self._sized.append(held[members])
            self._queue.extend((attribute_path(path, name), value) for name, value in held[members].items())
        hooks = tuple(Same(hook) for name in HOOKS for hook in held[name].values())
        self._sized += (held[name] for name in HOOKS)
        self._queue.extend((attribute_path(path, name), held[name]) for name in own)
        self._outside(type(module))
        return type(module), hooks

    def _array(self, value: np.ndarray | array.array[Any]) -> Any:
        form: tuple[Any, ...]
        if isinstance(value, np.ndarray):
            size, form, opaque = value.nbytes, (value.dtype.str, value.shape), value.dtype.hasobject
        else:
            size, form, opaque = len(value) * value.itemsize, (value.typecode,), False
        if size > MOST_BYTES or opaque:
            return Same(value)
        self.containers.append(value)
        self._arrays.append(value)
        return *form, value.tobytes()

    def _rates(self) -> bool:
        """Look at the numbers of optimizers and schedulers, if any function reads them."""
        if not (self._unread and self._attributes & RATES):
            return False
        while self._unread:
            self._numbers_in(*self._unread.pop())
        return bool(self._queue)

    def _numbers_in(self, path: str, value: Any) -> None:
        held = vars(value)
        own = tuple(name for name, entry in held.items() if isinstance(entry, NUMBERS))
        own += ("param_groups",) if isinstance(value, Optimizer) else ()
        self.containers.append(held)
        self._sized.append(held)
        if own:
            self._hold(held, entries_of(own))
        self._queue.extend((attribute_path(path, name), held[name]) for name in own)
        self._outside(type(value))

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
        if len(value) > LONGEST or isinstance(value, set | frozenset):
            return Same(value), len(value)
        self._long.append(value)
        entries = value.values() if isinstance(value, dict) else value
        told = ((type(e), e) if type(e) in NUMBERS else Same(e) for e in entries)
        return Same(value), len(value), *told

    def _object(self, path: str, value: Any) -> Any:
        """Look into a function, or into an object that is not one of the standard library."""
        kind = type(value)
        if isinstance(value, types.FunctionType):
            return self._function(path, value)
        if isinstance(value, types.MethodType):
            self._queue += (attribute_path(path, "__self__"), value.__self__), (path + "()", value.__func__)
            return kind
        if isinstance(value, functools.partial):
            self._queue += (
                (path + "()", value.func),
                (attribute_path(path, "args"), value.args),
                (attribute_path(path, "keywords"), value.keywords),
            )
            return kind
        home = kind.__module__.split(".")[0]
        if home in sys.stdlib_module_names and home not in PLAIN_HOMES:
            return Same(value)
        held = getattr(value, "__dict__", None)
        slots = [s for base in kind.__mro__ for s in words_of(vars(base).get("__slots__", ()))]
        own = tuple(s for s in slots if s not in ("__dict__", "__weakref__") and hasattr(value, s))
        if not isinstance(held, dict) and not own:
            return Same(value)
        if isinstance(held, dict) and len(held) <= LARGEST:
            self.containers.append(held)
            self._hold(held, dict.values)
            self._sized.append(held)
            self._queue.extend((attribute_path(path, name), entry) for name, entry in held.items())
        if own:
            self._named(value, own, attributes_of(own))
            self._queue.extend((attribute_path(path, name), getattr(value, name)) for name in own)
        self._outside(kind)
        return kind

    def _function(self, path: str, function: types.FunctionType) -> Any:
        if in_library(function) and not function.__closure__:
            return Same(function)
        for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
            if id(cell) not in self._paths:
                self._paths[id(cell)] = attribute_path(path, name)
                self._kept.append(cell)
                self.containers.append(cell)
                self._hold(cell, lambda cell: (content(cell),))
                self._queue.append((attribute_path(path, name), content(cell)))
        for name in ("__defaults__", "__kwdefaults__", "__dict__"):
            if getattr(function, name):
                self._queue.append((attribute_path(path, name), getattr(function, name)))
        self._globals(function)
        return Same(function.__code__)

    def _outside(self, kind: type) -> None:
        """Look at the attributes of a user's classes, and at the globals that their functions read."""
        for base in chain(inspect.getmro(kind), inspect.getmro(type(kind))):
            if in_library(base) or base.__module__ in sys.stdlib_module_names or id(base) in self._paths:
                continue
            self._paths[id(base)] = base.__name__
            self._kept.append(base)
            own = tuple(name for name in vars(base) if not name.startswith("__") and name != "_abc_impl")
            if own:
                self.names.append((base, own))
                self._hold(vars(base), entries_of(own))
                self._queue.extend((f"{base.__name__}.{name}", vars(base)[name]) for name in own)
            functions = functions_of(base)
            self._queue.extend((f"{base.__name__}.{name}()", function) for name, function in functions)

    def _globals(self, function: types.FunctionType) -> None:
        if in_library(function):
            return
        held = function.__globals__
        outside, attributes = names_in(function.__code__)
        self._attributes |= attributes
        found = sorted(outside & held.keys())
        own = tuple(name for name in found if can_change(name, held[name]))
        if own:
            self._named(held, own, entries_of(own))
        for name in found:
            value, path = held[name], f"{function.__module__}.{name}"
            if name in own or isinstance(value, types.FunctionType | type):
                self._queue.append((path, value))
            elif isinstance(value, types.ModuleType) and is_users(value):
                inner = vars(value)
                read = tuple(n for n in sorted(attributes & inner.keys()) if can_change(n, inner[n]))
                if read:
                    self._named(inner, read, entries_of(read))
                classes = (n for n in sorted(attributes & inner.keys()) if isinstance(inner[n], type))
                self._queue.extend((f"{value.__name__}.{n}", inner[n]) for n in (*read, *classes))

    def _named(self, owner: Any, names: tuple[str, ...], reader: Callable[[Any], Iterable[Any]]) -> None:
        self.names.append((owner, names))
        self._hold(owner, reader)
