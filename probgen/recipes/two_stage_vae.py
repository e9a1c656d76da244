"""A VAE of the codes of a VAE."""

from __future__ import annotations

from torch import Tensor

from probgen import nets
from probgen.core import seeded
from probgen.models import VAE, TwoStageVAE
from probgen.objectives import SVI
from probgen.recipes.registry import Recipe, Stage, recipe
from probgen.recipes.task import Budget, Rows, Task


@recipe(
    "two-stage-vae",
    "a VAE, and a second one of its codes in the place of a prior",
    source="Dai and Wipf (2019)",
    tasks=("images", "plane", "table"),
)
def two_stage_vae(task: Task) -> Recipe:
    """First a VAE of the data, then one of draws of its codes, with as many coordinates."""
    latent = task.sizes.latent

    def wide() -> nets.MLP:
        return nets.MLP(latent, latent, hidden=(256, 256))

    first = VAE(task.encoder(latent), task.decoder(latent))
    second = VAE(nets.NormalHead(wide()), nets.NormalHead(wide(), scale="shared")).to(task.device)
    model = TwoStageVAE(first, second)

    def codes(rows: Rows) -> Tensor:
        with seeded(0):  # the same draws where a run goes on
            return first.encode(rows.x if rows.codes is None else rows.codes).sample()

    def of_codes() -> Stage:
        return Stage(SVI(second), codes, Budget(2500, 256, 1e-3))

    of_data = Stage(SVI(first), lambda rows: rows.fresh, task.sizes.budget)
    return Recipe(model, [of_data, of_codes], finish=task.from_codes, prepare=task.to_codes)
