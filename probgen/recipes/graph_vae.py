"""The variational graph autoencoder."""

from __future__ import annotations

from probgen import nets
from probgen.models import GraphVAE
from probgen.objectives import SVI
from probgen.recipes.registry import Recipe, Stage, recipe
from probgen.recipes.task import Task


@recipe(
    "graph-vae",
    "variational graph autoencoder: nodes have places, and how much they link; links depend on both",
    source="Kipf and Welling (2016); Hoff (2005, 2008), for effects of nodes and terms of either sign",
    tasks=("graph",),
    by_default=True,
)
def graph_vae(task: Task) -> Recipe:
    """One graph is one datum: a step sees all its pairs that are seen.

    In half of the coordinates nodes that are alike link the less: hubs and their spokes.
    """
    nodes, latent = task.train.x.shape[-1], task.sizes.latent
    (hidden,) = task.sizes.hidden
    model = GraphVAE(
        nets.NormalHead(nets.GraphNet(nodes, latent, hidden=hidden)),
        nets.InnerProduct(repelling=(latent - 1) // 2),
        nodes=nodes,
        latent=latent,
    ).to(task.device)
    return Recipe(model, [Stage(SVI(model), lambda rows: rows.fresh, task.sizes.budget)])
