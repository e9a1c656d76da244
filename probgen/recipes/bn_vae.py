"""A VAE whose posterior means are normalised over the batch."""

from __future__ import annotations

from functools import partial

from probgen import nets
from probgen.models import VAE
from probgen.objectives import SVI
from probgen.recipes.registry import Recipe, Stage, recipe
from probgen.recipes.task import Task


@recipe(
    "bn-vae",
    "a VAE whose posterior means are batch-normalised, so that its KL cannot vanish",
    source="Zhu et al. (2020)",
    tasks=("images", "plane"),
)
def bn_vae(task: Task) -> Recipe:
    """Means with standard deviation 0.5: an eighth of a nat of KL a coordinate at least."""
    latent = task.sizes.latent
    encoder = task.encoder(latent, partial(nets.BatchNormHead, gamma=0.5))
    model = VAE(encoder, task.decoder(latent))
    stage = Stage(SVI(model), lambda rows: rows.fresh, task.sizes.budget)
    return Recipe(model, [stage], finish=task.from_codes, prepare=task.to_codes)
