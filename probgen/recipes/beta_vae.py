"""A VAE whose KL is weighted."""

from __future__ import annotations

from probgen.models import VAE
from probgen.objectives import SVI, BetaELBO
from probgen.recipes.registry import Recipe, Stage, recipe
from probgen.recipes.task import Task

BETA = 4.0


@recipe(
    "beta-vae",
    "a VAE whose KL is weighted by 4",
    source="Higgins et al. (2017)",
    tasks=("images", "plane"),
)
def beta_vae(task: Task) -> Recipe:
    """A VAE that pays for its code four times."""
    latent = task.sizes.latent
    model = VAE(decoder=task.decoder(latent), encoder=task.encoder(latent))
    stage = Stage(SVI(model, BetaELBO(BETA)), lambda rows: rows.fresh, task.sizes.budget)
    return Recipe(model, [stage], finish=task.from_codes, prepare=task.to_codes)
