"""Judges of spoken words: a recogniser, a recogniser taught by draws, distances in features, variety."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool1d

from probgen import data, evaluation
from probgen.applications.frame.study import Study
from probgen.applications.parts.speech.cases import Case, Spoken

SLICES = 24
"""Of time, over which a recogniser takes means."""


class Listener(NamedTuple):
    """What hears words in spectrograms, and features of spectrograms in which laws are compared."""

    hears: Callable[[Tensor], Tensor]
    features: Callable[[Tensor], Tensor]


def heard(analysis: data.LogMel, drawn: Tensor) -> Tensor:
    """Return the spectrograms of the sounds that were made of spectrograms."""
    sounds = analysis.sound(drawn, iterations=10)
    return analysis(sounds / sounds.abs().amax(1, keepdim=True))


def listener_of(study: Study, spoken: Spoken, case: Case, repeat: int) -> Listener:
    """Return what hears words in spectrograms, and features of them, learned from real recordings."""
    x, words = spoken.x[case.train], spoken.words[case.train]
    steps = study.pick(full=1000, quick=300, tiny=20)
    width = min(32, len(case.test) // 2 - 1)  # a Fréchet distance needs more than twice as many draws
    seed = study.seed_of("features", repeat)
    features = evaluation.classifier_features(
        x.flatten(1), words, width=width, steps=steps, scale=None, seed=seed
    )
    return Listener(recogniser(x, words), features)


def judged_by(spoken: Spoken, case: Case, sounds: Tensor, listener: Listener) -> dict[str, float]:
    """Return the measures of what is heard of draws, beside new recordings of the same words and speakers."""
    words, kinds, new = spoken.words[case.test], spoken.kinds[case.test], spoken.x[case.test]
    found = evaluation.frechet_distance(sounds.flatten(1), new.flatten(1), features=listener.features)
    taught = recogniser(sounds, words)(spoken.x[case.left_out])
    return {
        "heard": float((listener.hears(sounds) == words).double().mean()),
        "frechet": found.value,
        "variety": variety(sounds, kinds) / variety(new, kinds),
        "taught": float((taught == spoken.words[case.left_out]).double().mean()),
    }


def recogniser(x: Tensor, words: Tensor) -> Callable[[Tensor], Tensor]:
    """Return what hears a word in spectrograms (n, bands, frames), learned from some whose words are known.

    A support vector machine with a Gaussian kernel (C = 10) on means of each band over 24 slices of time,
    in one scale, as bands that are silent have none of their own.
    """
    from sklearn.svm import SVC

    machine = SVC(C=10.0).fit(_slices(x), words.cpu().numpy())
    return lambda other: torch.from_numpy(machine.predict(_slices(other)))


def variety(x: Tensor, kinds: Tensor) -> float:
    """Return the mean distance of two rows of one kind, over pairs, then over kinds of two rows or more.

    >>> variety(torch.tensor([[0.0], [2.0], [9.0], [10.0]]), torch.tensor([0, 0, 1, 1]))
    1.5
    """
    distances = [
        torch.pdist(x[kinds == kind].flatten(1)).mean()
        for kind in kinds.unique()
        if (kinds == kind).sum() > 1
    ]
    return float(torch.stack(distances).mean())


def _slices(x: Tensor) -> Any:
    return adaptive_avg_pool1d(x, SLICES).flatten(1).cpu().numpy()
