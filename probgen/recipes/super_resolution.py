"""Super-resolution: small pictures are seen, and the large ones that they were are restored."""

from __future__ import annotations

from probgen import data
from probgen.objectives import Reconstruction
from probgen.recipes.autoencoder import in_two_stages, restorer
from probgen.recipes.registry import Recipe, recipe
from probgen.recipes.task import Budget, Task

BUDGET = Budget(2000, 128, 2e-3)
SOURCE = "after Dong, Loy, He and Tang (2016)"


@recipe(
    "super-resolution",
    "autoencoder that sees pictures at half their height and width and restores them",
    source=SOURCE,
    tasks=("images",),
)
def super_resolution(task: Task) -> Recipe:
    """From pictures half as high and wide, each pixel the mean of four."""
    return _by(task, 2)


@recipe(
    "super-resolution-4",
    "autoencoder that sees pictures at a quarter of their height and width and restores them",
    source=SOURCE,
    tasks=("images",),
)
def super_resolution_by_4(task: Task) -> Recipe:
    """From pictures a quarter as high and wide, each pixel the mean of sixteen."""
    return _by(task, 4)


def _by(task: Task, factor: int) -> Recipe:
    assert task.image_shape is not None
    pool = data.Pooling(task.image_shape, factor)
    model = restorer(task, pool.small_shape)
    return in_two_stages(
        task,
        model,
        Reconstruction(model),
        data=lambda rows: data.Corrupted(rows.fresh, pool),
        prepare=pool,
        budget=BUDGET,
    )
