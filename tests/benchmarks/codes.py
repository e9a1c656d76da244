"""Codes of MNIST digits by every recipe that has one: few labels, clusters, and what distortions do to them.

Each training has a run folder, is resumed from there and not repeated once it has ended, nor is what is made
of its codes.
"""

import argparse
import json
from pathlib import Path
from typing import Any

import pandas as pd
import pyro.distributions as dist
import torch
from torch import Tensor

from probgen import data, evaluation, plots, recipes
from probgen.core import Coded, Pair, evaluating, seeded
from probgen.models import VQVAE
from probgen.recipes import Recipe, Task
from probgen.training import History
from tests.benchmarks.results import cpu_seconds, record

TOLD = ("cvae", "cvae-completion", "ivae")
"""Recipes whose encoder is told the class or half of the picture: codes are not of the picture alone."""

SIZES = (10, 100, 1000)
ROWS = 4000
"""Training rows of which labels are drawn, and test rows that are told by them."""

SEEN = 1000
"""Training rows that the probe of distorted rows learns from, and test rows that are distorted."""

SHOWN = 600
"""Test pictures whose codes are drawn."""

SIDE = (28, 28)
DISTORTED: dict[str, dict[float, Any]] = {
    "noise": {scale: data.GaussianNoise(scale) for scale in (0.25, 0.5)},
    "missing": {share: data.Masking(share) for share in (0.25, 0.5)},
    "blur": {scale: data.Blur(SIDE, scale) for scale in (1.0, 2.0)},
    "rotation": {angle: data.Rotation(SIDE, angle) for angle in (15.0, 30.0)},
    "scale": {factor: data.Scaling(SIDE, factor) for factor in (0.8, 1.2)},
}
SAID = "noise, σ = .25, .5", "missing, ¼, ½", "blur, 1, 2 pixels", "rotation, 15°, 30°", "scale, .8, 1.2"

PROTOCOL = (
    "`python -m tests.benchmarks.codes --steps {} --draws {} --clustered {}`: every recipe with a code of a "
    "picture, on MNIST as `probgen train` trains it, but {} steps a stage in the place of up to 9,400, less "
    "than one pass over the data: what these nets come to in the end is not shown. One seed, one thread of "
    "a core that others used too; CPU seconds are those of the training. Labels are used by `m1-m2` and `m2` "
    "alone, ten of each class. Not in the table: {}, which are told the class or half of the picture, and "
    "{}, which have no single code. Codes are means, of VQ-VAEs the atoms, of pixels binarised once. One "
    "with a star is collapsed, by `History.diagnose` or because no coordinate's mean has a variance above "
    "0.01. Pixels and principal components (of the first {:,} training pictures) are the rows to beat. "
    "'Linear' is a logistic regression (C = 1) and 'neighbours' the 5 nearest, on {} labels of each of {} "
    "draws from these, the classes in equal shares, tested on the first {:,} test pictures; all have the "
    "same draws. In brackets is the difference to pixels with its standard error over draws. k-means: 10 "
    "clusters of the first {:,} test pictures, the best of 10 starts, mean and standard deviation over 5 "
    "seeds of the starts, not of trainings. Distorted: `evaluation.robustness` of the first {:,} test "
    "pictures, a linear probe that has learned from the undistorted codes of {:,} training pictures; above "
    "its accuracy, below the squared error of the reconstruction to the undistorted picture, a picture, both "
    "at two strengths. Standard errors are up to 0.016 of accuracies, about 2 % of errors. Of `m2` it is "
    "that of the mean over classes, as its code has none. Nothing was chosen by these numbers."
)


class OfPictures:
    """The model of a recipe as one of flat pictures, with codes that are vectors of numbers."""

    def __init__(self, recipe: Recipe) -> None:
        self.recipe, self.model = recipe, recipe.model

    def encode(self, x: Tensor) -> Any:
        law = self.model.encode(self.recipe.prepare(x))
        if not isinstance(self.model, VQVAE):
            return law
        return dist.Delta(self.model.codebook.embed(law.mean).flatten(-2), event_dim=1)

    def decode(self, z: Tensor) -> Any:
        if not isinstance(self.model, VQVAE):
            return self.model.decode(z)
        with torch.no_grad(), evaluating(self.model):
            return self.model.decoder(z)


def coded_recipes(task: Task) -> tuple[list[str], list[str]]:
    """Return the recipes that have a code of a picture alone, and those that have none."""
    coded: list[str] = []
    without: list[str] = []
    for name in recipes.entries("images"):
        if name not in TOLD:
            has = isinstance(recipes.make(name, task).model, Coded)
            (coded if has else without).append(name)
    return coded, without


def trained(name: str, task: Task, folder: Path, *, steps: int) -> tuple[Recipe, list[History]]:
    """Train a recipe or go on; return it and the histories of its stages."""
    with seeded(0):
        recipe = recipes.make(name, task)
    start, known = cpu_seconds(), folder / "cpu.json"
    histories = recipes.train(
        recipe, task, seed=0, folder=folder, resume=folder.exists(), steps=steps, progress=False
    )
    if histories[-1].ended != "finished":
        raise SystemExit(f"{folder} was interrupted: the same command goes on with it")
    if not known.exists():
        known.write_text(json.dumps(cpu_seconds() - start))
    return recipe, histories


