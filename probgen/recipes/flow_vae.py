"""A VAE whose prior is a flow."""

from __future__ import annotations

from probgen import nets
from probgen.models import VAE
from probgen.objectives import SVI
from probgen.priors import Flow
from probgen.recipes.registry import Recipe, Stage, recipe
from probgen.recipes.task import Task


@recipe(
    "flow-vae",
    "a VAE whose prior is a flow of affine couplings",
    source="Chen et al. (2017); Dinh, Sohl-Dickstein and Bengio (2017)",
    tasks=("images", "plane", "table"),
    missing=True,
)
def flow_vae(task: Task) -> Recipe:
    """Six couplings between standard normal numbers and codes."""
    latent = task.sizes.latent
    prior = Flow(latent, transforms=nets.Couplings(latent, layers=6, hidden=(64, 64))).to(task.device)
    model = VAE(task.encoder(latent), task.decoder(latent), prior)
    stage = Stage(SVI(model), lambda rows: rows.fresh, task.sizes.budget)
    return Recipe(model, [stage], finish=task.from_codes, prepare=task.to_codes)
