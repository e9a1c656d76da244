"""The denoising variational autoencoder."""

from __future__ import annotations

from probgen import data
from probgen.models import DenoisingVAE
from probgen.objectives import SVI
from probgen.recipes.registry import Recipe, Stage, recipe
from probgen.recipes.task import Task

NOISE = data.GaussianNoise(0.1)


@recipe(
    "denoising-vae",
    "variational autoencoder whose guide sees its data with noise in training",
    source="Im, Ahn, Memisevic and Bengio (2017)",
    tasks=("images",),
)
def denoising_vae(task: Task) -> Recipe:
    """A VAE of images whose guide sees them with normal noise of a tenth of the grey scale."""
    latent = task.sizes.latent
    model = DenoisingVAE(task.encoder(latent), task.decoder(latent), corruption=NOISE)
    return Recipe(model, [Stage(SVI(model), lambda rows: rows.fresh, task.sizes.budget)])
