"""Runs: a model trained on a data set in a folder of its own, and draws from it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning_fabric import Fabric

from probgen import recipes
from probgen.core import Objective
from probgen.recipes import Task
from probgen.recipes.task import settle_threads
from probgen.training import Callback, History, checkpoint
from probgen.training.lock import writable
from probgen.training.processes import PRECISIONS

RUN = "run.json"
DEFAULTS: dict[str, Any] = {"data": "digits", "seed": 0}
OPTIONS = ("steps", "batch_size")


def fabric(device: torch.device, *, devices: int, nodes: int, strategy: str, precision: str) -> Fabric | None:
    """Return Lightning's Fabric, its processes started; None for one process in float32."""
    if (devices, nodes, strategy, precision) == (1, 1, "auto", "32-true"):
        return None
    if strategy not in ("auto", "ddp"):
        raise ValueError(f"--strategy should be auto or ddp but got {strategy!r}")
    if precision not in PRECISIONS:
        raise ValueError(f"--precision should be {' or '.join(PRECISIONS)} but got {precision!r}")
    asked: Any = precision  # one of PRECISIONS
    made = Fabric(
        accelerator=device.type, devices=devices, num_nodes=nodes, strategy=strategy, precision=asked
    )
    made.launch()
    return made


class _Begun(Callback):
    """Writes what a run is as soon as it is on, and not before: what is refused changes nothing."""

    def __init__(self, folder: Path, about: dict[str, Any]) -> None:
        self._path, self._about = folder / RUN, about

    def on_fit_start(self, objective: Objective, history: History) -> None:
        _write(self._path, json.dumps(self._about, indent=1))


def train(
    name: str,
    data: str | None,
    folder: Path,
    *,
    device: torch.device,
    seed: int | None = None,
    resume: bool,
    fabric: Fabric | None = None,
    **options: Any,
) -> None:
    """Train a recipe on a data set, with checkpoints in ``folder``.

    What is not given is that of the run that is resumed, where there is one.
    """
    first = fabric is None or fabric.is_global_zero
    given = {"model": name, "data": data, "seed": seed} | options
    with writable(folder):
        about = DEFAULTS | _before(folder, given, resume=resume)
    options = {key: about[key] for key in OPTIONS if key in about}
    task = recipes.load(about["data"], device=device).holding_out()
    settle_threads(task)
    torch.manual_seed(about["seed"])
    recipe = recipes.make(name, task)
    if fabric is not None:
        fabric.barrier()  # all have looked at the folder
    callbacks = (_Begun(folder, about),) if first else ()
    where: dict[str, Any] = {"folder": folder, "resume": resume, "fabric": fabric, "callbacks": callbacks}
    histories = recipes.train(recipe, task, seed=about["seed"], **where, **options)
    if not first:
        return
    for number, history in enumerate(histories, 1):
        own = recipes.stage_folder(recipe, folder, number)
        history.frame.to_csv(own / "history.csv", index=False)
        history.plot().savefig(own / "history.png")
    for split in ("train", "validation"):
        values = histories[-1].values(split=split)
        if values:
            print(f"{split} loss {values[-1]:.4g} per datum")
    print(f"draw from it with: probgen sample {folder} -n 100")


def _before(folder: Path, given: dict[str, Any], *, resume: bool) -> dict[str, Any]:
    """Return what a run is to be: what is given, and for the rest what the run in the folder is."""
    given = {key: value for key, value in given.items() if value is not None}
    stages = list(folder.glob("stage-*")) if folder.is_dir() else []
    if not any(map(checkpoint.exists, (folder, *stages))):  # at most a run that ended before its first save
        kept = _read(folder) if resume and (folder / RUN).exists() else {}
        return (kept if kept.get("model") == given["model"] else {}) | given
    if not resume:
        raise ValueError(f"the run folder {folder} holds a run: pass --resume or choose another with --out")
    before = _read(folder)
    for key in ("model", "data", "seed"):
        if before[key] != given.get(key, before[key]):
            raise ValueError(f"the run in {folder} has {key} {before[key]!r} but got {given[key]!r}")
    return before | given


def sample(folder: Path, n: int, *, device: torch.device, seed: int, out: Path) -> None:
    """Draw n points from a run's best weights into a NumPy file, with a picture beside it."""
    about = _read(folder)
    task = recipes.load(about["data"], device=device).holding_out()
    torch.manual_seed(about["seed"])
    recipe = recipes.make(about["model"], task)
    step = recipes.restore(recipe, folder, seed=about["seed"])
    draws = recipe.sample(n, seed=seed).cpu()
    if out.suffix != ".npy":
        raise ValueError(f"--out should be a .npy file but got {str(out)!r}")
    part = out.with_name(f".{out.stem}.part.npy")
    np.save(part, draws.numpy())
    part.replace(out)
    picture = _picture(task, draws)
    shown = ""
    if picture is not None:
        picture.savefig(out.with_suffix(".png"))
        shown = f" and {out.with_suffix('.png')}"
    print(f"{n} draws of {about['model']} on {about['data']}, trained for {step} steps: {out}{shown}")


def _picture(task: Task, draws: torch.Tensor) -> Any:
    """Return draws beside real data, where these can be shown."""
    from probgen import plots

    if task.image_shape is not None:
        return plots.image_grid({"real": task.test.x.cpu(), "model": draws}, image_shape=task.image_shape)
    if task.kind == "plane":
        return plots.scatter({"exact draws": task.test.x[:2000].cpu(), "model": draws})
    return None


def _read(folder: Path) -> dict[str, Any]:
    path = folder / RUN
    if not path.exists():
        raise ValueError(f"{folder} should be the folder of a run of `probgen train` but holds no {RUN}")
    try:
        about = json.loads(path.read_text())
        about["model"], about["data"], about["seed"]
        if not about.keys() <= {*DEFAULTS, "model", *OPTIONS}:
            raise KeyError("another version's")
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"the run folder {folder} is damaged: {RUN} cannot be read") from error
    return about


def _write(path: Path, text: str) -> None:
    part = path.with_name(f".{path.name}.part")
    part.write_text(text)
    part.replace(path)
