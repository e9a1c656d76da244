"""Music: chorales drawn by models with and without memory, beside shuffled and real ones."""

from __future__ import annotations

import functools
from collections.abc import Sequence

import torch
from torch import Tensor

from probgen import evaluation, recipes
from probgen.applications.frame.registry import application
from probgen.applications.frame.study import Study
from probgen.applications.parts.music.figures import show
from probgen.applications.parts.music.pieces import HEARD, SHUFFLED, task_of
from probgen.compare.columns import POSITIVE, SHARE, Column
from probgen.core import GenerativeModel
from probgen.evaluation.music import OF_ONE_STEP, OF_TRANSITIONS
from probgen.models import HiddenMarkov
from probgen.recipes import Task
from probgen.recipes.sequence_likelihood import how, per_step

FLOOR, HMM = "real music", "HMM"
RECIPES = {"music-vae": "music-vae", "DMM": "dmm", "RNN-NADE": "rnn-nade"}
STATES = 64

MEASURES = {
    "transitions": Column(
        "transitions",
        "Repeats, held notes, leaps and bass by fifths of pieces: the mean distance (Kolmogorov-Smirnov) "
        "of their laws to those of held-out pieces.",
        "floor",
        SHARE,
    ),
    "steps": Column(
        "steps",
        "Polyphony, scale, pitch classes and semitones, whatever the order of steps: the mean distance "
        "of their laws to those of held-out pieces.",
        "floor",
        SHARE,
    ),
    "copied": Column(
        "copied", "Passages of four steps that stand note for note in a training piece.", "floor", SHARE
    ),
    "nats": Column(
        "nats a step", "−log p of held-out pieces, of pairs an upper bound of it.", "lower", POSITIVE
    ),
}


@application(
    "music",
    "Chorales",
    data="pieces of music: a folder of 20 or more MIDI files, read by quarter notes",
    shipped=("chorales",),
    measures=MEASURES,
)
def music(study: Study) -> None:
    """Train each model anew in each repeat, draw pieces as long as the held-out ones, and judge these."""
    task = task_of(study)
    for key, value in task.facts.items():
        study.fact(key, value)
    held_out = [piece[:HEARD] for piece in task.test.sequences()]
    study.fact("judged", f"the first {HEARD} steps of pieces, {len(held_out)} drawn against as many held out")
    entries = recipes.entries("music")
    for name, recipe in RECIPES.items():
        study.ours(name, f"{entries[recipe].what}: {entries[recipe].source}.")
    study.baseline(HMM, f"A hidden Markov model of {STATES} states, learned by EM.")
    study.baseline(
        SHUFFLED, "Training pieces, the steps of each in a random order: all but what moves is right."
    )
    study.baseline(
        FLOOR, "Four fifths of the pieces to choose on, at random, judged as if they were drawn.", floor=True
    )
    steps = study.pick(full=600, quick=50, tiny=2)
    study.fact("training", f"{steps} steps of each of ours, the best weights by the pieces to choose on")

    @functools.cache
    def learned(method: str, repeat: int) -> GenerativeModel:
        seed = study.seed_of(method, repeat)
        if method == HMM:
            return _hidden_markov(task, iterations=study.pick(full=30, quick=8, tiny=2), seed=seed)
        name = RECIPES[method]
        make = functools.partial(recipes.make, name, task)
        recipe, _ = study.train(f"{name}-{repeat}", make, task, seed=seed, steps=steps, method=method)
        return recipe.model

    @functools.cache
    def pieces(method: str, repeat: int) -> list[Tensor]:
        lengths = torch.tensor([len(piece) for piece in held_out], device=study.device)
        seed = study.seed_of(method, repeat)
        if method not in (FLOOR, SHUFFLED):
            drawn = learned(method, repeat).sample(len(lengths), lengths, seed=seed)
            return [piece[: int(length)] for piece, length in zip(drawn, lengths, strict=True)]
        return _real(task, len(lengths), seed=seed, shuffled=method == SHUFFLED)

    def judged(method: str, repeat: int) -> dict[str, float]:
        found = _judged(pieces(method, repeat), held_out, task)
        if method not in (FLOOR, SHUFFLED):
            particles = study.pick(full=50, quick=5, tiny=2)
            model = learned(method, repeat)
            batch = (task.test.x, task.test.lengths)
            value = per_step(model, batch, particles=particles, seed=study.seed_of(method, repeat))
            found["nats"] = value["nats_per_step"]
            study.fact(f"nats a step of {method}", how(model, particles=particles))
        return found

    for repeat in range(study.pick(full=3, quick=2, tiny=2)):
        for method in study.methods:
            study.measure(method, repeat, functools.partial(judged, method, repeat))
    show(study, task, held_out, lambda method: pieces(method, 0))


def _hidden_markov(task: Task, *, iterations: int, seed: int) -> HiddenMarkov:
    model = HiddenMarkov(min(STATES, int(task.train.inside.sum()) // 4), task.size).to(task.device)
    assert task.train.lengths is not None
    rows = (task.train.x, task.train.lengths)
    model.start_at(*rows, seed=seed)
    model.fit_em(*rows, iterations=iterations)
    return model


def _real(task: Task, n: int, *, seed: int, shuffled: bool) -> list[Tensor]:
    """Return pieces at random: of those to choose on, or of those to learn from, each shuffled in time."""
    source = torch.Generator().manual_seed(seed)
    rows = task.train if shuffled else task.held_out
    assert rows is not None
    known = [piece[:HEARD] for piece in rows.sequences()]
    chosen = [known[i] for i in torch.randperm(len(known), generator=source)[:n].tolist()]
    if shuffled:
        return [piece[torch.randperm(len(piece), generator=source)] for piece in chosen]
    return chosen[: max(1, 4 * len(chosen) // 5)]  # so that repeats differ


def _judged(pieces: Sequence[Tensor], held_out: Sequence[Tensor], task: Task) -> dict[str, float]:
    """Return how far statistics of pieces are from those of held-out ones, and what is copied."""
    sounding = [piece for piece in pieces if bool(piece.any())]
    if not sounding:
        raise ValueError("pieces should sound but all that were drawn are silent: train for longer")
    own, theirs = (evaluation.music_statistics(part) for part in (sounding, held_out))
    distances = evaluation.statistics_distance(own, theirs)
    return {
        "transitions": sum(distances[name] for name in OF_TRANSITIONS) / len(OF_TRANSITIONS),
        "steps": sum(distances[name] for name in OF_ONE_STEP) / len(OF_ONE_STEP),
        "copied": evaluation.copied_share(sounding, task.train.sequences()),
    }
