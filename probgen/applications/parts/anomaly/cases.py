"""Cases of anomaly, of pictures and of a CSV, their scores, and what contaminated training rows do."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from probgen import data, evaluation, recipes
from probgen.applications.frame.study import Study
from probgen.core import Pair, seeded
from probgen.recipes import Rows, Task
from probgen.recipes.compared import Codes

SHARES = (0.0, 0.05, 0.1)
"""Of anomalies among the rows that are learned from."""

FAR = 1e12
"""Standard deviations within which numbers of a table lie: the square of more has no room in float32."""

LEAST = 200
"""Rows of a CSV that are normal: a quarter, halved, has to calibrate a threshold at 5 %."""

SPLITS = 10
"""Most repeats of a CSV."""

OWN_SCORES = ("reconstruction", "code neighbours")


class Case(NamedTuple):
    """What is normal to learn from, to calibrate and to test on, and what is not: rows of one task.

    ``lines`` are those of a CSV on which the normal rows to test on stand.
    """

    task: Task
    train: Tensor
    calibration: Tensor
    normal: Tensor
    anomalies: Tensor
    lines: np.ndarray[Any, np.dtype[np.int64]] | None = None


Cases = Callable[[int, bool], Case]
"""What gives the case of a repeat: with a class left out, or of one class."""


def is_pictures(study: Study) -> bool:
    """Say whether the data are pictures, and no table."""
    return str(study.source) in ("mnist", "digits") or not str(study.source).endswith((".csv", ".tsv"))


def of_pictures(study: Study) -> tuple[Cases, int]:
    """Return what makes a case of a repeat, of a class left out or all but one, and the most repeats."""
    images = {"mnist": data.mnist, "digits": data.digits}.get(
        str(study.source), lambda: data.read(study.source)
    )()
    if not isinstance(images, data.Images) or int(images.train_labels.max()) < 1:
        raise ValueError(
            f"{study.source} should hold pictures of several classes, a folder for each, but does not"
        )
    most, tested = study.pick(full=10_000, quick=1500, tiny=300), study.pick(full=4000, quick=600, tiny=240)
    study.fact("rows", f"the first {most:,} training and {tested:,} test pictures, grey levels")
    classes = images.train_labels[images.train_labels >= 0].unique()
    study.fact("repeats are", "classes: the one left out, or the only one learned")

    def case(repeat: int, one: bool) -> Case:
        own = classes[repeat]
        mine = (images.train_labels[:most] == own) == one
        theirs = (images.test_labels[:tested] == own) == one
        train, test = images.train[:most][mine].to(study.device), images.test[:tested].to(study.device)
        task = Task(
            images.name,
            "images",
            Rows(train),
            Rows(test),
            image_shape=images.image_shape,
            levels=images.levels,
        )
        source = torch.Generator().manual_seed(study.seed_of("calibration", repeat))
        normal = test[theirs][
            torch.randperm(int(theirs.sum()), generator=source)
        ]  # neighbours share a writer
        half = len(normal) // 2
        return Case(task, train, normal[:half], normal[half:], test[~theirs])

    return case, len(classes)


def of_table(study: Study) -> tuple[Cases, int]:
    """Return what makes a case of a repeat, of a split of a CSV, and the most repeats."""
    from probgen.data.csv_files import read_csv

    frame, _ = read_csv(study.source)  # type: ignore[arg-type]
    known = frame.pop("anomaly") if "anomaly" in frame else pd.Series(np.zeros(len(frame), dtype=int))
    if not known.isin([0, 1]).all():
        raise ValueError(f"the column anomaly of {study.source} should hold 0 and 1 but holds others")
    if (known == 0).sum() < LEAST:
        raise ValueError(
            f"{study.source} should have {LEAST} rows at least that are no anomalies but has "
            f"{int((known == 0).sum())}"
        )
    study.fact(
        "repeats are", "splits of the rows: a half to learn from, two quarters to calibrate and to test on"
    )

    def case(repeat: int, one: bool) -> Case:
        order = np.random.default_rng(study.seed_of("split", repeat)).permutation(np.flatnonzero(known == 0))
        learned, half = order[: len(order) // 2], len(order) // 4
        table = data.table(frame.iloc[learned], test=0.1)
        codes = {"anomalies": table.rows(frame[known.to_numpy() == 1])} | {
            name: table.rows(frame.iloc[rows])
            for name, rows in {
                "train": learned,
                "cal": order[-2 * half : -half],
                "test": order[-half:],
            }.items()
        }
        if any(bool(part.isnan().any()) for part in codes.values()):
            raise ValueError(
                f"{study.source} should have a value in each place, to be scored: fill or leave out"
            )
        for part in codes.values():
            _check_reach(study, table, part)
        x = {name: table.distances(part).to(study.device) for name, part in codes.items()}
        rows = Rows(x["train"], codes=codes["train"].to(study.device))
        return Case(
            Task(table.name, "table", rows, rows, table=table),
            x["train"],
            x["cal"],
            x["test"],
            x["anomalies"],
            order[-half:] + 2,
        )

    return case, SPLITS


def _check_reach(study: Study, table: data.Table, codes: Tensor) -> None:
    """Raise ValueError for a number so far from those that are learned from that its square has no room."""
    far = codes.abs() > FAR
    if far.any():
        row, place = (int(k) for k in far.nonzero()[0])
        column = table.columns[place]
        value = column.decoded(codes[row : row + 1, place].double().numpy()).iloc[0]
        raise ValueError(
            f"the column {column.name!r} of {study.source} should have numbers within {FAR:g} standard "
            f"deviations but has {value:g}, which no method is needed to find: correct it or leave it out"
        )


def scores_of_case(study: Study, case: Case, name: str, distances: Sequence[str]) -> dict[str, pd.DataFrame]:
    """Return the scores of calibration rows, normal rows and anomalies, a column for each method.

    ``name`` is that of the run in which the VAE is trained.
    """
    seed = study.seed_of(name, 0)
    recipe, _ = study.train(
        f"vae-{name}",
        lambda: recipes.make("vae", case.task),
        case.task,
        seed=seed,
        steps=study.pick(full=1500, quick=150, tiny=2),
        method="negative log-likelihood",
    )
    known = len(case.calibration) // 2  # p-values are by these rows, thresholds by the other calibration rows
    parts = {
        "known": case.calibration[:known],
        "calibration": case.calibration[known:],
        "normal": case.normal,
        "anomalies": case.anomalies,
    }
    x = torch.cat([*parts.values()])
    frame = evaluation.anomaly_scores(
        Codes(recipe, case.task),
        x,
        train=case.train,
        scores=[*distances, *OWN_SCORES],
        components=_components(case.train),
        seed=seed,
    )
    assert isinstance(recipe.model, Pair)
    nll = ["negative log-likelihood"]
    frame[nll] = evaluation.anomaly_scores(
        recipe.model,
        recipe.prepare(x),
        train=recipe.prepare(case.train[:100]),
        scores=nll,
        particles=study.pick(full=30, quick=10, tiny=2),
        seed=seed,
    )
    p_values = [evaluation.conformal_p_values(frame[part][:known], frame[part]) for part in OWN_SCORES]
    frame["combined"] = -sum(p.log().numpy() for p in p_values)
    ends = np.cumsum([len(part) for part in parts.values()])
    return {
        name: frame.iloc[end - len(part) : end].reset_index(drop=True)
        for (name, part), end in zip(parts.items(), ends, strict=True)
    }


def contaminated(study: Study, case: Case, distances: Sequence[str]) -> pd.DataFrame:
    """Return the areas of scores, of distances and of a VAE, where some training rows are anomalies."""
    rows = min(len(case.train), study.pick(full=4000, quick=500, tiny=50))
    half = len(case.anomalies) // 2
    shares = [
        share for share in study.pick(full=SHARES, quick=SHARES, tiny=SHARES[::2]) if share * rows <= half
    ]

    def by_distance(name: str, train: Tensor, seed: int) -> Callable[[Tensor], pd.Series]:
        return lambda x: evaluation.anomaly_scores(
            None, x, train=train, scores=[name], components=_components(train), seed=seed
        )[name]

    def by_vae(name: str, train: Tensor, seed: int) -> Callable[[Tensor], pd.Series]:
        task = replace(case.task, train=Rows(train, codes=_codes(case.task, train)))
        with seeded(seed):
            recipe = recipes.make("vae", task)
        steps = study.pick(full=600, quick=60, tiny=2)
        recipes.train(recipe, task, seed=seed, steps=steps, progress=False)
        codes = Codes(recipe, task)
        return lambda x: evaluation.anomaly_scores(codes, x, train=train[:2], scores=[name], seed=seed)[name]

    parts = []
    for name, fit in {**dict.fromkeys(distances, by_distance), "reconstruction": by_vae}.items():
        found = evaluation.contamination(
            partial(fit, name),
            case.train[:rows],
            case.anomalies[:half],
            case.normal,
            case.anomalies[half:],
            shares=shares,
            draws=study.pick(full=3, quick=2, tiny=1),
        )
        parts.append(found[["share", "auc", "auc_stderr"]].assign(score=name))
    return pd.concat(parts)


def _components(train: Tensor) -> int:
    """Return how many principal components are kept: at most 32, half the coordinates, and what rows span."""
    return max(1, min(32, train.flatten(1).shape[1] // 2, len(train) - 1))


def _codes(task: Task, x: Tensor) -> Tensor | None:
    return None if task.table is None else task.to_codes(x)
