"""One method, or one baseline, in one repeat."""

from __future__ import annotations

import contextlib
import logging
import time
import zlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from pyro.distributions import Delta
from torch import Tensor
from torch.distributions import Distribution

from probgen import evaluation
from probgen.compare.checks import check_like
from probgen.compare.measurements import Trial
from probgen.compare.methods import Fitted, Method, Sampler
from probgen.compare.metrics import METRICS, measure
from probgen.compare.units import Units
from probgen.core import evaluations, sample_of, seeded, tensor_of
from probgen.evaluation.draws.feature_distances import Features

FLOOR, HALVES, MEMORISER = "train against test", "reference against reference", "memoriser"


class Known(NamedTuple):
    """What is known of data beside their rows: centres and sd of their modes, features, classes."""

    modes: tuple[Tensor, float] | None = None
    features: Features | None = None
    labels: tuple[Tensor, Tensor] | None = None


class Itself:
    """Data as their own code: what codes of a method are held against."""

    def encode(self, x: Tensor, *context: Tensor) -> Distribution:
        return Delta(x, event_dim=x.dim() - 1)

    def decode(self, z: Tensor, *context: Tensor) -> Distribution:
        return Delta(z, event_dim=z.dim() - 1)


Parts = Any
"""Data of several parts as methods are given them, a tuple of tensors; None for what is one tensor."""


class Outcome(NamedTuple):
    """What one method, or one baseline, came to in one repeat; of a baseline there are values alone."""

    values: Mapping[str, float]
    notes: Mapping[str, str | float] = {}
    findings: Sequence[str] = ()
    fitted: Fitted | None = None
    draws: Tensor | None = None


def given_parts(data: Any) -> Parts:
    """Return data of several parts as tensors."""
    return tuple(tensor_of(part) for part in data) if isinstance(data, tuple) else None


def known_of(modes: Any, features: Any, labels: Any, train: Tensor | None, reference: Tensor) -> Known:
    """Return what is known of the data beside their rows, once it is seen to suit them."""
    classes = labels_of_both(labels, train, reference)
    if features is not None:
        if not callable(features):
            raise TypeError(
                f"features should be a function of data but are of type {type(features).__name__}: "
                "evaluation.classifier_features makes some"
            )
        evaluation.kernel_distance(reference[:8], reference[:8], features=features)
    if modes is None:
        return Known(None, features, classes)
    if not isinstance(modes, tuple) or len(modes) != 2:
        raise TypeError(f"modes should be (centres, sd) but are of type {type(modes).__name__}")
    centres = sample_of(modes[0], "centres", like=reference)
    evaluation.mode_coverage(reference[:1], centres, modes[1])
    return Known((centres, float(modes[1])), features, classes)


def labels_of_both(labels: Any, train: Tensor | None, reference: Tensor) -> tuple[Tensor, Tensor] | None:
    """Return the classes of training data and reference, −1 where missing."""
    if labels is None:
        return None
    if not isinstance(labels, tuple) or len(labels) != 2 or train is None:
        raise TypeError(
            "labels should be a pair, those of train and those of reference, beside train, but are of type "
            f"{type(labels).__name__}{' without train' if train is None else ''}"
        )
    found = []
    for part, rows, name in zip(labels, (train, reference), ("train", "reference"), strict=True):
        own = torch.as_tensor(tensor_of(part, f"labels of {name}"))
        whole = own.shape == rows.shape[:1] and bool((own == own.round()).all() and (own >= -1).all())
        if not whole:
            raise ValueError(
                f"labels of {name} should be {len(rows)} whole numbers, at least 0 or -1 where missing, but "
                f"have shape {tuple(own.shape)} and values from {float(own.min()):g}"
            )
        if len(own[own >= 0].unique()) < 2:
            raise ValueError(f"labels of {name} should be of at least 2 classes")
        found.append(own.to(rows.device).long())
    return found[0], found[1]


def outcome(
    name: str,
    method: Method | Sampler | Fitted | None,
    reference: Tensor,
    train: Tensor | None,
    n: int,
    seeds: Mapping[str, int],
    units: Units,
    given: tuple[Parts, Parts],
    chosen: dict[str, list[str]],
    known: Known,
    *,
    kept: bool,
) -> Outcome:
    """Return what a method, or the baseline called so, comes to; what was fitted and drawn where ``kept``."""
    with naming(name):
        if method is None:
            return Outcome(baseline(name, reference, train, n, seeds, units, chosen, known))
        fitted, trial = attempt(method, reference, train, n, seeds, units, given, known, chosen=chosen)
        values = measure(trial, chosen)
        found = Outcome(values, dict(fitted.notes), list(fitted.findings))
        return found._replace(fitted=fitted, draws=trial.draws) if kept else found


