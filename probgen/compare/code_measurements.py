"""What each metric of codes computes from a trial: of encoders and decoders, labels, draws of a class."""

from __future__ import annotations

import torch
from torch import Tensor

from probgen import evaluation
from probgen.compare.measurements import Trial
from probgen.core import seeded
from probgen.evaluation import ClassifierFeatures

NOISE = 0.25
"""Standard deviation of the noise of the trial of robustness, in the units of the comparison."""

SIZES = (10, 100)
"""Labels that a probe learns from."""


def reconstruction(trial: Trial) -> dict[str, float]:
    if trial.coded is None or trial.train is None:
        return {}
    # As many training rows as there are held-out ones, drawn from all of them.
    order = torch.randperm(len(trial.train), generator=torch.Generator().manual_seed(trial.seed))
    seen = trial.train[order[: len(trial.reference)].to(trial.train.device)]
    new, old = (_error(trial, rows, rows) for rows in (trial.reference, seen))
    found = {"reconstruction": new}
    return found | ({"overfitting": new / old} if old > 0 else {})


def code_law(trial: Trial) -> dict[str, float]:
    if trial.coded is None:
        return {}
    spread = evaluation.code_spread(trial.coded, trial.reference)
    return {"code_spread": spread.own, "active_units": spread.active}


def gaps(trial: Trial) -> dict[str, float]:
    if trial.coded is None or trial.train is None:
        return {}
    if not trial.coded.encode(trial.reference[:1]).mean.is_floating_point():
        return {}  # nothing is half-way between discrete codes
    return {
        "code_gaps": evaluation.code_gaps(trial.coded, trial.reference, trial.train, seed=trial.seed).value
    }


def probe(trial: Trial) -> dict[str, float]:
    return {f"probe_{size}": accuracy for size, accuracy in _probed(trial, noise=False).items()}


def robustness(trial: Trial) -> dict[str, float]:
    if trial.coded is None:
        return {}
    noisy = _noisy(trial)
    found = {"noise_error": _error(trial, noisy, trial.reference)}
    accuracies = _probed(trial, noise=True)
    return found | ({"noise_probe": accuracies[SIZES[-1]]} if SIZES[-1] in accuracies else {})


def clusters(trial: Trial) -> dict[str, float]:
    if trial.coded is None or trial.labels is None:
        return {}
    labels = trial.labels[1]
    known = labels >= 0
    codes = evaluation.encoded(trial.coded, trial.reference[known])
    found = evaluation.clustering(codes, labels[known], repeats=1, seed=trial.seed)
    return {"cluster_accuracy": found.accuracy, "cluster_nmi": found.nmi}


def control(trial: Trial) -> dict[str, float]:
    features = trial.features
    if trial.of_class is None or trial.labels is None or not isinstance(features, ClassifierFeatures):
        return {}
    classes = trial.labels[0][trial.labels[0] >= 0].unique().tolist()
    count = max(1, len(trial.reference) // len(classes))
    with torch.no_grad():
        right = [
            _classified(features, trial.of_class(count, seed=trial.seed, label=label)) == label
            for label in classes
        ]
    return {"control": float(torch.cat(right).double().mean())}


def _classified(features: ClassifierFeatures, x: Tensor) -> Tensor:
    return features.classifier(features.inputs(x)).logits.argmax(-1)


def _probed(trial: Trial, *, noise: bool) -> dict[int, float]:
    """Return by number of labels the accuracy of a linear probe; the labels are the same for all methods."""
    if trial.coded is None or trial.train is None or trial.labels is None:
        return {}
    learned, held_out = (labels >= 0 for labels in trial.labels)
    y, y_test = trial.labels[0][learned], trial.labels[1][held_out]
    counts = y.unique(return_counts=True)[1]
    fits = [size for size in SIZES if len(counts) <= size and -(-size // len(counts)) <= int(counts.min())]
    if not fits:
        return {}
    tested = _noisy(trial) if noise else trial.reference
    own, theirs = (evaluation.encoded(trial.coded, x) for x in (trial.train[learned], tested[held_out]))
    found = evaluation.transfer({"own": (own, theirs)}, y, y_test, sizes=fits, seed=0, probes=("linear",))
    return dict(zip(found["labels"], found["accuracy"], strict=True))


def _noisy(trial: Trial) -> Tensor:
    """Return the reference with normal noise, the same for all methods."""
    units = 1.0 if trial.units is None else trial.units
    with seeded(0):
        return trial.reference + NOISE * units * torch.randn_like(trial.reference)


def _error(trial: Trial, seen: Tensor, rows: Tensor) -> float:
    """Return the mean squared distance, in the comparison's units, of what is restored to rows."""
    assert trial.coded is not None
    restored = evaluation.reconstructed(trial.coded, seen)
    if restored.shape != rows.shape:
        raise ValueError(
            f"what is decoded should have the shape of the data, {tuple(rows.shape)}, but has "
            f"{tuple(restored.shape)}"
        )
    apart = (restored.double() - rows) / (1.0 if trial.units is None else trial.units)
    return float(apart.square().flatten(1).sum(1).mean())
