"""Adversarial autoencoders with a class and a style: learned from few labels, or clusters without any."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pyro.distributions as dist
import torch
from torch import Tensor, nn
from torch.distributions import Distribution

from probgen import nets
from probgen.core import Objective
from probgen.models import AdversarialAutoencoder
from probgen.objectives import Classification, CodeGAN, PairReconstruction, Sum, adam_of_players
from probgen.recipes.aae import BETAS, R1, of_codes
from probgen.recipes.gan import falling, units_of
from probgen.recipes.infogan import MOVES
from probgen.recipes.registry import Recipe, Stage, recipe
from probgen.recipes.semi_supervised_vae import RISE, START, of_moved_pictures, with_labels
from probgen.recipes.task import Budget, Rows, Task
from probgen.training.schedules import Schedule, linear

STYLE, HIDDEN = 8, 128
"""Coordinates of the style, and widths of the layers; the paper's nets have two of 1000."""

CLUSTERS, STYLE_OF_CLUSTERS = 16, 3
"""As many as the paper's fewer, and coordinates of the style beside: more leave nothing for the cluster."""

TEMPERATURE = 0.5
"""Of draws of a cluster: probabilities would be a code of fifteen coordinates, and no cluster."""

WEIGHTS = {"reconstruction": 0.1, "classes": 1.0, "styles": 10.0, "classification": 4.0}
"""Of the log-likelihood, of both games, and of what labels teach."""

OF_CLUSTERS, R1_OF_CLUSTERS = {"reconstruction": 0.3, "classes": 10.0, "styles": 10.0}, 3.0
"""Without labels their game alone keeps all clusters in use: it should be strong and smooth."""

BUDGET, BUDGET_OF_CLUSTERS = Budget(3000, 80, 1e-3), Budget(1500, 128, 3e-3)

RATES = {"generator": 1e-3, "discriminator": 2e-3}

RATES_OF_CLUSTERS = {"generator": 3e-3, "discriminator": 2e-3}
"""Of clusters alone; with styles the rates are slower, so that clusters stay."""

SOURCE = "Makhzani, Shlens, Jaitly, Goodfellow and Frey (2016)"


@recipe(
    "semi-supervised-aae",
    "an autoencoder of a class and a style, each in a game with its prior; ten labels of each class teach it",
    source=SOURCE,
    tasks=("images",),
)
def semi_supervised_aae(task: Task) -> Recipe:
    """The classifier and the labels of 'm2', with games in the place of its bound."""
    classes = task.classes("semi-supervised-aae", missing=True)
    assert task.image_shape is not None
    model = _model(task, of_moved_pictures(task.image_shape, classes), STYLE)

    def data_of(rows: Rows) -> Any:
        rows, labels = with_labels(rows, task)
        return rows.fresh, labels

    every = torch.arange(classes, device=task.device)
    parts = {
        "classes": CodeGAN(model, of_codes(classes), site="y", r1=R1),
        "styles": CodeGAN(model, of_codes(STYLE), site="z", r1=R1),
        "classification": Classification(model),
    }
    stage = _stage(task, model, parts, WEIGHTS, BUDGET, RATES, data_of, rising=tuple(WEIGHTS)[:3])
    return Recipe(model, [stage], contexts=every, labels=every)


@recipe(
    "aae-clusters",
    "an autoencoder of one of sixteen clusters and a style, each in a game with its prior, without labels",
    source=SOURCE,
    tasks=("images",),
)
def aae_clusters(task: Task) -> Recipe:
    """First clusters alone, the style drawn from its prior whatever x, then both.

    Where both are learned at once the style comes first, and leaves nothing for the clusters to tell. The
    classifier sees pictures moved at random, in their unit, so that a cluster is not one of places.
    """
    assert task.image_shape is not None
    net = nets.MLP(task.size, CLUSTERS, hidden=(HIDDEN, HIDDEN), activation=nn.ReLU)
    moved = nn.Sequential(nets.RandomAffine(task.image_shape, **MOVES), units_of(task).inverse())
    classifier = nets.Joined(net, moved)
    model = _model(task, classifier, STYLE_OF_CLUSTERS, temperature=TEMPERATURE)
    styleless = AdversarialAutoencoder(
        model.classifier, _OfPrior(STYLE_OF_CLUSTERS), model.decoder, temperature=TEMPERATURE
    ).to(task.device)
    of_class, of_style = of_codes(CLUSTERS), of_codes(STYLE_OF_CLUSTERS)
    games = {"classes": CodeGAN(styleless, of_class, site="y", r1=R1_OF_CLUSTERS)}
    first = _stage(task, styleless, games, OF_CLUSTERS, BUDGET_OF_CLUSTERS, RATES_OF_CLUSTERS)
    games = {
        "classes": CodeGAN(model, of_class, site="y", r1=R1_OF_CLUSTERS),
        "styles": CodeGAN(model, of_style, site="z", r1=R1),
    }
    second = _stage(task, model, games, OF_CLUSTERS, BUDGET_OF_CLUSTERS, RATES)
    every = torch.arange(CLUSTERS, device=task.device)  # equally likely, as in the prior
    return Recipe(model, [first, second], contexts=every, labels=every)


class _OfPrior(nn.Module):
    """A law of a style that tells nothing of x: the standard normal one of its prior."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.outputs = size

    def forward(self, x: Tensor) -> Distribution:
        mean = x.new_zeros(len(x), self.outputs)
        return dist.Normal(mean, torch.ones_like(mean)).to_event(1)


def _model(
    task: Task, classifier: Any, style: int, *, temperature: float | None = None
) -> AdversarialAutoencoder:
    classes = classifier.outputs
    hidden = (HIDDEN, HIDDEN)
    encoder = nets.MLP(task.size, style, hidden=hidden, activation=nn.ReLU)
    decoder = nets.Joined(nets.MLP(style + classes, task.size, hidden=hidden, activation=nn.ReLU))
    model = AdversarialAutoencoder(
        nets.ClassHead(classifier),
        nets.PointHead(encoder),
        task.likelihood(decoder),
        temperature=temperature,
    )
    return model.to(task.device)


def _stage(
    task: Task,
    model: AdversarialAutoencoder,
    parts: Mapping[str, Objective],
    weights: Mapping[str, float],
    budget: Budget,
    rates: Mapping[str, float],
    data: Callable[[Rows], Any] = lambda rows: rows.fresh,
    *,
    rising: Sequence[str] = (),
) -> Stage:
    """Return the training: reconstruction, a game for each code, and other parts.

    Weights that are ``rising`` begin near 0, so that the classifier at first learns from labels alone.
    """
    parts = {"reconstruction": PairReconstruction(model), **parts}
    discriminators = [part.discriminator for part in parts.values() if isinstance(part, CodeGAN)]
    objective = Sum(parts, {name: weights[name] for name in parts}).to(task.device)
    adam = adam_of_players(
        *discriminators, rate=rates["generator"], discriminator=rates["discriminator"], betas=BETAS
    )

    def plans(steps: int) -> dict[str, Schedule]:
        rises = {
            f"weight_{name}": linear(START * weights[name], weights[name], steps=RISE) for name in rising
        }
        return falling(rates, steps) | rises

    return Stage(objective, data, budget, plans, adam)
