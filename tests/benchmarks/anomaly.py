"""Anomalies: a digit left out of training, or all but one, by distances on MNIST and by VAEs.

What is found for each digit is kept in a file and not repeated.
"""

import argparse
import functools
import json
import math
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch import Tensor

from probgen import data, evaluation, plots, recipes
from probgen.core import Pair, seeded
from probgen.mmd.pairwise import centred, nearest_squared_distances
from probgen.recipes import Task
from probgen.recipes.task import Rows
from tests.benchmarks.results import cpu_seconds, record

TRAIN, TEST, PARTICLES = 10_000, 2000, 30
"""Pictures of MNIST, and draws of a code for a likelihood."""

NEIGHBOURS = 5
"""The default of the library's own score, which the one pass over all rows agrees with."""

MUTATED = 0.2
"""The share of pixels that are drawn evenly from the grey levels, for the background of the ratio."""

REGRET = "likelihood regret"

LABELS = {"digits": "digits", "mnist": "MNIST"}

PROTOCOL = (
    "`python -m tests.benchmarks.anomaly --steps {steps} --regret {regret} --digits {digits} --mnist-steps "
    "{mnist_steps} --mnist-digits {mnist_digits}`: areas under the curve (AUC) of test rows of one class of "
    "pictures against the others, 0.5 by chance. 'Left out': a digit is missing in the training rows and is "
    "the anomaly. 'One class': a digit alone is learned, and the nine others are the anomalies. Scores are "
    "those of `evaluation.anomaly_scores` with their defaults (32 principal components, the 5th neighbour, "
    "100 trees), but {particles} particles. MNIST by distances: grey pixels, of the first {train:,} training "
    "pictures those that are normal, and the first {test:,} test pictures; 'all rows' are 60,000 and 10,000. "
    "digits: all 899 test pictures; the recipe `vae` (64-256-16, a law of 17 levels), {steps} steps in the "
    "place of 2,000, one seed. MNIST by a VAE: the recipe `vae` on pixels binarised once (784-400-400-16), "
    "{mnist_steps} steps in the place of 9,400 on all training pictures that are normal, one seed; {train:,} "
    "training and {test:,} test pictures, drawn at random, for the scores; three digits, named before "
    "anything was seen. The background of the ratio is the same recipe on training rows of which a fifth of "
    "the pixels is drawn evenly from the levels. Likelihood regret: the first {regret} normal test rows and "
    "as many anomalies at most, 100 steps. 'Grey' are pictures of one level each, 17 of digits and 2 of "
    "MNIST, against the normal test rows, the mean over the models. Standard errors of means are over "
    "digits. Nothing was chosen by these numbers."
)


