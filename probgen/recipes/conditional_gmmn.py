"""The conditional moment-matching network."""

from __future__ import annotations

from torch import Tensor
from torch.nn.functional import one_hot

from probgen import mmd, nets
from probgen.models import GMMN
from probgen.objectives import ConditionalMomentMatching
from probgen.recipes.registry import Recipe, Stage, recipe
from probgen.recipes.task import Budget, Rows, Task, gaussian_kernel

NOISE = 16


@recipe(
    "conditional-gmmn",
    "moment matching given the class: a network from noise and class to images",
    source="Ren, Zhu, Li and Luo (2016)",
    tasks=("images",),
)
def conditional_gmmn(task: Task) -> Recipe:
    """A GMMN that is told the class, which is drawn from the training rows."""
    classes = task.classes("conditional-gmmn")

    def context(rows: Rows) -> Tensor:
        assert rows.labels is not None
        return one_hot(rows.labels, classes).to(rows.x)

    net = task.generator(NOISE + classes, hidden=(256, 256))
    model = GMMN(nets.Joined(net), noise=NOISE).to(task.device)
    kernel = gaussian_kernel(task.train.smooth, (1 / 4, 1 / 2, 1))
    objective = ConditionalMomentMatching(model, kernel, mmd.Gaussian(0.25))
    stage = Stage(objective, lambda rows: (rows.smooth, context(rows)), Budget(2500, 256, 5e-3))
    return Recipe(
        model, [stage], finish=task.from_grey, contexts=context(task.train), labels=task.train.labels
    )
