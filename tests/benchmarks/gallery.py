"""A picture and a row of measures of every recipe: ``python -m tests.benchmarks.gallery [--recipes A B]``.

Pictures go to ``tutorials/gallery``; the site shows both. Each training has a run folder, is resumed from
there and not repeated once it has ended.
"""

import argparse
import functools
import json
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import torch
from PIL import Image
from torch import Tensor

from probgen import data, mmd, recipes
from probgen.applications.parts.molecules.chemistry import structures
from probgen.core import seeded
from probgen.evaluation import (
    density_coverage,
    link_prediction,
    nearest_neighbour_ratio,
    precision_recall,
)
from probgen.plots.samples import mosaic
from probgen.recipes import Recipe, Task
from probgen.recipes.sequence_likelihood import per_step
from probgen.recipes.task import SEQUENCES, gaussian_kernel, settle_threads
from tests.benchmarks.results import cpu_seconds, record

PICTURES = Path(__file__).parents[2] / "tutorials" / "gallery"

DATA = {
    "images": "digits",
    "plane": "ring",
    "table": "diabetes",
    "music": "chorales",
    "text": "verse",
    "video": "moving-digits",
    "graph": "les-miserables",
    "molecules": "zinc-graphs",
}
"""The data that a recipe is shown on, by the first kind that it suits of these."""

STEPS = {"music": 500, "text": 500, "video": 200, "molecules": 500}
"""Of each stage, in the place of a recipe's own, where these take minutes."""

STRIP = ("vae", "vamp-vae", "vq-vae", "gan", "cgan", "tabular-gmmn", "graph-vae", "n-gram")
"""Recipes whose pictures stand side by side in the README."""

COLUMNS = (
    "MMD²",
    "precision",
    "recall",
    "coverage",
    "neighbour ratio",
    "nats a step",
    "AUC",
    "valid",
    "CPU seconds",
)
FORMATS = {"MMD²": ".4f", "nats a step": ".3g", "CPU seconds": ".0f"}

PROTOCOL = (
    "`python -m tests.benchmarks.gallery`: each recipe trained once (seed 0, its own budget and settings) on "
    "scikit-learn's digits, the ring of eight normals or the diabetes table, the first that it suits; "
    "as many draws as held-out rows, at most 2,000; MMD² under Gaussian kernels at ⅛ to 2 times the median "
    "distance, precision, recall and coverage as `compare` has them. One training says nothing of the spread "
    "over seeds: for that see the tables of questions. Sequences (chorales, verse of Shakespeare, films of a "
    f"moving digit) are shown after {STEPS['music']}, {STEPS['text']} and {STEPS['video']} steps, no trained "
    "model; nats a step (of films a frame, of text a character) are −log p, exact or a bound, of 64 test "
    "rows. AUC is that of 25 links of les Misérables that were set apart against as many uniform pairs, "
    f"'valid' the share of draws that are molecules, after {STEPS['molecules']} steps. CPU seconds: of the "
    "training, on cores that others used too."
)


def trained(name: str, task: Task, folder: Path) -> tuple[Recipe, float]:
    """Train a recipe or go on; return it and the seconds that it took."""
    with seeded(0):
        recipe = recipes.make(name, task)
    start, known = cpu_seconds(), folder / "cpu.json"
    folder.mkdir(parents=True, exist_ok=True)
    histories = recipes.train(
        recipe, task, seed=0, folder=folder, resume=True, steps=STEPS.get(task.kind), progress=False
    )
    if histories and histories[-1].ended == "interrupted":
        raise SystemExit(f"{folder} was interrupted: the same command goes on with it")
    if not known.exists():
        known.write_text(json.dumps(cpu_seconds() - start))
    recipe.model.eval()
    return recipe, float(json.loads(known.read_text()))


def measures(recipe: Recipe, task: Task) -> dict[str, float]:
    """Return what is measured, by column."""
    if task.kind in SEQUENCES:
        rows = task.test.part(slice(64))
        batch = rows.fresh[torch.arange(len(rows))]
        found = per_step(recipe.model, batch if isinstance(batch, tuple) else (batch,), particles=20, seed=0)
        return {"nats a step": found["nats_per_step"]}
    if task.kind == "graph":
        split = data.split_links(data.graph(task.name).x, seed=0)
        (found,) = recipe.model.link_probabilities(task.train.x, task.train.seen, draws=100, seed=0)
        return {"AUC": link_prediction(found, split.test.links, split.test.uniform)[0]}
    if task.kind == "molecules":
        return {"valid": float(np.mean([text is not None for text in task.bonds.decode(drawn(recipe, 500))]))}
    y, train = task.test.complete[:2000], task.train.complete
    x = drawn(recipe, len(y))
    kernel = gaussian_kernel(y.double(), (0.125, 0.25, 0.5, 1.0, 2.0))
    precision, recall = precision_recall(y, x)[:2]
    return {
        "MMD²": float(mmd.mmd2(x.double(), y.double(), kernel).value),
        "precision": float(precision),
        "recall": float(recall),
        "coverage": float(density_coverage(y, x).coverage),
        "neighbour ratio": float(nearest_neighbour_ratio(x, train, y)),
    }


