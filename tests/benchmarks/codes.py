"""Codes of MNIST digits with few labels and in clusters, beside pixels and principal components.

Each training has a run folder, is resumed from there and not repeated once it has ended.
"""

import argparse
import json
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch import Tensor

from probgen import evaluation, plots, recipes
from probgen.core import seeded
from probgen.recipes import Task
from tests.benchmarks.results import cpu_seconds, record

RECIPES = ("autoencoder", "vae", "beta-vae", "two-stage-vae")
SIZES = (10, 100, 1000)
ROWS = 10_000
"""Training rows of which labels are drawn."""

SHOWN = 600
"""Test pictures whose codes are drawn."""

PROTOCOL = (
    "`python -m tests.benchmarks.codes --steps {} --draws {} --clustered {} --recipes {}`: recipes "
    "on MNIST as `probgen train` trains "
    "them, 784-400-400 to the code and back, but {} steps a stage in the place of 9,400, batches of 128, "
    "without labels, one seed, one thread of a core that others used too; codes are means, of pixels "
    "binarised once. Pixels and principal components (of the first 10,000 training pictures, as many as "
    "the code has coordinates) are the rows to beat. 'Linear' is a logistic regression (C = 1) and "
    "'neighbours' the 5 nearest, on {} labels of each of {} draws from these, "
    "the classes in equal shares, tested on the 10,000 test pictures; all codes have the same draws. In "
    "brackets is the difference to pixels with its standard error over draws. k-means: 10 clusters of the "
    "first {:,} test pictures, the best of 10 starts, mean and standard deviation over 5 seeds of the "
    "starts, not of trainings. Nothing was chosen by these numbers."
)


def trained(name: str, task: Task, folder: Path, *, steps: int) -> tuple[Any, float]:
    """Train a recipe or go on; return its model and the CPU seconds that its training took."""
    with seeded(0):
        recipe = recipes.make(name, task)
    known, start = folder / "cpu.json", cpu_seconds()
    histories = recipes.train(
        recipe, task, seed=0, folder=folder, resume=folder.exists(), steps=steps, progress=False
    )
    if histories[-1].ended != "finished":
        raise SystemExit(f"{folder} was interrupted: the same command goes on with it")
    if not known.exists():
        known.write_text(json.dumps(cpu_seconds() - start))
    return recipe.model, json.loads(known.read_text())


def few_labels(found: pd.DataFrame, seconds: dict[str, float]) -> str:
    """Return the table of accuracies with few labels."""
    table = found.set_index(["codes", "probe", "labels"])
    columns = [(probe, size) for probe in ("linear", "neighbours") for size in SIZES]
    head = f"| code | {' | '.join(f'{p}, {n:,}' for p, n in columns)} | CPU s |\n" + "|---" * 8 + "|\n"
    rows = []
    for name in found["codes"].unique():
        cells = []
        for probe, size in columns:
            row = table.loc[(name, probe, size)]
            beside = f" ({row.difference:+.3f} ± {row.difference_stderr:.3f})" if name != "pixels" else ""
            cells.append(f"{row.accuracy:.3f}{beside}")
        rows.append(f"| {name} | {' | '.join(cells)} | {seconds.get(name, 0):.0f} |")
    return head + "\n".join(rows)


def clusters(codes: dict[str, tuple[Tensor, Tensor]], labels: Tensor, *, rows: int) -> str:
    """Return the table of k-means on test codes."""
    lines = ["| code | accuracy | NMI | ARI |\n" + "|---" * 4 + "|"]
    for name, (_, test) in codes.items():
        found = evaluation.clustering(test[:rows], labels[:rows])
        lines.append(
            f"| {name} | {found.accuracy:.3f} ± {found.accuracy_std:.3f} | {found.nmi:.3f} ± "
            f"{found.nmi_std:.3f} | {found.ari:.3f} ± {found.ari_std:.3f} |"
        )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=Path, default=Path("runs/codes"))
    parser.add_argument("--steps", type=int, default=1000, help="of each stage")
    parser.add_argument("--recipes", nargs="+", default=list(RECIPES))
    parser.add_argument("--draws", type=int, default=10, help="of labelled pictures")
    parser.add_argument("--clustered", type=int, default=3000, help="test pictures that are clustered")
    given = parser.parse_args()
    torch.set_num_threads(1)
    task = recipes.load("mnist")
    train, test = task.train.x, task.test.x
    assert task.train.labels is not None
    assert task.test.labels is not None
    codes, seconds = {"pixels": (train[:ROWS], test)}, {}
    size = task.sizes.latent
    codes[f"principal components, {size}"] = evaluation.principal_components(train[:ROWS], test, size)
    for name in given.recipes:
        model, seconds[name] = trained(name, task, given.runs / name, steps=given.steps)
        codes[name] = (evaluation.encoded(model, train[:ROWS]), evaluation.encoded(model, test))
        print(name, seconds[name], flush=True)
    found = evaluation.transfer(
        codes, task.train.labels[:ROWS], task.test.labels, sizes=SIZES, draws=given.draws
    )
    protocol = PROTOCOL.format(
        given.steps,
        given.draws,
        given.clustered,
        " ".join(given.recipes),
        given.steps,
        ", ".join(map(str, SIZES)),
        given.draws,
        given.clustered,
    )
    body = few_labels(found, seconds) + "\n\n" + clusters(codes, task.test.labels, rows=given.clustered)
    record("Codes of MNIST digits", protocol, body, packages=("scikit-learn",))
    for name in given.recipes:
        points = evaluation.embedding(codes[name][1][:SHOWN], method="t-sne")
        figure = plots.latent_map(points, task.test.labels[:SHOWN], axes=("t-SNE 1", "t-SNE 2"))
        figure.savefig(given.runs / f"{name}.png", dpi=90)


if __name__ == "__main__":
    main()
