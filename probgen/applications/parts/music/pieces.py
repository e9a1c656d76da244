"""Pieces of music as a task: chorales by Bach, or a folder of MIDI files of the user's own."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from probgen import data, recipes
from probgen.applications.frame.study import Study
from probgen.recipes import Task
from probgen.recipes.tasks import padded

LEAST, MOST = 20, 2000
"""Pieces of a folder."""

SHORTEST, LONGEST = 16, 256
"""Steps of a piece."""

HEARD = 64
"""Steps of a piece that are judged, at most."""

SHUFFLED = "shuffled real music"
"""A baseline's name."""


def task_of(study: Study) -> Task:
    """Return the pieces to learn from, to choose weights on and to judge by, as many as suit the size."""
    if str(study.source) == "chorales":
        task = recipes.load("chorales", device=study.device)
        assert task.held_out is not None
        parts = [rows.sequences() for rows in (task.train, task.held_out, task.test)]
        name, facts = task.name, dict(task.facts)
    else:
        pieces, said = _own(Path(study.source))
        order = torch.randperm(len(pieces), generator=torch.Generator().manual_seed(study.seed)).tolist()
        fifth = len(pieces) // 5
        parts = [
            [pieces[i] for i in own] for own in (order[2 * fifth :], order[fifth : 2 * fifth], order[:fifth])
        ]
        name, facts = str(study.source), {"pieces": said}
        facts["parts"] = (
            f"three fifths of the pieces to learn from, {fifth} to choose on, {fifth} to judge by"
        )
    most = study.pick(full=(10_000, LONGEST), quick=(40, 32), tiny=(12, SHORTEST))
    parts = [[piece[: most[1]] for piece in part[: most[0]]] for part in parts]
    if study.size != "full":
        facts["used"] = f"of each part {most[0]} pieces at most, of each piece {most[1]} steps"
    longest = max(len(piece) for part in parts for piece in part)
    train, valid, test = (padded(part, longest, study.device) for part in parts)
    return Task(name, "music", train, test, valid, facts)


def _own(folder: Path) -> tuple[list[Tensor], str]:
    """Return the pieces of a folder of MIDI files, in the order of names."""
    if not folder.is_dir():
        raise ValueError(f"{folder} should be a folder of MIDI files, .mid, but is none")
    files = sorted(
        file for file in folder.rglob("*") if file.suffix.lower() in (".mid", ".midi") and file.is_file()
    )
    if not LEAST <= len(files) <= MOST:
        raise ValueError(
            f"{folder} should hold {LEAST} to {MOST:,} MIDI files, .mid, but holds {len(files):,}"
        )
    pieces = [data.read_midi(file) for file in files]
    for file, piece in zip(files, pieces, strict=True):
        if len(piece) < SHORTEST:
            raise ValueError(f"{file} should have {SHORTEST} beats at least but has {len(piece)}")
    cut = sum(len(piece) > LONGEST for piece in pieces)
    said = f"{len(pieces)} MIDI files by quarter notes; {cut} cut off after {LONGEST}"
    return [piece[:LONGEST] for piece in pieces], said
