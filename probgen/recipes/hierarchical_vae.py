"""A VAE with two levels of codes."""

from __future__ import annotations

from probgen import nets
from probgen.models import HierarchicalVAE
from probgen.objectives import SVI, BetaELBO
from probgen.priors import Conditional
from probgen.recipes.registry import Recipe, Stage, recipe
from probgen.recipes.task import Task
from probgen.training import schedules


@recipe(
    "hierarchical-vae",
    "a VAE with two levels of codes, its KL annealed so that the upper one lives",
    source="Tomczak and Welling (2018)",
    tasks=("images", "plane"),
)
def hierarchical_vae(task: Task) -> Recipe:
    """Two codes of one size; the weight of the KL grows to 1 in the first fifth of the training."""
    latent, hidden, budget = task.sizes.latent, task.sizes.hidden, task.sizes.budget
    model = HierarchicalVAE(
        task.decoder(2 * latent),
        Conditional(nets.MLP(latent, latent, hidden=hidden)),
        task.encoder(latent),
        nets.NormalHead(nets.Joined(nets.MLP(task.size + latent, latent, hidden=hidden))),
    ).to(task.device)
    objective = SVI(model, BetaELBO(0.0)).to(task.device)
    warm = {"elbo.beta": schedules.linear(0.0, 1.0, steps=budget.steps // 5)}
    return Recipe(model, [Stage(objective, lambda rows: rows.fresh, budget, warm)])
