"""A VAE whose codes, taken together, are drawn to the prior more than each of them."""

from __future__ import annotations

from probgen import mmd
from probgen.models import VAE
from probgen.objectives import SVI, BetaELBO, CodeMMD, Sum
from probgen.recipes.registry import Recipe, Stage, recipe
from probgen.recipes.task import Task

ALPHA, LAMBDA = 0.5, 100.0


@recipe(
    "info-vae",
    "a VAE with half of its KL, and the MMD between all codes and the prior",
    source="Zhao, Song and Ermon (2019)",
    tasks=("images",),
)
def info_vae(task: Task) -> Recipe:
    """Reconstruction − (1 − α) KL − (α + λ − 1) MMD²."""
    latent = task.sizes.latent
    model = VAE(decoder=task.decoder(latent), encoder=task.encoder(latent))
    kernel = mmd.Gaussian(latent / 2**0.5)  # exp(−‖Δ‖²/d²), the paper's
    parts = {"svi": SVI(model, BetaELBO(1 - ALPHA)), "mmd": CodeMMD(model, kernel)}
    objective = Sum(parts, {"mmd": ALPHA + LAMBDA - 1}).to(task.device)
    stage = Stage(objective, lambda rows: rows.fresh, task.sizes.budget)
    return Recipe(model, [stage], finish=task.from_codes, prepare=task.to_codes)
