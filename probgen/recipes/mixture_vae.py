"""The VAE with classes that no one has named."""

from __future__ import annotations

from probgen import nets
from probgen.models import MixtureVAE
from probgen.objectives import SVI, ClassBalance, Sum
from probgen.priors import NormalMixture
from probgen.recipes.registry import Recipe, Stage, recipe
from probgen.recipes.task import Task

CLASSES = 10

WEIGHT = 1.0


@recipe(
    "mixture-vae",
    "a VAE with ten classes without labels, each with a normal law of codes of its own",
    source="Dilokthanakul et al. (2016); Jiang et al. (2017)",
    tasks=("images", "plane"),
)
def mixture_vae(task: Task) -> Recipe:
    """Ten classes, whether the data have labels or not, and of these nothing is used."""
    latent, hidden = task.sizes.latent, task.sizes.hidden
    seen = nets.MLP(task.size, hidden[-1], hidden=hidden)
    both = nets.MLP(hidden[-1] + CLASSES, latent, hidden=hidden[-1])
    model = MixtureVAE(
        nets.ClassHead(nets.MLP(task.size, CLASSES, hidden=hidden)),
        nets.NormalHead(nets.Joined(both, seen, nets.OneHot(CLASSES))),
        task.decoder(latent),
        NormalMixture(latent, CLASSES),
    ).to(task.device)
    objective = Sum({"svi": SVI(model), "balance": ClassBalance(model)}, {"balance": WEIGHT})
    stage = Stage(objective.to(task.device), lambda rows: rows.fresh, task.sizes.budget)
    return Recipe(model, [stage], finish=task.from_codes, prepare=task.to_codes)
