"""A VAE whose prior is a learned rejection sampler."""

from __future__ import annotations

from probgen import nets
from probgen.models import VAE
from probgen.objectives import SVI
from probgen.priors import Rejection
from probgen.recipes.registry import Recipe, Stage, recipe
from probgen.recipes.task import Task


@recipe(
    "lars-vae",
    "a VAE whose prior is a rejection sampler that learns what to accept",
    source="Bauer and Mnih (2019)",
    tasks=("images", "plane", "table"),
    missing=True,
)
def lars_vae(task: Task) -> Recipe:
    """Two hidden layers of 100 say what is accepted, of at most 100 proposals a draw."""
    latent = task.sizes.latent
    prior = Rejection(nets.MLP(latent, 1, hidden=(100, 100)), latent, truncation=100).to(task.device)
    model = VAE(task.encoder(latent), task.decoder(latent), prior)
    stage = Stage(SVI(model), lambda rows: rows.fresh, task.sizes.budget)
    return Recipe(model, [stage], finish=task.from_codes, prepare=task.to_codes)