def drawn(recipe: Recipe, n: int) -> Tensor:
    """Return n draws, the same at each call."""
    with torch.no_grad():
        return recipe.sample(n, seed=1)


def picture(recipe: Recipe, task: Task, path: Path) -> None:
    """Draw what the recipe draws, in at most 640 by 240 pixels."""
    path.parent.mkdir(exist_ok=True)
    if task.image_shape is not None:
        pixels = drawn(recipe, 40).reshape(-1, *task.image_shape).numpy()
        shown = np.kron(mosaic(pixels, 10, gap=0.5), np.ones((3, 3)))
    elif task.kind == "music":  # two pieces of 48 quarter notes, four octaves, high notes above
        rolls = 1 - drawn(recipe, 2)[:, :48, 24:72].transpose(1, 2).flip(1).numpy()
        shown = np.kron(mosaic(rolls, 2, gap=0.5), np.ones((3, 3)))
    elif task.kind == "video":
        frames = drawn(recipe, 3)[:, ::2, 0].reshape(-1, *task.train.x.shape[-2:]).numpy()
        shown = mosaic(frames, 10, gap=0.5)
    elif task.kind == "graph":  # the data beside a draw, nodes of many links first
        both = torch.stack([task.train.x[0], drawn(recipe, 1)[0]]).float()
        orders = both.sum(1).argsort(descending=True)
        both = torch.stack([x[order][:, order] for x, order in zip(both, orders, strict=True)])
        shown = np.kron(mosaic(1 - both.numpy(), 2, gap=0.5), np.ones((3, 3)))
    elif task.kind == "molecules":
        found = [text for text in task.bonds.decode(drawn(recipe, 40)) if text][:8]
        structures({"": [(text, "") for text in found]}, columns=8).savefig(path, dpi=60)
        return None
    else:
        return of_points(recipe, task, path)
    plt.imsave(path, shown, cmap="gray", vmin=0, vmax=1)
    return None


def of_points(recipe: Recipe, task: Task, path: Path) -> None:
    """Draw points and columns beside the data, and lines of text."""
    figure, axis = plt.subplots(figsize=(3.2, 1.6), layout="constrained")
    axis.set_axis_off()
    if task.vocabulary is not None:
        lines = [line[:44] for line in task.vocabulary.decode(drawn(recipe, 7))]
        axis.text(0, 0.5, "\n".join(lines), family="monospace", size=7.5, va="center", parse_math=False)
    else:
        columns = [0, 1] if task.kind == "plane" else [3, -1]  # body mass and progression
        axis.scatter(*task.test.complete[:500, columns].T, s=2, color="0.6")
        axis.scatter(*drawn(recipe, 500)[:, columns].T, s=2, color="#0072B2")
    figure.savefig(path, dpi=100)
    plt.close(figure)


def strip(path: Path) -> None:
    """Lay pictures of some recipes side by side, each with its name."""
    figure, axes = plt.subplots(2, len(STRIP) // 2, figsize=(10, 3), layout="constrained")
    for axis, name in zip(axes.flat, STRIP, strict=True):
        axis.imshow(plt.imread(PICTURES / f"{name}.png"), cmap="gray")
        axis.set_title(name, family="monospace", size=10)
        axis.set_axis_off()
    figure.savefig(path, dpi=100)
    plt.close(figure)
    with Image.open(path) as shown:
        small = shown.convert("RGB").quantize(16)
    small.save(path, optimize=True)


def row_of(name: str, values: dict[str, float]) -> str:
    """Return a row of the table."""
    cells = [
        "–" if column not in values else f"{values[column]:{FORMATS.get(column, '.2f')}}"
        for column in COLUMNS
    ]
    return f"| {name} | {' | '.join(cells)} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=Path, default=Path("runs/gallery"))
    parser.add_argument("--recipes", nargs="+", help="all if not given; the table is written of all alone")
    arguments = parser.parse_args()
    load = functools.cache(recipes.load)
    settle_threads(load("digits"))
    rows = []
    for name, entry in recipes.entries().items():
        if arguments.recipes and name not in arguments.recipes:
            continue
        task = load(next(DATA[kind] for kind in DATA if kind in entry.tasks))
        kept = arguments.runs / f"{name}.json"
        if not kept.exists():
            recipe, seconds = trained(name, task, arguments.runs / name)
            picture(recipe, task, PICTURES / f"{name}.png")
            kept.write_text(json.dumps(measures(recipe, task) | {"CPU seconds": seconds}))
        rows.append(row_of(name, json.loads(kept.read_text())))
        print(rows[-1], flush=True)
    head = f"| recipe | {' | '.join(COLUMNS)} |\n" + "|---" * (len(COLUMNS) + 1) + "|\n"
    if not arguments.recipes:
        strip(PICTURES / "strip.png")
        record("Gallery", PROTOCOL, head + "\n".join(rows), packages=("scikit-learn",))


if __name__ == "__main__":
    main()
