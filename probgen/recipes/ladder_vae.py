"""A VAE with three levels of codes, drawn from the top down."""

from __future__ import annotations

from probgen import nets
from probgen.models import LadderVAE
from probgen.objectives import SVI, BetaELBO
from probgen.recipes.registry import Recipe, Stage, recipe
from probgen.recipes.task import Task
from probgen.training import schedules


@recipe(
    "ladder-vae",
    "a VAE with three levels of codes, drawn from the top down by model and guide",
    source="Sønderby et al. (2016); Vahdat and Kautz (2020)",
    tasks=("images", "plane"),
)
def ladder_vae(task: Task) -> Recipe:
    """Codes that halve upwards; the weight of the KL grows to 1 in the first fifth of the training."""
    latent, width, budget = task.sizes.latent, task.sizes.hidden[0], task.sizes.budget
    sizes = [max(latent // 2**level, 1) for level in range(3)]
    up = [nets.MLP(inputs, width, hidden=width) for inputs in (task.size, width, width)]
    model = LadderVAE(task.decoder(width), up, latent=sizes, width=width).to(task.device)
    objective = SVI(model, BetaELBO(0.0)).to(task.device)
    warm = {"elbo.beta": schedules.linear(0.0, 1.0, steps=budget.steps // 5)}
    return Recipe(model, [Stage(objective, lambda rows: rows.fresh, budget, warm)])