def kept(path: Path, found: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """Return what a file holds, or find it and write it there, with the CPU seconds that it took."""
    if not path.exists():
        start = cpu_seconds()
        result = found()
        path.write_text(json.dumps(result | {"seconds": cpu_seconds() - start}))
        print(path.stem, json.loads(path.read_text()), flush=True)
    return json.loads(path.read_text())


def areas(normal: pd.DataFrame, anomalous: pd.DataFrame, *, prefix: str = "") -> dict[str, float]:
    table = evaluation.detection_table(normal, anomalous)
    return {prefix + name: area for name, area in zip(table["score"], table["auc"], strict=True)}


def chosen(labels: Tensor, digit: int, *, one: bool) -> Tensor:
    """Whether rows are normal: of the digit, or of all others."""
    return (labels == digit) == one


def distances_by_class(images: data.Images) -> Tensor:
    """Return the distances of test pictures to their 5 nearest training pictures of each digit, (10, n, 5).

    One pass over all pairs is enough for every digit that is left out, or learned alone.
    """
    train, x = centred(train=images.train, x=images.test)
    found = [nearest_squared_distances(x, train[images.train_labels == d], NEIGHBOURS) for d in range(10)]
    return torch.stack(found).sqrt()


def by_distances(
    images: data.Images, digit: int, *, one: bool, nearest: Callable[[], Tensor] | None = None
) -> dict[str, float]:
    """Return the areas of scores of the data alone, of all rows where their nearest are given by class."""
    rows, tested = (TRAIN, TEST) if nearest is None else (len(images.train), len(images.test))
    train = images.train[:rows][chosen(images.train_labels[:rows], digit, one=one)]
    names = None if nearest is None else ["isolation forest", "principal components"]
    scores = evaluation.anomaly_scores(None, images.test[:tested], train=train, scores=names)
    if nearest is not None:
        learned = nearest()[chosen(torch.arange(10), digit, one=one)]
        kth = learned.transpose(0, 1).flatten(1).kthvalue(NEIGHBOURS, dim=1).values
        scores.insert(0, "neighbours", kth.numpy())
    normal = chosen(images.test_labels[:tested], digit, one=one).numpy()
    return areas(scores[normal], scores[~normal])


def trained(task: Task, train: Tensor, *, steps: int) -> Pair:
    """Return a VAE of some rows."""
    with seeded(0):
        recipe = recipes.make("vae", replace(task, train=Rows(train)))
    recipes.train(recipe, replace(task, train=Rows(train)), seed=0, steps=steps, progress=False)
    assert isinstance(recipe.model, Pair)
    return recipe.model.eval()


def mutated(x: Tensor, levels: int) -> Tensor:
    """Return rows of which some pixels are drawn anew."""
    source = torch.Generator().manual_seed(0)
    drawn = torch.randint(levels, x.shape, generator=source) / (levels - 1)
    return torch.where(torch.rand(x.shape, generator=source) < MUTATED, drawn, x)


def by_vae(task: Task, digit: int, *, steps: int, regret: int, folder: Path) -> dict[str, float]:
    """Return the areas of all scores of a VAE for a digit left out, and for pictures of one grey."""
    assert task.train.labels is not None
    assert task.test.labels is not None
    train = task.train.x[chosen(task.train.labels, digit, one=False)]
    test, normal = task.test.x[:TEST], chosen(task.test.labels[:TEST], digit, one=False)
    model = trained(task, train, steps=steps)
    background = trained(task, mutated(train, task.levels), steps=steps)
    grey = (torch.arange(task.levels) / (task.levels - 1))[:, None].expand(-1, task.size)
    given: dict[str, Any] = {
        "train": train[torch.randperm(len(train), generator=torch.Generator().manual_seed(0))[:TRAIN]],
        "background": background,
        "levels": task.levels,
        "particles": PARTICLES,
    }
    every = evaluation.anomaly_scores(model, torch.cat([test, grey]), **given)
    scores, greys = every[: len(normal)], every[len(normal) :]
    mine, theirs = scores[normal.numpy()], scores[~normal.numpy()]
    found = areas(mine, theirs) | areas(mine, greys, prefix="grey: ")
    if regret:
        rows = (test[normal][:regret], test[~normal][:regret], grey)
        own, others, plain = (
            pd.DataFrame({REGRET: evaluation.likelihood_regret(model, part, seed=0)}) for part in rows
        )
        found |= areas(own, others) | areas(own, plain, prefix="grey: ")
    if digit == 1:
        half = len(mine) // 2
        name = "negative log-likelihood"
        threshold = evaluation.conformal_threshold(mine[name][:half], false_alarm=0.05)
        figure = plots.score_histograms(mine[name][half:], theirs[name], threshold=threshold, score=name)
        figure.savefig(folder / f"{task.name}-1.png", dpi=90)
        figure = plots.roc_curves({name: (mine[name], theirs[name]) for name in list(every)[-8:]})
        figure.savefig(folder / f"{task.name}-roc-1.png", dpi=90)
    return found


def table(found: dict[int, dict[str, Any]]) -> str:
    """Return rows of scores, columns of digits, with their mean, and of pictures of one grey."""
    every = list(found.values())
    names = [name for name in every[0] if not name.startswith("grey: ") and name != "seconds"]
    grey = any(name.startswith("grey: ") for name in every[0])
    head = ["score", *map(str, found), "mean", *(["grey"] if grey else [])]
    lines = [f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
    for name in names:
        areas = torch.tensor([part[name] for part in every])
        mean, error = float(areas.mean()), float(areas.std()) / math.sqrt(len(areas))
        cells = [name, *(f"{area:.2f}" for area in areas.tolist()), f"{mean:.3f} ± {error:.3f}"]
        if grey:
            cells.append(f"{sum(part[f'grey: {name}'] for part in every) / len(every):.2f}")
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + f"\n\nCPU seconds: {sum(part['seconds'] for part in every):.0f}.\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=Path, default=Path("runs/anomaly"), help="where results are kept")
    parser.add_argument("--steps", type=int, default=600, help="of each training")
    parser.add_argument("--regret", type=int, default=50, help="rows of the likelihood regret, 0 for none")
    parser.add_argument("--digits", type=int, nargs="+", default=range(10), help="left out of a VAE's rows")
    parser.add_argument("--mnist-steps", type=int, default=2000, help="of each training on MNIST")
    parser.add_argument("--mnist-digits", type=int, nargs="+", default=[1, 5, 9], help="left out of MNIST")
    given = parser.parse_args()
    torch.set_num_threads(1)
    folder: Path = given.runs
    folder.mkdir(parents=True, exist_ok=True)
    images = data.mnist()
    nearest = functools.cache(partial(distances_by_class, images))
    body = []
    for every_row in (False, True):
        for one, kind in ((False, "a digit left out"), (True, "one class")):
            body.append(f"MNIST, {kind}{', all rows' if every_row else ''}:\n")
            name = f"mnist-{kind.replace(' ', '-')}-{{}}-{'all' if every_row else f'{TRAIN}-{TEST}'}.json"
            found = {
                digit: kept(
                    folder / name.format(digit),
                    partial(by_distances, images, digit, one=one, nearest=nearest if every_row else None),
                )
                for digit in range(10)
            }
            body.append(table(found))
    for name, digits, steps in (
        ("digits", given.digits, given.steps),
        ("mnist", given.mnist_digits, given.mnist_steps),
    ):
        body.append(f"{LABELS[name]}, a digit left out, a VAE beside distances:\n")
        task = recipes.load(name)
        found = {
            digit: kept(
                folder / f"vae-{name}-left-out-{digit}-{steps}-{given.regret}.json",
                partial(by_vae, task, digit, steps=steps, regret=given.regret, folder=folder),
            )
            for digit in digits
        }
        body.append(table(found))
    protocol = PROTOCOL.format(
        steps=given.steps,
        regret=given.regret,
        digits=" ".join(map(str, given.digits)),
        mnist_steps=given.mnist_steps,
        mnist_digits=" ".join(map(str, given.mnist_digits)),
        train=TRAIN,
        test=TEST,
        particles=PARTICLES,
    )
    record("Anomalies", protocol, "\n".join(body), packages=("scikit-learn",))


if __name__ == "__main__":
    main()
