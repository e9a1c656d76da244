"""Autoencoders with a density on their codes, by which they draw."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor

from probgen import nets
from probgen.core import Objective
from probgen.models import Autoencoder
from probgen.objectives import MaximumLikelihood, Reconstruction
from probgen.priors import GaussianMixture
from probgen.priors.gaussian_mixture import ROWS
from probgen.recipes.registry import Recipe, Stage, recipe
from probgen.recipes.task import Budget, Rows, Task

MOST_COMPONENTS, ROWS_A_COORDINATE = 10, 10
"""Most normal laws in a mixture of codes, and the least rows of each for a coordinate of its covariance."""

LARGEST_MAP = 16
"""Most rows and columns of a map of codes."""


@recipe(
    "autoencoder",
    "autoencoder, and a Gaussian mixture of its codes",
    source="Rumelhart, Hinton and Williams (1986); Ghosh et al. (2020)",
    tasks=("images", "table"),
    missing=True,
)
def autoencoder(task: Task) -> Recipe:
    """An autoencoder with fewer coordinates than the data have, by the likelihood that suits them."""
    model = with_mixture(task, task.encoder(task.sizes.latent, nets.PointHead))
    return in_two_stages(task, model, Reconstruction(model))


def with_mixture(task: Task, encoder: Any, decoder: Any = None) -> Autoencoder:
    """Return an autoencoder of an encoder's code size, with a mixture for the law of its codes."""
    latent = encoder.outputs
    enough = min(len(task.train), ROWS) // (ROWS_A_COORDINATE * latent)
    prior = GaussianMixture(latent, max(2, min(enough, MOST_COMPONENTS)))
    return Autoencoder(encoder, decoder or task.decoder(latent), prior).to(task.device)


def restorer(task: Task, seen: Sequence[int], *, halvings: int = 0) -> Autoencoder:
    """Return an autoencoder of convolutions, from pictures of a size to those of the task.

    Its code is two maps of what is seen, halved so often, and more where there would be more than 16 rows or
    columns: then each number of the code sees a large part of the picture, and its mixture remains small.

    Args:
        task: of pictures.
        seen: height and width of what it sees.
        halvings: how often the height and width are halved, at least.
    """
    assert task.image_shape is not None
    height, width = seen
    while halvings > 0 or max(height, width) > LARGEST_MAP:
        height, width, halvings = -(-height // 2), -(-width // 2), halvings - 1
    code, dilations = (2, height, width), (1, 2) if max(height, width) > 2 else (1,)
    encoder = nets.ResidualConvNet(seen, code, dilations=dilations)
    decoder = nets.ResidualConvNet(code, task.image_shape, dilations=dilations)
    return with_mixture(task, nets.PointHead(encoder), task.likelihood(decoder))


def in_two_stages(
    task: Task,
    model: Autoencoder,
    objective: Objective,
    *,
    data: Callable[[Rows], Any] = lambda rows: rows.fresh,
    prepare: Callable[[Tensor], Tensor] | None = None,
    budget: Budget | None = None,
) -> Recipe:
    """Return the recipe: first the autoencoder, then the mixture of its codes, by EM and by gradient.

    Args:
        task: what is learned from.
        model: with a ``GaussianMixture`` for its prior.
        objective: of the autoencoder.
        data: what it learns from.
        prepare: turns data of the task into what the encoder sees, where that is no datum.
        budget: of the autoencoder's training, where it is not that of the task.
    """
    prepare = prepare or task.to_codes

    def codes(rows: Rows) -> Tensor:
        return model.encode(prepare(rows.x) if rows.codes is None else rows.codes).mean

    def of_codes() -> Stage:
        assert isinstance(model.prior, GaussianMixture)
        model.prior.fit(codes(task.train))
        return Stage(MaximumLikelihood(model.prior), codes, Budget(500, 256, 1e-3))

    first = Stage(objective, data, budget or task.sizes.budget)
    return Recipe(model, [first, of_codes], finish=task.from_codes, prepare=prepare)
