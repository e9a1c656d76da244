"""InfoGAN: a contest whose draws tell a part of the noise, the code."""

from __future__ import annotations

import pyro.distributions as dist
import torch
from torch import nn

from probgen import nets
from probgen.models import GAN
from probgen.objectives import Contest, MutualInformation, Sum
from probgen.priors import SideBySide
from probgen.recipes.gan import falling, units_of, varied
from probgen.recipes.registry import Recipe, Stage, recipe
from probgen.recipes.task import Budget, Task

CLASSES, NUMBERS, NOISE = 10, 2, 16
"""The code, one of ten classes and two numbers, as in the paper for MNIST, and the rest of the noise."""

HIDDEN = 256

MOVES = {"rotation": 20.0, "shear": 0.3, "scale": 0.15, "shift": 0.12}
"""How far a picture may be moved and keep its code."""

WEIGHT = 1.0
"""λ, of classes and numbers alike."""


@recipe(
    "infogan",
    "a contest whose draws tell a code of ten classes and two numbers, found without labels",
    source="Chen et al. (2016)",
    tasks=("images",),
)
def infogan(task: Task) -> Recipe:
    """A GAN of a code and noise, and the net that guesses the code, ``model.recogniser``.

    The recogniser sees draws moved at random, so that a class is no matter of places.
    """
    assert task.image_shape is not None
    units = units_of(task)

    def net(outputs: int) -> nn.Sequential:
        layers = nets.MLP(task.size, outputs, hidden=(HIDDEN, HIDDEN), activation=lambda: nn.LeakyReLU(0.2))
        return nn.Sequential(units.inverse(), layers)

    def uniform(size: int) -> dist.TorchDistribution:
        return dist.Uniform(-torch.ones(size), 1.0).to_event(1)

    noise = SideBySide(dist.OneHotCategorical(torch.ones(CLASSES)), uniform(NUMBERS), NOISE)
    law = noise()
    # Each coordinate in a unit of its own: a class of ten would move the first draws hardly at all.
    standard = nets.Affine(law.mean, law.variance.sqrt()).inverse()
    generator = nn.Sequential(standard, varied(task, len(law.mean), hidden=(HIDDEN, HIDDEN)))
    model = GAN(generator, net(1), noise=noise)
    moved = nn.Sequential(nets.RandomAffine(task.image_shape, **MOVES), *net(CLASSES + NUMBERS))
    recogniser = nets.CodeHead(moved, categories=CLASSES, continuous=NUMBERS)
    model.recogniser = recogniser
    model = model.to(task.device)
    contest = Contest(model, loss="cross-entropy", r1=0.1 * float(units.factor) ** 2, average=0.995)
    parts = {"contest": contest, "information": MutualInformation(model, recogniser)}
    rates = {"generator": 2e-3, "discriminator": 2e-3}
    stage = Stage(
        Sum(parts, {"information": WEIGHT}).to(task.device),
        lambda rows: rows.smooth,
        Budget(2000, 128, rates["generator"]),
        lambda steps: falling(rates, steps),
        contest.adam(rates["generator"], discriminator=rates["discriminator"]),
    )
    return Recipe(model, [stage], finish=task.from_grey)
