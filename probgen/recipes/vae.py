"""Variational autoencoders."""

from __future__ import annotations

from probgen.models import VAE
from probgen.objectives import SVI, BetaELBO
from probgen.recipes.registry import Recipe, Stage, recipe
from probgen.recipes.task import Budget, Task
from probgen.training import schedules


def _of_size(task: Task, latent: int, budget: Budget) -> Recipe:
    model = VAE(decoder=task.decoder(latent), encoder=task.encoder(latent))
    stage = Stage(SVI(model), lambda rows: rows.fresh, budget)
    if task.kind == "plane":  # where modes lie apart, the full KL from the start puts all codes in one place
        stage = Stage(SVI(model, BetaELBO(1.0)), lambda rows: rows.fresh, budget, _growing)
    return Recipe(model, [stage], finish=task.from_codes, prepare=task.to_codes)


def _growing(steps: int) -> dict[str, schedules.Schedule]:
    """Let the weight of the KL grow over the first quarter."""
    return {"elbo.beta": schedules.linear(0.0, 1.0, steps=max(1, steps // 4))}


@recipe(
    "vae",
    "variational autoencoder, trained by SVI",
    source="Kingma and Welling (2014)",
    tasks=("images", "plane", "table"),
    by_default=True,
    missing=True,
)
def vae(task: Task) -> Recipe:
    """A VAE with the code size that suits the data."""
    return _of_size(task, task.sizes.latent, task.sizes.budget)


@recipe(
    "vae-2d",
    "variational autoencoder with a two-dimensional code, for the pictures",
    source="Kingma and Welling (2014)",
    tasks=("images",),
    by_default=True,
)
def vae_2d(task: Task) -> Recipe:
    """A VAE whose code can be drawn on paper, which has no room to learn few pictures by heart."""
    return _of_size(task, 2, Budget(1000, 100, 3e-3) if task.few_images else task.sizes.budget)
