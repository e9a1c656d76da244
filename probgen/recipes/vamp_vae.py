"""A VAE whose prior is a mixture of its own guide."""

from __future__ import annotations

from probgen.models import VAE
from probgen.objectives import SVI
from probgen.priors import Vamp
from probgen.recipes.registry import Recipe, Stage, recipe
from probgen.recipes.task import Task

INPUTS = 100


@recipe(
    "vamp-vae",
    "a VAE whose prior is the mean of its guide at learned pseudo-inputs",
    source="Tomczak and Welling (2018)",
    tasks=("images", "plane"),
)
def vamp_vae(task: Task) -> Recipe:
    """Pseudo-inputs that start from rows of data."""
    latent, rows = task.sizes.latent, task.train.smooth
    encoder = task.encoder(latent)
    model = VAE(encoder, task.decoder(latent), Vamp(encoder, min(INPUTS, len(rows)), data=rows))
    return Recipe(model, [Stage(SVI(model), lambda rows: rows.fresh, task.sizes.budget)])
