"""The main job: every method that suits a data set, compared, drawn and reported."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from probgen import data, recipes
from probgen.cli import classical, classical_tables, playing
from probgen.cli.principal_components import principal_components
from probgen.compare import Comparison, Method, compare
from probgen.compare.metrics import select
from probgen.compare.questions import Question
from probgen.core import Coded
from probgen.priors import StandardNormal
from probgen.recipes import Rows, Task
from probgen.recipes.compared import features, labels, learned
from probgen.recipes.task import SEQUENCES

if TYPE_CHECKING:
    from matplotlib.figure import Figure

REFERENCE = 2000
"""Most points of held-out data that draws are compared with."""

ASKED = ("principal-components", "hmc", "tempered")
"""Classical methods that are compared only where they are named."""

OF_SEQUENCES = ("sequences", "cost")
"""Metrics that suit sequences."""

SHOWN = 8
"""Sequences that are drawn of each method where nothing is said."""

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
    """Return the methods that suit a task by name: the classical ones, then the recipes.

    Raises ValueError for graphs and molecules, whose draws no metric here suits.
    """
    if task.kind == "molecules":
        raise ValueError(
            f"{task.name!r} are molecules as graphs, of which no draws are compared: `probgen train` a "
            "recipe and draw from it, or compare them as SMILES by `probgen apply molecules`"
        )
    if task.kind == "graph":
        raise ValueError(
            f"{task.name!r} is a graph, of which no draws are compared: `probgen train` a recipe, and "
            "judge it by the edges that it ranks"
        )
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
    return {name: make(task) for name, make in known.get(task.kind, {}).items()} | {
        name: learned(name, task, entry.what, steps=steps)
        for name, entry in recipes.entries(task.kind).items()
    }


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
    facts = {"title": title or f"probgen compare {task.name}"} | task.facts | dict(facts or {})
    if task.kind in SEQUENCES:
        return _by_likelihood(task, methods, metrics, n=n, repeats=repeats, seed=seed, jobs=jobs, facts=facts)
    reference, chosen = reference_of(task), select(metrics)
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
        labels=labels(task, REFERENCE),
        protocol=facts,
    )


def reference_of(task: Task) -> Tensor:
    """Return held-out data to compare draws with: of a long table, whose file may be sorted, any rows."""
    found = task.test.complete
    if task.table is not None and len(found) > REFERENCE:
        found = found[torch.randperm(len(found), generator=torch.Generator().manual_seed(0)).to(found.device)]
    return found[:REFERENCE]


def _by_likelihood(
    task: Task,
    methods: Mapping[str, Method],
    metrics: Sequence[str] | None,
    *,
    n: int | None,
    repeats: int | None,
    seed: int,
    jobs: int | None,
    facts: Mapping[str, Any],
) -> Comparison:
    """Compare methods on sequences by nats a step: what tells draws from data here knows no order."""
    chosen = OF_SEQUENCES if metrics is None else metrics
    for name in chosen:
        if not (set(select([name])) <= set(OF_SEQUENCES)):
            raise ValueError(
                f"sequences are compared by {', '.join(OF_SEQUENCES)}, but metrics name {name!r}, which is "
                "of points: leave it out"
            )
    train, test = (
        (rows.x,) if rows.lengths is None else (rows.x, rows.lengths) for rows in (task.train, task.test)
    )
    return compare(
        methods,
        test,
        chosen,
        train=train,
        n=n or SHOWN,
        repeats=repeats or 1,
        seed=seed,
        jobs=jobs,
        scale=None,
        protocol=facts,
    )


def modes(task: Task) -> tuple[Tensor, float] | None:
    """Return the centres and the spread of the modes of a target, where it has separate ones."""
    law = task.target
    if law is None or law.modes is None or law.mode_scale is None:
        return None
    return law.modes, law.mode_scale


def save(task: Task, result: Comparison, folder: Path, questions: Sequence[Question] = ()) -> None:
    """Write the report with its figures and pages to play with."""
    figures, captions = pictures(task, result)
    pages = playing.of_task(task, result)
    result.save(folder, figures=figures, captions=captions, questions=questions, pages=pages)


def pictures(task: Task, result: Comparison) -> tuple[dict[str, Figure], dict[str, str]]:
    """Draw the samples side by side and, of a two-dimensional code, the map and the manifold."""
    from probgen import plots

    if task.kind in SEQUENCES:
        return _pictures_of_music(task, result) if task.kind == "music" else ({}, {})
    reference = reference_of(task)
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


def _pictures_of_music(task: Task, result: Comparison) -> tuple[dict[str, Figure], dict[str, str]]:
    from probgen import plots

    rolls = {"real, held out": task.test.sequences()}
    for name, draws in result.draws.items():  # steps side by side, and the length behind them
        x = draws[:, :-1].unflatten(1, task.test.x.shape[1:])
        rolls[name] = Rows(x, lengths=draws[:, -1].long()).sequences()
    said = "Real pieces that no method has seen, and the first draws of each method: which keys sound when."
    return {"samples": plots.piano_rolls(rolls)}, {"samples": said}


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
