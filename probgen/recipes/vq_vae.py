"""Autoencoders whose codes are atoms of a codebook or a grid, and an autoregressive prior of them."""

from __future__ import annotations

from torch import nn

from probgen import nets
from probgen.models import VQVAE
from probgen.objectives import SVI, VQ
from probgen.priors import Autoregressive
from probgen.recipes.registry import Recipe, Stage, recipe
from probgen.recipes.task import Budget, Task

ATOMS, DIM = 64, 8
"""Of the codebook: K, and the numbers of an atom."""

LEVELS = (4, 4, 4)
"""Of the grid, which has as many codes; (8, 8) was worse by 1.9 nats on held-out digits."""

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
    steps = _steps(task)
    encoder = task.encoder(steps * DIM, lambda net: net)
    return _in_two_stages(task, encoder, nets.Codebook(ATOMS, DIM))


@recipe(
    "fsq-vae",
    "an autoencoder whose codes are rounded to a grid, and an autoregressive prior of them",
    source="Mentzer, Minnen, Agustsson and Tschannen (2024)",
    tasks=("images",),
)
def fsq_vae(task: Task) -> Recipe:
    """As 'vq-vae', but for the codebook.

    What is rounded is normalised over the batch: the vectors of a fresh net lie between two levels.
    """
    size = _steps(task) * len(LEVELS)
    encoder = task.encoder(size, lambda net: nn.Sequential(net, nn.BatchNorm1d(size, affine=False)))
    return _in_two_stages(task, encoder, nets.FiniteScalar(LEVELS))


def _steps(task: Task) -> int:
    return STEPS["black and white" if task.levels == 2 else "grey"]


def _in_two_stages(task: Task, encoder: nn.Module, codebook: nets.Codebook | nets.FiniteScalar) -> Recipe:
    steps = _steps(task)
    prior = Autoregressive(nets.CausalTransformer(codebook.size, steps, width=64, dropout=0.1))
    decoder = task.decoder(steps * codebook.dim)
    model = VQVAE(encoder, codebook, decoder, prior, steps=steps).to(task.device)
    budget = task.sizes.budget
    few = min(budget.steps, PASSES * len(task.train) // budget.batch_size + 1)

    def of_prior() -> Stage:
        model.requires_grad_(False)
        model.prior.requires_grad_(True)
        return Stage(SVI(model), lambda rows: rows.fresh, Budget(few, budget.batch_size, 1e-3))

    of_codes = Stage(VQ(model), lambda rows: rows.fresh, budget._replace(steps=few))
    return Recipe(model, [of_codes, of_prior], finish=task.from_codes, prepare=task.to_codes)
