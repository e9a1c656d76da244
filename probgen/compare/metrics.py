"""The metrics of a comparison: what each measures, which value is best, and how it is computed."""

from __future__ import annotations

import difflib
import math
from collections.abc import Sequence

from probgen.compare import measurements
from probgen.compare.code_metrics import CODE_METRICS
from probgen.compare.columns import POSITIVE, SHARE, Column, Metric
from probgen.compare.measurements import Trial

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
        measurements.maximum_mean_discrepancy,
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
        measurements.energy,
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
        measurements.c2st,
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
        measurements.precision_recall,
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
        measurements.density_coverage,
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
        measurements.ksd,
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
        measurements.nll,
    ),
    "sequences": Metric(
        {
            "nats_per_step": Column(
                "−log p(x) a step",
                "Minus the log-likelihood of held-out sequences, in nats a step: their sum over the sum of "
                "steps. Exact, or an upper bound by particles: the methods' notes say which. Lower is "
                "better.",
                "lower",
            ),
            "nats_per_step_stderr": Column(
                "its SE", "Standard error of that over held-out sequences.", bounds=POSITIVE
            ),
            "elbo_per_step": Column(
                "−ELBO a step",
                "Minus the evidence lower bound of held-out sequences, in nats a step, of methods with a "
                "guide. What lies between it and the likelihood is the guide's.",
                "lower",
            ),
        },
        measurements.sequences,
        asked=True,
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
        measurements.nn_ratio,
        fresh=True,
    ),
    "copying": Metric(
        {
            "copying_z": Column(
                "copying z",
                "Standard score of the distances from draws to the nearest training points against those of "
                "held-out data, by ranks within cells, of at most 1,000 each. About N(0, 1) for the true "
                "law; far below 0: copies of the training data; far above: draws that lie off the data.",
                0.0,
            ),
            "copying_p": Column(
                "copying p",
                "P-value of the test that draws are no nearer to the training data than held-out data are; "
                "of repeats as for MMD p. Small values: copies.",
                bounds=SHARE,
                p_value=True,
            ),
            "authenticity": Column(
                "authenticity",
                "Share of draws that are farther from their nearest training point than its own nearest "
                "neighbour is. 0: copies; the floor, of new real data, is about ½ in many dimensions.",
                "floor",
                bounds=SHARE,
            ),
        },
        measurements.copying,
        fresh=True,
    ),
    "modes": Metric(
        {
            "modes": Column(
                "modes found",
                "Modes of the true law, where these are known, with at least a quarter of the draws that "
                "they should have.",
                "floor",
                bounds=POSITIVE,
            ),
            "high_quality": Column(
                "high quality",
                "Share of draws within 3 standard deviations of a mode. Of the true law 0.989 in two "
                "dimensions.",
                "floor",
                bounds=SHARE,
            ),
            "modes_kl": Column(
                "KL of modes",
                "Kullback-Leibler divergence of the shares of draws nearest to each mode from the true ones, "
                "in nats. About (modes − 1) / 2n for n draws of the true law.",
                "floor",
                bounds=POSITIVE,
            ),
        },
        measurements.modes,
    ),
    "features": Metric(
        {
            "frechet": Column(
                "Fréchet distance",
                "Squared Fréchet distance between draws and held-out data in the features that are given, "
                "less its bias by extrapolation in the number of draws. 0 where means and covariances agree; "
                "negative values are chance.",
                0.0,
            ),
            "kernel_distance": Column(
                "kernel distance",
                "Unbiased MMD² under a cubic kernel in the features that are given, as in the kernel "
                "inception distance. 0 where the first three moments agree; negative values are chance.",
                0.0,
            ),
            "kernel_stderr": Column(
                "kernel SE", "Standard error of the kernel distance over draws and data.", bounds=POSITIVE
            ),
        },
        measurements.features,
        fresh=True,
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
        measurements.cost,
    ),
    **CODE_METRICS,
}

COLUMNS: dict[str, Column] = {
    name: column for metric in METRICS.values() for name, column in metric.columns.items()
}


def select(names: Sequence[str] | None) -> dict[str, list[str]]:
    """Return the columns wanted of each metric; ``names`` are metrics or single columns; None means all but
    those that are computed only where they are named.

    >>> select(["coverage", "nn_ratio"])
    {'density_coverage': ['coverage'], 'nn_ratio': ['nn_ratio']}
    """
    if isinstance(names, str):
        raise TypeError(f"metrics should be a list of names but got the string {names!r}")
    by_default = [name for name, metric in METRICS.items() if not metric.asked]
    wanted = by_default if names is None else list(names)
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
