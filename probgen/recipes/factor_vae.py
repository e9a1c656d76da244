"""A VAE that pays for what the coordinates of its code share, as a discriminator sees it."""

from __future__ import annotations

from probgen.models import VAE
from probgen.objectives import SVI, FactorGAN, Sum, adam_of_players
from probgen.recipes.aae import of_codes
from probgen.recipes.registry import Recipe, Stage, recipe
from probgen.recipes.task import Task
from probgen.training.schedules import cosine

GAMMA = 5.0
"""What a nat of total correlation costs beside the one in the KL: as much as in 'beta-tcvae'."""

HIDDEN = (256, 256, 256)
"""Widths of the discriminator; the paper's has six of 1000."""

BETAS = (0.9, 0.999)


@recipe(
    "factor-vae",
    "a VAE that pays six times for the total correlation of its code, which a discriminator learns",
    source="Kim and Mnih (2018)",
    tasks=("images",),
)
def factor_vae(task: Task) -> Recipe:
    """A VAE with the total correlation, a part of the KL, once more with the weight γ."""
    latent, budget = task.sizes.latent, task.sizes.budget
    model = VAE(decoder=task.decoder(latent), encoder=task.encoder(latent))
    discriminator = of_codes(latent, hidden=HIDDEN)
    objective = Sum({"svi": SVI(model), "tc": FactorGAN(model, discriminator)}, {"tc": GAMMA})
    rates = {"generator": budget.learning_rate, "discriminator": 1e-3}
    return Recipe(
        model,
        [
            Stage(
                objective.to(task.device),
                lambda rows: rows.fresh,
                budget,
                lambda steps: {f"lr.{name}": cosine(r, 0.05 * r, steps=steps) for name, r in rates.items()},
                adam_of_players(
                    discriminator, rate=rates["generator"], discriminator=rates["discriminator"], betas=BETAS
                ),
            )
        ],
        finish=task.from_codes,
        prepare=task.to_codes,
    )
