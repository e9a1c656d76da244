"""A VAE whose code is turned to independent components."""

from __future__ import annotations

from torch import Tensor

from probgen.core import seeded
from probgen.models import ICAVAE, VAE
from probgen.objectives import SVI, MaximumLikelihood
from probgen.recipes.registry import Recipe, Stage, recipe
from probgen.recipes.task import Budget, Rows, Task

ROWS = 1000
"""Most rows from whose smoothed values components are drawn."""


@recipe(
    "ica-vae",
    "a VAE, and FastICA of its code: independent components, each drawn by itself",
    source="Hyvärinen and Oja (2000); Kingma and Welling (2014)",
    tasks=("images", "table"),
    missing=True,
)
def ica_vae(task: Task) -> Recipe:
    """First a VAE, then FastICA of its posterior means, then the widths of the components' laws."""
    latent = task.sizes.latent
    vae = VAE(task.encoder(latent), task.decoder(latent))
    model = ICAVAE(vae, rows=min(len(task.train), ROWS)).to(task.device)

    def seen(rows: Rows) -> Tensor:
        return rows.x if rows.codes is None else rows.codes

    def components(rows: Rows) -> Tensor:
        with seeded(0):  # the same draws where a run goes on
            return model.encode(seen(rows)).sample()

    def of_components() -> Stage:
        model.fit_components(seen(task.train))
        return Stage(MaximumLikelihood(model.prior), components, Budget(500, 256, 1e-2))

    first = Stage(SVI(vae), lambda rows: rows.fresh, task.sizes.budget)
    return Recipe(model, [first, of_components], finish=task.from_codes, prepare=task.to_codes)
