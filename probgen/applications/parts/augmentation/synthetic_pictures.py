"""Pictures with labels made from few that have one: moved, mixed, drawn by models, or given a label."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from probgen import models, nets, recipes
from probgen.applications.parts.augmentation.classifiers import Pictures
from probgen.core import seeded
from probgen.objectives import SVI, Classification, Sum
from probgen.priors import Conditional
from probgen.recipes import Recipe, Rows, Task
from probgen.recipes.semi_supervised_vae import Codes
from probgen.training import History, fit, schedules

MIXED = 0.4
"""Both parameters of the beta law of the shares in which pictures are mixed."""

CODE, HIDDEN = 8, 128
"""Of M2, a model of codes: coordinates beside the class, and widths of layers."""

EACH_BATCH, ALPHA = 240, 4.0
"""Of M2: rows of a batch, a quarter with a label, and the weight of the classification."""


def evenly(labels: Tensor, count: int) -> Tensor:
    """Return the labels of so many synthetic pictures, the classes in turn."""
    classes = labels.unique()
    return classes[torch.arange(count, device=labels.device) % len(classes)]


def mixed(known: Pictures, count: int) -> Pictures:
    """Return λ x + (1 − λ) x' of pairs of known pictures, which count as λ of the one class, 1 − λ the other.

    Source: Zhang, Cisse, Dauphin and Lopez-Paz (2018), mixup.
    """
    share = torch.distributions.Beta(MIXED, MIXED).sample((count,)).to(known.x)
    one, other = torch.randint(len(known.x), (2, count), device=known.x.device)
    x = share[:, None] * known.x[one] + (1 - share)[:, None] * known.x[other]
    return Pictures(
        torch.cat([x, x]), torch.cat([known.labels[one], known.labels[other]]), torch.cat([share, 1 - share])
    )


def drawn(name: str, task: Task, known: Pictures, count: int, *, steps: int, seed: int) -> Pictures:
    """Return draws of a recipe that is told the class and learns from the known pictures alone.

    Draws are grey: of a VAE the expected pixels given a code that is drawn.
    """
    grey = None if task.train.grey is None else known.x
    own = replace(task, train=Rows(known.x, grey=grey, labels=known.labels), held_out=None)
    with seeded(seed):
        recipe = recipes.make(name, own)
    _ended(recipes.train(recipe, own, seed=seed, steps=steps, progress=False)[-1])
    recipe.model.eval()
    labels = evenly(known.labels, count)
    with seeded(seed):
        return Pictures(_grey(recipe, labels), labels)


@torch.no_grad()
def _grey(recipe: Recipe, labels: Tensor) -> Tensor:
    model = recipe.model
    if isinstance(model, models.VAE):
        assert isinstance(model.prior, Conditional)
        return model.decode(model.prior(labels).sample(), labels).mean
    return model.sample(len(labels), labels)


def labelled(scores: Tensor, x: Tensor, count: int) -> Pictures:
    """Return pictures without a label, each with the class of its highest score: of the surer half of each.

    Of the classes equally many, as far as there are any, in turn.

    Args:
        scores: of each class, shape (n, classes); a picture is sure by how far the highest is above the next.
        x: the pictures, shape (n, pixels).
        count: how many pictures are wanted.
    """
    best = scores.topk(2, dim=1)
    gap, found = best.values[:, 0] - best.values[:, 1], best.indices[:, 0]
    surer = []
    for label in range(scores.shape[1]):
        own = (found == label).nonzero()[:, 0]
        half = own[gap[own].argsort(descending=True, stable=True)][: -(-len(own) // 2)]
        surer.append(half[torch.randperm(len(half), device=x.device)][: -(-count // scores.shape[1])])
    turns = torch.cat([torch.arange(len(own), device=x.device) for own in surer])
    chosen = torch.cat(surer)[turns.argsort(stable=True)][:count]
    return Pictures(x[chosen], found[chosen])


class M2OfCodes:
    """M1+M2: a semi-supervised VAE of codes, which learns from all pictures and the few labels.

    Args:
        first: M1, a VAE of pictures that has learned without labels.
        x: pictures, shape (n, pixels).
        labels: −1 where they are not known.
        classes: how many there are.
        steps: of the training.
        seed: of it.

    Source: Kingma, Rezende, Mohamed and Welling (2014).
    """

    def __init__(
        self, first: models.VAE, x: Tensor, labels: Tensor, *, classes: int, steps: int, seed: int
    ) -> None:
        codes = Codes(first, x)
        size = codes.mean.shape[1]

        def told(inputs: int, outputs: int) -> nn.Module:
            net = nets.MLP(inputs + classes, outputs, hidden=HIDDEN, activation=nn.ReLU)
            return nets.NormalHead(nets.Joined(net, None, nets.OneHot(classes)))

        with seeded(seed):
            classifier = nets.ClassHead(nets.MLP(size, classes, hidden=(HIDDEN, HIDDEN), activation=_dropped))
            self.model = models.SemiSupervisedVAE(classifier, told(size, CODE), told(CODE, size)).to(x.device)
        self.both = models.StackedSemiSupervisedVAE(first, self.model)
        parts = {"svi": SVI(self.model), "classification": Classification(self.model)}
        objective = Sum(parts, weights={"classification": ALPHA}).to(x.device)
        rows = _Repeated(codes, labels)
        _ended(
            fit(
                objective,
                (rows, labels[rows.index]),
                steps=steps,
                batch_size=EACH_BATCH,
                optimizer=partial(torch.optim.Adam, lr=2e-3, fused=True),
                schedules={
                    "lr": schedules.linear(2e-3, 1e-4, steps=steps),
                    "weight_svi": schedules.linear(0.01, 1.0, steps=max(1, steps // 3)),
                },
                seed=seed,
                progress=False,
            )
        )
        self.model.eval()

    def probabilities(self, x: Tensor) -> Tensor:
        """Return q(y | x), shape (n, classes)."""
        law: Any = self.both.classify(x)
        return law.probs

    @torch.no_grad()
    def draws(self, labels: Tensor) -> Pictures:
        """Return the expected pixels of pictures of these classes, given codes that are drawn."""
        codes = self.model.sample(len(labels), labels)
        return Pictures(self.both.first.decode(codes).mean, labels)


class _Repeated:
    """Codes, drawn afresh at each look, in which those with a label are repeated to be a quarter."""

    def __init__(self, codes: Codes, labels: Tensor) -> None:
        self.codes, self.device = codes, codes.device
        known = (labels >= 0).nonzero()[:, 0]
        times = max(1, len(labels) // (3 * len(known)))
        self.index = torch.cat([torch.arange(len(labels), device=self.device), known.repeat(times - 1)])

    def __len__(self) -> int:
        return len(self.index)

    def __getitem__(self, rows: Tensor) -> Tensor:
        return self.codes[self.index[rows]]


def _dropped() -> nn.Module:
    return nn.Sequential(nn.ReLU(), nn.Dropout(0.5))


def _ended(history: History) -> None:
    if history.ended == "interrupted":
        raise KeyboardInterrupt
