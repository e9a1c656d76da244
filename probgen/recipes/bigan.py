"""The bidirectional GAN: a contest of pairs, by which an encoder inverts the generator."""

from __future__ import annotations

from torch import nn

from probgen import nets
from probgen.models import BiGAN
from probgen.objectives import Contest
from probgen.recipes.gan import falling, units_of, varied
from probgen.recipes.registry import Recipe, Stage, recipe
from probgen.recipes.task import Budget, Task

HIDDEN = 256


@recipe(
    "bigan",
    "a contest of pairs, data with their codes against noise with its draws, which makes an encoder",
    source="Donahue, Krähenbühl and Darrell (2017); Dumoulin et al. (2017)",
    tasks=("images",),
)
def bigan(task: Task) -> Recipe:
    """A code of a point for each picture, and pictures of codes."""
    latent, hidden = task.sizes.latent, (HIDDEN, HIDDEN)
    units = units_of(task)

    def leaky() -> nn.Module:
        return nn.LeakyReLU(0.2)

    encoder = nn.Sequential(units.inverse(), nets.MLP(task.size, latent, hidden=hidden, activation=leaky))
    pairs = nets.MLP(task.size + latent, 1, hidden=hidden, activation=leaky)
    discriminator = nets.Joined(pairs, units.inverse(), None)
    generator = varied(task, latent, hidden=hidden)
    model = BiGAN(nets.PointHead(encoder), generator, discriminator, noise=latent).to(task.device)
    gamma = 0.1 * float(units.factor) ** 2
    objective = Contest(model, loss="cross-entropy", r1=gamma, average=0.995).to(task.device)
    rates = {"generator": 2e-3, "discriminator": 2e-3}
    stage = Stage(
        objective,
        lambda rows: rows.smooth,
        Budget(2000, 128, rates["generator"]),
        lambda steps: falling(rates, steps),
        objective.adam(rates["generator"], discriminator=rates["discriminator"]),
    )
    return Recipe(model, [stage], finish=task.from_grey)
