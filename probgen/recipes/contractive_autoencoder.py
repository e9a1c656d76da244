"""The contractive autoencoder: codes that move little where the data do not."""

from __future__ import annotations

from probgen import nets
from probgen.objectives import Contraction, Reconstruction, Sum
from probgen.recipes.autoencoder import in_two_stages, with_mixture
from probgen.recipes.registry import Recipe, recipe
from probgen.recipes.task import Task

WEIGHT = 0.1


@recipe(
    "contractive-autoencoder",
    "autoencoder whose codes move little with their input",
    source="Rifai, Vincent, Muller, Glorot and Bengio (2011)",
    tasks=("images",),
)
def contractive_autoencoder(task: Task) -> Recipe:
    """An autoencoder with sigmoid codes and a penalty on the squared slopes of its encoder."""
    model = with_mixture(task, task.encoder(task.sizes.latent, lambda net: nets.PointHead(net, sigmoid=True)))
    parts = {"reconstruction": Reconstruction(model), "contraction": Contraction(model)}
    return in_two_stages(task, model, Sum(parts, weights={"contraction": WEIGHT}))
