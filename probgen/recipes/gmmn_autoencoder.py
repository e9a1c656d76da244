"""The moment-matching network in the code space of an autoencoder."""

from __future__ import annotations

from torch import nn

from probgen import nets
from probgen.models import GMMNAutoencoder
from probgen.objectives import MomentMatching, Reconstruction
from probgen.recipes.registry import Recipe, Stage, recipe
from probgen.recipes.task import Budget, Task, gaussian_kernel

CODES, NOISE = 10, 10


@recipe(
    "gmmn-autoencoder",
    "moment matching in the codes of an autoencoder, which is trained first",
    source="Li, Swersky and Zemel (2015), section 4",
    tasks=("images",),
)
def gmmn_autoencoder(task: Task) -> Recipe:
    """First an autoencoder of grey levels, then a GMMN of its codes."""
    decoder = nn.Sequential(nets.MLP(CODES, task.size, hidden=task.sizes.hidden), nn.Sigmoid())
    model = GMMNAutoencoder(
        nets.MLP(task.size, CODES, hidden=task.sizes.hidden),
        nets.NormalHead(decoder, scale="shared"),
        nets.MLP(NOISE, CODES, hidden=(256, 256, 256)),
        noise=NOISE,
    ).to(task.device)

    def of_codes() -> Stage:
        codes = model.encode(task.train.smooth).mean
        objective = MomentMatching(model.codes, gaussian_kernel(codes, (1 / 4, 1 / 2, 1)))
        return Stage(objective, lambda rows: model.encode(rows.smooth).mean, Budget(2500, 256, 2e-3))

    autoencoder = Stage(Reconstruction(model), lambda rows: rows.smooth, Budget(2000, 128, 1e-3))
    return Recipe(model, [autoencoder, of_codes], finish=task.from_grey)
