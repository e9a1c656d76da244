"""Anomalies among the training rows: ``python -m tests.benchmarks.contamination``."""

import argparse
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

import pandas as pd
import torch
from torch import Tensor

from probgen import evaluation, recipes
from probgen.core import Pair, seeded
from probgen.recipes import Rows, Task
from tests.benchmarks.results import cpu_seconds, record

SHARES = (0.0, 0.01, 0.05, 0.1)
DISTANCES = ("neighbours", "isolation forest", "principal components")
OF_VAE = ("reconstruction", "code neighbours", "negative ELBO")


def by_distance(name: str, train: Tensor, seed: int) -> Callable[[Tensor], Tensor]:
    """Return the score of rows by training rows alone."""

    def score(x: Tensor) -> Tensor:
        return evaluation.anomaly_scores(None, x, train=train, scores=[name], seed=seed)[name].to_numpy()

    return score


def by_vae(task: Task, steps: int, name: str, train: Tensor, seed: int) -> Callable[[Tensor], Tensor]:
    """Return a score of rows by a VAE that has learned from the training rows."""
    own = replace(task, train=Rows(train))
    with seeded(seed):
        recipe = recipes.make("vae", own)
    recipes.train(recipe, own, seed=seed, steps=steps, progress=False)
    model = recipe.model.eval()
    assert isinstance(model, Pair)

    def score(x: Tensor) -> Tensor:
        found = evaluation.anomaly_scores(model, x, train=train, scores=[name], particles=30, seed=seed)
        return found[name].to_numpy()

    return score


def found(task: Task, fit: Callable[[Tensor, int], Callable], digits: Sequence[int], draws: int) -> pd.Series:
    """Return the mean area over digits, each the anomaly in its turn, by the share of it in training."""
    x, y, test, y_test = task.train.x, task.train.labels, task.test.x, task.test.labels
    assert y is not None
    assert y_test is not None
    tables = [
        evaluation.contamination(
            fit, x[y != d], x[y == d], test[y_test != d], test[y_test == d], shares=SHARES, draws=draws
        )
        for d in digits
    ]
    return pd.concat([table.auc.rename(d) for d, table in zip(digits, tables, strict=True)], axis=1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=600, help="of each VAE")
    parser.add_argument("--digits", type=int, nargs="+", default=[0, 1, 8], help="that a VAE is asked about")
    given = parser.parse_args()
    torch.set_num_threads(1)
    start, task = cpu_seconds(), recipes.load("digits")
    lines = ["| score | " + " | ".join(f"{share:.0%}" for share in SHARES) + " |", "|---" * 5 + "|"]
    for names, digits, draws, way in (
        (DISTANCES, range(10), 3, lambda name: partial(by_distance, name)),
        (OF_VAE, given.digits, 1, lambda name: partial(by_vae, task, given.steps, name)),
    ):
        for name in names:
            areas = found(task, way(name), list(digits), draws)
            cells = [f"{row.mean():.3f} ± {row.std() / len(row) ** 0.5:.3f}" for _, row in areas.iterrows()]
            lines.append(f"| {name}{' (VAE)' if names is OF_VAE else ''} | {' | '.join(cells)} |")
            print(lines[-1], flush=True)
    protocol = (
        f"`python -m tests.benchmarks.contamination --steps {given.steps} --digits "
        f"{' '.join(map(str, given.digits))}`: data `digits`; each digit in turn is the anomaly, and a share "
        "of the training rows, whose number stays the same, is of it, by `evaluation.contamination`. Areas "
        "under the curve on the test rows, the mean over digits and its standard error: distances over all "
        f"ten, three draws of the rows of each; the VAE (recipe `vae`, {given.steps} steps in the place of "
        f"2,000) over the digits named, one draw. Nothing was chosen by these numbers; "
        f"{cpu_seconds() - start:.0f} CPU seconds."
    )
    record("Anomalies among the training rows", protocol, "\n".join(lines), packages=("scikit-learn",))


if __name__ == "__main__":
    main()
