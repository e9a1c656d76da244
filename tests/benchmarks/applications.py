"""Applications at their full size: what a finished study measured, as a section of RESULTS.md.

A study whose folder is finished is only read; one that is not is run, or goes on where it was interrupted.
"""

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import pandas as pd
import torch
from PIL import Image

from probgen.applications import Application, applications, apply
from probgen.applications.frame.paired import gains, target_of, verdicts
from probgen.applications.frame.study import METRICS, PROTOCOL
from probgen.compare.best import not_told_apart_from_the_best
from probgen.compare.columns import over_repeats
from probgen.compare.table import BEST, MARK, ideal, written
from tests.benchmarks.results import cpu_seconds, record

LABELS = {
    "mnist": "MNIST", "movielens": "MovieLens", "zinc": "ZINC", "shakespeare": "Shakespeare", "fsdd": "FSDD"
}  # fmt: skip
"""Names of data in titles, where they are not those of the command line."""

SAID_ELSEWHERE = {
    "application", "data", "SHA-256", "size", "seed", "repeats", "written", "last run", "versions", "device",
    "threads", "platform",
}  # fmt: skip
"""Facts that stand elsewhere in a section, or tell of a day and a machine alone."""

PICTURES = Path(__file__).parents[2] / "tutorials" / "gallery"

SHOWN = {
    "anomaly": "worst-cases", "augmentation": "accuracy", "features": "maps", "finance": "fan",
    "images": "samples", "molecules": "best-molecules", "music": "piano-rolls", "recommend": "metrics",
    "speech": "spectrograms", "style": "family-1", "text": "speakers",
}  # fmt: skip
"""The figure of each application that its card shows."""

WIDE, HIGH = 720, 420
"""Pixels of a card's picture, at most: what is higher is cut off below."""

LEFT = {"molecules": 0.375}
"""The share of a figure's width that is shown, where all of it would be too small."""

HOW_TO_READ = (
    "Means over repeats with their 95 % t-intervals; in italics baselines and the floor, which is real data "
    f"judged as if they were drawn. \\{BEST} not told apart from the best over the repeats (Welch's t-test, "
    "at 5 % for all methods together). The sentences below pair the repeats."
)


def finished(folder: Path) -> bool:
    """Whether a study has written its report, which it does last."""
    return (folder / "report.html").exists()


def finish(application: Application, data: str, folder: Path) -> None:
    """Run a study at its full size, or the rest of it, and keep the CPU seconds of all its runs beside it."""
    kept = folder.with_name(f"{folder.name}-seconds.json")
    before = json.loads(kept.read_text()) if kept.exists() else 0.0
    start = cpu_seconds()
    try:
        apply(application.name, data=data, out=folder)
    finally:
        kept.parent.mkdir(parents=True, exist_ok=True)
        kept.write_text(json.dumps(before + cpu_seconds() - start))


def section(application: Application, folder: Path, data: str) -> tuple[str, str, str]:
    """Return title, protocol and table of a finished study of some data, as the command line names them."""
    written_last = json.loads((folder / PROTOCOL).read_text(encoding="utf-8"))
    frame = pd.read_csv(folder / METRICS)
    facts, methods = written_last["facts"], written_last["methods"]
    frame = frame[frame["method"].isin(methods)]
    seconds = folder.with_name(f"{folder.name}-seconds.json")
    took = (
        f" It took {json.loads(seconds.read_text()):,.0f} CPU seconds on one thread."
        if seconds.exists()
        else ""
    )
    size = "" if facts["size"] == "full" else f" at the size {facts['size']}, too small to judge by"
    own = "; ".join(f"{key}: {value}" for key, value in facts.items() if key not in SAID_ELSEWHERE)
    protocol = (
        f"`probgen apply {application.name} --data {data} --seed {facts['seed']}`{size}, "
        f"{facts['repeats']} repeats. {own[:1].upper()}{own[1:]}.{took}\n\n{HOW_TO_READ}"
    )
    title = f"Application {application.name}, {LABELS.get(data, data)}"
    return (
        title,
        protocol,
        "\n\n".join([table(application, frame, written_last), *said(application, frame, written_last)]),
    )


