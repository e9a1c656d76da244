"""The denoising autoencoder: data are seen with noise, and restored."""

from __future__ import annotations

from probgen import data, nets
from probgen.objectives import Reconstruction
from probgen.recipes.autoencoder import in_two_stages, with_mixture
from probgen.recipes.registry import Recipe, recipe
from probgen.recipes.task import Task

CODE, NOISE = 64, data.GaussianNoise(0.25)


@recipe(
    "denoising-autoencoder",
    "autoencoder that sees its data with noise and restores them",
    source="Vincent, Larochelle, Bengio and Manzagol (2008)",
    tasks=("images",),
)
def denoising_autoencoder(task: Task) -> Recipe:
    """An autoencoder of 64 codes: normal noise of a quarter of the grey scale keeps it from copying."""
    model = with_mixture(task, task.encoder(CODE, nets.PointHead))
    return in_two_stages(
        task, model, Reconstruction(model), data=lambda rows: data.Corrupted(rows.fresh, NOISE)
    )
