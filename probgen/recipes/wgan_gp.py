"""The Wasserstein GAN with a gradient penalty."""

from __future__ import annotations

from torch import nn

from probgen import nets
from probgen.objectives import Contest
from probgen.recipes.gan import falling, game
from probgen.recipes.registry import Recipe, Stage, recipe
from probgen.recipes.task import Budget, Task


@recipe(
    "wgan-gp",
    "a contest by means: a critic of slope near 1, five steps for each of the generator",
    source="Arjovsky et al. (2017); Gulrajani et al. (2017)",
    tasks=("images", "plane"),
)
def wgan_gp(task: Task) -> Recipe:
    """The critic's slope is held near 1, at points between data and draws."""
    model, unit = game(task, bias=False)
    # A critic of slope 1 spans what the data span: it has their unit, on which no setting then depends.
    model.discriminator = nn.Sequential(model.discriminator, nets.Affine(0.0, unit))
    weight = unit * (0.1 if task.kind == "plane" else 10.0)
    objective = Contest(model, loss="wasserstein", slope=weight, discriminator_steps=5).to(task.device)
    rates = {"generator": 5e-4, "discriminator": 5e-4}
    stage = Stage(
        objective,
        lambda rows: rows.smooth,
        Budget(12_000, 128 if task.kind == "images" else 256, rates["generator"]),
        lambda steps: falling(rates, steps),
        objective.adam(rates["generator"], discriminator=rates["discriminator"], betas=(0.5, 0.9)),
    )
    return Recipe(model, [stage], finish=task.from_grey)
