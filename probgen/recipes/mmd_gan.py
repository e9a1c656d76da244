"""The MMD GAN: moment matching with a kernel that is learned."""

from __future__ import annotations

from functools import partial

import torch
from torch import nn

from probgen import mmd, nets
from probgen.models import GMMN
from probgen.objectives import MMDGAN
from probgen.recipes.gan import falling_rate, units_of, varied
from probgen.recipes.registry import Recipe, Stage, recipe
from probgen.recipes.task import Budget, Task


@recipe(
    "mmd-gan",
    "moment matching on features that a critic learns",
    source="Li et al. (2017); Bińkowski et al. (2018)",
    tasks=("images", "plane"),
)
def mmd_gan(task: Task) -> Recipe:
    """A GMMN and a critic, in a game; of pictures with the first weights and the rates of the recipe gan."""
    kernel = mmd.RationalQuadratic(1.0)
    if task.kind != "images":
        model = GMMN(task.generator(4, hidden=(128, 128)), noise=4).to(task.device)
        critic: nn.Module = nets.MLP(task.size, 8, hidden=(128, 128)).to(task.device)
        stage = Stage(MMDGAN(model, critic, kernel), lambda rows: rows.smooth, Budget(4000, 128, 5e-4))
        return Recipe(model, [stage], finish=task.from_grey)
    units = units_of(task)
    model = GMMN(varied(task, 32, hidden=(256, 256)), noise=32).to(task.device)
    net = nets.MLP(task.size, 16, hidden=(256, 256), activation=partial(nn.LeakyReLU, 0.2))
    critic = nn.Sequential(units.inverse(), net).to(task.device)
    objective = MMDGAN(model, critic, kernel, penalty=float(units.factor) ** 2)
    budget = Budget(2000, 150, 2e-3)
    stage = Stage(
        objective,
        lambda rows: rows.smooth,
        budget,
        lambda steps: {"lr": falling_rate(budget.learning_rate, steps)},
        partial(torch.optim.Adam, lr=budget.learning_rate, betas=(0.0, 0.99)),
    )
    return Recipe(model, [stage], finish=task.from_grey)
