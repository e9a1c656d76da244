"""The sparse autoencoder: more coordinates than the data need, few of them active at once."""

from __future__ import annotations

from probgen import nets
from probgen.objectives import Reconstruction, Sum, TargetActivation
from probgen.recipes.autoencoder import in_two_stages, with_mixture
from probgen.recipes.registry import Recipe, recipe
from probgen.recipes.task import Task

CODE, TARGET, WEIGHT = 64, 0.1, 1.0


@recipe(
    "sparse-autoencoder",
    "autoencoder whose codes are active one time in ten, each coordinate by itself",
    source="Ng (2011)",
    tasks=("images",),
)
def sparse_autoencoder(task: Task) -> Recipe:
    """An autoencoder with 64 sigmoid codes whose mean activation is drawn to 0.1."""
    model = with_mixture(task, task.encoder(CODE, lambda net: nets.PointHead(net, sigmoid=True)))
    parts = {"reconstruction": Reconstruction(model), "sparsity": TargetActivation(model, target=TARGET)}
    return in_two_stages(task, model, Sum(parts, weights={"sparsity": WEIGHT}))
