"""A recipe trained stage by stage, in a folder, as one run: interrupted, resumed, drawn from."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from probgen.core import seeded
from probgen.recipes.registry import Recipe, Stage
from probgen.recipes.task import Task
from probgen.training import Callback, History, checkpoint, fit, schedules
from probgen.training.lock import belonging
from probgen.training.processes import Processes

if TYPE_CHECKING:
    from lightning_fabric import Fabric


def train(
    recipe: Recipe,
    task: Task,
    *,
    seed: int,
    folder: Path | None = None,
    resume: bool = False,
    steps: int | None = None,
    batch_size: int | None = None,
    fabric: Fabric | None = None,
    callbacks: Sequence[Callback] = (),
    progress: bool = True,
) -> list[History]:
    """Train the stages of a recipe one after the other.

    Each is trained by Adam with a learning rate that falls by a cosine, if it has no optimizer of its own.
    With a folder each stage keeps its checkpoints there, and ends with its best weights; one that had ended
    is not repeated. A stage that is interrupted or stopped early by Ctrl-C is the last. The folder belongs to
    this training until the last stage has ended.

    Args:
        recipe, task: what is trained, and on what; rows that the task holds out judge the weights.
        seed: of all randomness.
        folder: of the run.
        resume: go on with the run in the folder.
        steps, batch_size: of each stage, in the place of its own.
        fabric: devices and processes.
        callbacks: called as each stage goes.
        progress: show a bar.
    """
    histories: list[History] = []
    if folder is not None and resume:
        _check_stages(recipe, folder)
    several = folder if len(recipe.stages) > 1 else None  # the folder of a single stage is held by fit
    with belonging(several, Processes(fabric), resume=resume):
        for number, make in enumerate(recipe.stages, 1):
            with seeded(seed):
                stage = make if isinstance(make, Stage) else make()
            rate, length = stage.budget.learning_rate, steps or stage.budget.steps
            own = None if folder is None else stage_folder(recipe, folder, number)
            plans = stage.schedules(length) if callable(stage.schedules) else stage.schedules
            if stage.optimizer is None:
                plans = {"lr": schedules.cosine(rate, 0.05 * rate, steps=length), **plans}
            history = fit(
                stage.objective,
                stage.data(task.train),
                steps=length,
                batch_size=batch_size or stage.budget.batch_size,
                optimizer=stage.optimizer or partial(torch.optim.Adam, lr=rate, fused=True),
                schedules=plans,
                max_gradient_norm=stage.max_gradient_norm,
                validation=None if task.held_out is None else stage.data(task.held_out),
                checkpoint=own,
                resume=resume,
                fabric=fabric,
                callbacks=callbacks,
                seed=seed,
                progress=progress,
            )
            histories.append(history)
            if history.ended == "interrupted":
                break
            if own is not None:
                checkpoint.load_weights(own, stage.objective)
    return histories


def restore(recipe: Recipe, folder: Path, *, seed: int) -> int:
    """Load the best weights of a run; return the steps that the last stage had taken.

    Raises ValueError where a stage has not begun, as its nets are as they were made.
    """
    step, several = 0, len(recipe.stages)
    _check_stages(recipe, folder)
    if several > 1 and not checkpoint.exists(stage_folder(recipe, folder, several)):
        raise ValueError(
            f"the run in {folder} should have come to the last of its {several} stages but was interrupted "
            "before: go on with it (--resume)"
        )
    for number, make in enumerate(recipe.stages, 1):
        own = stage_folder(recipe, folder, number)
        with seeded(seed):
            stage = make if isinstance(make, Stage) else make()
        step = checkpoint.load_weights(own, stage.objective)
    recipe.model.eval()
    return step


def stage_folder(recipe: Recipe, folder: Path, number: int) -> Path:
    """Return where a stage keeps its checkpoints: the run's own folder where there is one stage."""
    return folder if len(recipe.stages) == 1 else folder / f"stage-{number}"


def _check_stages(recipe: Recipe, folder: Path) -> None:
    """Raise ValueError for a run of one stage where the recipe has several."""
    if len(recipe.stages) > 1 and checkpoint.exists(folder):
        raise ValueError(
            f"the run in {folder} should have {len(recipe.stages)} stages, as its recipe has, but has one, "
            "by another version: train anew in another folder"
        )
