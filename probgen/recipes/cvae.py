"""The conditional variational autoencoder."""

from __future__ import annotations

from typing import Any

from torch import nn

from probgen import nets
from probgen.models import VAE
from probgen.objectives import SVI
from probgen.priors import Conditional
from probgen.recipes.registry import Recipe, Stage, recipe
from probgen.recipes.task import Rows, Task


@recipe(
    "cvae",
    "a VAE that is told the class: in encoder, decoder and prior",
    source="Sohn, Lee and Yan (2015)",
    tasks=("images",),
)
def cvae(task: Task) -> Recipe:
    """A VAE of x given its class c: z ~ p(z | c), x ~ p(x | z, c), q(z | x, c)."""
    classes, labels = task.classes("cvae"), task.train.labels
    latent, hidden = task.sizes.latent, task.sizes.hidden

    def told(net: nn.Module) -> nn.Module:
        return nets.Joined(net, None, nets.OneHot(classes))

    encoder = nets.NormalHead(told(nets.MLP(task.size + classes, latent, hidden=hidden)))
    decoder = told(nets.MLP(latent + classes, task.size, hidden=hidden))
    head = nets.BernoulliHead(decoder) if task.levels == 2 else nets.CategoricalHead(decoder, task.levels)
    prior = Conditional(nets.Joined(nets.MLP(classes, latent, hidden=64), nets.OneHot(classes)))
    model = VAE(encoder, head, prior).to(task.device)

    def with_labels(rows: Rows) -> Any:
        return rows.fresh, rows.labels

    stage = Stage(SVI(model), with_labels, task.sizes.budget)
    return Recipe(model, [stage], finish=task.from_codes, contexts=labels, labels=labels)
