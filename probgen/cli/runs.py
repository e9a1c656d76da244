"""Runs: a model trained on a data set in a folder of its own, and draws from it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning_fabric import Fabric

from probgen.cli import recipes
from probgen.cli.problems import Problem, load, settle_threads
from probgen.inference import checkpoint
from probgen.inference.processes import PRECISIONS

RUN = "run.json"


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


def train(
    model: str,
    name: str,
    folder: Path,
    *,
    device: torch.device,
    seed: int,
    resume: bool,
    fabric: Fabric | None = None,
    **options: Any,
) -> None:
    """Train a model on a data set, with checkpoints in ``folder``."""
    first = fabric is None or fabric.is_global_zero
    problem = load(name, device=device)
    settle_threads(problem)
    rows = len(problem.train) * 9 // 10  # the rest is held out, to choose the best weights

    def recipe_on(part: slice) -> recipes.Recipe:
        grey = None if problem.grey is None else problem.grey[part]
        return recipes.recipe(model, problem._replace(train=problem.train[part], grey=grey))

    torch.manual_seed(seed)
    recipe, held_out = recipe_on(slice(rows)), recipe_on(slice(rows, None)).data
    about = {"model": model, "data": name, "seed": seed} | options
    if resume and (folder / RUN).exists():
        before = _read(folder)
        for key in ("model", "data", "seed"):
            if before[key] != about[key]:
                raise ValueError(f"the run in {folder} has {key} {before[key]!r} but got {about[key]!r}")
        options = {key: value for key, value in before.items() if key not in about} | options
        about |= options
    elif checkpoint.exists(folder):
        raise ValueError(f"the run folder {folder} holds a run: pass --resume or choose another with --out")
    if fabric is not None:
        fabric.barrier()  # all have looked at the folder
    if first:
        folder.mkdir(parents=True, exist_ok=True)
        _write(folder / RUN, json.dumps(about, indent=1))
    history = recipe.train(
        checkpoint=folder, resume=resume, seed=seed, validation=held_out, fabric=fabric, **options
    )
    if not first:
        return
    history.frame.to_csv(folder / "history.csv", index=False)
    history.plot().savefig(folder / "history.png")
    for split in ("train", "validation"):
        values = history.values(split=split)
        if values:
            print(f"{split} loss {values[-1]:.4g} per datum")
    print(f"draw from it with: probgen sample {folder} -n 100")


def sample(folder: Path, n: int, *, device: torch.device, seed: int, out: Path) -> None:
    """Draw n points from a run's best weights into a NumPy file, with a picture beside it."""
    about = _read(folder)
    problem = load(about["data"], device=device)
    recipe = recipes.recipe(about["model"], problem)
    step = checkpoint.load_weights(folder, recipe.objective)
    recipe.model.eval()
    draws = recipe.sample(n, seed=seed).cpu()
    if out.suffix != ".npy":
        raise ValueError(f"--out should be a .npy file but got {str(out)!r}")
    part = out.with_name(f".{out.stem}.part.npy")
    np.save(part, draws.numpy())
    part.replace(out)
    picture = out.with_suffix(".png")
    _picture(problem, draws).savefig(picture)
    print(f"{n} draws of {about['model']} on {about['data']}, trained for {step} steps: {out} and {picture}")


def _picture(problem: Problem, draws: torch.Tensor) -> Any:
    from probgen import plots

    if problem.image_shape is None:
        return plots.scatter({"exact draws": problem.test[:2000].cpu(), "model": draws})
    return plots.image_grid({"real": problem.test.cpu(), "model": draws}, image_shape=problem.image_shape)


def _read(folder: Path) -> dict[str, Any]:
    path = folder / RUN
    if not path.exists():
        raise ValueError(f"{folder} should be the folder of a run of `probgen train` but holds no {RUN}")
    try:
        about = json.loads(path.read_text())
        about["model"], about["data"], about["seed"]
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"the run folder {folder} is damaged: {RUN} cannot be read") from error
    return about


def _write(path: Path, text: str) -> None:
    part = path.with_name(f".{path.name}.part")
    part.write_text(text)
    part.replace(path)
