"""The VAE with classes that no one has named."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from probgen import nets
from probgen.models import VAE, MixtureVAE
from probgen.objectives import SVI, ClassBalance, Classification, Sum
from probgen.priors import GaussianMixture, NormalMixture
from probgen.recipes.registry import Recipe, Stage, recipe
from probgen.recipes.task import Budget, Rows, Task

CLASSES = 10

WEIGHT = 1.0

STARTS, ROWS = 5, 2000
"""Of EM, of which the likeliest mixture is taken, and the most rows that it looks at."""


@recipe(
    "mixture-vae",
    "a VAE with ten classes without labels, each with a normal law of codes of its own",
    source="Dilokthanakul et al. (2016); Jiang et al. (2017)",
    tasks=("images", "plane"),
)
def mixture_vae(task: Task) -> Recipe:
    """Ten classes, whether the data have labels or not, and of these nothing is used.

    First a VAE without classes, then the classes that a mixture of normal laws finds in its codes for a start
    of classifier and prior, and then all of it by its bound: from nothing, classes that are of no use yet
    divide the data at random, and codes learn to do without them.
    """
    latent, hidden, budget = task.sizes.latent, task.sizes.hidden, task.sizes.budget
    seen = nets.MLP(task.size, hidden[-1], hidden=hidden)
    both = nets.MLP(hidden[-1] + CLASSES, latent, hidden=hidden[-1])
    encoder = nets.NormalHead(nets.Joined(both, seen, nets.OneHot(CLASSES)))
    prior = NormalMixture(latent, CLASSES)
    classifier = nets.ClassHead(nets.MLP(task.size, CLASSES, hidden=hidden))
    model = MixtureVAE(classifier, encoder, task.decoder(latent), prior).to(task.device)
    without = VAE(WithoutClass(encoder, latent), model.decoder).to(task.device)

    def of_classes() -> Stage:
        x = task.train.x[:ROWS]
        mixture = _likeliest(without.encode(x).mean)
        start(prior, without, mixture, x)

        def labelled(rows: Rows) -> Any:
            return rows.fresh, classes_of(mixture, without.encode(rows.x).mean)

        return Stage(Classification(model), labelled, Budget(500, 256, 1e-3))

    def of_all() -> Stage:
        objective = Sum({"svi": SVI(model), "balance": ClassBalance(model)}, {"balance": WEIGHT})
        small = budget._replace(steps=budget.steps // 8, learning_rate=budget.learning_rate / 4)
        return Stage(objective.to(task.device), lambda rows: rows.fresh, small)

    first = budget if task.few_images else budget._replace(steps=budget.steps // 2)
    of_codes = Stage(SVI(without), lambda rows: rows.fresh, first)
    return Recipe(model, [of_codes, of_classes, of_all], finish=task.from_codes, prepare=task.to_codes)


class WithoutClass(nn.Module):
    """q(z | x) by the nets of q(z | x, k), which are told that the class is missing."""

    def __init__(self, encoder: nn.Module, outputs: int) -> None:
        super().__init__()
        self.encoder, self.outputs = encoder, outputs

    def forward(self, x: Tensor) -> Any:
        """Return the law of the codes of x."""
        return self.encoder(x, torch.full(x.shape[:-1], -1, device=x.device))


def _likeliest(codes: Tensor) -> GaussianMixture:
    """Return the likeliest of some mixtures of normal laws by EM, each from a start of its own."""
    found = []
    for seed in range(STARTS):
        mixture = GaussianMixture(codes.shape[1], CLASSES).to(codes)
        mixture.fit(codes, seed=seed)
        found.append(mixture.requires_grad_(False))
    return max(found, key=lambda mixture: float(mixture().log_prob(codes).mean()))


def classes_of(mixture: GaussianMixture, codes: Tensor) -> Tensor:
    """Return the most probable component of each code."""
    law = mixture()
    each = law.component_distribution.log_prob(codes.unsqueeze(-2))
    return (each + law.mixture_distribution.logits).argmax(-1)


@torch.no_grad()
def start(prior: NormalMixture, vae: VAE, mixture: GaussianMixture, x: Tensor) -> None:
    """Give each class the mean and variance of the codes that fall on it, their posteriors' own included."""
    law = vae.encode(x)
    classes = classes_of(mixture, law.mean)
    for k in range(CLASSES):
        own = classes == k
        if int(own.sum()) > 1:
            mean, variance = law.mean[own], law.variance[own]
            prior.loc[k] = mean.mean(0)
            prior.log_scale[k] = (mean.var(0) + variance.mean(0)).log() / 2
        prior.logits[k] = torch.log((own.sum() + 1.0) / (len(own) + CLASSES))
