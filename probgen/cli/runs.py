"""Runs: a model trained on a data set in a folder of its own, and draws from it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric

from probgen import recipes
from probgen.cli import draws
from probgen.core import Objective
from probgen.recipes.run_folder import (
    DEFAULTS,
    KINDS,
    OPTIONS,
    RUN,
    check_unchanged,
    read_about,
    restored,
    with_digest,
    write_about,
)
from probgen.recipes.task import settle_threads
from probgen.training import Callback, History, checkpoint
from probgen.training.lock import writable
from probgen.training.processes import PRECISIONS


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
        self._folder, self._about = folder, about

    def on_fit_start(self, objective: Objective, history: History) -> None:
        write_about(self._folder, self._about)


def train(
    name: str,
    data: str | None,
    folder: Path,
    *,
    device: torch.device,
    seed: int | None = None,
    resume: bool,
    kinds: str | None = None,
    fabric: Fabric | None = None,
    **options: Any,
) -> None:
    """Train a recipe on a data set, with checkpoints in ``folder``.

    What is not given is that of the run that is resumed, where there is one.
    """
    first = fabric is None or fabric.is_global_zero
    given = {"model": name, "data": data, "seed": seed, KINDS: kinds} | options
    with writable(folder):
        about = with_digest(DEFAULTS | _before(folder, given, resume=resume))
    options = {key: about[key] for key in OPTIONS if key in about}
    task = recipes.load(about["data"], device=device, kinds=about.get(KINDS)).holding_out()
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
    if not histories:  # of a recipe without stages, as one that counts
        folder.mkdir(parents=True, exist_ok=True)
        write_about(folder, about)
    for split in ("train", "validation") if histories else ():
        values = histories[-1].values(split=split)
        if values:
            print(f"{split} loss {values[-1]:.4g} per datum")
    print(f"draw from it with: probgen sample {folder} -n 100")


def _before(folder: Path, given: dict[str, Any], *, resume: bool) -> dict[str, Any]:
    """Return what a run is to be: what is given, and for the rest what the run in the folder is."""
    given = {key: value for key, value in given.items() if value is not None}
    stages = list(folder.glob("stage-*")) if folder.is_dir() else []
    if not any(map(checkpoint.exists, (folder, *stages))):  # at most a run that ended before its first save
        kept = read_about(folder) if resume and (folder / RUN).exists() else {}
        return (kept if kept.get("model") == given["model"] else {}) | given
    if not resume:
        raise ValueError(f"the run folder {folder} holds a run: pass --resume or choose another with --out")
    before = read_about(folder)
    check_unchanged(folder, before)
    if "data" in given and recipes.is_file(given["data"]):
        given["data"] = str(Path(given["data"]).resolve())
    for key in ("model", "data", "seed", KINDS):
        if before.get(key) != given.get(key, before.get(key)):
            raise ValueError(f"the run in {folder} has {key} {before.get(key)!r} but got {given[key]!r}")
    return before | given


def sample(
    folder: Path, n: int, *, device: torch.device, seed: int, out: Path | None, label: int | None = None
) -> None:
    """Draw n points from a run's best weights into a file, with a picture beside it.

    Rows of a table are a CSV in the columns and units of the user's own, all else a NumPy file: of sequences
    with lengths an archive of both.
    """
    recipe, task, step, about = restored(folder, device=device)
    suffixes = draws.suffixes(task)
    out = folder / f"samples{suffixes[0]}" if out is None else out
    if out.suffix not in suffixes:
        raise ValueError(f"--out should be a {' or '.join(suffixes)} file but got {str(out)!r}")
    x, lengths = recipe.sample(n, seed=seed, label=label), None
    if task.train.lengths is not None:
        lengths = recipe.contexts_of(n, seed=seed, label=label)
    drawn = recipes.Rows(x, lengths=lengths)
    part = out.with_name(f".{out.stem}.part{out.suffix}")
    draws.write(task, drawn, part)
    part.replace(out)
    picture = draws.picture(task, drawn)
    shown = ""
    if picture is not None:
        picture.savefig(out.with_suffix(".png"))
        shown = f" and {out.with_suffix('.png')}"
    print(f"{n} draws of {about['model']} on {about['data']}, trained for {step} steps: {out}{shown}")
