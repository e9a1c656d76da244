"""The conditional GAN, its discriminator told the class by projection."""

from __future__ import annotations

from torch import nn

from probgen import nets
from probgen.models import GAN
from probgen.objectives import Contest
from probgen.recipes.gan import falling, units_of, varied
from probgen.recipes.registry import Recipe, Stage, recipe
from probgen.recipes.task import Budget, Task

NOISE, HIDDEN = 32, 256
"""Coordinates of the noise, and widths of the layers."""


@recipe(
    "cgan",
    "a contest that is told the class: a generator of each, a discriminator by projection",
    source="Mirza and Osindero (2014); Miyato and Koyama (2018)",
    tasks=("images",),
)
def cgan(task: Task) -> Recipe:
    """Draws of a class that is drawn from the training rows, or asked for."""
    classes = task.classes("cgan")
    units = units_of(task)
    net = varied(task, NOISE + classes, hidden=(HIDDEN, HIDDEN))
    generator = nets.Joined(net, None, nets.OneHot(classes, missing=False))
    features = nets.MLP(task.size, HIDDEN, hidden=HIDDEN, activation=lambda: nn.LeakyReLU(0.2))
    discriminator = nets.ProjectionDiscriminator(
        nn.Sequential(units.inverse(), features, nn.LeakyReLU(0.2)), HIDDEN, classes=classes
    )
    model = GAN(generator, discriminator, noise=NOISE).to(task.device)
    gamma = 0.1 * float(units.factor) ** 2
    objective = Contest(model, loss="cross-entropy", r1=gamma, average=0.995).to(task.device)
    rates = {"generator": 2e-3, "discriminator": 2e-3}
    stage = Stage(
        objective,
        lambda rows: (rows.smooth, rows.labels),
        Budget(2000, 128, rates["generator"]),
        lambda steps: falling(rates, steps),
        objective.adam(rates["generator"], discriminator=rates["discriminator"]),
    )
    labels = task.train.labels
    return Recipe(model, [stage], finish=task.from_grey, contexts=labels, labels=labels)
