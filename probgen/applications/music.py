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
from probgen.applications.parts.music.hidden_markov import hidden_markov
from probgen.applications.parts.music.pieces import HEARD, SHUFFLED, task_of
from probgen.compare.columns import POSITIVE, SHARE, Column
from probgen.core import GenerativeModel
from probgen.evaluation.music import OF_ONE_STEP, OF_TRANSITIONS
from probgen.recipes import Task
from probgen.recipes.sequence_likelihood import how, per_step

FLOOR, HMM = "real music", "HMM"
OURS = {"music-vae": "music-vae", "DMM": "dmm", "RNN-mixture": "rnn-mixture"}
BASELINES = {"RNN-NADE": "rnn-nade"}
"""Recipes without codes: beside the HMM, the peers in likelihood."""

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
        study.fact("version" if key == "data" else key, value)
    held_out = [piece[:HEARD] for piece in task.test.sequences()]
    study.fact("judged", f"the first {HEARD} steps of pieces, {len(held_out)} drawn against as many held out")
    entries = recipes.entries("music")
    for name, recipe in OURS.items():
        study.ours(name, f"{entries[recipe].what}: {entries[recipe].source}.")
    for name, recipe in BASELINES.items():
        study.baseline(name, f"{entries[recipe].what}: {entries[recipe].source}.")
    states = study.pick(full=(64, 128, 256), quick=(16, 32), tiny=(4, 8))
    study.baseline(HMM, "A hidden Markov model, learned by EM; how many states, the pieces to choose on say.")
    study.baseline(
        SHUFFLED, "Training pieces, the steps of each in a random order: all but what moves is right."
    )
    study.baseline(
        FLOOR, "Four fifths of the pieces to choose on, at random, judged as if they were drawn.", floor=True
    )
    steps, particles = study.pick(full=(600, 50), quick=(50, 5), tiny=(2, 2))
    study.fact("training", f"{steps} steps of each recipe, the best weights by the pieces to choose on")

    @functools.cache
    def learned(method: str, repeat: int) -> GenerativeModel:
        seed = study.seed_of(method, repeat)
        if method == HMM:
            iterations = study.pick(full=20, quick=8, tiny=2)
            return hidden_markov(task, states, iterations=iterations, seed=seed)
        name = (OURS | BASELINES)[method]
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
            batch, seed = (task.test.x, task.test.lengths), study.seed_of(method, repeat)
            value = per_step(learned(method, repeat), batch, particles=particles, seed=seed)
            found["nats"] = value["nats_per_step"]
        return found

    for repeat in range(study.pick(full=3, quick=2, tiny=2)):
        for method in study.methods:
            study.measure(method, repeat, functools.partial(judged, method, repeat))
    for method in (*OURS, *BASELINES, HMM):
        study.fact(f"nats a step of {method}", how(learned(method, 0), particles=particles))
    chosen = len(learned(HMM, 0).get_parameter("start"))
    study.fact(
        "states of the HMM", f"{chosen} in the first repeat, chosen among {', '.join(map(str, states))}"
    )
    show(study, task, held_out, lambda method: pieces(method, 0))


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
