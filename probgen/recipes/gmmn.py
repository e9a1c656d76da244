"""The moment-matching network."""

from __future__ import annotations

from probgen.models import GMMN
from probgen.objectives import MomentMatching
from probgen.recipes.registry import Recipe, Stage, recipe
from probgen.recipes.task import Budget, Task, gaussian_kernel


@recipe(
    "gmmn",
    "moment matching: a network from uniform noise to data, by MMD",
    source="Li, Swersky and Zemel (2015)",
    tasks=("images", "plane"),
    by_default=True,
)
def gmmn(task: Task) -> Recipe:
    """A GMMN with Gaussian kernels, their bandwidths from the training data."""
    if task.kind == "images":
        steps = 1800 if task.few_images else 2500
        noise, hidden, scales, budget = 16, (256, 256), (1 / 4, 1 / 2, 1), Budget(steps, 256, 5e-3)
    else:
        noise, hidden, scales, budget = 4, (128, 128), (1 / 16, 1 / 4, 1), Budget(4000, 256, 3e-3)
    model = GMMN(task.generator(noise, hidden=hidden), noise=noise).to(task.device)
    objective = MomentMatching(model, gaussian_kernel(task.train.smooth, scales))
    return Recipe(model, [Stage(objective, lambda rows: rows.smooth, budget)], finish=task.from_grey)
