"""The metrics of a comparison: what each measures, which value is best, and how it is computed."""

from __future__ import annotations

import difflib
import math
from collections.abc import Callable, Sequence
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from probgen import evaluation, mmd
from probgen.compare.thinned_chains import by_site
from probgen.core import Density, Evaluations
from probgen.mmd.scaling import Scale, scaled
from probgen.sampling.markov.moves.metropolis import has_gradient


class Trial(NamedTuple):
    r"""One method in one repeat: its draws, and what they are judged against.

    ``draws`` and ``reference`` have shape (n, \*event); ``log_probs`` are those of the reference's points
    under the method, in nats; the times are in seconds. ``units`` is what columns are divided by, shape
    event, the same for all methods so that their numbers compare, or None; ``scale`` is that of tests, whose
    level needs the pooled sample. ``density`` is what was drawn from, where that is known, and ``evaluated``
    how often it was evaluated for these draws.
    """

    draws: Tensor
    reference: Tensor
    train: Tensor | None = None
    log_probs: Tensor | None = None
    fit_seconds: float | None = None
    draw_seconds: float | None = None
    seed: int = 0
    units: Tensor | None = None
    scale: Scale = None
    density: Density | None = None
    evaluated: Evaluations = Evaluations()


class Column(NamedTuple):
    """A number that a metric reports.

    ``best`` is the best value there is, "floor" where it is the value of real data, "lower" where less is
    better, and None for a number that does not rank (a standard error, a p-value). ``about`` is one line.
    ``bounds`` are those of the number, which its interval keeps to, ``axis`` is that of its panel, and
    p-values of several repeats are combined, not averaged.
    """

    label: str
    about: str
    best: float | Literal["floor", "lower"] | None = None
    bounds: tuple[float, float] = (-math.inf, math.inf)
    axis: Literal["linear", "log"] = "linear"
    p_value: bool = False


class Metric(NamedTuple):
    """Columns computed together; ``measure`` returns no value where a trial lacks what it needs."""

    columns: dict[str, Column]
    measure: Callable[[Trial], dict[str, float]]


SHARE, POSITIVE = (0.0, 1.0), (0.0, math.inf)


def _mmd(trial: Trial) -> dict[str, float]:
    (draws, reference), _ = scaled(trial.units, draws=trial.draws, reference=trial.reference)
    kernel = mmd.Gaussian(mmd.bandwidth_grid(reference[::2], reference[1::2]))
    distance = mmd.mmd2(draws, reference, kernel)
    generator = torch.Generator(trial.draws.device).manual_seed(trial.seed)
    test = mmd.mmd_test(trial.draws, trial.reference, scale=trial.scale, generator=generator)
    return {"mmd2": distance.value, "mmd2_stderr": distance.stderr, "mmd2_p": test.p_value}


def _energy(trial: Trial) -> dict[str, float]:
    distance = mmd.energy_distance(trial.draws, trial.reference, scale=trial.units)
    return {"energy_distance": distance.value, "energy_stderr": distance.stderr}


def _c2st(trial: Trial) -> dict[str, float]:
    test = evaluation.classifier_two_sample(trial.draws, trial.reference, seed=trial.seed)
    return {"c2st_accuracy": test.accuracy, "c2st_stderr": test.stderr}


def _precision_recall(trial: Trial) -> dict[str, float]:
    return evaluation.precision_recall(trial.reference, trial.draws, scale=trial.units)._asdict()


def _density_coverage(trial: Trial) -> dict[str, float]:
    return evaluation.density_coverage(trial.reference, trial.draws, scale=trial.units)._asdict()


def _nll(trial: Trial) -> dict[str, float]:
    if trial.log_probs is None:
        return {}
    values = -trial.log_probs.double()
    mean = float(values.mean())
    # A point to which the method gives no mass at all: an infinite loss, of which no error can be estimated.
    stderr = float(values.std()) / math.sqrt(len(values)) if math.isfinite(mean) else math.inf
    return {"nll": mean, "nll_stderr": stderr}


