"""A VAE with three levels of codes, drawn from the top down."""

from __future__ import annotations

from probgen import nets
from probgen.models import LadderVAE
from probgen.objectives import SVI, FreeBits
from probgen.recipes.registry import Recipe, Stage, recipe
from probgen.recipes.task import Task


@recipe(
    "ladder-vae",
    "a VAE with three levels of codes, drawn from the top down by model and guide",
    source="Sønderby et al. (2016); Vahdat and Kautz (2020)",
    tasks=("images", "plane"),
)
def ladder_vae(task: Task) -> Recipe:
    """Codes that halve upwards; a nat of each level costs nothing, so that none dies early.

    The guide is told beside the prior, and the KL does not know the prior's own scale: a step along a steep
    slope may blow up, and gradients are cut.
    """
    latent, width, budget = task.sizes.latent, task.sizes.hidden[0], task.sizes.budget
    sizes = [max(latent // 2**level, 1) for level in range(3)]
    up = [nets.MLP(inputs, width, hidden=width) for inputs in (task.size, width, width)]
    model = LadderVAE(task.decoder(width), up, latent=sizes, width=width).to(task.device)
    objective = SVI(model, FreeBits(1.0, per="site")).to(task.device)
    return Recipe(model, [Stage(objective, lambda rows: rows.fresh, budget, max_gradient_norm=20.0)])
