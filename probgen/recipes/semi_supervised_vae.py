"""Semi-supervised variational autoencoders, which learn from many data and few labels."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from probgen import data, nets
from probgen.models import VAE, SemiSupervisedVAE, StackedSemiSupervisedVAE
from probgen.objectives import SVI, Classification, Sum
from probgen.recipes.registry import Recipe, Stage, recipe
from probgen.recipes.task import Budget, Rows, Task

EACH = 10
"""Labels of a class that are seen, drawn with seed 0; the others are hidden."""

ROWS = 10
"""Of so many rows one has a label: those that have one are repeated, and count so often in the bound."""

ALPHA = 1.0
"""The weight of the classification."""

DROPOUT = 0.3
"""Of the classifier."""

CODE = 4
"""Coordinates of a code beside the class, in M2 of codes."""

SOURCE = "Kingma, Rezende, Mohamed and Welling (2014)"


@recipe(
    "m2",
    "a VAE of a class and a code, which learns the class from ten labels of each",
    source=SOURCE,
    tasks=("images",),
)
def m2(task: Task) -> Recipe:
    """y a class, z a code, x ~ p(x | y, z)."""
    classes, latent, hidden = _classes("m2", task), task.sizes.latent, task.sizes.hidden
    net = _told(nets.MLP(latent + classes, task.size, hidden=hidden), classes)
    head = nets.BernoulliHead(net) if task.levels == 2 else nets.CategoricalHead(net, task.levels)
    model = semi_supervised(task.size, classes, latent, head, hidden=hidden[0]).to(task.device)

    def with_labels(rows: Rows) -> Any:
        rows, labels = _with_labels(rows, task)
        return rows.fresh, labels

    stage = Stage(with_classification(model), with_labels, task.sizes.budget)
    every = torch.arange(classes, device=task.device)
    return Recipe(model, [stage], contexts=every, labels=every)


@recipe(
    "m1-m2",
    "a VAE, and of its codes a VAE of a class and a code, which learns the class from ten labels of each",
    source=SOURCE,
    tasks=("images",),
)
def m1_m2(task: Task) -> Recipe:
    """First M1, a VAE of the data, then M2 of draws of its codes."""
    classes, latent = _classes("m1-m2", task), task.sizes.latent
    first = VAE(task.encoder(latent), task.decoder(latent))
    decoder = nets.NormalHead(_told(nets.MLP(CODE + classes, latent, hidden=300), classes))
    second = semi_supervised(latent, classes, CODE, decoder, hidden=300).to(task.device)

    def stage() -> Stage:
        def codes(rows: Rows) -> Any:
            rows, labels = _with_labels(rows, task)
            return Codes(first, rows.x), labels

        return Stage(with_classification(second), codes, Budget(4000, 200, 1e-3))

    every = torch.arange(classes, device=task.device)
    of_data = Stage(SVI(first), lambda rows: rows.fresh, task.sizes.budget)
    model = StackedSemiSupervisedVAE(first, second)
    return Recipe(model, [of_data, stage], contexts=every, labels=every)


def semi_supervised(
    size: int, classes: int, latent: int, decoder: nn.Module, *, hidden: int
) -> SemiSupervisedVAE:
    """Return M2 whose classifier has dropout, and whose encoder sees x through a layer of its own."""

    def dropped() -> nn.Module:
        return nn.Sequential(nn.ReLU(), nn.Dropout(DROPOUT))

    classifier = nets.ClassHead(nets.MLP(size, classes, hidden=(hidden, hidden), activation=dropped))
    seen = nn.Sequential(nn.Linear(size, hidden), nn.ReLU())  # runs once for all classes
    encoder = nets.Joined(nets.MLP(hidden + classes, latent, hidden=hidden), seen, nets.OneHot(classes))
    return SemiSupervisedVAE(classifier, nets.NormalHead(encoder), decoder)


def with_classification(model: SemiSupervisedVAE) -> Sum:
    """Return minus the bound and α times the classification."""
    parts = {"svi": SVI(model), "classification": Classification(model)}
    return Sum(parts, weights={"classification": ALPHA})


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


def _told(net: nn.Module, classes: int) -> nn.Module:
    return nets.Joined(net, None, nets.OneHot(classes))


def _classes(name: str, task: Task) -> int:
    if task.train.labels is None:
        raise ValueError(f"the recipe {name!r} needs labels but {task.name!r} has none")
    return int(task.train.labels.max()) + 1


def _with_labels(rows: Rows, task: Task) -> tuple[Rows, Tensor]:
    """Return rows and their labels, few and repeated in those to learn from, none in those held out."""
    assert rows.labels is not None
    if rows is not task.train:
        return rows, torch.full_like(rows.labels, -1)
    few = data.few_labels(rows.labels, each=EACH, seed=0)
    known = (few >= 0).nonzero()[:, 0]
    times = max(1, len(few) // (ROWS * len(known)))
    index = torch.cat([torch.arange(len(few), device=few.device), known.repeat(times - 1)])
    return rows.part(index), few[index]
