"""Checkpoints: last and best, each a consistent set, written atomically and verified when read.

A run folder holds one folder per checkpoint (``last-00000120``, ``best-00000100``) with the objective's
weights in safetensors, and, for ``last``, the state of the training loadable with ``weights_only``. The file
``checkpoint.json`` names them with the SHA-256 of each file; it is replaced in one step after they are
complete, so a run that is killed while it writes keeps its previous checkpoint.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor, nn

INDEX = "checkpoint.json"
WEIGHTS = "weights.safetensors"
STATE = "state.pt"


Weights = Mapping[str, Tensor]


def exists(folder: Path) -> bool:
    """Say whether a folder holds a training to go on with; one killed in its first save holds none."""
    return (folder / INDEX).exists()


def save(folder: Path, sets: Mapping[str, tuple[int, Weights]], state: Mapping[str, Any]) -> None:
    """Write checkpoints, all of them or none, and drop those that they replace.

    Args:
        folder: the run folder, made if need be.
        sets: by name, "last" and maybe "best", the optimizer steps taken and the objective's state.
        state: the training's state, kept with "last": tensors, numbers, strings, lists and mappings of them.
    """
    index = _index(folder) if exists(folder) else {}
    for name, (step, weights) in sets.items():
        target = folder / f"{name}-{step:08d}"
        if index.get(name, {}).get("folder") == target.name:
            continue  # this very step stands already
        shutil.rmtree(target, ignore_errors=True)
        target.mkdir(parents=True)
        tensors = {key: value.detach().cpu().clone().contiguous() for key, value in weights.items()}
        safetensors.torch.save_file(tensors, target / WEIGHTS)
        if name == "last":
            torch.save(dict(state), target / STATE)
        files = sorted(target.iterdir())
        index[name] = {"folder": target.name, "step": step, "sha256": {f.name: _sha256(f) for f in files}}
        for path in (*files, target):
            _flush(path)

    temporary = folder / f"{INDEX}.part"
    temporary.write_text(json.dumps(index, indent=1))
    _flush(temporary)
    temporary.replace(folder / INDEX)
    _flush(folder)
    kept = {entry["folder"] for entry in index.values()}
    for name in sets:
        for old in folder.glob(f"{name}-*"):
            if old.name not in kept and old.name.removeprefix(f"{name}-").isdigit():
                shutil.rmtree(old)


def load_weights(folder: Path, module: nn.Module, *, name: str = "best") -> int:
    """Load the weights of checkpoint ``name`` into a module and return the step at which it was written."""
    entry = _entry(folder, name)
    path = folder / entry["folder"] / WEIGHTS
    _verify(path, entry)
    tensors = safetensors.torch.load_file(path)
    expected = module.state_dict()
    if tensors.keys() != expected.keys():
        different = sorted(tensors.keys() ^ expected.keys())
        raise ValueError(
            f"the weights in {folder} should be those of this objective but {different[0]!r} differs"
        )
    for key, value in tensors.items():
        if value.shape != expected[key].shape:
            raise ValueError(
                f"the weight {key!r} in {folder} should have shape {tuple(expected[key].shape)} "
                f"but has {tuple(value.shape)}"
            )
    module.load_state_dict(tensors)
    return int(entry["step"])


def load_state(folder: Path, *, name: str = "last") -> dict[str, Any]:
    """Return the training's state in checkpoint ``name``."""
    entry = _entry(folder, name)
    path = folder / entry["folder"] / STATE
    _verify(path, entry)
    return torch.load(path, map_location="cpu", weights_only=True)


def _entry(folder: Path, name: str) -> dict[str, Any]:
    if not exists(folder):
        raise ValueError(f"{folder} should be a run folder but holds no {INDEX}")
    index = _index(folder)
    if name not in index:
        raise ValueError(f"the run folder {folder} should hold the checkpoint {name!r} but has {list(index)}")
    return index[name]


def _index(folder: Path) -> dict[str, Any]:
    try:
        index = json.loads((folder / INDEX).read_text())
        for entry in index.values():
            entry["folder"], entry["step"], entry["sha256"]
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise ValueError(f"the run folder {folder} is damaged: {INDEX} cannot be read") from error
    return index


def _verify(path: Path, entry: dict[str, Any]) -> None:
    if not path.exists():
        raise ValueError(
            f"the run folder {path.parent.parent} is damaged: {path.parent.name}/{path.name} is missing"
        )
    if _sha256(path) != entry["sha256"].get(path.name):
        raise ValueError(
            f"the run folder {path.parent.parent} is damaged: {path.parent.name}/{path.name} does not match "
            "its SHA-256"
        )


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _flush(path: Path) -> None:
    """Have a file or a folder on the disk before going on."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
