"""The VAE-GAN: a VAE whose pictures are compared in the features of a discriminator."""

from __future__ import annotations

from torch import nn

from probgen import nets
from probgen.models import VAE, Autoencoder
from probgen.objectives import VAEGAN, adam_of_players
from probgen.recipes.aae import BETAS
from probgen.recipes.gan import falling, units_of
from probgen.recipes.registry import Recipe, Stage, recipe
from probgen.recipes.task import Budget, Task

LATENT, FEATURES = 16, 256
"""Coordinates of the code, and features, of length √256 by normalisation: so many nats can tell pictures."""

GAMMA = 0.05
"""How much the decoder minds the features beside the game."""

R1 = 0.1
"""γ of the penalty on the discriminator's slope at data of standard deviation 1, for more variety."""

RATES = {"generator": 1e-3, "discriminator": 1e-3}


@recipe(
    "vae-gan",
    "a VAE that reconstructs the features of a discriminator, which learns to tell data from draws",
    source="Larsen, Sønderby, Larochelle and Winther (2016)",
    tasks=("images",),
)
def vae_gan(task: Task) -> Recipe:
    """A VAE of grey levels, whose decoder is a generator."""
    hidden = task.sizes.hidden

    def leaky() -> nn.Module:
        return nn.LeakyReLU(0.2)

    encoder = task.encoder(LATENT)
    pair = VAE(encoder, nets.PointHead(task.generator(LATENT, hidden=hidden))).to(task.device)
    net = nets.MLP(task.size, FEATURES, hidden=hidden, activation=leaky)
    trunk = nn.Sequential(net, leaky(), nn.LayerNorm(FEATURES, elementwise_affine=False))
    discriminator = nn.Sequential(trunk, nn.Linear(FEATURES, 1))
    r1 = R1 * float(units_of(task).factor) ** 2
    objective = VAEGAN(pair, discriminator, features=trunk, gamma=GAMMA, r1=r1).to(task.device)
    stage = Stage(
        objective,
        lambda rows: rows.smooth,
        Budget(4000, 128, RATES["generator"]),
        lambda steps: falling(RATES, steps),
        adam_of_players(
            discriminator, rate=RATES["generator"], discriminator=RATES["discriminator"], betas=BETAS
        ),
    )
    # As the decoder is a point there is no likelihood: what is trained encodes, decodes and draws.
    model = Autoencoder(pair.encoder, pair.decoder, pair.prior)
    return Recipe(model, [stage], finish=task.from_grey)
