"""The sequence VAE: sentences and molecules as points."""

from __future__ import annotations

from probgen import nets, priors
from probgen.models import SequenceVAE
from probgen.objectives import SVI, BetaELBO
from probgen.recipes.registry import Recipe, Stage, recipe
from probgen.recipes.task import Task
from probgen.training import schedules

WORD_DROPOUT = 0.3
"""Share of the tokens that the decoder does not read in training."""


@recipe(
    "sentence-vae",
    "a VAE with one code for a whole sequence of tokens; words left out and the KL annealed keep it in use",
    source="Bowman et al. (2016); Long, Cao and Cheung (2019)",
    tasks=("text",),
)
def sentence_vae(task: Task) -> Recipe:
    """A reader that pools its states, and a decoder that is told the code at each step.

    The KL's weight rises from 0.1 to 1 in the first half.
    """
    latent, (width,) = task.sizes.latent, task.sizes.hidden
    size, steps = task.symbols.size, task.size
    encoder = nets.NormalHead(nets.TokenReader(size, latent, width=width // 2))
    net = nets.TokenGRU(size, steps, context=latent, width=width, word_dropout=WORD_DROPOUT)
    model = SequenceVAE(encoder, priors.Sentences(net)).to(task.device)
    stage = Stage(
        SVI(model, BetaELBO()),
        lambda rows: rows.fresh,
        task.sizes.budget,
        lambda steps: {"elbo.beta": schedules.linear(0.1, 1.0, steps=max(1, steps // 2))},
        max_gradient_norm=20.0,
    )
    return Recipe(model, [stage])
