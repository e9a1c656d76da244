"""The conditional variational autoencoder."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from probgen import data, nets
from probgen.models import VAE
from probgen.objectives import SVI
from probgen.priors import Conditional
from probgen.recipes.registry import Recipe, Stage, recipe
from probgen.recipes.task import Rows, Task

PRIOR = 64
"""Hidden units of the net that makes a prior of a class or of attributes."""


@recipe(
    "cvae",
    "a VAE that is told the class, attributes or a table's last column: in encoder, decoder and prior",
    source="Sohn, Lee and Yan (2015)",
    tasks=("images", "table"),
    missing=True,
)
def cvae(task: Task) -> Recipe:
    """A VAE of x given c: z ~ p(z | c), x ~ p(x | z, c), q(z | x, c).

    c is what pictures have of attributes, else their class; of a table it is the last column, and what is
    drawn is whole rows with the others given it.
    """
    if task.table is not None:
        return _of_table(task, task.table)
    if task.train.attributes is not None:
        return _of_images(task, lambda rows: rows.attributes, nn.Identity, task.train.attributes.shape[1])
    classes = task.classes("cvae")
    return _of_images(task, lambda rows: rows.labels, lambda: nets.OneHot(classes), classes)


@recipe(
    "cvae-completion",
    "a VAE that is shown the upper half of pictures and draws the lower one",
    source="Sohn, Lee and Yan (2015)",
    tasks=("images",),
)
def cvae_completion(task: Task) -> Recipe:
    """A VAE of pictures given their upper half: z ~ p(z | c), the pixels below ~ p(x | z, c), q(z | x, c)."""
    assert task.image_shape is not None
    height, width = task.image_shape
    if height < 2:
        raise ValueError(
            f"the recipe 'cvae-completion' shows the upper half of pictures but those of {task.name!r} have "
            "one row of pixels"
        )
    hidden = torch.arange(height * width, device=task.device) >= height // 2 * width
    shown = 2 * task.size
    parts = _parts(task, nets.KnownInput, shown, prior=task.sizes.hidden)
    model = _model(task, *parts, decoded=nets.Completing)
    return _completing(task, model, hidden)


def _of_images(
    task: Task, context: Callable[[Rows], Any], part: Callable[[], nn.Module], width: int
) -> Recipe:
    model = _model(task, *_parts(task, part, width, prior=PRIOR))
    stage = Stage(SVI(model), lambda rows: (rows.fresh, context(rows)), task.sizes.budget)
    contexts, labels = context(task.train), task.train.labels
    return Recipe(model, [stage], finish=task.from_codes, contexts=contexts, labels=labels)


def _parts(
    task: Task, part: Callable[[], nn.Module], width: int, *, prior: Any
) -> tuple[nn.Module, nn.Module, nn.Module]:
    """Return nets for encoder, decoder and prior that are given pictures or codes and a context."""
    latent, hidden = task.sizes.latent, task.sizes.hidden
    return (
        nets.Joined(nets.MLP(task.size + width, latent, hidden=hidden), None, part()),
        nets.Joined(nets.MLP(latent + width, task.size, hidden=hidden), None, part()),
        nets.Joined(nets.MLP(width, latent, hidden=prior), part()),
    )


def _model(
    task: Task,
    encoder: nn.Module,
    decoder: nn.Module,
    prior: nn.Module,
    *,
    decoded: Callable[[nn.Module], nn.Module] = lambda head: head,
) -> VAE:
    decoded_to = decoded(task.likelihood(decoder))
    return VAE(nets.NormalHead(encoder), decoded_to, Conditional(prior)).to(task.device)


def _of_table(task: Task, table: data.Table) -> Recipe:
    if len(table.columns) < 2:
        raise ValueError(
            f"the recipe 'cvae' needs a column beside the last, which is told, but {task.name!r} has one"
        )
    kinds, latent, hidden = table.kinds, task.sizes.latent, task.sizes.hidden
    width = nets.MixedInput(kinds).width
    seen = nets.MLP(2 * width, latent, hidden=hidden)
    out = nets.MLP(latent + width, nets.MixedHead.width(kinds, scale="shared"), hidden=hidden)
    head = nets.MixedHead(nets.Joined(out, None, nets.MixedInput(kinds)), kinds, scale="shared")
    model = VAE(
        nets.NormalHead(nets.Joined(seen, nets.MixedInput(kinds), nets.MixedInput(kinds))),
        nets.Completing(head),
        Conditional(nets.Joined(nets.MLP(width, latent, hidden=PRIOR), nets.MixedInput(kinds))),
    ).to(task.device)
    hidden_columns = torch.arange(len(table.columns), device=task.device) < len(table.columns) - 1
    last = table.columns[-1]
    told = task.train.codes
    classes = None if not last.levels or told is None else told[:, -1].nan_to_num(-1).long()
    return _completing(task, model, hidden_columns)._replace(labels=classes)


def _completing(task: Task, model: VAE, hidden: Tensor) -> Recipe:
    """Return the recipe of a model that completes data of which some coordinates are hidden."""

    def shown(rows: Rows) -> data.PartlyHidden:
        return data.PartlyHidden(rows.fresh, hidden)

    contexts = shown(task.train).known(task.train.x if task.train.codes is None else task.train.codes)
    stage = Stage(SVI(model), shown, task.sizes.budget)
    return Recipe(model, [stage], finish=task.from_codes, prepare=task.to_codes, contexts=contexts)
