"""An autoencoder with a flow for the law of its codes, by which it draws."""

from __future__ import annotations

from torch import Tensor

from probgen import nets
from probgen.models import Autoencoder
from probgen.objectives import MaximumLikelihood, Reconstruction
from probgen.priors import Flow
from probgen.recipes.registry import Recipe, Stage, recipe
from probgen.recipes.task import Budget, Rows, Task


@recipe(
    "flow-autoencoder",
    "autoencoder, and a flow of affine couplings that learns the law of its codes",
    source="Ghosh et al. (2020); Dinh, Sohl-Dickstein and Bengio (2017)",
    tasks=("images", "table"),
    missing=True,
)
def flow_autoencoder(task: Task) -> Recipe:
    """First the autoencoder; then, its codes as they are, six couplings by maximum likelihood."""
    latent = task.sizes.latent
    prior = Flow(latent, transforms=nets.Couplings(latent, layers=6, hidden=(64, 64)))
    encoder = task.encoder(latent, nets.PointHead)
    model = Autoencoder(encoder, task.decoder(latent), prior).to(task.device)

    def codes(rows: Rows) -> Tensor:
        return model.encode(rows.x if rows.codes is None else rows.codes).mean

    def of_codes() -> Stage:
        return Stage(MaximumLikelihood(prior), codes, Budget(1500, 256, 1e-3))

    of_data = Stage(Reconstruction(model), lambda rows: rows.fresh, task.sizes.budget)
    return Recipe(model, [of_data, of_codes], finish=task.from_codes, prepare=task.to_codes)
