"""Checkpoints: last and best, each a consistent set, written atomically and verified when read.

A run folder holds one folder per checkpoint (``last-00000120``, ``best-00000100``) with the objective's
weights in safetensors; what of its state these cannot hold (sparse and complex tensors, the extra state of a
module) and, for ``last``, the state of the training, loadable with ``weights_only``. The file
``checkpoint.json`` names them with the SHA-256 of each file; it is replaced in one step after they are
complete, so a run that is killed while it writes keeps its previous checkpoint.
"""

from __future__ import annotations

import copy
import hashlib
import io
import json
import os
import shutil
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch
import torch
from torch import Tensor, nn

INDEX = "checkpoint.json"
WEIGHTS = "weights.safetensors"
OTHERS = "others.pt"
STATE = "state.pt"
DENSE = {
    torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.bool,
    torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8,
}  # fmt: skip
"""The types that every version of safetensors can hold."""

Weights = Mapping[str, Any]
"""The state of a module by name: tensors, and the extra state of modules that have one."""


def check_state(module: nn.Module, *, saved: bool) -> None:
    """Raise where the state of a module is such that it could not be put back, or, if need be, saved.

    Raises:
        ValueError: for a tensor that is expanded or of a layout that has no numbers to copy.
        TypeError: for extra state that cannot be copied or, with ``saved``, loaded without running code.
    """
    for kind, tensors in (("parameter", module.named_parameters()), ("buffer", module.named_buffers())):
        for name, tensor in tensors:
            dense = tensor.layout is torch.strided and not tensor.is_nested and not tensor.is_quantized
            if dense and any(
                step == 0 and size > 1 for step, size in zip(tensor.stride(), tensor.shape, strict=True)
            ):
                raise ValueError(
                    f"the {kind} {name!r} should have memory for each of its numbers, so that it can be put "
                    "back, but is expanded: make it with .expand(...).clone()"
                )
            if not dense and tensor.layout not in (torch.sparse_coo, torch.sparse_csr, torch.sparse_csc):
                raise ValueError(
                    f"the {kind} {name!r} should be a dense or a sparse tensor, so that it can be put back, "
                    f"but is {'nested' if tensor.is_nested else 'quantized or of another layout'}"
                )
    for name, value in module.state_dict().items():
        if isinstance(value, Tensor):
            continue
        try:
            found: Any = copy.deepcopy(value)
            if saved:
                file = io.BytesIO()
                torch.save(found, file)
                file.seek(0)
                torch.load(file, weights_only=True)
        except Exception as error:  # whatever an object's own copying and pickling raise
            raise TypeError(
                f"the extra state {name!r} should be made of tensors, numbers, strings, lists and mappings, "
                "so that it can be copied, and loaded without running code, but is of another kind "
                f"({type(value).__name__}): return one made of these from get_extra_state"
            ) from error


def state_of(module: nn.Module) -> dict[str, Any]:
    """Return a copy of a module's state."""
    return {name: _copied(value) for name, value in module.state_dict().items()}


def put_back(module: nn.Module, state: Weights) -> None:
    """Give a module back a state that it had, which remains its own."""
    _make_room(module, state, emptied=True)
    module.load_state_dict({k: v if isinstance(v, Tensor) else _copied(v) for k, v in state.items()})


def _make_room(module: nn.Module, state: Weights, *, emptied: bool = False) -> None:
    """Give buffers that are empty or None the form that they have in a state, since they are filled later.

    With ``emptied``, the state is the module's own of another moment: all buffers get their form in it.
    """
    device = next((weight.device for weight in module.parameters()), torch.device("cpu"))
    for prefix, part in module.named_modules():
        for leaf, buffer in list(part._buffers.items()):
            value = state.get(f"{prefix}.{leaf}" if prefix else leaf)
            if isinstance(value, Tensor):
                other = buffer is None or value.shape != buffer.shape
                if other and (emptied or buffer is None or not buffer.numel()):
                    part._buffers[leaf] = torch.empty_like(value, device=device)
            elif emptied and leaf not in part._non_persistent_buffers_set:
                part._buffers[leaf] = None


def _copied(value: Any) -> Any:
    return value.detach().clone() if isinstance(value, Tensor) else copy.deepcopy(value)


def exists(folder: Path) -> bool:
    """Say whether a folder holds a training to go on with; one killed in its first save holds none."""
    try:
        return (folder / INDEX).exists()
    except OSError:  # a name that is too long, a folder that may not be read
        return False


def last_good(folder: Path | None) -> str:
    """Return the end of a sentence about a fault: where the last good checkpoint is, if there is one."""
    return f"; the last good checkpoint is in {folder}" if folder is not None and exists(folder) else ""


def try_out(folder: Path) -> None:
    """Write in a folder what a checkpoint consists of, and remove it again; OSError where that fails."""
    trial = folder / f"trial-{0:08d}"
    try:
        trial.mkdir(exist_ok=True)
        (trial / f"{WEIGHTS}.part").write_bytes(bytes(4096))
        _flush(trial / f"{WEIGHTS}.part")
    finally:
        shutil.rmtree(trial, ignore_errors=True)


