"""What codes are judged on: pictures or rows of a CSV, with classes where they are known."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from probgen import data, recipes
from probgen.applications.frame.study import Study
from probgen.data.csv_files import read_csv
from probgen.data.split import shuffled
from probgen.data.tables import split_table
from probgen.recipes import Rows, Task

LABEL = "label"
"""The column of a CSV that has the classes."""

MOST_ROWS, FEWEST_ROWS, RARE = 100_000, 100, 20
"""Rows of a CSV, of more as many are drawn; rows of a class below which it is learned from, not judged by."""

COORDINATES = 16
"""Of a code; where there are fewer than 64 numbers in a row a quarter as many, at least two."""


class Case(NamedTuple):
    """Rows to learn codes from, and those by which codes are judged.

    ``train`` and ``test`` have NaN where a value is missing; ``labels`` are places in ``classes``, −1 where
    they are not known. ``lines`` are those of a file on which the rows stand.
    """

    task: Task
    train: Tensor
    test: Tensor
    labels: Tensor
    test_labels: Tensor
    classes: list[str]
    lines: tuple[Tensor, Tensor] | None = None

    @property
    def coordinates(self) -> int:
        """Of a code."""
        return min(COORDINATES, max(2, self.train.shape[1] // 4))


def is_table(study: Study) -> bool:
    """Say whether the data are a CSV, and no pictures."""
    return Path(str(study.source)).suffix.lower() in (".csv", ".tsv")


def of_pictures(study: Study) -> Callable[[int], Case]:
    """Return what gives the case of a repeat: pictures, the same for all, in grey levels."""
    found = pictures_of(study)
    study.fact("learned from", f"{len(found.task.train):,} pictures, without their labels")
    study.fact(
        "probes",
        f"learn from some of the first {len(found.train):,} of these, and see {len(found.test):,} held-out "
        "ones",
    )
    study.fact("repeats are", "trainings, and draws of the rows whose labels a probe is given")
    return lambda repeat: found


def pictures_of(study: Study) -> Case:
    """Return pictures in grey levels, of which as many are probed and judged by as suit the size."""
    task = recipes.load(study.source, device=study.device)
    if task.image_shape is None:
        raise ValueError(f"{study.source} should hold pictures, in a folder or an array, but holds none")
    if task.name == "mnist":  # encoders learn from pixels drawn anew, and see grey ones, as probes do
        images = data.mnist()
        parts = (images.train, images.train_labels), (images.test, images.test_labels)
        (x, y), (held_out, theirs) = ((rows.to(study.device), own.to(study.device)) for rows, own in parts)
        task = replace(task, train=Rows(x, grey=x, labels=y), test=Rows(held_out, labels=theirs))
    labels, test_labels = (
        torch.full((len(rows),), -1, device=study.device) if rows.labels is None else rows.labels
        for rows in (task.train, task.test)
    )
    most, tested = (
        study.pick(full=10_000, quick=2000, tiny=300),
        study.pick(full=10_000, quick=1000, tiny=200),
    )
    known = bool(len(labels[:most][labels[:most] >= 0].unique()) > 1 and (test_labels[:tested] >= 0).any())
    classes = [str(label) for label in range(int(labels.max()) + 1)] if known else []
    x, held_out = task.train.smooth[:most], task.test.x[:tested]
    return Case(task, x, held_out, labels[:most], test_labels[:tested], classes)


def of_table(study: Study) -> Callable[[int], Case]:
    """Return what gives the case of a repeat: a split of the rows of a CSV, without its labels."""
    frame, read = read_csv(Path(str(study.source)))
    study.fact("read", read)
    if len(frame) > MOST_ROWS:
        study.say(f"Of the {len(frame):,} rows of the file {MOST_ROWS:,} are drawn; the others are left out.")
        frame = frame.sample(MOST_ROWS, random_state=0).sort_index()
    if len(frame) < FEWEST_ROWS:
        raise ValueError(
            f"{study.source} should have {FEWEST_ROWS} rows at least, to learn codes from, but has "
            f"{len(frame)}"
        )
    lines, frame = torch.from_numpy(frame.index.to_numpy() + 2), frame.reset_index(drop=True)
    labels, classes = _classes(study, frame)
    if frame.empty:
        raise ValueError(f"{study.source} should have columns beside {LABEL!r} but has none")
    study.fact("repeats are", "splits of the rows, trainings, and draws of the rows whose labels are given")
    study.fact("missing values", "are 0, the mean, to baselines and in distances; encoders are told of them")

    def case(repeat: int) -> Case:
        order = np.random.default_rng(study.seed_of("split", repeat)).permutation(len(frame))
        halves = [order[part] for part in shuffled(len(frame), 0.3)]
        table = split_table(frame, (halves[0], halves[1]), {}, name=Path(str(study.source)).stem, facts={})
        train, test = (table.distances(codes).to(study.device) for codes in (table.train, table.test))
        if train.shape[1] < 3:
            raise ValueError(
                f"{study.source} should have columns of 3 numbers at least, a number for each category, but "
                f"has {train.shape[1]}"
            )
        rows = Rows(train, codes=table.train.to(study.device))
        task = Task(table.name, "table", rows, Rows(test, codes=table.test.to(study.device)), table=table)
        ys, places = ([part[torch.from_numpy(half)] for half in halves] for part in (labels, lines))
        return Case(task, train, test, ys[0], ys[1], classes, (places[0], places[1]))

    return case


def _classes(study: Study, frame: pd.DataFrame) -> tuple[Tensor, list[str]]:
    """Take the labels out of a table: places in the list of classes, −1 where missing or rare."""
    if LABEL not in frame:
        study.say(f"The file has no column {LABEL!r}: codes are judged by what they keep of the rows alone.")
        return torch.full((len(frame),), -1), []
    labels = frame.pop(LABEL)
    counts = labels.value_counts().sort_index()
    if len(counts) > len(frame) / RARE or (counts >= RARE).sum() < 2:
        raise ValueError(
            f"the column {LABEL!r} of {study.source} should hold classes, two at least with {RARE} rows "
            f"each, but holds {len(counts)} different values in {len(frame)} rows"
        )
    kept = counts.index[counts >= RARE]
    if rare := len(counts) - len(kept):
        study.fact("not judged by", f"{rare} classes of fewer than {RARE} rows, which are learned from")
    places = {label: place for place, label in enumerate(kept)}
    return torch.tensor([places.get(label, -1) for label in labels]), [str(label) for label in kept]
