"""The models that the commands train, with the settings that suit each data set."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from probgen import data, mmd, nets
from probgen.cli.problems import Problem
from probgen.core import GenerativeModel, Objective, seeded
from probgen.inference import SVI, History, fit, schedules
from probgen.models import GMMN, VAE, MomentMatching


class Recipe(NamedTuple):
    """A model ready to be trained: its objective, its data, its settings, and how its draws become data."""

    model: GenerativeModel
    objective: Objective
    data: Any
    settings: dict[str, Any]
    finish: Callable[[Tensor], Tensor]

    def train(self, **options: Any) -> History:
        """Fit the model; options override the settings."""
        settings = self.settings | options
        rate = settings.pop("learning_rate")
        decay = {"lr": schedules.cosine(rate, 0.05 * rate, steps=settings["steps"])}
        adam = partial(torch.optim.Adam, lr=rate, fused=True)
        return fit(
            self.objective,
            self.data,
            optimizer=adam,
            schedules=decay,
            **settings,
        )

    def sample(self, n: int, *, seed: int) -> Tensor:
        """Draw n points of data."""
        with seeded(seed):
            return self.finish(self.model.sample(n))


def vae(problem: Problem, *, latent: int | None = None) -> Recipe:
    """A VAE: on images with one law per pixel level, on the plane with normal noise."""
    size = problem.train.shape[1]
    if problem.image_shape is None:
        latent, hidden = latent or 2, [128, 128]
        settings = {"steps": 6000, "batch_size": 500, "learning_rate": 3e-3}
        decoder: nn.Module = nets.NormalHead(nets.MLP(latent, size, hidden=hidden), scale="shared")
    elif problem.levels == 2:
        latent, hidden = latent or 32, [400, 400]
        settings = {"steps": 9400, "batch_size": 128, "learning_rate": 1e-3}
        decoder = nets.BernoulliHead(nets.MLP(latent, size, hidden=hidden))
    else:
        latent, hidden = latent or 16, [256]
        settings = {"steps": 2000, "batch_size": 128, "learning_rate": 2e-3}
        net = nets.MLP(latent, size, hidden=hidden)
        decoder = nets.CategoricalHead(net, problem.levels)
    encoder = nets.NormalHead(nets.MLP(size, latent, hidden=hidden))
    model = VAE(encoder=encoder, decoder=decoder).to(problem.train.device)
    learned = problem.train if problem.grey is None else data.Binarised(problem.grey)
    return Recipe(model, SVI(model), learned, settings, _unchanged)


def gmmn(problem: Problem) -> Recipe:
    """A moment-matching network, its bandwidths from the training data."""
    size, device = problem.train.shape[1], problem.train.device
    settings: dict[str, Any]
    if problem.image_shape is None:
        generator: nn.Module = nets.MLP(4, size, hidden=(128, 128))
        learned, finish, noise, scales = problem.train, _unchanged, 4, (1 / 16, 1 / 4, 1)
        settings = {"steps": 4000, "batch_size": 256, "learning_rate": 3e-3}
    else:
        noise = 16
        generator = nn.Sequential(nets.MLP(noise, size, hidden=(256, 256)), nn.Sigmoid())
        learned = problem.train if problem.grey is None else problem.grey
        finish = partial(_to_levels, levels=problem.levels)
        scales = (1 / 4, 1 / 2, 1)
        settings = {"steps": 2500, "batch_size": 256, "learning_rate": 5e-3}
    median = mmd.median_bandwidth(learned[:1000], learned[1000:2000] if len(learned) > 1000 else learned[:1])
    kernel = mmd.Gaussian([scale * median for scale in scales])
    model = GMMN(generator, noise=noise).to(device)
    return Recipe(model, MomentMatching(model, kernel), learned, settings, finish)


RECIPES: dict[str, Callable[[Problem], Recipe]] = {"vae": vae, "gmmn": gmmn, "vae-2d": partial(vae, latent=2)}


def recipe(name: str, problem: Problem) -> Recipe:
    """Return the recipe called ``name`` for a problem."""
    if name not in RECIPES:
        raise ValueError(f"there is no model {name!r}: {data.suggest(name, RECIPES)}")
    return RECIPES[name](problem)


def _unchanged(draws: Tensor) -> Tensor:
    return draws


def _to_levels(grey: Tensor, *, levels: int) -> Tensor:
    """Draw binary pixels from Bernoulli(grey); of more levels, take the nearest."""
    if levels == 2:
        return data.binarise(grey)
    return (grey * (levels - 1)).round() / (levels - 1)