def is_collapsed(model: Any, test: Tensor, histories: list[History]) -> bool:
    """Say whether no coordinate of the codes of test rows tells anything of them."""
    said = [line for history in histories for line in history.diagnose()]
    still = isinstance(model, Pair) and bool((test.var(0) < 0.01).all())
    return still or any(line.startswith("Posterior collapse: all") for line in said)


def distorted(models: dict[str, Any], task: Task) -> pd.DataFrame:
    """Return what distortions do to codes, beside pixels and principal components."""
    return evaluation.robustness(
        models,
        task.train.x[:SEEN],
        task.train.labels[:SEEN] if task.train.labels is not None else None,
        task.test.x[:SEEN],
        task.test.labels[:SEEN] if task.test.labels is not None else None,
        distorted={"none": {0.0: None}, **DISTORTED},
        components=task.sizes.latent,
    )


def few_labels(found: pd.DataFrame, names: dict[str, str], seconds: dict[str, float]) -> str:
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
        rows.append(f"| {names.get(name, name)} | {' | '.join(cells)} | {seconds.get(name, 0):.0f} |")
    return head + "\n".join(rows)


def clusters(
    codes: dict[str, tuple[Tensor, Tensor]], names: dict[str, str], labels: Tensor, *, rows: int
) -> str:
    """Return the table of k-means on test codes."""
    lines = ["| code | accuracy | NMI | ARI |\n" + "|---" * 4 + "|"]
    for name, (_, test) in codes.items():
        found = evaluation.clustering(test[:rows], labels[:rows])
        pairs = (found[:2], found[2:4], found[4:])
        cells = (f"{mean:.3f} ± {spread:.3f}" for mean, spread in pairs)
        lines.append(f"| {names.get(name, name)} | {' | '.join(cells)} |")
    return "\n".join(lines)


def curves(found: pd.DataFrame, names: dict[str, str], measure: str, digits: int) -> str:
    """Return the table of a measure of distorted pictures, at two levels a distortion."""
    table = found.set_index(["codes", "distortion", "level"])[measure]
    lines = [f"| code | none | {' | '.join(SAID)} |\n" + "|---" * (2 + len(SAID)) + "|"]
    for name in found["codes"].unique():
        cells = [f"{table[name, 'none', 0.0]:.{digits}f}"]
        for distortion, levels in DISTORTED.items():
            cells.append(", ".join(f"{table[name, distortion, level]:.{digits}f}" for level in levels))
        lines.append(f"| {names.get(name, name)} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=Path, default=Path("runs/codes"))
    parser.add_argument("--steps", type=int, default=200, help="of each stage")
    parser.add_argument("--recipes", nargs="+", help="all with a code of a picture where not given")
    parser.add_argument("--draws", type=int, default=5, help="of labelled pictures")
    parser.add_argument("--clustered", type=int, default=2000, help="test pictures that are clustered")
    parser.add_argument("--pictures", action="store_true", help="of codes of test pictures, by t-SNE")
    given = parser.parse_args()
    torch.set_num_threads(1)
    task = recipes.load("mnist")
    train, test = task.train.x, task.test.x
    assert task.train.labels is not None
    assert task.test.labels is not None
    size = task.sizes.latent
    components = f"principal components, {size}"
    train, test = train[:ROWS], test[:ROWS]
    codes = {"pixels": (train, test), components: evaluation.principal_components(train, test, size)}
    models, names, seconds = {}, {}, {}
    coded, without = coded_recipes(task)
    wanted = coded if given.recipes is None else given.recipes
    for name in wanted:
        folder = given.runs / f"{name}-{given.steps}"
        recipe, histories = trained(name, task, folder, steps=given.steps)
        models[name] = OfPictures(recipe)
        codes[name] = evaluation.encoded(models[name], train), evaluation.encoded(models[name], test)
        seconds[name] = json.loads((folder / "cpu.json").read_text())
        names[name] = f"{name} *" if is_collapsed(recipe.model, codes[name][1], histories) else name
        print(names[name], seconds[name], flush=True)
    print("probes", flush=True)
    found = evaluation.transfer(
        codes, task.train.labels[:ROWS], task.test.labels[:ROWS], sizes=SIZES, draws=given.draws
    )
    print("distortions", flush=True)
    every = distorted(models, task)
    every = every.replace({"codes": {"raw": "pixels", "principal components": components}})
    counts = given.steps, given.draws, given.clustered, given.steps
    told, none, not_run = (
        ", ".join(f"`{name}`" for name in some)
        for some in (TOLD, without, [name for name in coded if name not in wanted])
    )
    sizes = ", ".join(map(str, SIZES))
    protocol = PROTOCOL.format(
        *counts, told, none, ROWS, sizes, given.draws, ROWS, given.clustered, SEEN, SEEN
    ) + (f" Not run yet: {not_run}." if not_run else "")
    tables = [
        few_labels(found, names, seconds),
        clusters(codes, names, task.test.labels, rows=given.clustered),
        curves(every, names, "accuracy", 3),
        curves(every, names, "to_clean", 1),
    ]
    record(
        f"Codes of MNIST digits after {given.steps:,} steps",
        protocol,
        "\n\n".join(tables),
        packages=("scikit-learn",),
    )
    for name in names if given.pictures else ():
        points = evaluation.embedding(codes[name][1][:SHOWN], method="t-sne")
        figure = plots.latent_map(points, task.test.labels[:SHOWN], axes=("t-SNE 1", "t-SNE 2"))
        figure.savefig(given.runs / f"{name}.png", dpi=90)


if __name__ == "__main__":
    main()