def attempt(
    method: Method | Sampler | Fitted,
    reference: Tensor,
    train: Tensor | None,
    n: int,
    seeds: Mapping[str, int],
    units: Units,
    given: tuple[Parts, Parts],
    known: Known,
    *,
    chosen: Mapping[str, Sequence[str]],
) -> tuple[Fitted, Trial]:
    """Fit a method, draw from it and score the reference where asked, each under its own seed and timed.

    ``given`` are the training data and the reference where they have several parts.

    What probgen warns of meanwhile is among the findings.
    """
    with _warnings() as said:
        fit_seconds = None
        if isinstance(method, Method):
            # Learning, drawing and measuring have seeds of their own, and the first two are timed.
            start = _now(reference)
            with seeded(seeds["fit"]):
                fitted = method.fit(train if given[0] is None else given[0], seeds["fit"])
            fit_seconds = _now(reference) - start
            if not isinstance(fitted, Fitted):
                raise TypeError(f"fit should return a Fitted but returned type {type(fitted).__name__}")
        else:
            fitted = method if isinstance(method, Fitted) else Fitted(method)
        start, before = _now(reference), evaluations()
        with seeded(seeds["draw"]), torch.no_grad():
            draws = fitted.sample(n, seed=seeds["draw"])
        draw_seconds, evaluated = _now(reference) - start, evaluations().since(before)
        draws = sample_of(draws, "draws", like=reference)
        check_like("draws", draws, reference)
        if len(draws) != n:
            raise ValueError(f"draws should be {n} points but are {len(draws)}")
        # A likelihood of the reference, where the method has one and a metric asks for it.
        log_probs, of_sequences = None, {}
        held_out = reference if given[1] is None else given[1]
        if "nll" in chosen and fitted.log_prob is not None:
            with seeded(seeds["measure"]), torch.no_grad():
                log_probs = fitted.log_prob(held_out)
            if log_probs.shape != reference.shape[:1]:
                raise ValueError(
                    f"log_prob should return shape {tuple(reference.shape[:1])} "
                    f"but returned {tuple(log_probs.shape)}"
                )
            if not (log_probs < torch.inf).all():
                raise ValueError(
                    "log_prob should be below infinity everywhere but is NaN or infinite somewhere"
                )
        if "sequences" in chosen and fitted.of_sequences is not None:
            with seeded(seeds["measure"]), torch.no_grad():
                of_sequences = dict(fitted.of_sequences(held_out))
        own = units.of(draws, reference)
        seed = seeds["measure"]
        trial = Trial(
            draws,
            reference,
            train,
            log_probs,
            fit_seconds,
            draw_seconds,
            seed,
            own,
            units.scale,
            fitted.density,
            evaluated,
            *known,
            coded=fitted.coded,
            of_class=fitted.of_class,
            of_sequences=of_sequences,
        )
    return fitted._replace(findings=tuple(dict.fromkeys([*fitted.findings, *said]))), trial


def baseline(
    name: str,
    reference: Tensor,
    train: Tensor | None,
    n: int,
    seeds: Mapping[str, int],
    units: Units,
    chosen: dict[str, list[str]],
    known: Known,
) -> dict[str, float]:
    """Measure real data, or copies of the training data, as if a method had drawn them."""
    rng = np.random.default_rng(seeds["draw"])

    def pick(data: Tensor, rows: np.ndarray) -> Tensor:
        return data[torch.from_numpy(rows).to(data.device)]

    def trial(draws: Tensor, held_out: Tensor, *, itself: bool = False) -> Trial:
        own = units.of(draws, held_out)
        labelled = itself and known.labels is not None
        return Trial(
            draws,
            held_out,
            train,
            seed=seeds["measure"],
            units=own,
            scale=units.scale,
            modes=known.modes,
            features=known.features,
            labels=known.labels if itself else None,
            coded=Itself() if itself else None,
            of_class=of_class if labelled else None,
        )

    def of_class(n: int, *, seed: int, label: int) -> Tensor:
        assert known.labels is not None
        return reference[known.labels[1] == label][:n]

    one, other = (pick(reference, rows) for rows in np.array_split(rng.permutation(len(reference)), 2))
    halves = trial(one, other)
    if train is None:
        return measure(trial(one, other, itself=True), chosen)
    if name == MEMORISER:
        copies = pick(train, rng.integers(len(train), size=n))
        return measure(trial(copies, reference), chosen)
    # Training points are at distance 0 from the training data, and known to a net that has learned from
    # them: the floor of a metric that asks for either needs fresh ones.
    fresh = {metric: columns for metric, columns in chosen.items() if METRICS[metric].fresh}
    others = {metric: columns for metric, columns in chosen.items() if metric not in fresh}
    real = pick(train, np.sort(rng.permutation(len(train))[:n]))
    return measure(trial(real, reference, itself=True), others) | measure(halves, fresh)


def seeds_of(seed: int, repeat: int, name: str) -> dict[str, int]:
    """Return the seeds of a method's fit, draws and metrics in one repeat."""
    words = np.random.SeedSequence([seed, repeat, zlib.crc32(name.encode())]).generate_state(3)
    return dict(zip(("fit", "draw", "measure"), (int(word) for word in words), strict=True))


def _now(data: Tensor) -> float:
    if data.is_cuda:
        torch.cuda.synchronize(data.device)
    return time.perf_counter()


@contextlib.contextmanager
def _warnings() -> Iterator[list[str]]:
    """Collect what probgen warns of in its log."""
    said: list[str] = []

    class Collector(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            said.append(record.getMessage())

    log, collector = logging.getLogger("probgen"), Collector(logging.WARNING)
    log.addHandler(collector)
    try:
        yield said
    finally:
        log.removeHandler(collector)


@contextlib.contextmanager
def naming(name: str) -> Iterator[None]:
    """Put the method's name in front of any error."""
    try:
        yield
    except (ValueError, TypeError) as error:
        kind = ValueError if isinstance(error, ValueError) else TypeError
        raise kind(f"method {name!r}: {error}") from error
    except Exception as error:
        raise RuntimeError(f"method {name!r} failed with {type(error).__name__}: {error}") from error
