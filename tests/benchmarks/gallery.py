"""A picture and a row of measures of every recipe: ``python -m tests.benchmarks.gallery [--recipes A B]``.

Pictures go to ``tutorials/gallery``; the site shows both. Each training has a run folder, is resumed from
there and not repeated once it has ended.
"""

import argparse
import json
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import torch
from torch import Tensor

from probgen import mmd, recipes
from probgen.core import seeded
from probgen.evaluation import density_coverage, nearest_neighbour_ratio, precision_recall
from probgen.plots.samples import mosaic
from probgen.recipes import Recipe, Task
from probgen.recipes.task import gaussian_kernel, settle_threads
from tests.benchmarks.results import cpu_seconds, record

PICTURES = Path(__file__).parents[2] / "tutorials" / "gallery"

DATA = {"images": "digits", "plane": "ring", "table": "diabetes"}
"""The data that a recipe is shown on, by the first kind that it suits of these."""

COLUMNS = ("MMD²", "precision", "recall", "coverage", "neighbour ratio", "CPU seconds")

PROTOCOL = (
    "`python -m tests.benchmarks.gallery`: each recipe trained once (seed 0, its own budget and settings) on "
    "scikit-learn's digits, the ring of eight normals or the diabetes table, the first that it suits; "
    "as many draws as held-out rows, at most 2,000; MMD² under Gaussian kernels at ⅛ to 2 times the median "
    "distance, precision, recall and coverage as `compare` has them. One training says nothing of the spread "
    "over seeds: for that see the tables of questions. CPU seconds: of the training, on busy cores."
)


def trained(name: str, task: Task, folder: Path) -> tuple[Recipe, float]:
    """Train a recipe or go on; return it and the seconds that it took."""
    with seeded(0):
        recipe = recipes.make(name, task)
    start, known = cpu_seconds(), folder / "cpu.json"
    histories = recipes.train(recipe, task, seed=0, folder=folder, resume=folder.exists(), progress=False)
    if histories[-1].ended == "interrupted":
        raise SystemExit(f"{folder} was interrupted: the same command goes on with it")
    if not known.exists():
        known.write_text(json.dumps(cpu_seconds() - start))
    recipe.model.eval()
    return recipe, float(json.loads(known.read_text()))


def measures(x: Tensor, task: Task) -> list[float]:
    """Return what draws are like beside held-out rows."""
    y, train = task.test.complete[:2000], task.train.complete
    x = x[: len(y)]
    kernel = gaussian_kernel(y.double(), (0.125, 0.25, 0.5, 1.0, 2.0))
    precision, recall = precision_recall(y, x)[:2]
    ratio = nearest_neighbour_ratio(x, train, y)
    return [
        float(mmd.mmd2(x.double(), y.double(), kernel).value),
        float(precision),
        float(recall),
        float(density_coverage(y, x).coverage),
        float(ratio),
    ]


def picture(x: Tensor, task: Task, path: Path) -> None:
    """Draw forty pictures, or points and columns beside the data."""
    path.parent.mkdir(exist_ok=True)
    if task.image_shape is not None:
        stack = x[:40].reshape(-1, *task.image_shape).cpu().numpy()
        shown = np.kron(mosaic(stack, 10, gap=0.5), np.ones((3, 3)))
        plt.imsave(path, shown, cmap="gray", vmin=0, vmax=1)
        return
    figure, axis = plt.subplots(figsize=(3.2, 1.6), layout="constrained")
    columns = [0, 1] if task.kind == "plane" else [2, -1]
    axis.scatter(*task.test.complete[:500, columns].T.cpu(), s=2, color="0.6")
    axis.scatter(*x[:500, columns].T.cpu(), s=2, color="#0072B2")
    axis.set_axis_off()
    figure.savefig(path, dpi=100)
    plt.close(figure)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=Path, default=Path("runs/gallery"))
    parser.add_argument("--recipes", nargs="+", help="all that are for pictures, the plane or tables")
    arguments = parser.parse_args()
    tasks = {kind: recipes.load(name) for kind, name in DATA.items()}
    settle_threads(tasks["images"])
    rows = []
    for name, entry in recipes.entries().items():
        kind = next((kind for kind in tasks if kind in entry.tasks), None)
        if kind is None or (arguments.recipes and name not in arguments.recipes):
            continue
        kept = arguments.runs / f"{name}.json"
        if not kept.exists():
            task = tasks[kind]
            recipe, seconds = trained(name, task, arguments.runs / name)
            with torch.no_grad():
                x = recipe.sample(min(2000, len(task.test.complete)), seed=1)
            picture(x, task, PICTURES / f"{name}.png")
            kept.write_text(json.dumps([*measures(x, task), seconds]))
        values = json.loads(kept.read_text())
        cells = (f"{values[0]:.4f}", *(f"{value:.2f}" for value in values[1:5]), f"{values[5]:.0f}")
        rows.append(f"| {name} | {' | '.join(cells)} |")
        print(rows[-1], flush=True)
    head = f"| recipe | {' | '.join(COLUMNS)} |\n" + "|---" * (len(COLUMNS) + 1) + "|\n"
    if not arguments.recipes:
        record("Gallery", PROTOCOL, head + "\n".join(rows), packages=("scikit-learn",))


if __name__ == "__main__":
    main()
