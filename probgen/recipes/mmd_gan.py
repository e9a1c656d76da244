"""The MMD GAN: moment matching with a kernel that is learned."""

from __future__ import annotations

from probgen import mmd, nets
from probgen.models import GMMN
from probgen.objectives import MMDGAN
from probgen.recipes.registry import Recipe, Stage, recipe
from probgen.recipes.task import Budget, Task


@recipe(
    "mmd-gan",
    "moment matching on features that a critic learns",
    source="Li et al. (2017); Bińkowski et al. (2018)",
    tasks=("images", "plane"),
)
def mmd_gan(task: Task) -> Recipe:
    """A GMMN and a critic of eight features, in a game."""
    noise, hidden = (16, (256, 256)) if task.kind == "images" else (4, (128, 128))
    model = GMMN(task.generator(noise, hidden=hidden), noise=noise).to(task.device)
    critic = nets.MLP(task.size, 8, hidden=hidden).to(task.device)
    objective = MMDGAN(model, critic, mmd.RationalQuadratic(1.0))
    return Recipe(
        model, [Stage(objective, lambda rows: rows.smooth, Budget(4000, 128, 5e-4))], finish=task.from_grey
    )
