"""What a run's folder says of it: recipe, data, seed; and the run put together again from that."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

import torch

from probgen import data
from probgen.recipes.registry import Recipe, make
from probgen.recipes.task import Task
from probgen.recipes.tasks import is_file, load
from probgen.recipes.training import restore

RUN = "run.json"
DEFAULTS: dict[str, Any] = {"data": "digits", "seed": 0}
OPTIONS = ("steps", "batch_size")
KINDS = "kinds"
"""The key of the kinds of a table's columns, where the user named some."""

FILE = "sha256"
"""The key of the SHA-256 of data that are a user's own file or folder."""


class Restored(NamedTuple):
    """A run put together again: its recipe with the best weights, its task, and the steps it had taken."""

    recipe: Recipe
    task: Task
    step: int
    about: dict[str, Any]


def restored(folder: Path, *, device: torch.device | str = "cpu") -> Restored:
    """Return the run in a folder with its best weights.

    Raises:
        ValueError: where there is none, or a file that it learned from is another by now.
    """
    about = read_about(folder)
    check_unchanged(folder, about)
    task = load(about["data"], device=device, kinds=about.get(KINDS)).holding_out()
    with torch.random.fork_rng(devices=()):
        torch.manual_seed(about["seed"])
        recipe = make(about["model"], task)
        step = restore(recipe, folder, seed=about["seed"])
    return Restored(recipe, task, step, about)


def with_digest(about: dict[str, Any]) -> dict[str, Any]:
    """Return what a run is with the whole path of its own file, and the SHA-256 of that."""
    if not is_file(about["data"]):
        return about
    path = Path(about["data"]).resolve()
    if not path.exists():
        raise ValueError(f"there is no file or folder {str(path)!r}")
    return about | {"data": str(path), FILE: data.digest_of(path)}


def check_unchanged(folder: Path, about: dict[str, Any]) -> None:
    """Raise where the file that a run learns from is not there, or another than it was."""
    if FILE not in about:
        return
    path = Path(about["data"])
    if not path.exists():
        raise ValueError(f"the run in {folder} learned from {path}, which is not there: put it back")
    found = data.digest_of(path)
    if found != about[FILE]:
        raise ValueError(
            f"the run in {folder} learned from {path} as it was (SHA-256 {about[FILE][:12]}...), but it has "
            f"changed ({found[:12]}...): put the old one back, or train anew in another folder"
        )


def read_about(folder: Path) -> dict[str, Any]:
    """Return what a run is."""
    path = folder / RUN
    if not path.exists():
        raise ValueError(f"{folder} should be the folder of a run of `probgen train` but holds no {RUN}")
    try:
        about = json.loads(path.read_text())
        about["model"], about["data"], about["seed"]
        if not about.keys() <= {*DEFAULTS, "model", FILE, KINDS, *OPTIONS}:
            raise KeyError("another version's")
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"the run folder {folder} is damaged: {RUN} cannot be read") from error
    return about


def write_about(folder: Path, about: dict[str, Any]) -> None:
    """Write down what a run is, whole or not at all."""
    part = folder / f".{RUN}.part"
    part.write_text(json.dumps(about, indent=1))
    part.replace(folder / RUN)
