"""A VAE that pays for what the coordinates of its code share."""

from __future__ import annotations

from probgen.models import VAE
from probgen.objectives import SVI, Sum, TotalCorrelation
from probgen.recipes.registry import Recipe, Stage, recipe
from probgen.recipes.task import Task

BETA = 6.0


@recipe(
    "beta-tcvae",
    "a VAE that pays six times for the total correlation of its code",
    source="Chen, Li, Grosse and Duvenaud (2018)",
    tasks=("images",),
)
def beta_tcvae(task: Task) -> Recipe:
    """A VAE with the total correlation, a part of the KL, weighted by β."""
    latent = task.sizes.latent
    model = VAE(decoder=task.decoder(latent), encoder=task.encoder(latent))
    objective = Sum({"svi": SVI(model), "tc": TotalCorrelation(model)}, {"tc": BETA - 1})
    stage = Stage(objective.to(task.device), lambda rows: rows.fresh, task.sizes.budget)
    return Recipe(model, [stage], finish=task.from_codes, prepare=task.to_codes)
