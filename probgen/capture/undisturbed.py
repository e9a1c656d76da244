"""A call that leaves no trace: random numbers, Python state and tensors are put back, whatever happens."""

from __future__ import annotations

import array
import random
import types
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from probgen.capture.casts import forget_casts
from probgen.capture.python_state import PythonState
from probgen.capture.told_state import NOTHING, content


class Changes(NamedTuple):
    """What a call changed, in words, if anything, and the paths of the Python state if nothing else."""

    what: str | None = None
    paths: Sequence[str] = ()


class Source(NamedTuple):
    """A source of random numbers, and its state as it was."""

    get: Callable[[], Any]
    put: Callable[[Any], Any]
    before: Any

    @property
    def moved(self) -> bool:
        """Say whether numbers were drawn from it; torch's own a graph draws as well."""
        return not isinstance(self.before, Tensor) and repr(self.get()) != repr(self.before)


@contextmanager
def undisturbed(
    state: PythonState, device: torch.device, weights: Iterable[Tensor]
) -> Iterator[Callable[[], Changes]]:
    """Put back the Python state, the tensors in it, the weights and all random numbers.

    Yields a function that says what a call changed and its graph would not change.
    """
    before = state.now()
    containers = [*map(_keep, state.containers), *(_keep_names(*named) for named in state.names)]
    own = {id(weight): weight for weight in (*weights, *state.weights)}
    kept = [(weight, weight.detach().clone()) for weight in own.values()]
    tensors = kept + [(t, t.detach().clone()) for t in state.tensors if t.layout is torch.strided]
    sources = [_source(random), _source(np.random), *map(_source, state.generators)]

    def changed() -> Changes:
        if any(source.moved for source in sources):
            return Changes("the state of random numbers that are not torch's")
        if any(_differ(weight, value) for weight, value in kept):
            return Changes("weights")
        paths = before.changes(state.now())
        return Changes(repr(paths[0]), paths) if paths else Changes()

    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        try:
            yield changed
        finally:
            for put_back in containers:
                put_back()
            for source in sources:
                source.put(source.before)
            for tensor, value in tensors:
                if _differ(tensor, value):
                    with torch.no_grad():
                        tensor.copy_(value)
            forget_casts(device)  # that were traced


def _differ(tensor: Tensor, value: Tensor) -> bool:
    """Say whether numbers differ, NaN being NaN."""
    if torch.equal(tensor, value):
        return False
    exact = not (tensor.is_floating_point() or tensor.is_complex())
    return exact or not torch.allclose(tensor, value, rtol=0, atol=0, equal_nan=True)


def _source(generator: Any) -> Source:
    """Return a source of random numbers: Python's, NumPy's or torch's."""
    if isinstance(generator, np.random.Generator):
        bits = generator.bit_generator
        return Source(lambda: bits.state, lambda state: setattr(bits, "state", state), bits.state)
    pythons = generator is random or isinstance(generator, random.Random)
    names = ("getstate", "setstate") if pythons else ("get_state", "set_state")
    get, put = (getattr(generator, name) for name in names)
    return Source(get, put, get())


def _keep(place: Any) -> Callable[[], None]:
    """Return what lets a container hold again what it holds now."""
    if isinstance(place, ContextVar):
        value = place.get(NOTHING)
        return lambda: None if value is NOTHING else _set(place, value)
    if isinstance(place, array.array):
        numbers = place[:]
        return lambda: place.__setitem__(slice(None), numbers)
    if isinstance(place, np.ndarray):
        copied = place.copy()
        return lambda: np.copyto(place, copied)
    if isinstance(place, types.CellType):
        held = content(place)
        return lambda: None if held is NOTHING else setattr(place, "cell_contents", held)
    before: Any = dict(place) if isinstance(place, dict) else list(place)

    def put_back() -> None:
        if isinstance(place, dict):
            if [*map(id, place.values())] != [*map(id, before.values())] or [*place] != [*before]:
                place.clear()
                place.update(before)
        elif [*map(id, place)] == [*map(id, before)]:
            return
        elif isinstance(place, list):
            place[:] = before
        else:
            place.clear()
            (place.update if isinstance(place, set) else place.extend)(before)

    return put_back


def _set(variable: ContextVar[Any], value: Any) -> None:
    if variable.get(NOTHING) is not value:
        variable.set(value)


def _keep_names(owner: Any, names: tuple[str, ...]) -> Callable[[], None]:
    """Return what gives names of a class, an object with slots or a module their present values again."""
    if isinstance(owner, dict):
        before = {name: owner[name] for name in names}
        return lambda: owner.update(before)
    values = [(name, _raw(owner, name)) for name in names]

    def put_back() -> None:
        for name, value in values:
            if _raw(owner, name) is not value:
                setattr(owner, name, value)

    return put_back


def _raw(owner: Any, name: str) -> Any:
    """Return what stands under a name: of a class the function, not what it is bound to."""
    return vars(owner).get(name, NOTHING) if isinstance(owner, type) else getattr(owner, name, NOTHING)