def _ksd(trial: Trial) -> dict[str, float]:
    density = trial.density
    if density is None or density.cells is not None:
        return {}
    draws = by_site(density, trial.draws)
    if not has_gradient(density, density.unconstrain({name: x[:1] for name, x in draws.items()})):
        return {}
    distance = mmd.ksd2(draws, density)
    generator = torch.Generator(trial.draws.device).manual_seed(trial.seed)
    test = mmd.ksd_test(draws, density, generator=generator)
    return {"ksd2": distance.value, "ksd2_stderr": distance.stderr, "ksd_p": test.p_value}


def _nn_ratio(trial: Trial) -> dict[str, float]:
    if trial.train is None:
        return {}
    ratio = evaluation.nearest_neighbour_ratio(trial.draws, trial.train, trial.reference, scale=trial.units)
    return {"nn_ratio": ratio}


def _cost(trial: Trial) -> dict[str, float]:
    values = {}
    if trial.fit_seconds is not None:
        values["fit_seconds"] = trial.fit_seconds
    if trial.draw_seconds is not None:
        values["seconds_per_1000"] = trial.draw_seconds * 1000 / len(trial.draws)
    if trial.density is not None:
        values["evaluations"] = trial.evaluated.log_probs / len(trial.draws)
        values["gradients"] = trial.evaluated.gradients / len(trial.draws)
    return values


METRICS: dict[str, Metric] = {
    "mmd": Metric(
        {
            "mmd2": Column(
                "MMD²",
                "Unbiased squared maximum mean discrepancy between draws and held-out data, under Gaussian "
                "kernels at ⅛ to 2 times the median distance of the held-out data. 0 for the true law; "
                "negative values are chance.",
                0.0,
            ),
            "mmd2_stderr": Column("MMD² SE", "Standard error of MMD² over draws and data.", bounds=POSITIVE),
            "mmd2_p": Column(
                "MMD p",
                "P-value of a permutation test that draws and held-out data have one law (kernel widths from "
                "the pooled sample). Of K repeats, which share the held-out data, the ⌈K / 2⌉-th smallest "
                "times K / ⌈K / 2⌉, which is valid however they depend on one another. Small values tell the "
                "two apart.",
                bounds=SHARE,
                axis="log",
                p_value=True,
            ),
        },
        _mmd,
    ),
    "energy": Metric(
        {
            "energy_distance": Column(
                "energy distance",
                "Unbiased energy distance between draws and held-out data, in the comparison's units. 0 for "
                "the true law; negative values are chance.",
                0.0,
            ),
            "energy_stderr": Column(
                "energy SE", "Standard error of the energy distance over draws and data.", bounds=POSITIVE
            ),
        },
        _energy,
    ),
    "c2st": Metric(
        {
            "c2st_accuracy": Column(
                "classifier accuracy",
                "Held-out accuracy of a classifier trained to tell draws from held-out data, on at most "
                "1,000 of each. ½ where it cannot, 1 where it always can.",
                0.5,
                bounds=SHARE,
            ),
            "c2st_stderr": Column(
                "classifier SE", "Standard error of the classifier's accuracy.", bounds=POSITIVE
            ),
        },
        _c2st,
    ),
    "precision_recall": Metric(
        {
            "precision": Column(
                "precision",
                "Share of draws that fall among the real data: do the draws look real?",
                "floor",
                bounds=SHARE,
            ),
            "recall": Column(
                "recall",
                "Share of real data that fall among the draws: is all of the variety there?",
                "floor",
                bounds=SHARE,
            ),
        },
        _precision_recall,
    ),
    "density_coverage": Metric(
        {
            "density": Column(
                "density",
                "As precision, but counting how many real neighbourhoods hold a draw, so that outliers weigh "
                "less. About 1 for the true law.",
                "floor",
                bounds=POSITIVE,
            ),
            "coverage": Column(
                "coverage",
                "Share of real data with a draw in its neighbourhood: as recall, robust to outlying draws.",
                "floor",
                bounds=SHARE,
            ),
        },
        _density_coverage,
    ),
    "ksd": Metric(
        {
            "ksd2": Column(
                "KSD²",
                "Unbiased squared kernel Stein discrepancy between draws and the density that they are drawn "
                "from, where it is known and has gradients. 0 for the true law; negative values are chance. "
                "A mode without any draw is not seen.",
                0.0,
            ),
            "ksd2_stderr": Column("KSD² SE", "Standard error of KSD² over draws.", bounds=POSITIVE),
            "ksd_p": Column(
                "KSD p",
                "P-value of a bootstrap test that draws have the density; of repeats as for MMD p.",
                bounds=SHARE,
                axis="log",
                p_value=True,
            ),
        },
        _ksd,
    ),
    "nll": Metric(
        {
            "nll": Column(
                "held-out NLL",
                "Mean negative log-likelihood of the held-out data, in nats per datum, where the method has "
                "a density. Lower is better.",
                "lower",
            ),
            "nll_stderr": Column(
                "NLL SE",
                "Standard error of the negative log-likelihood over held-out data.",
                bounds=POSITIVE,
            ),
        },
        _nll,
    ),
    "nn_ratio": Metric(
        {
            "nn_ratio": Column(
                "neighbour ratio",
                "Mean distance from a draw to the nearest training point, over the same for real data never "
                "seen. 1: as new as new data; towards 0: copies of the training data.",
                1.0,
                bounds=POSITIVE,
            ),
        },
        _nn_ratio,
    ),
    "cost": Metric(
        {
            "fit_seconds": Column("fit, s", "Seconds to fit.", "lower", bounds=POSITIVE, axis="log"),
            "seconds_per_1000": Column(
                "1,000 draws, s", "Seconds for 1,000 draws.", "lower", bounds=POSITIVE, axis="log"
            ),
            "evaluations": Column(
                "log-densities a draw",
                "How often the log-density was evaluated for a draw, of methods that draw from a density; "
                "what it took to get ready is with the methods.",
                "lower",
                bounds=POSITIVE,
            ),
            "gradients": Column(
                "gradients a draw", "How many of these had a gradient too.", "lower", bounds=POSITIVE
            ),
        },
        _cost,
    ),
}