def save(folder: Path, sets: Mapping[str, tuple[int, Weights]], state: Mapping[str, Any]) -> None:
    """Write checkpoints, all of them or none, and drop those that they replace.

    Args:
        folder: the run folder, made if need be.
        sets: by name, "last" and maybe "best", the optimizer steps taken and the objective's state.
        state: the training's state, kept with "last": tensors, numbers, strings, lists and mappings of them.

    Raises:
        OSError: where they cannot be written, say since the disk is full: those of before stand.
    """
    try:
        _save(folder, sets, state)
    except (OSError, RuntimeError, safetensors.SafetensorError) as error:  # torch's and safetensors' own
        kept = {entry["folder"]: entry["step"] for entry in _index(folder).values()} if exists(folder) else {}
        _sweep(folder, sets, kept)
        stands = f"that of step {max(kept.values())} is the last good one" if kept else "there is none yet"
        step = max(step for step, _ in sets.values())
        raise OSError(
            f"the checkpoint of step {step} cannot be written in {folder} ({error}): {stands}; make room, "
            "then resume"
        ) from error


def _save(folder: Path, sets: Mapping[str, tuple[int, Weights]], state: Mapping[str, Any]) -> None:
    index = _index(folder) if exists(folder) else {}
    for name, (step, weights) in sets.items():
        target = folder / f"{name}-{step:08d}"
        if index.get(name, {}).get("folder") == target.name:
            continue  # this very step stands already
        shutil.rmtree(target, ignore_errors=True)
        target.mkdir(parents=True)
        tensors, others = sorted_out(weights)
        safetensors.torch.save_file(tensors, target / WEIGHTS)
        if others:
            torch.save(others, target / OTHERS)
        if name == "last":
            torch.save(_of_python(state), target / STATE)
        files = sorted(target.iterdir())
        index[name] = {"folder": target.name, "step": step, "sha256": {f.name: _sha256(f) for f in files}}
        for path in (*files, target):
            _flush(path)

    temporary = folder / f"{INDEX}.part"
    temporary.write_text(json.dumps(index, indent=1))
    _flush(temporary)
    temporary.replace(folder / INDEX)
    _flush(folder)
    _sweep(folder, sets, {entry["folder"] for entry in index.values()})


def _of_python(state: Any) -> Any:
    """Return a state with NumPy's numbers, which loading would take for code, as Python's."""
    if isinstance(state, Mapping):
        return {_of_python(key): _of_python(value) for key, value in state.items()}
    if isinstance(state, list | tuple):
        return type(state)(map(_of_python, state))
    return state.item() if isinstance(state, np.generic) else state


def _sweep(folder: Path, names: Iterable[str], kept: Collection[str]) -> None:
    """Remove checkpoints that are not, or no longer, in the index."""
    (folder / f"{INDEX}.part").unlink(missing_ok=True)
    for name in names:
        for old in folder.glob(f"{name}-*"):
            if old.name not in kept and old.name.removeprefix(f"{name}-").isdigit():
                shutil.rmtree(old, ignore_errors=True)


def load_weights(folder: Path, module: nn.Module, *, name: str | None = None, own: bool = False) -> int:
    """Load weights into a module and return the step at which they were written.

    Args:
        folder: the run folder.
        module: the objective that was trained, or one like it.
        name: "best", "last", or None: the best, or the last where the objective judged none to be so.
        own: whether it goes on with that training, so that its buffers get the shapes that they had.
    """
    step, tensors = weights_in(folder, name)
    _make_room(module, tensors, emptied=own)
    expected = module.state_dict()
    if tensors.keys() != expected.keys():
        different = sorted(tensors.keys() ^ expected.keys())
        raise ValueError(
            f"the weights in {folder} should be those of this objective but {different[0]!r} differs"
        )
    for key, value in tensors.items():
        if isinstance(value, Tensor) and value.shape != getattr(expected[key], "shape", value.shape):
            raise ValueError(
                f"the weight {key!r} in {folder} should have shape {tuple(expected[key].shape)} "
                f"but has {tuple(value.shape)}"
            )
    module.load_state_dict(tensors)
    return step


def weights_in(folder: Path, name: str | None = None) -> tuple[int, dict[str, Any]]:
    """Return the step of a checkpoint and the state that it holds; ``name`` as in :func:`load_weights`."""
    if name is None:
        name = "best" if exists(folder) and "best" in _index(folder) else "last"
    entry = _entry(folder, name)
    path = folder / entry["folder"] / WEIGHTS
    _verify(path, entry)
    tensors: dict[str, Any] = safetensors.torch.load_file(path)
    if OTHERS in entry["sha256"]:
        others = folder / entry["folder"] / OTHERS
        _verify(others, entry)
        tensors |= torch.load(others, map_location="cpu", weights_only=True)
    return int(entry["step"]), tensors


def load_state(folder: Path, *, name: str = "last") -> dict[str, Any]:
    """Return the training's state in checkpoint ``name``."""
    entry = _entry(folder, name)
    path = folder / entry["folder"] / STATE
    _verify(path, entry)
    return torch.load(path, map_location="cpu", weights_only=True)


def sorted_out(weights: Weights) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Return the tensors that safetensors can hold, with memory of their own on the CPU, and all else."""
    tensors: dict[str, Tensor] = {}
    others: dict[str, Any] = {}
    for key, value in weights.items():
        if not isinstance(value, Tensor):
            others[key] = value
            continue
        value = value.detach().cpu()
        if value.layout is torch.strided and value.dtype in DENSE:
            tensors[key] = value.resolve_conj().resolve_neg().clone().contiguous()
        else:
            others[key] = value.clone()
    return tensors, others


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
