"""The main job: every method that suits a data set, compared, drawn and reported."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from probgen import data
from probgen.cli import classical, recipes
from probgen.cli.problems import Problem
from probgen.compare import Comparison, Fitted, Method, compare
from probgen.core import Pair
from probgen.evaluation import log_likelihoods
from probgen.models import VAE

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PARTICLES = 200
"""Importance samples per datum in a model's likelihood."""

REFERENCE = 2000
"""Most points of held-out data that draws are compared with."""

MANIFOLD = 15
"""Decoded codes along each axis of the manifold."""


def choose(problem: Problem, wanted: Sequence[str] | None) -> dict[str, Method]:
    """Return the methods called ``wanted``, or all that suit the problem."""
    suitable = image_methods(problem) if problem.image_shape else plane_methods(problem)
    if wanted is None:
        return suitable
    if not wanted:
        raise ValueError(f"methods should name at least one of {', '.join(suitable)} but names none")
    for name in wanted:
        if name not in suitable:
            raise ValueError(
                f"there is no method {name!r} for {problem.name}: {data.suggest(name, suitable)}"
            )
    return {name: suitable[name] for name in wanted}


def image_methods(problem: Problem) -> dict[str, Method]:
    """Return the methods for images by name."""
    return {
        "pixels": classical.pixels(problem),
        "metropolis": classical.mixture(problem),
        "gmmn": learned("gmmn", problem, "moment matching: a network from uniform noise to images, by MMD"),
        "vae": learned("vae", problem, "variational autoencoder, trained by SVI"),
        "vae-2d": learned("vae-2d", problem, "the same with a two-dimensional code, for the pictures"),
    }


def plane_methods(problem: Problem) -> dict[str, Method]:
    """Return the methods for two-dimensional targets by name: those given the density, then the learners."""
    return {
        "inverse": classical.inverse(problem),
        "rejection": classical.rejection(problem),
        "metropolis": classical.metropolis(problem),
        "gmmn": learned("gmmn", problem, "moment matching: a network from uniform noise to points, by MMD"),
        "vae": learned("vae", problem, "variational autoencoder, trained by SVI"),
    }


def learned(name: str, problem: Problem, about: str) -> Method:
    """A model of the command line as a method to compare."""

    def fit(train: Tensor, seed: int) -> Fitted:
        torch.manual_seed(seed)  # of the initial weights; compare puts the global state back
        recipe = recipes.recipe(name, problem)
        history = recipe.train(seed=seed, progress=False)
        notes = {"training": f"{history.ended}, {history.step} steps"}
        log_prob = None
        if isinstance(recipe.model, Pair):
            log_prob = partial(log_likelihoods, recipe.model, particles=PARTICLES, seed=seed)
        return Fitted(recipe.sample, log_prob, model=recipe.model, notes=notes)

    return Method(fit, about)


def run(
    problem: Problem,
    methods: Mapping[str, Method],
    metrics: Sequence[str] | None,
    *,
    n: int | None,
    repeats: int | None,
    seed: int,
) -> Comparison:
    """Compare the methods on the problem."""
    reference = problem.test[:REFERENCE]
    return compare(
        methods,
        reference,
        metrics,
        train=problem.train,
        n=n,
        repeats=repeats or 3,
        seed=seed,
        protocol={"title": f"probgen compare {problem.name}"} | problem.facts,
    )


def save(problem: Problem, result: Comparison, folder: Path) -> None:
    """Write the report with its figures."""
    figures, captions = pictures(problem, result)
    result.save(folder, figures=figures, captions=captions)


def pictures(problem: Problem, result: Comparison) -> tuple[dict[str, Figure], dict[str, str]]:
    """Draw the samples side by side and, of a two-dimensional code, the map and the manifold."""
    from probgen import plots

    reference = problem.test[:REFERENCE]
    if problem.image_shape is None:
        shown = {"exact draws": reference} | result.draws
        return (
            {"samples": plots.scatter(shown)},
            {"samples": "Draws of the first repeat, with the exact draws behind them in grey."},
        )
    blocks = {"real, held out": reference} | result.draws
    figures = {"samples": plots.image_grid(blocks, image_shape=problem.image_shape)}
    captions = {"samples": "Real images that no method has seen, and the first draws of each method."}
    models = [f.model for f in result.fitted.values() if isinstance(f.model, VAE)]
    model = next((model for model in models if model.prior().event_shape == (2,)), None)
    if model is not None and problem.labels is not None:
        figures["latent"] = plots.latent_map(model.encode(reference), problem.labels[: len(reference)])
        captions["latent"] = "Where the two-dimensional VAE puts held-out images: the mean of each code."
        centres = torch.linspace(0.5 / MANIFOLD, 1 - 0.5 / MANIFOLD, MANIFOLD, device=reference.device)
        z = torch.special.ndtri(centres)
        second, first = torch.meshgrid(z, z, indexing="ij")
        decoded = model.decode(torch.stack([first, second], -1).reshape(-1, 2))
        figures["manifold"] = plots.manifold(decoded, image_shape=problem.image_shape, k=MANIFOLD)
        captions["manifold"] = (
            "What its codes decode to, as means, on a grid of normal quantiles: each image stands for the "
            "same mass of the prior."
        )
    return figures, captions


def new_folder(name: str, out: Path | None) -> Path:
    """Return a folder to write to: ``out`` if it is new or empty, else results/NAME, numbered if taken."""
    if out is not None:
        if out.exists() and not (out.is_dir() and not any(out.iterdir())):
            raise ValueError(
                f"--out should be a new or empty folder but {str(out)!r} holds something already"
            )
        return out
    folder, number = Path("results") / name, 2
    while folder.exists():
        folder, number = Path("results") / f"{name}-{number}", number + 1
    return folder
