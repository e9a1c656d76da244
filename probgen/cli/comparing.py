"""The main job: every method that suits a data set, compared, drawn and reported."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from pyro.distributions import Delta
from torch import Tensor
from torch.distributions import Distribution

from probgen import data, recipes
from probgen.cli import classical, classical_tables
from probgen.cli.principal_components import principal_components
from probgen.compare import Comparison, Fitted, Method, compare
from probgen.compare.metrics import select
from probgen.compare.questions import Question
from probgen.core import Coded, Pair
from probgen.evaluation import ClassifierFeatures, classifier_features, log_likelihoods
from probgen.priors import StandardNormal
from probgen.recipes import Task

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PARTICLES = 200
"""Importance samples per datum in a model's likelihood."""

REFERENCE = 2000
"""Most points of held-out data that draws are compared with."""

LABELS = 100
"""Fewest labels that features of pictures are learned from."""

ASKED = ("principal-components", "hmc", "tempered")
"""Classical methods that are compared only where they are named."""

MANIFOLD = 15
"""Decoded codes along each axis of the manifold."""


def choose(task: Task, wanted: Sequence[str] | None, *, steps: int | None = None) -> dict[str, Method]:
    """Return the methods called ``wanted``, or those that are compared by default for such a task.

    ``steps`` are those of each training, in the place of a recipe's own.
    """
    suitable = methods(task, steps=steps)
    if wanted is None:
        entries = recipes.entries(task.kind).values()
        left_out = {e.name for e in entries if not e.by_default or (task.missing and not e.missing)}
        left_out |= set(ASKED)
        return {name: method for name, method in suitable.items() if name not in left_out}
    if not wanted:
        raise ValueError(f"methods should name at least one of {', '.join(suitable)} but names none")
    for name in wanted:
        if name not in suitable:
            raise ValueError(f"there is no method {name!r} for {task.name}: {data.suggest(name, suitable)}")
    return {name: suitable[name] for name in wanted}


def methods(task: Task, *, steps: int | None = None) -> dict[str, Method]:
    """Return the methods that suit a task by name: the classical ones, then the recipes."""
    known = {
        "images": {
            "pixels": classical.pixels,
            "mixture": classical.mixture,
            "principal-components": principal_components,
        },
        "plane": {
            "inverse": classical.inverse,
            "rejection": classical.rejection,
            "metropolis": classical.metropolis,
            "hmc": classical.hmc,
            "tempered": classical.tempered,
        },
        "table": {"columns": classical_tables.columns, "copula": classical_tables.copula},
    }
    return {name: make(task) for name, make in known[task.kind].items()} | {
        name: learned(name, task, entry.what, steps=steps)
        for name, entry in recipes.entries(task.kind).items()
    }


def learned(name: str, task: Task, about: str, *, steps: int | None = None) -> Method:
    """A recipe as a method to compare."""

    def fit(train: Tensor, seed: int) -> Fitted:
        torch.manual_seed(seed)  # of the initial weights; compare puts the global state back
        recipe = recipes.make(name, task)
        histories = recipes.train(recipe, task, seed=seed, steps=steps, progress=False)
        notes = {
            "objective": ", then ".join(_objectives(recipe)),
            "training": f"{histories[-1].ended}, {sum(h.step for h in histories)} steps",
        }
        findings = [sentence for h in histories if h.collapsed() for sentence in h.diagnose()]
        log_prob = None
        if isinstance(recipe.model, Pair) and recipe.contexts is None:  # else it is that of x given a context
            log_prob = partial(_log_probs, recipe, recipe.model, seed=seed)
        return Fitted(
            recipe.sample,
            log_prob,
            model=recipe.model,
            notes=notes,
            findings=findings,
            coded=Codes(recipe, task)
            if isinstance(recipe.model, Coded) and recipe.contexts is None
            else None,
            of_class=None if recipe.labels is None else recipe.sample,
        )

    return Method(fit, about)


class Codes(NamedTuple):
    """What encodes a task's data as they are compared, and decodes into them, by a model of a recipe."""

    recipe: recipes.Recipe
    task: Task

    def encode(self, x: Tensor, *context: Tensor) -> Distribution:
        model = self.recipe.model
        assert isinstance(model, Coded)
        return model.encode(self.recipe.prepare(x))

    def decode(self, z: Tensor, *context: Tensor) -> Distribution:
        model = self.recipe.model
        assert isinstance(model, Coded)
        law = model.decode(z)
        return law if self.task.table is None else Delta(self.task.from_codes(law.mean), event_dim=1)


def _objectives(recipe: recipes.Recipe) -> list[str]:
    """Return what is minimised, stage by stage; of one that is made in training only that there is one."""
    return [
        type(stage.objective).__name__ if isinstance(stage, recipes.Stage) else "a stage on its codes"
        for stage in recipe.stages
    ]


def _log_probs(recipe: recipes.Recipe, pair: Pair, x: Tensor, *, seed: int) -> Tensor:
    return log_likelihoods(pair, recipe.prepare(x), particles=PARTICLES, seed=seed)


