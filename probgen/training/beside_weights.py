"""What a run moves beside the state of its modules, which a checkpoint must hold or say that it does not."""

from __future__ import annotations

import logging
import random
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from probgen.capture.python_state import PythonState

logger = logging.getLogger("probgen")


class Beside:
    """Frozen weights, buffers that are not persistent, Python's and NumPy's random numbers, and Python state.

    Random numbers are kept where the training has drawn some; Python state is not, but what of it has moved.
    """

    def __init__(self, objective: nn.Module) -> None:
        self._objective = objective
        self._python = PythonState(objective)
        self._before = self._python.now()
        buffers = set(map(id, objective.buffers()))
        self._tensors = [
            (tensor, tensor.detach().clone())
            for tensor in self._python.tensors
            if id(tensor) not in buffers and tensor.layout is torch.strided
        ]
        self._generators = [(generator, _place(generator)) for generator in self._python.generators]
        self._noise = _noise()

    def state_dict(self) -> dict[str, Any]:
        """Return what a checkpoint holds: tensors, numbers, words and lists of them."""
        noise = _noise()
        return {
            "frozen": [n for n, w in self._objective.named_parameters() if not w.requires_grad],
            "buffers": {
                name: None if value is None else value.detach().clone()
                for name, value in self._buffers().items()
            },
            "noise": None if noise == self._noise else noise,
            "moved": self._moved(),
        }

    def load_state_dict(self, state: dict[str, Any], folder: Path) -> None:
        """Put it back, and name what has moved and is not held."""
        for name, weight in self._objective.named_parameters():
            weight.requires_grad_(name not in state["frozen"])
        for name, value in state["buffers"].items():
            prefix, _, leaf = name.rpartition(".")
            part = self._objective.get_submodule(prefix)
            now = part._buffers.get(leaf)
            if value is None or now is None or now.shape != value.shape:
                device = next(self._objective.parameters()).device
                part._buffers[leaf] = None if value is None else value.to(device)
            else:
                now.copy_(value)
        if state["noise"] is not None:
            _set_noise(state["noise"])
        present = self._told()
        gone = [path for path, told in state["moved"].items() if told is None or present.get(path) != told]
        if gone:
            logger.warning(
                "the run in %s has changed %r of the objective, which its checkpoint does not hold: the "
                "resumed run begins with it as it is now; to have it go on as it was, make it a buffer or "
                "the module's extra state (get_extra_state, set_extra_state)",
                folder,
                gone[0],
            )

    def _buffers(self) -> dict[str, Tensor | None]:
        return {
            f"{prefix}.{leaf}" if prefix else leaf: part._buffers[leaf]
            for prefix, part in self._objective.named_modules()
            for leaf in sorted(part._non_persistent_buffers_set & part._buffers.keys())
        }

    def _moved(self) -> dict[str, str | None]:
        """Return by path what has moved of the Python state: a number as it is told, of others nothing."""
        now = self._python.now()
        told = self._told()
        moved = {
            path: told.get(path)
            for path, value in self._before.values.items()
            if path in now.values
            and now.values[path] != value
            and self._before.is_number(path)
            and now.is_number(path)
        }
        places = [generator for generator, place in self._generators if _place(generator) != place]
        changed = [tensor for tensor, value in self._tensors if not torch.equal(tensor, value)]
        return moved | {self._python.path(place): None for place in (*changed, *places)}

    def _told(self) -> dict[str, str]:
        values = self._python.now().values
        return {path: repr(told) for path, told in values.items() if "object at" not in repr(told)}


def _place(generator: Any) -> str:
    """Return where a source of random numbers stands."""
    if isinstance(generator, np.random.Generator):
        return repr(generator.bit_generator.state)
    if isinstance(generator, torch.Generator):
        return repr(generator.get_state().tolist())
    return repr((generator.getstate if isinstance(generator, random.Random) else generator.get_state)())


def _noise() -> dict[str, Any]:
    """Return the states of Python's and NumPy's global random numbers."""
    version, words, gauss = random.getstate()
    numpy: Any = np.random.get_state(legacy=True)  # noqa: NPY002
    name, keys, *rest = numpy
    return {"python": [version, list(words), gauss], "numpy": [name, keys.tolist(), *rest]}


def _set_noise(state: dict[str, Any]) -> None:
    version, words, gauss = state["python"]
    random.setstate((version, tuple(words), gauss))
    name, keys, *rest = state["numpy"]
    np.random.set_state((name, np.array(keys, dtype=np.uint32), *rest))  # noqa: NPY002
