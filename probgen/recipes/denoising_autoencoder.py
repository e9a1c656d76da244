"""The denoising autoencoder: data are seen with noise, and restored."""

from __future__ import annotations

from probgen import data
from probgen.objectives import Reconstruction
from probgen.recipes.autoencoder import in_two_stages, restorer
from probgen.recipes.registry import Recipe, recipe
from probgen.recipes.task import Budget, Task

NOISE = data.GaussianNoise(0.25)
BUDGET = Budget(2000, 128, 2e-3)


@recipe(
    "denoising-autoencoder",
    "autoencoder that sees its data with noise and restores them",
    source="Vincent, Larochelle, Bengio and Manzagol (2008)",
    tasks=("images",),
)
def denoising_autoencoder(task: Task) -> Recipe:
    """Convolutions to two maps of half the height and width and back.

    Normal noise of a quarter of the grey scale keeps it from copying.
    """
    assert task.image_shape is not None
    model = restorer(task, task.image_shape, halvings=1)
    return in_two_stages(
        task,
        model,
        Reconstruction(model),
        data=lambda rows: data.Corrupted(rows.fresh, NOISE),
        budget=BUDGET,
    )
