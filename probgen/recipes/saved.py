"""Models kept in a file, and models loaded from a file or from the folder of a training."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor, nn

from probgen.recipes.run_folder import RUN, restored
from probgen.training import checkpoint


def save(model: nn.Module, path: str | Path) -> Path:
    """Write a model's weights and buffers to a file, in safetensors; return its path.

    What safetensors cannot hold, such as extra state, makes it a file of torch that loads without running
    code. The file appears whole or not at all.

    Raises:
        TypeError: for what is no module, or has extra state that could not be loaded without running code.
    """
    if not isinstance(model, nn.Module):
        raise TypeError(f"model should be a torch.nn.Module but is a {type(model).__name__}")
    checkpoint.check_state(model, saved=True)
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.is_dir():
        raise ValueError(
            f"path should be a file but {path} is a folder: add a name, such as model.safetensors"
        )
    part = path.with_name(f".{path.name}.part")
    tensors, others = checkpoint.sorted_out(model.state_dict())
    if others:
        torch.save(tensors | others, part)
    else:
        safetensors.torch.save_file(tensors, part, metadata={"class": type(model).__qualname__})
    part.replace(path)
    return path


def load(
    path: str | Path,
    model: nn.Module | Callable[[], nn.Module] | None = None,
    *,
    name: str | None = None,
    device: torch.device | str = "cpu",
) -> Any:
    """Return a trained model, in evaluation mode.

    Of a run of ``probgen train`` the recipe makes the model. Elsewhere ``model`` is one of the same
    architecture, whose weights are replaced, or the class or function that makes it. Nothing in a file is
    executed.

    Args:
        path: a file that :func:`save` wrote, the folder of a run, or that of ``fit(..., checkpoint=...)``.
        model: not needed for a run of ``probgen train``.
        name: of a folder's checkpoints "best" or "last"; the best where not given, or the last where none
            was judged. It is the model that :func:`probgen.fit` leaves behind.
        device: where the model of a run goes; one that is given stays where it is.

    Raises:
        ValueError: where there is nothing, or nothing whole, or the model is of another architecture.

    >>> import tempfile
    >>> from probgen import nets
    >>> file = save(nets.MLP(2, 1), Path(tempfile.mkdtemp()) / "net.safetensors")
    >>> load(file, lambda: nets.MLP(2, 1)).training
    False
    >>> load(file, lambda: nets.MLP(2, 3))
    Traceback (most recent call last):
    ...
    ValueError: ... of MLP but 'last.weight' has shape (1, 256) there and (3, 256) in the model
    """
    path = Path(path)
    if not path.exists():
        raise ValueError(f"there is no file or folder {str(path)!r}")
    if model is None:
        if (path / RUN).exists() and name is None:
            return restored(path, device=device).recipe.model
        raise ValueError(
            f"{path} holds weights but not what they are of: give the model, or what makes it, as in "
            f"probgen.load({str(path)!r}, make_model)"
        )
    state = checkpoint.weights_in(path, name)[1] if path.is_dir() else _read(path)
    made = _made(model)
    _put(made, state, path)
    return made.eval()


def _read(path: Path) -> dict[str, Any]:
    """Return what a file holds, of safetensors or of torch."""
    try:
        with path.open("rb") as file:
            if file.read(2) == b"PK":  # of torch, whatever the file is called
                file.seek(0)
                found = torch.load(file, map_location="cpu", weights_only=True)
                if isinstance(found, dict):
                    return found
        return safetensors.torch.load_file(path)
    except Exception as error:  # whatever the two raise for a file that is none of theirs
        raise ValueError(
            f"{path} should be a file that probgen.save wrote but cannot be read: "
            f"{' '.join(str(error).split())[:100]}"
        ) from None


def _made(model: nn.Module | Callable[[], nn.Module]) -> nn.Module:
    if isinstance(model, nn.Module):
        return model
    if not callable(model):
        raise TypeError(f"model should be a module, or what makes one, but is a {type(model).__name__}")
    try:
        made = model()
    except TypeError as error:
        if isinstance(model, type):
            raise TypeError(
                f"{model.__name__} cannot be made without arguments ({error}): give a function that makes "
                f"it, such as lambda: {model.__name__}(...)"
            ) from error
        raise
    if not isinstance(made, nn.Module):
        raise TypeError(f"model should make a torch.nn.Module but makes a {type(made).__name__}")
    return made


def _put(model: nn.Module, state: Mapping[str, Any], path: Path) -> None:
    """Give a model its weights, or raise where they are those of another architecture."""
    expected = model.state_dict()
    own = _own(expected, state, path)
    what = f"the weights in {path} should be those of {type(model).__name__} but"
    different = next((key for key in [*expected, *own] if key not in own or key not in expected), None)
    if different is not None:
        where = "is not among them" if different in expected else "is none of its weights"
        raise ValueError(f"{what} {different!r} {where}: make the model as it was")
    for key, value in expected.items():
        there, here = (tuple(getattr(found, "shape", ())) for found in (own[key], value))
        if there != here:
            raise ValueError(f"{what} {key!r} has shape {there} there and {here} in the model")
        if isinstance(value, Tensor) and own[key].is_floating_point() != value.is_floating_point():
            raise ValueError(f"{what} {key!r} is {own[key].dtype} there and {value.dtype} in the model")
    model.load_state_dict(own)


def _own(expected: Mapping[str, Any], state: Mapping[str, Any], path: Path) -> dict[str, Any]:
    """Return the part of an objective's state, all of it maybe, that is most like a model's.

    Raises ValueError where several are of the model's architecture, with other weights.
    """
    first = next(iter(expected), "")
    prefixes = {""} | {key.removesuffix(first) for key in state if key.endswith(f".{first}")}
    parts = {
        prefix: {key.removeprefix(prefix): value for key, value in state.items() if key.startswith(prefix)}
        for prefix in sorted(prefixes, key=len)
    }
    fitting = [prefix for prefix, part in parts.items() if expected and _alike(part, expected)]
    for other in fitting[1:]:
        if any(not _equal(parts[fitting[0]][key], value) for key, value in parts[other].items()):
            raise ValueError(
                f"the weights in {path} should hold the model once but {fitting[0].rstrip('.')!r} and "
                f"{other.rstrip('.')!r} are of its architecture, with other weights: load the whole of what "
                "was trained, and take the part from that"
            )
    return min(parts.values(), key=lambda part: len(part.keys() ^ expected.keys()))


def _alike(part: Mapping[str, Any], expected: Mapping[str, Any]) -> bool:
    """Whether a part has the names and shapes of a model's state."""
    return part.keys() == expected.keys() and all(
        getattr(value, "shape", None) == getattr(expected[key], "shape", None) for key, value in part.items()
    )


def _equal(one: Any, other: Any) -> bool:
    return torch.equal(one, other) if isinstance(one, Tensor) else one == other
