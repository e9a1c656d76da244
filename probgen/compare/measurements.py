"""What each metric computes from a trial: a method's draws, and what they are judged against."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import NamedTuple

import torch
from torch import Tensor

from probgen import evaluation, mmd
from probgen.compare.thinned_chains import by_site
from probgen.core import Coded, Density, Evaluations
from probgen.evaluation.draws.feature_distances import Features
from probgen.mmd.scaling import Scale, scaled
from probgen.sampling.markov.moves.metropolis import has_gradient


class Trial(NamedTuple):
    r"""One method in one repeat: its draws, and what they are judged against.

    ``draws`` and ``reference`` have shape (n, \*event); ``log_probs`` are those of the reference's points
    under the method, in nats; the times are in seconds. ``units`` is what columns are divided by, shape
    event, the same for all methods so that their numbers compare, or None; ``scale`` is that of tests, whose
    level needs the pooled sample. ``density`` is what was drawn from, where that is known, and ``evaluated``
    how often it was evaluated for these draws. ``modes`` are the centres of the true law's modes and their
    standard deviation, ``features`` what maps data to features, and ``labels`` the classes of training data
    and reference, −1 where missing, where these are known. ``coded`` encodes data and decodes codes, of a
    method that can; real data are their own codes. ``of_class(n, seed=seed, label=label)`` draws of one
    class, of a method that can. ``of_sequences`` is what a method has said of the likelihood a step.
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
    modes: tuple[Tensor, float] | None = None
    features: Features | None = None
    labels: tuple[Tensor, Tensor] | None = None
    coded: Coded | None = None
    of_class: Callable[..., Tensor] | None = None
    of_sequences: Mapping[str, float] = MappingProxyType({})


SOME = 1000
"""Draws and held-out data, at most, whose neighbours the test of copying looks for."""


def maximum_mean_discrepancy(trial: Trial) -> dict[str, float]:
    (draws, reference), _ = scaled(trial.units, draws=trial.draws, reference=trial.reference)
    kernel = mmd.Gaussian(mmd.bandwidth_grid(reference[::2], reference[1::2]))
    distance = mmd.mmd2(draws, reference, kernel)
    generator = torch.Generator(trial.draws.device).manual_seed(trial.seed)
    test = mmd.mmd_test(trial.draws, trial.reference, scale=trial.scale, generator=generator)
    return {"mmd2": distance.value, "mmd2_stderr": distance.stderr, "mmd2_p": test.p_value}


def energy(trial: Trial) -> dict[str, float]:
    distance = mmd.energy_distance(trial.draws, trial.reference, scale=trial.units)
    return {"energy_distance": distance.value, "energy_stderr": distance.stderr}


def c2st(trial: Trial) -> dict[str, float]:
    test = evaluation.classifier_two_sample(trial.draws, trial.reference, seed=trial.seed)
    return {"c2st_accuracy": test.accuracy, "c2st_stderr": test.stderr}


def precision_recall(trial: Trial) -> dict[str, float]:
    return evaluation.precision_recall(trial.reference, trial.draws, scale=trial.units)._asdict()


def density_coverage(trial: Trial) -> dict[str, float]:
    return evaluation.density_coverage(trial.reference, trial.draws, scale=trial.units)._asdict()


def nll(trial: Trial) -> dict[str, float]:
    if trial.log_probs is None:
        return {}
    values = -trial.log_probs.double()
    mean = float(values.mean())
    # A point to which the method gives no mass at all: an infinite loss, of which no error can be estimated.
    stderr = float(values.std()) / math.sqrt(len(values)) if math.isfinite(mean) else math.inf
    return {"nll": mean, "nll_stderr": stderr}


def sequences(trial: Trial) -> dict[str, float]:
    return dict(trial.of_sequences)


def ksd(trial: Trial) -> dict[str, float]:
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


def nn_ratio(trial: Trial) -> dict[str, float]:
    if trial.train is None:
        return {}
    ratio = evaluation.nearest_neighbour_ratio(trial.draws, trial.train, trial.reference, scale=trial.units)
    return {"nn_ratio": ratio}


def copying(trial: Trial) -> dict[str, float]:
    if trial.train is None:
        return {}
    draws, held_out = trial.draws[:SOME], trial.reference[:SOME]
    test = evaluation.data_copying_test(draws, trial.train, held_out, scale=trial.units)
    share = evaluation.authenticity(draws, trial.train, scale=trial.units)
    return {"copying_z": test.z, "copying_p": test.p_value, "authenticity": share}


def modes(trial: Trial) -> dict[str, float]:
    if trial.modes is None:
        return {}
    found = evaluation.mode_coverage(trial.draws, *trial.modes)
    return {"modes": found.found, "high_quality": found.high_quality, "modes_kl": found.kl}


def features(trial: Trial) -> dict[str, float]:
    if trial.features is None:
        return {}
    x, y = trial.features(trial.draws), trial.features(trial.reference)
    kernel = evaluation.kernel_distance(x, y)
    found = {"kernel_distance": kernel.value, "kernel_stderr": kernel.stderr}
    if min(len(x), len(y)) >= 2 * (x.shape[1] + 1):
        found["frechet"] = evaluation.frechet_distance(x, y).extrapolated
    return found


def cost(trial: Trial) -> dict[str, float]:
    values = {}
    if trial.fit_seconds is not None:
        values["fit_seconds"] = trial.fit_seconds
    if trial.draw_seconds is not None:
        values["seconds_per_1000"] = trial.draw_seconds * 1000 / len(trial.draws)
    if trial.density is not None:
        values["evaluations"] = trial.evaluated.log_probs / len(trial.draws)
        values["gradients"] = trial.evaluated.gradients / len(trial.draws)
    return values
