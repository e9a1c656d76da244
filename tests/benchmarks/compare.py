"""The compare tables: ``python -m tests.benchmarks.compare [NAME ...] [--methods=A,B]``."""

import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import pandas as pd

from probgen import recipes
from probgen.cli import comparing
from probgen.compare import Comparison
from probgen.recipes.task import settle_threads

SKIPPED = ("energy_stderr", "c2st_stderr", "nll_stderr", "mmd2_stderr")


def markdown(result: Comparison) -> str:
    """Return the summary as a Markdown table, mean ± half-width of the 95 % interval over repeats."""
    summary = result.summary()
    metrics = [name for name in dict.fromkeys(summary.columns.get_level_values(0)) if name not in SKIPPED]
    lines = ["| method | " + " | ".join(metrics) + " |", "|---" * (len(metrics) + 1) + "|"]
    for method, row in summary.iterrows():
        cells = [cell(row[metric, "mean"], row[metric, "half_width"]) for metric in metrics]
        lines.append(f"| {method} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def cell(mean: float, half_width: float) -> str:
    if pd.isna(mean):
        return "–"
    return f"{mean:.3g}" if pd.isna(half_width) else f"{mean:.3g} ± {half_width:.1g}"


def main(names: list[str], methods: list[str] | None) -> None:
    for name in names:
        start = time.perf_counter()
        task = recipes.load(name)
        settle_threads(task)
        result = comparing.run(task, comparing.choose(task, methods), None, n=None, repeats=None, seed=0)
        with TemporaryDirectory() as folder:
            comparing.save(task, result, Path(folder) / "out")
        seconds = time.perf_counter() - start
        record = result.protocol
        which = "all methods" if methods is None else ", ".join(methods)
        protocol = (
            f"`probgen compare {name}`, {which}: {record['n']} draws against "
            f"{record['reference_shape'][0]} held-out points, {record['train_shape'][0]} training points, "
            f"{record['repeats']} repeats, seed 0, report written; {seconds:.0f} s in all. Mean ± half-width "
            "of the 95 % t-interval over repeats; MMD² unbiased, p by 1,000 permutations; NLL in nats."
        )
        record(f"compare {name}", protocol, markdown(result), packages=("scikit-learn",))


if __name__ == "__main__":
    chosen = [
        word.removeprefix("--methods=").split(",") for word in sys.argv if word.startswith("--methods=")
    ]
    named = [word for word in sys.argv[1:] if not word.startswith("--")]
    main(named or ["digits", "banana", "mnist"], chosen[0] if chosen else None)
