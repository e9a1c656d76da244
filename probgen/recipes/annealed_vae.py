"""A VAE whose code may carry so many nats."""

from __future__ import annotations

from probgen.models import VAE
from probgen.objectives import SVI, Capacity
from probgen.recipes.registry import Recipe, Stage, recipe
from probgen.recipes.task import Task
from probgen.training import schedules

CAPACITY, OF_FEW = 25.0, 10.0
"""Nats that a code may carry in the end, and where pictures are few: of 698 digits `vae` has 6, and 25 draw
codes far from the prior."""

WEIGHT = 100.0


@recipe(
    "annealed-vae",
    "a VAE whose KL is drawn to a capacity, which grows",
    source="Burgess et al. (2018)",
    tasks=("images",),
)
def annealed_vae(task: Task) -> Recipe:
    """A VAE whose capacity grows over the first half of the training."""
    latent, budget = task.sizes.latent, task.sizes.budget
    model = VAE(decoder=task.decoder(latent), encoder=task.encoder(latent))
    objective = SVI(model, Capacity(0.0, weight=WEIGHT)).to(task.device)
    capacity = OF_FEW if task.few_images else CAPACITY
    growing = {"elbo.capacity": schedules.linear(0.0, capacity, steps=budget.steps // 2)}
    stage = Stage(objective, lambda rows: rows.fresh, budget, growing)
    return Recipe(model, [stage], finish=task.from_codes, prepare=task.to_codes)
