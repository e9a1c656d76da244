"""The compare tables: ``python -m tests.benchmarks.compare [NAME ...] [--methods=A,B]``.

Tables of questions: ``python -m tests.benchmarks.compare digits --table=ae-vae [--repeats=3] [--steps=500]``.
"""

import os
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import torch

from probgen import recipes
from probgen.cli import comparing, tables
from probgen.cli.tables.table import Table
from probgen.compare import Comparison
from probgen.compare.metrics import COLUMNS
from probgen.compare.questions import answers, best_answers
from probgen.compare.table import BEST, MARK, footnotes, marked_cells
from tests.benchmarks.results import record

SKIPPED = ("energy_stderr", "c2st_stderr", "nll_stderr", "mmd2_stderr")
README = Path(__file__).parents[2] / "README.md"
SHOWN = ("c2st_accuracy", "precision", "coverage", "nll", "nn_ratio")
NAMES = {
    "pixels": "each pixel by its inverse CDF",
    "mixture": "exact draws of a Gaussian mixture",
    "gan": "contest of two networks (GAN)",
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


def answered(result: Comparison, table: Table) -> str:
    """Return questions and answers as Markdown, with what the signs mean and what each row means below."""
    found, doubted = answers(result, table.questions), result.findings()
    names = list(next(iter(found.values())))
    heads = [f"{name} {MARK}" if name in doubted else name for name in names]
    lines = [f"| question | {' | '.join(heads)} |", "|---" * (len(names) + 1) + "|"]
    for question in table.questions:
        best = best_answers(result, question)
        own = [
            BEST + found[question.name][name] if name in best else found[question.name][name]
            for name in names
        ]
        lines.append(f"| {question.name} | {' | '.join(escaped(cell) for cell in own)} |")
    told = [f"- {question.name}: {question.about}" for question in table.questions]
    return "\n".join([*lines, *(f"\n{escaped(note)}" for note in footnotes(result)), "", *told])


def tabled(name: str, table: Table, *, repeats: int | None, steps: int | None, folder: str | None) -> None:
    """Make a table of questions and write it down."""
    start = time.perf_counter()
    task = recipes.load(name)
    torch.set_num_threads(1)
    result = tables.run(table, task, None, n=None, repeats=repeats, seed=0, jobs=-1, steps=steps)
    with TemporaryDirectory() as spare:
        comparing.save(task, result, Path(folder or Path(spare) / "out"), table.questions)
    facts, given = result.protocol, {"repeats": repeats, "steps": steps}
    options = "".join(f" --{key} {value}" for key, value in given.items() if value is not None)
    budget = f"{steps:,} steps of each training" if steps else "the recipes' own budgets"
    protocol = (
        f"`probgen compare {name} --table {table.name}{options}`: {facts['repeats']} runs of each method "
        f"from different seeds, {budget}; {facts['n']} draws against {facts['reference_shape'][0]} held-out "
        f"points, {facts['train_shape'][0]} training points, seed 0; {time.perf_counter() - start:.0f} s in "
        f"all on {os.cpu_count()} cores that were at other work too, which seconds tell of. Means over runs "
        "with 95 % intervals."
    )
    record(f"table {table.name}, {name}", protocol, answered(result, table), packages=("scikit-learn",))


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


def option(name: str) -> str | None:
    """Return what stands after --NAME=, if it is given."""
    return next((word.partition("=")[2] for word in sys.argv if word.startswith(f"--{name}=")), None)


if __name__ == "__main__":
    chosen, table, repeats, steps = (option(name) for name in ("methods", "table", "repeats", "steps"))
    named = [word for word in sys.argv[1:] if not word.startswith("--")]
    if table is None:
        main(named or ["digits", "banana", "mnist"], None if chosen is None else chosen.split(","))
    for name in named if table is not None else []:
        tabled(
            name,
            tables.TABLES[table],
            repeats=None if repeats is None else int(repeats),
            steps=None if steps is None else int(steps),
            folder=option("out"),
        )
