"""A VAE whose prior is a mixture at the codes of its training data."""

from __future__ import annotations

from typing import Any

import torch

from probgen import nets
from probgen.models import VAE
from probgen.objectives import SVI
from probgen.priors import Exemplar
from probgen.recipes.registry import Recipe, Stage, recipe
from probgen.recipes.task import Rows, Task

SUBSET = 500
"""Exemplars at a step."""


@recipe(
    "exemplar-vae",
    "a VAE whose prior is a mixture at the codes of its training data, each datum left out of its own",
    source="Norouzi, Fleet and Norouzi (2020)",
    tasks=("images", "plane"),
)
def exemplar_vae(task: Task) -> Recipe:
    """Data come with their place among the exemplars; new data and draws have −1, for none."""
    latent, encoder = task.sizes.latent, task.encoder(task.sizes.latent)
    prior = Exemplar(encoder, task.train.smooth, subset=SUBSET)
    decoder = nets.WithoutContext(task.decoder(latent))
    model = VAE(nets.WithoutContext(encoder), decoder, prior).to(task.device)

    def with_places(rows: Rows) -> Any:
        known = rows is task.train
        places = torch.arange(len(rows)) if known else torch.full((len(rows),), -1)
        return rows.fresh, places.to(task.device)

    none = torch.full((1,), -1, device=task.device)
    stage = Stage(SVI(model), with_places, task.sizes.budget)
    return Recipe(model, [stage], finish=task.from_codes, contexts=none)
