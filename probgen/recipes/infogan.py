"""InfoGAN: a contest whose draws tell a part of the noise, the code."""

from __future__ import annotations

import pyro.distributions as dist
import torch
from torch import Tensor, nn

from probgen import nets
from probgen.models import GAN
from probgen.objectives import Agreement, ClassBalance, Classification, Contest, MutualInformation, Sum
from probgen.priors import SideBySide
from probgen.recipes.gan import falling, units_of, varied
from probgen.recipes.neighbour_clusters import check_different, cluster_of, clustered
from probgen.recipes.registry import Recipe, Stage, recipe
from probgen.recipes.semi_supervised_vae import of_moved_pictures
from probgen.recipes.task import Budget, Task

CLASSES, NUMBERS, NOISE = 10, 2, 16
"""The code, one of ten classes and two numbers, as in the paper for MNIST, and the rest of the noise."""

HIDDEN = 256

WEIGHTS = {"information": 1.0, "agreement": 0.3, "balance": 1.0}
"""λ, of classes and numbers alike; of classes that stay as data move, and of classes in equal use."""

RATES = {"generator": 2e-3, "discriminator": 2e-3}

OF_START, OF_ALL = Budget(200, 100, 1e-3), Budget(2000, 128, RATES["generator"])


class ClassOfCode(nn.Module):
    """The law of the class, by a recogniser of codes whose first part it is."""

    outputs = CLASSES

    def __init__(self, recogniser: nets.CodeHead) -> None:
        super().__init__()
        self.recogniser = recogniser

    def forward(self, x: Tensor) -> dist.Categorical:
        return dist.Categorical(logits=self.recogniser(x).parts[0].logits)


@recipe(
    "infogan",
    "a contest whose draws tell a code of ten classes and two numbers, found without labels",
    source="Chen et al. (2016)",
    tasks=("images",),
)
def infogan(task: Task) -> Recipe:
    """A GAN of a code and noise, and the net that guesses the code, ``model.recogniser``.

    The recogniser is first taught the clusters of a graph, and sees pictures moved at random, so that a class
    is no matter of places. Of data too it is asked that a class stays as a picture moves (``Agreement``), and
    that classes are in equal use (``ClassBalance``), as in the prior: from draws alone, as in the paper,
    classes may be mixed that look alike at the start, and stay so.
    """
    assert task.image_shape is not None
    units = units_of(task)
    check_different(task, CLASSES, recipe="infogan")

    def uniform(size: int) -> dist.TorchDistribution:
        return dist.Uniform(-torch.ones(size), 1.0).to_event(1)

    noise = SideBySide(dist.OneHotCategorical(torch.ones(CLASSES)), uniform(NUMBERS), NOISE)
    law = noise()
    # Each coordinate in a unit of its own: a class of ten would move the first draws hardly at all.
    standard = nets.Affine(law.mean, law.variance.sqrt()).inverse()
    generator = nn.Sequential(standard, varied(task, len(law.mean), hidden=(HIDDEN, HIDDEN)))
    net = nets.MLP(task.size, 1, hidden=(HIDDEN, HIDDEN), activation=lambda: nn.LeakyReLU(0.2))
    model = GAN(generator, nn.Sequential(units.inverse(), net), noise=noise)
    recogniser = nets.CodeHead(
        of_moved_pictures(task.image_shape, CLASSES + NUMBERS), categories=CLASSES, continuous=NUMBERS
    )
    model.recogniser = recogniser
    model = model.to(task.device)
    classes = nn.ModuleDict({"classifier": ClassOfCode(recogniser)})

    def of_start() -> Stage:
        found = clustered(task, CLASSES, seed=int(torch.randint(2**31, ())))
        return Stage(
            Classification(classes), lambda rows: (rows.smooth, cluster_of(rows.smooth, found)), OF_START
        )

    contest = Contest(model, loss="cross-entropy", r1=0.1 * float(units.factor) ** 2, average=0.995)
    parts = {
        "contest": contest,
        "information": MutualInformation(model, recogniser),
        "agreement": Agreement(classes),
        "balance": ClassBalance(classes),
    }
    of_all = Stage(
        Sum(parts, WEIGHTS).to(task.device),
        lambda rows: rows.smooth,
        OF_ALL,
        lambda steps: falling(RATES, steps),
        contest.adam(RATES["generator"], discriminator=RATES["discriminator"]),
    )
    return Recipe(model, [of_start, of_all], finish=task.from_grey)
