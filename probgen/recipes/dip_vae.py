"""A VAE whose codes have the covariance of its prior."""

from __future__ import annotations

from typing import Literal

from probgen.models import VAE
from probgen.objectives import DIP, SVI, Sum
from probgen.recipes.registry import Recipe, Stage, recipe
from probgen.recipes.task import Task


def _of_kind(task: Task, kind: Literal["I", "II"]) -> Recipe:
    latent = task.sizes.latent
    model = VAE(decoder=task.decoder(latent), encoder=task.encoder(latent))
    penalty = DIP(model, kind, off_diagonal=10.0)
    objective = Sum({"svi": SVI(model), "dip": penalty}).to(task.device)
    stage = Stage(objective, lambda rows: rows.fresh, task.sizes.budget)
    return Recipe(model, [stage], finish=task.from_codes, prepare=task.to_codes)


@recipe(
    "dip-vae",
    "a VAE whose codes have the covariance of the prior (DIP-VAE-II)",
    source="Kumar, Sattigeri and Balakrishnan (2018)",
    tasks=("images",),
)
def dip_vae(task: Task) -> Recipe:
    """A VAE with a penalty on the covariance of its codes."""
    return _of_kind(task, "II")


@recipe(
    "dip-vae-i",
    "a VAE the means of whose codes have the covariance of the prior (DIP-VAE-I)",
    source="Kumar, Sattigeri and Balakrishnan (2018)",
    tasks=("images",),
)
def dip_vae_i(task: Task) -> Recipe:
    """A VAE with a penalty on the covariance of the means of its codes."""
    return _of_kind(task, "I")
