"""A VAE whose code may carry so many nats."""

from __future__ import annotations

from probgen.models import VAE
from probgen.objectives import SVI, Capacity
from probgen.recipes.registry import Recipe, Stage, recipe
from probgen.recipes.task import Task
from probgen.training import schedules

CAPACITY, WEIGHT = 25.0, 100.0


@recipe(
    "annealed-vae",
    "a VAE whose KL is drawn to a capacity, which grows to 25 nats",
    source="Burgess et al. (2018)",
    tasks=("images",),
)
def annealed_vae(task: Task) -> Recipe:
    """A VAE whose capacity grows over the first half of the training."""
    latent, budget = task.sizes.latent, task.sizes.budget
    model = VAE(decoder=task.decoder(latent), encoder=task.encoder(latent))
    objective = SVI(model, Capacity(0.0, weight=WEIGHT)).to(task.device)
    growing = {"elbo.capacity": schedules.linear(0.0, CAPACITY, steps=budget.steps // 2)}
    stage = Stage(objective, lambda rows: rows.fresh, budget, growing)
    return Recipe(model, [stage], finish=task.from_codes, prepare=task.to_codes)
