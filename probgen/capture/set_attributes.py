"""Tensors that a loss sets as attributes of its modules, as ``self.kl = kl``, for others to look at."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import Tensor, nn

Places = Mapping[str, tuple[nn.Module, str]]
"""By path, the module and the attribute's name."""


def places_of(objective: nn.Module, paths: Iterable[str]) -> Places:
    """Return the places of those paths that lead to tensors that are plain attributes of modules."""
    modules, found = dict(objective.named_modules()), {}
    for path in paths:
        prefix, _, name = path.rpartition(".")
        module = modules.get(prefix)
        if module is not None and isinstance(vars(module).get(name), Tensor):
            found[path] = module, name
    return found


def tensors_at(places: Places) -> Iterator[tuple[str, Tensor]]:
    """Yield by path the tensors that stand there."""
    for path, (module, name) in places.items():
        if isinstance(value := vars(module).get(name), Tensor):
            yield path, value


def forget(places: Places) -> None:
    """Take the attributes away."""
    for module, name in places.values():
        vars(module).pop(name, None)


def set_before_read(
    places: Places,
    outcome: Callable[[], Mapping[str, Tensor]],
    undisturbed: Callable[[], AbstractContextManager[Any]],
) -> bool:
    """Say whether a loss sets attributes before it reads them, so that what stood there does not matter.

    It does if all comes out the same where they are as they are, where they are missing, and where what
    stands there cannot be reckoned with.
    """
    outcomes: list[dict[str, Tensor]] = []
    for gone, stand_in in ((False, None), (True, None), (True, object())):
        with undisturbed():
            if gone:
                forget(places)
            if stand_in is not None:
                for module, name in places.values():
                    vars(module)[name] = stand_in
            try:
                found = dict(outcome()) | {path: value.detach().clone() for path, value in tensors_at(places)}
            except Exception:  # whatever reading it raises
                return False
            outcomes.append(found)
    first = outcomes[0]
    return all(
        found.keys() == first.keys() and all(_same(found[name], first[name]) for name in first)
        for found in outcomes[1:]
    )


def _same(a: Tensor, b: Tensor) -> bool:
    return a.shape == b.shape and torch.allclose(a.to_dense(), b.to_dense(), rtol=0, atol=0, equal_nan=True)