def table(application: Application, frame: pd.DataFrame, study: Mapping[str, Any]) -> str:
    """Return a row a method and a column a measure, the best marked."""
    measures = {name: column for name, column in application.measures.items() if name in set(frame["metric"])}
    values = {key: own["value"].tolist() for key, own in frame.groupby(["method", "metric"])}
    rows = {name: [] for name in study["methods"]}
    for measure, column in measures.items():
        own = {name: values[name, measure] for name in rows if (name, measure) in values}
        target = target_of(column, own.get(study["floor"], []))
        sound = {name: v for name, v in own.items() if name not in {*study["findings"], study["floor"]}}
        best = set() if target is None or not sound else not_told_apart_from_the_best(sound, target=target)
        for name, cells in rows.items():
            text = written(measure, column, over_repeats(column, own.get(name, [])))
            cells.append(f"\\{BEST}{text}" if name in best else text)
    heads = [f"{c.label} ({ideal(c)})" if ideal(c) else c.label for c in measures.values()]
    lines = [["method (best value)", *heads], ["---"] * (len(heads) + 1)]
    for name, cells in rows.items():
        shown = f"{name} {MARK}" if name in study["findings"] else name
        lines.append([f"*{shown}*" if name in study["baselines"] else shown, *cells])
    return "\n".join(f"| {' | '.join(cell.replace('|', '¦') for cell in line)} |" for line in lines)


def said(application: Application, frame: pd.DataFrame, study: Mapping[str, Any]) -> list[str]:
    """Return who wins, what the study itself says, and what was found wrong with methods."""
    floor, wrong = study["floor"], study["findings"]
    ours = [name for name in study["methods"] if name not in study["baselines"] and name not in wrong]
    baselines = [name for name in study["baselines"] if name != floor]
    sentences = [
        sentence
        for name, column in application.measures.items()
        for sentence in verdicts(gains(frame, name, column, ours, baselines, floor=floor), column)
    ]
    sentences += study["said"]
    found = [f"{MARK} {name}: {' '.join(own)}" for name, own in wrong.items()]
    return ["\n".join(f"- {sentence}" for sentence in sentences), *found]


def picture(name: str, folder: Path) -> None:
    """Make the picture of an application's card of a figure of its report."""
    with Image.open(folder / f"{SHOWN[name]}.png") as figure:
        whole = figure.convert("RGB").crop((0, 0, round(LEFT.get(name, 1) * figure.width), figure.height))
    high = round(whole.height * WIDE / whole.width)
    small = whole.resize((WIDE, high), Image.Resampling.LANCZOS).crop((0, 0, WIDE, min(high, HIGH)))
    small.quantize(256).save(PICTURES / f"apply-{name}.png", optimize=True)


def strip(path: Path) -> None:
    """Lay the pictures of all applications that have one side by side, each with its name."""
    names = [name for name in SHOWN if (PICTURES / f"apply-{name}.png").exists()]
    rows = -(-len(names) // 4)
    figure, axes = plt.subplots(rows, 4, figsize=(10, 1.8 * rows), layout="constrained")
    for axis in axes.flat:
        axis.set_axis_off()
    for axis, name in zip(axes.flat, names, strict=False):
        axis.imshow(plt.imread(PICTURES / f"apply-{name}.png"))
        axis.set_title(name, family="monospace", size=10)
    figure.savefig(path, dpi=100)
    plt.close(figure)
    with Image.open(path) as shown:
        small = shown.convert("RGB").quantize(256)
    small.save(path, optimize=True)


def main(arguments: Sequence[str] | None = None) -> None:
    """Finish the studies that are named and write their sections."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "names", nargs="*", metavar="NAME[:DATA]", help="all if not given; DATA is shipped data"
    )
    parser.add_argument("--runs", type=Path, default=Path("results/applications"), help="a folder of studies")
    given = parser.parse_args(arguments)
    torch.set_num_threads(1)
    known = applications()
    for name in given.names or known:
        name, _, data = name.partition(":")
        application = known[name]
        folder = given.runs / (f"{name}-{data}" if data else name)
        data = data or application.shipped[0]
        if not finished(folder):
            finish(application, data, folder)
        title, protocol, body = section(application, folder, data)
        record(title, protocol, body)
        picture(name, folder)
    strip(PICTURES / "applications.png")


if __name__ == "__main__":
    main()