COLUMNS: dict[str, Column] = {
    name: column for metric in METRICS.values() for name, column in metric.columns.items()
}


def select(names: Sequence[str] | None) -> dict[str, list[str]]:
    """Return the columns wanted of each metric; ``names`` are metrics or single columns, None means all.

    >>> select(["coverage", "nn_ratio"])
    {'density_coverage': ['coverage'], 'nn_ratio': ['nn_ratio']}
    """
    if isinstance(names, str):
        raise TypeError(f"metrics should be a list of names but got the string {names!r}")
    wanted = list(METRICS) if names is None else list(names)
    if not wanted:
        raise ValueError("metrics should have at least 1 name but has 0")
    for name in wanted:
        if name not in METRICS and name not in COLUMNS:
            known = [*METRICS, *COLUMNS]
            near = difflib.get_close_matches(name, known, n=3, cutoff=0.5) or list(METRICS)
            raise ValueError(f"metrics should be known names but has {name!r}; near: {', '.join(near)}")
    chosen = {
        metric: [column for column in METRICS[metric].columns if metric in wanted or column in wanted]
        for metric in METRICS
    }
    return {metric: columns for metric, columns in chosen.items() if columns}


def measure(trial: Trial, chosen: dict[str, list[str]]) -> dict[str, float]:
    """Return the chosen columns of a trial, without those that it has no data for."""
    values: dict[str, float] = {}
    for metric, columns in chosen.items():
        found = METRICS[metric].measure(trial)
        values |= {column: float(found[column]) for column in columns if column in found}
    for column, value in values.items():
        if math.isnan(value):
            raise ValueError(f"metric {column!r} should be a number but is NaN")
    return values
