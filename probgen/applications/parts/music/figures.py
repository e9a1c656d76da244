"""What is shown of pieces of music: piano rolls, the nearest training pieces, statistics, MIDI and sound."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pandas as pd
from torch import Tensor

from probgen import data, evaluation, plots
from probgen.applications.frame.study import Study
from probgen.applications.parts.music.pieces import HEARD, SHUFFLED
from probgen.recipes import Task


def show(
    study: Study, task: Task, held_out: Sequence[Tensor], pieces: Callable[[str], Sequence[Tensor]]
) -> None:
    """Show pieces, what is nearest to them among the training pieces, statistics; write MIDI and sound."""
    drawn = {name: pieces(name) for name in study.methods if name != study.floor}
    shown = {"real, held out": held_out, **drawn}
    first = {name: [piece.cpu() for piece in own[:3]] for name, own in shown.items()}
    study.figure(
        "piano rolls",
        plots.piano_rolls(first, steps=HEARD),
        "Held-out pieces, and the first ones that each method draws, none picked out.",
    )
    known = [piece.cpu() for piece in task.train.sequences()]
    rows, nearest = [], {}
    for name in [name for name in shown if name != SHUFFLED]:
        opening = first[name][0][:16]
        number, place, differ = evaluation.nearest_passage(opening, known)
        nearest[name] = [opening]
        nearest[f"nearest to {name}"] = [known[number][place : place + len(opening)]]
        rows.append({"piece": name, "training piece": number + 1, "from step": place + 1, "notes": differ})
    study.figure(
        "nearest training pieces",
        plots.piano_rolls(nearest, columns=1, steps=16),
        "The first 16 steps of a piece, and below them the passage of a training piece that differs least.",
    )
    study.table("nearest", pd.DataFrame(rows), "Notes a step in which it differs from the nearest passage.")
    theirs = evaluation.music_statistics(held_out)
    table = {"statistic": [*theirs.columns], "real, held out": theirs.mean().tolist()}
    for name in study.methods:
        own = evaluation.music_statistics([piece for piece in pieces(name) if bool(piece.any())])
        table[name] = own.mean().tolist()
        distances = evaluation.statistics_distance(own, theirs)
        table[f"distance of {name}"] = [distances[column] for column in theirs.columns]
    study.table(
        "statistics",
        pd.DataFrame(table),
        "Means over pieces, and the Kolmogorov-Smirnov distance of their laws, of the first repeat.",
    )
    for name, few in first.items():
        file = name.replace(", ", " ").replace(" ", "-")
        path = study.folder / f".{file}.mid"
        content = data.write_midi(path, few).read_bytes()
        path.unlink()
        study.output(
            f"{file}.mid", content, f"The first pieces of {name}, for any player or notation program."
        )
        study.output(f"{file}.wav", data.wav_bytes(0.9 * data.sound_of(few[0]), 16000), f"{name}, to hear.")
