"""An autoencoder whose codes are atoms of a codebook, and an autoregressive prior of them."""

from __future__ import annotations

from probgen import nets
from probgen.models import VQVAE
from probgen.objectives import SVI, VQ
from probgen.priors import Autoregressive
from probgen.recipes.registry import Recipe, Stage, recipe
from probgen.recipes.task import Budget, Task

ATOMS, DIM = 64, 8
"""Of the codebook: K, and the numbers of an atom."""

STEPS = {"grey": 2, "black and white": 8}
"""Codes of a picture: 4,096 pictures in all suit a few thousand to learn from, 64⁸ suit tens of thousands."""

PASSES = 60
"""Over the data, at most: nothing but its end keeps the first stage from learning few data by heart."""


@recipe(
    "vq-vae",
    "an autoencoder whose codes are atoms of a codebook, and an autoregressive prior of them",
    source="van den Oord, Vinyals and Kavukcuoglu (2017)",
    tasks=("images",),
)
def vq_vae(task: Task) -> Recipe:
    """First encoder, atoms and decoder, then the prior, a causal transformer, with the others frozen."""
    steps = STEPS["black and white" if task.levels == 2 else "grey"]
    encoder = task.encoder(steps * DIM, lambda net: net)
    prior = Autoregressive(nets.CausalTransformer(ATOMS, steps, width=64, dropout=0.1))
    model = VQVAE(encoder, nets.Codebook(ATOMS, DIM), task.decoder(steps * DIM), prior).to(task.device)
    budget = task.sizes.budget
    few = min(budget.steps, PASSES * len(task.train) // budget.batch_size + 1)

    def of_prior() -> Stage:
        model.requires_grad_(False)
        model.prior.requires_grad_(True)
        return Stage(SVI(model), lambda rows: rows.fresh, Budget(few, budget.batch_size, 1e-3))

    of_codes = Stage(VQ(model), lambda rows: rows.fresh, budget._replace(steps=few))
    return Recipe(model, [of_codes, of_prior], finish=task.from_codes, prepare=task.to_codes)
