"""Autoencoders whose codes are drawn to the prior by a game: AAE and WAE-GAN."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import nn

from probgen import nets
from probgen.models import VAE, Autoencoder
from probgen.objectives import CodeGAN, Reconstruction, Sum, adam_of_players
from probgen.priors import StandardNormal
from probgen.recipes.gan import falling
from probgen.recipes.registry import Recipe, Stage, recipe
from probgen.recipes.task import SIZES, Task

LATENT = 8
"""Coordinates of the code of a picture, as in WAE-GAN on MNIST."""

HIDDEN = (128, 128)
"""Widths of the discriminator of codes; WAE-GAN's has four of 512, AAE's two of 1000."""

WEIGHT = 100.0
"""Of the game, in nats for a loss of 1; WAE-GAN has 10 for ‖x − x̂‖²/20, AAE steps of its own for each."""

R1 = 1.0
"""γ of the penalty on the discriminator's slope at the prior, without which the codes go round it."""

RATES, BETAS = {"generator": 1e-3, "discriminator": 2e-3}, (0.5, 0.9)
"""Of Adam: rates of all nets but the discriminator, and of that."""


@recipe(
    "aae",
    "a VAE whose codes together are drawn to the prior by a game, in the place of the KL",
    source="Makhzani, Shlens, Jaitly, Goodfellow and Frey (2016)",
    tasks=("images", "plane", "table"),
)
def aae(task: Task) -> Recipe:
    """A normal law of codes for each datum, learned by reconstruction and the game alone."""
    latent = LATENT if task.kind == "images" else task.sizes.latent
    pair = VAE(task.encoder(latent), task.decoder(latent))
    return Recipe(pair, [drawn_to_prior(task, pair)], finish=task.from_codes, prepare=task.to_codes)


@recipe(
    "wae-gan",
    "an autoencoder, its code a point, whose codes together are drawn to the prior by a game",
    source="Tolstikhin, Bousquet, Gelly and Schölkopf (2018)",
    tasks=("images",),
)
def wae_gan(task: Task) -> Recipe:
    """An autoencoder that is drawn from by the prior which its codes cannot be told from."""
    encoder, decoder = task.encoder(LATENT, nets.PointHead), task.decoder(LATENT)
    pair = VAE(encoder, decoder, StandardNormal(LATENT).to(task.device))
    model = Autoencoder(pair.encoder, pair.decoder, pair.prior)
    return Recipe(model, [drawn_to_prior(task, pair)], finish=task.from_codes, prepare=task.to_codes)


def drawn_to_prior(task: Task, pair: VAE) -> Stage:
    """Return the training: reconstruction, and the game of codes and prior."""
    size: Any = pair.encoder.outputs
    discriminator = of_codes(size)
    parts = {"reconstruction": Reconstruction(pair), "codes": CodeGAN(pair, discriminator, r1=R1)}
    objective = Sum(parts, {"codes": WEIGHT}).to(task.device)
    # Of few pictures the game is not over where a likelihood begins to learn by heart: of 'aae' on 808 digits
    # codes are .042 from the prior, by energy, after 700 steps and .002 after 2,000, pictures 89 and 90 nats;
    # of 'wae-gan' .030 and .006, 85 and 101 nats, and a classifier tells .85 and .77 of its draws from data.
    budget = SIZES["images"].budget if task.few_images else task.sizes.budget
    return Stage(
        objective,
        lambda rows: rows.fresh,
        budget,
        lambda steps: falling(RATES, steps),
        adam_of_players(
            discriminator, rate=RATES["generator"], discriminator=RATES["discriminator"], betas=BETAS
        ),
    )


def of_codes(size: int, *, hidden: Sequence[int] = HIDDEN) -> nets.MLP:
    """Return a discriminator of codes of a size."""
    return nets.MLP(size, 1, hidden=hidden, activation=lambda: nn.LeakyReLU(0.2))
