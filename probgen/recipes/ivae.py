"""The identifiable variational autoencoder."""

from __future__ import annotations

from typing import Any

from probgen import nets
from probgen.models import VAE
from probgen.objectives import SVI
from probgen.priors import Conditional
from probgen.recipes.registry import Recipe, Stage, recipe
from probgen.recipes.task import Rows, Task


@recipe(
    "ivae",
    "a VAE whose prior and encoder are told the class and whose decoder is not: an identifiable code",
    source="Khemakhem, Kingma, Monti and Hyvärinen (2020)",
    tasks=("images",),
)
def ivae(task: Task) -> Recipe:
    """A VAE of x beside its class u: z ~ p(z | u), x ~ p(x | z), q(z | x, u)."""
    classes, labels = task.classes("ivae"), task.train.labels
    latent, hidden = task.sizes.latent, task.sizes.hidden
    seen = nets.MLP(task.size + classes, latent, hidden=hidden)
    encoder = nets.NormalHead(nets.Joined(seen, None, nets.OneHot(classes)))
    prior = Conditional(nets.Joined(nets.MLP(classes, latent, hidden=64), nets.OneHot(classes)))
    model = VAE(encoder, nets.WithoutContext(task.decoder(latent)), prior).to(task.device)

    def with_labels(rows: Rows) -> Any:
        return rows.fresh, rows.labels

    stage = Stage(SVI(model), with_labels, task.sizes.budget)
    return Recipe(model, [stage], finish=task.from_codes, contexts=labels, labels=labels)