def run(
    task: Task,
    methods: Mapping[str, Method],
    metrics: Sequence[str] | None,
    *,
    n: int | None,
    repeats: int | None,
    seed: int,
    jobs: int | None = None,
    title: str | None = None,
    facts: Mapping[str, Any] | None = None,
) -> Comparison:
    """Compare the methods on the task."""
    reference, chosen = task.test.complete[:REFERENCE], select(metrics)
    return compare(
        methods,
        reference,
        metrics,
        train=task.train.complete,
        n=n,
        repeats=repeats or 3,
        seed=seed,
        jobs=jobs,
        scale=None if task.kind == "images" else "auto",
        modes=modes(task),
        features=features(task, seed) if chosen.keys() & {"features", "control"} else None,
        labels=labels(task),
        protocol={"title": title or f"probgen compare {task.name}"} | task.facts | dict(facts or {}),
    )


def modes(task: Task) -> tuple[Tensor, float] | None:
    """Return the centres and the spread of the modes of a target, where it has separate ones."""
    law = task.target
    if law is None or law.modes is None or law.mode_scale is None:
        return None
    return law.modes, law.mode_scale


def features(task: Task, seed: int) -> ClassifierFeatures | None:
    """Return features of pictures by which their classes are told, where enough of them have a label."""
    labels = task.train.labels
    if task.kind != "images" or labels is None:
        return None
    known = labels[labels >= 0]
    if len(known) < LABELS or len(known.unique()) < 2:
        return None
    return classifier_features(task.train.x, labels, scale=None, seed=seed)


def labels(task: Task) -> tuple[Tensor, Tensor] | None:
    """Return the classes of the rows to learn from and of those that draws are compared with, if known."""
    found = task.train.labels, task.test.labels
    if found[0] is None or found[1] is None or task.table is not None:
        return None
    pair = found[0], found[1][:REFERENCE]
    return pair if all(len(part[part >= 0].unique()) > 1 for part in pair) else None


def save(task: Task, result: Comparison, folder: Path, questions: Sequence[Question] = ()) -> None:
    """Write the report with its figures."""
    figures, captions = pictures(task, result)
    result.save(folder, figures=figures, captions=captions, questions=questions)


def pictures(task: Task, result: Comparison) -> tuple[dict[str, Figure], dict[str, str]]:
    """Draw the samples side by side and, of a two-dimensional code, the map and the manifold."""
    from probgen import plots

    reference = task.test.complete[:REFERENCE]
    if task.table is not None:
        return _pictures_of_tables(task, result)
    if task.image_shape is None:
        shown = {"exact draws": reference} | result.draws
        return (
            {"samples": plots.scatter(shown)},
            {"samples": "Draws of the first repeat, with the exact draws behind them in grey."},
        )
    blocks = {"real, held out": reference} | result.draws
    figures = {"samples": plots.image_grid(blocks, image_shape=task.image_shape)}
    captions = {"samples": "Real images that no method has seen, and the first draws of each method."}
    model = _with_codes_in_plane(result)
    if model is not None and task.test.labels is not None:
        codes = model.encode(reference).mean
        figures["latent"] = plots.latent_map(codes, task.test.labels[: len(reference)])
        captions["latent"] = "Where the two-dimensional model puts held-out images: the mean of each code."
        centres = torch.linspace(0.5 / MANIFOLD, 1 - 0.5 / MANIFOLD, MANIFOLD, device=reference.device)
        z = torch.special.ndtri(centres)
        second, first = torch.meshgrid(z, z, indexing="ij")
        decoded = model.decode(torch.stack([first, second], -1).reshape(-1, 2)).mean
        figures["manifold"] = plots.manifold(decoded, image_shape=task.image_shape, k=MANIFOLD)
        captions["manifold"] = (
            "What its codes decode to, as means, on a grid of normal quantiles: each image stands for the "
            "same mass of the prior."
        )
    return figures, captions


def _pictures_of_tables(task: Task, result: Comparison) -> tuple[dict[str, Figure], dict[str, str]]:
    from probgen import plots

    assert task.table is not None
    tables = {"real, held out": task.table.frame(task.to_codes(task.test.x))} | {
        name: task.table.frame(task.to_codes(draws)) for name, draws in result.draws.items()
    }
    figures = {"columns": plots.table_columns(tables), "correlations": plots.correlations(tables)}
    return figures, {
        "columns": "The law of each column in its own units: real rows that no method has seen in grey, the "
        "draws of each method in colour.",
        "correlations": "How columns go together: rank correlations of real rows and of each method's draws.",
    }


def _with_codes_in_plane(result: Comparison) -> Coded | None:
    """Return the first model with codes in the plane under a standard normal prior, if there is one."""
    for fitted in result.fitted.values():
        prior = getattr(fitted.model, "prior", None)
        in_plane = isinstance(prior, StandardNormal) and prior().event_shape == (2,)
        if in_plane and isinstance(fitted.model, Coded):
            return fitted.model
    return None


def new_folder(name: str, out: Path | None) -> Path:
    """Return a folder to write to: ``out`` if it is new or empty, else results/NAME, numbered if taken."""
    if out is not None:
        if out.exists() and not (out.is_dir() and not any(out.iterdir())):
            raise ValueError(
                f"--out should be a new or empty folder but {str(out)!r} holds something already"
            )
        return out
    name = recipes.short_name(name)
    folder, number = Path("results") / name, 2
    while folder.exists():
        folder, number = Path("results") / f"{name}-{number}", number + 1
    return folder
