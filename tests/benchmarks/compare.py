"""The compare tables: ``python -m tests.benchmarks.compare [NAME ...] [--methods=A,B]``."""

import os
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import torch

from probgen import recipes
from probgen.cli import comparing
from probgen.compare import Comparison
from probgen.compare.metrics import COLUMNS
from probgen.compare.table import MARK, footnotes, marked_cells
from tests.benchmarks.results import record

SKIPPED = ("energy_stderr", "c2st_stderr", "nll_stderr", "mmd2_stderr")
README = Path(__file__).parents[2] / "README.md"
SHOWN = ("mmd2", "c2st_accuracy", "precision", "recall", "coverage", "nll", "nn_ratio")
NAMES = {
    "pixels": "each pixel by its inverse CDF",
    "mixture": "exact draws of a Gaussian mixture",
    "gmmn": "moment-matching network",
    "vae": "VAE",
    "vae-2d": "VAE with a two-dimensional code",
    "memoriser": "*memoriser*",
    "train against test": "*floor: train against test*",
}


def markdown(result: Comparison) -> str:
    """Return the table that the command prints as Markdown, with what its signs mean below it."""
    written, doubted = marked_cells(result), result.findings()
    metrics = [name for name in next(iter(written.values())) if name not in SKIPPED]
    lines = ["| method | " + " | ".join(metrics) + " |", "|---" * (len(metrics) + 1) + "|"]
    for method, row in written.items():
        name = f"{method} {MARK}" if method in doubted else method
        lines.append(f"| {name} | " + " | ".join(escaped(row[metric]) for metric in metrics) + " |")
    return "\n".join([*lines, *(f"\n{escaped(note)}" for note in footnotes(result))])


def for_readme(result: Comparison) -> str:
    """Return some columns of it, with names that need no explanation."""
    written = marked_cells(result)
    lines = ["| | " + " | ".join(COLUMNS[metric].label for metric in SHOWN) + " |"]
    lines.append("|---" * (len(SHOWN) + 1) + "|")
    for method, row in written.items():
        name = NAMES.get(method, method) + (f" {MARK}" if method in result.findings() else "")
        lines.append(f"| {name} | " + " | ".join(escaped(row[metric]) for metric in SHOWN) + " |")
    return "\n".join([*lines, *(f"\n{escaped(note)}" for note in footnotes(result))])


def escaped(text: str) -> str:
    return text.replace("*", "\\*")


def put_into_readme(table: str) -> None:
    """Write the table between its two marks."""
    text = README.read_text(encoding="utf-8")
    before, _, rest = text.partition("<!-- digits -->")
    _, mark, after = rest.partition("<!-- end of digits -->")
    if not mark:
        raise ValueError(f"{README} should have the marks of the table of digits but has none")
    README.write_text(f"{before}<!-- digits -->\n\n{table}\n\n{mark}{after}", encoding="utf-8")


def main(names: list[str], methods: list[str] | None) -> None:
    for name in names:
        start = time.perf_counter()
        task = recipes.load(name)
        torch.set_num_threads(1)
        chosen = comparing.choose(task, methods)
        result = comparing.run(task, chosen, None, n=None, repeats=None, seed=0, jobs=-1)
        with TemporaryDirectory() as folder:
            comparing.save(task, result, Path(folder) / "out")
        seconds = time.perf_counter() - start
        facts = result.protocol
        which = "all methods" if methods is None else ", ".join(methods)
        protocol = (
            f"`probgen compare {name}`, {which}: {facts['n']} draws against "
            f"{facts['reference_shape'][0]} held-out points, {facts['train_shape'][0]} training points, "
            f"{facts['repeats']} repeats, seed 0, report written; {seconds:.0f} s in all on "
            f"{os.cpu_count()} cores. Means with 95 % "
            "intervals over repeats, p-values combined; MMD² unbiased, p by 1,000 permutations; NLL in nats; "
            f"units: {facts['scale']}."
        )
        record(f"compare {name}", protocol, markdown(result), packages=("scikit-learn",))
        if name == "digits" and methods is None:
            put_into_readme(for_readme(result))


if __name__ == "__main__":
    chosen = [
        word.removeprefix("--methods=").split(",") for word in sys.argv if word.startswith("--methods=")
    ]
    named = [word for word in sys.argv[1:] if not word.startswith("--")]
    main(named or ["digits", "banana", "mnist"], chosen[0] if chosen else None)
