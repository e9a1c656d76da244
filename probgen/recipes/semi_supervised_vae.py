"""Semi-supervised variational autoencoders, which learn from many data and few labels."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from probgen import data, nets
from probgen.models import VAE, SemiSupervisedVAE, StackedSemiSupervisedVAE
from probgen.objectives import SVI, Classification, Sum
from probgen.recipes.registry import Recipe, Stage, recipe
from probgen.recipes.task import Budget, Rows, Task
from probgen.training.schedules import linear

EACH = 10
"""Labels of a class that are seen where all data have one: drawn with seed 0, the others are hidden."""

ROWS = 3
"""For so many rows without a label there is one with: these are repeated, and count so often in the bound."""

ALPHA = 4.0
"""The weight of the classification."""

DROPOUT = 0.5
"""Of the classifier."""

MAPS = 16
"""Of the classifier's first convolution; the second has twice as many."""

MOVES = {"rotation": 12.0, "shear": 0.2, "scale": 0.1, "shift": 0.07}
"""How far a picture may be moved without a change of its class."""

START, RISE = 0.01, 500
"""The weight of the bound at the start, and the steps in which it rises to 1: until the other nets can tell
classes, the classifier learns from labels almost alone."""

CODE, HIDDEN = 8, 128
"""Coordinates of the code beside the class, and widths of the layers that run for all classes."""

OF_PICTURES, OF_CODES = Budget(6000, 80, 2e-3), Budget(4000, 240, 1e-3)

SOURCE = "Kingma, Rezende, Mohamed and Welling (2014)"


@recipe(
    "m2",
    "a VAE of a class and a code, which learns the class from ten labels of each",
    source=SOURCE,
    tasks=("images",),
)
def m2(task: Task) -> Recipe:
    """A convolutional classifier beside fully connected nets for the code.

    The classifier learns from pictures that are moved at random. As each q(y | x moved) is a guide, the bound
    stays one of the pictures as they are.
    """
    classes = task.classes("m2", missing=True)
    net = told(nets.MLP(CODE + classes, task.size, hidden=(HIDDEN, HIDDEN), activation=nn.ReLU), classes)
    assert task.image_shape is not None
    classifier = of_moved_pictures(task.image_shape, classes)
    model = _semi_supervised(classifier, task.size, task.likelihood(net)).to(task.device)

    def data_of(rows: Rows) -> Any:
        rows, labels = with_labels(rows, task)
        return rows.fresh, labels

    every = torch.arange(classes, device=task.device)
    stage = Stage(_objective(model), data_of, OF_PICTURES, {"weight_svi": linear(START, 1.0, steps=RISE)})
    return Recipe(model, [stage], contexts=every, labels=every)


@recipe(
    "m1-m2",
    "a VAE, and of its codes a VAE of a class and a code, which learns the class from ten labels of each",
    source=SOURCE,
    tasks=("images",),
)
def m1_m2(task: Task) -> Recipe:
    """First M1, a VAE of the data, then M2 of draws of its codes."""
    classes, latent = task.classes("m1-m2", missing=True), task.sizes.latent
    first = VAE(task.encoder(latent), task.decoder(latent))
    net = told(nets.MLP(CODE + classes, latent, hidden=HIDDEN, activation=nn.ReLU), classes)
    classifier = nets.MLP(latent, classes, hidden=(HIDDEN, HIDDEN), activation=_dropped)
    second = _semi_supervised(classifier, latent, nets.NormalHead(net)).to(task.device)

    def codes(rows: Rows) -> Any:
        rows, labels = with_labels(rows, task)
        return Codes(first, rows.x), labels

    every = torch.arange(classes, device=task.device)
    of_data = Stage(SVI(first), lambda rows: rows.fresh, task.sizes.budget)
    return Recipe(
        StackedSemiSupervisedVAE(first, second),
        [of_data, lambda: Stage(_objective(second), codes, OF_CODES)],
        contexts=every,
        labels=every,
    )


class Codes:
    """Codes of the rows of data, drawn afresh from their laws at each look, as ``fit`` takes them."""

    def __init__(self, model: VAE, x: Tensor) -> None:
        law = model.encode(x)
        self.mean, self.scale = law.mean, law.stddev
        self.device = x.device

    def __len__(self) -> int:
        return len(self.mean)

    def __getitem__(self, index: Tensor) -> Tensor:
        return torch.normal(self.mean[index], self.scale[index])


def _dropped() -> nn.Module:
    return nn.Sequential(nn.ReLU(), nn.Dropout(DROPOUT))


def of_moved_pictures(shape: tuple[int, int], classes: int) -> nets.Joined:
    """Return a net of two convolutions and two layers that sees each picture moved at random as it learns."""
    features = nn.Sequential(
        nets.RandomAffine(shape, **MOVES),
        nn.Unflatten(-1, (1, *shape)),
        nn.Conv2d(1, MAPS, 5, stride=2, padding=2),
        nn.GroupNorm(4, MAPS),
        nn.ReLU(),
        nn.Conv2d(MAPS, 2 * MAPS, 5, stride=2, padding=2),
        nn.GroupNorm(4, 2 * MAPS),
        nn.ReLU(),
        nn.Flatten(),
        nn.Dropout(DROPOUT),
    )
    size = 2 * MAPS * math.ceil(shape[0] / 4) * math.ceil(shape[1] / 4)
    return nets.Joined(nets.MLP(size, classes, hidden=HIDDEN, activation=_dropped), features)


def told(net: nn.Module, classes: int) -> nn.Module:
    return nets.Joined(net, None, nets.OneHot(classes))


def _semi_supervised(classifier: Any, size: int, decoder: nn.Module) -> SemiSupervisedVAE:
    """Return M2 whose encoder sees x through a layer of its own, which runs once for all classes."""
    seen = nn.Sequential(nn.Linear(size, HIDDEN), nn.ReLU())
    both = nets.MLP(HIDDEN + classifier.outputs, CODE, hidden=HIDDEN, activation=nn.ReLU)
    encoder = nets.Joined(both, seen, nets.OneHot(classifier.outputs))
    return SemiSupervisedVAE(nets.ClassHead(classifier), nets.NormalHead(encoder), decoder)


def _objective(model: SemiSupervisedVAE) -> Sum:
    """Return minus the bound and α times the classification."""
    parts = {"svi": SVI(model), "classification": Classification(model)}
    return Sum(parts, weights={"classification": ALPHA}).to(model.shares.device)


def with_labels(rows: Rows, task: Task) -> tuple[Rows, Tensor]:
    """Return rows and their labels, few and repeated in those to learn from, none in those held out."""
    assert rows.labels is not None
    if rows is not task.train:
        return rows, torch.full_like(rows.labels, -1)
    some = bool((rows.labels < 0).any())
    if not some and (least := int(rows.labels.unique(return_counts=True)[1].min())) < EACH:
        raise ValueError(
            f"of {task.name!r}, all of whose rows have a label, {EACH} of each class are seen, but a class "
            f"has {least} rows: leave out labels yourself, and all that are left are seen"
        )
    labels = rows.labels if some else data.few_labels(rows.labels, each=EACH, seed=0)
    known = (labels >= 0).nonzero()[:, 0]
    times = max(1, len(labels) // (ROWS * len(known)))
    index = torch.cat([torch.arange(len(labels), device=labels.device), known.repeat(times - 1)])
    return rows.part(index), labels[index]
