"""The gallery: a card an application and a recipe, from the registries, with pictures and results."""

from __future__ import annotations

import re
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pyro
import torch
from pyro.infer.inspect import get_dependencies

from generated_pages import results
from probgen import recipes
from probgen.applications import Application, applications
from probgen.core import Objective, Pair, seeded
from probgen.core.traces import sample_sites
from probgen.objectives import Sum
from probgen.recipes.registry import Entry, Recipe, Stage
from probgen.recipes.task import Task

HERE = Path(__file__).parents[1]
RESULTS = HERE.parent / "tests" / "benchmarks" / "RESULTS.md"

EXAMPLES = {
    "images": "digits",
    "plane": "ring",
    "table": "diabetes",
    "music": "chorales",
    "text": "verse",
    "video": "moving-digits",
    "graph": "les-miserables",
    "molecules": "zinc-graphs",
}
"""The data set that a recipe is shown on, by the first kind that it suits of these."""

KINDS = {
    "images": "Pictures",
    "plane": "The plane",
    "table": "Tables",
    "music": "Music",
    "text": "Text",
    "video": "Video",
    "graph": "Graphs",
    "molecules": "Molecules",
    "series": "Time series",
}


def pages() -> dict[str, str]:
    """Return the page of the gallery."""
    tasks = examples()
    by_kind: dict[str, list[str]] = {}
    rows = measured()
    found = found_by_applications(RESULTS.read_text(encoding="utf-8"))
    for entry in recipes.entries().values():
        kind = next(kind for kind in EXAMPLES if kind in entry.tasks)
        by_kind.setdefault(kind, []).append(card(entry, tasks.get(kind), rows))
    lines = [
        f"{results.WIDE}# Gallery",
        "",
        results.SECTIONS.replace(":depth: 1", ":depth: 2"),
        "## Applications",
        "",
        "Real data or a file of yours, beside the baselines of the field: `probgen apply NAME --data FILE`.",
        "",
        "::::{grid} 1 2 2 3",
        ":gutter: 2",
        "",
        *(card_of_application(entry, found.get(entry.name, {})) for entry in applications().values()),
        "::::",
        "",
        "## Recipes",
        "",
        f"The {sum(map(len, by_kind.values()))} recipes, a file each in `probgen/recipes`. "
        "`probgen train NAME --data FILE` trains one on data of yours, `probgen compare --methods A,B` "
        "judges several. Measures are of one training, see [the results](results/draws.md).",
        "",
    ]
    for kind, cards in sorted(by_kind.items(), key=lambda pair: list(KINDS).index(pair[0])):
        lines += [f"### {KINDS[kind]}", "", "::::{grid} 1 2 2 3", ":gutter: 2", "", *cards, "::::", ""]
    return {"gallery": "\n".join(lines)}


def examples() -> dict[str, Task]:
    """Return the tasks by kind, without those whose data, or whose extra, are neither here nor to be had."""
    tasks = {}
    for kind, name in EXAMPLES.items():
        with suppress(ConnectionError, *([ValueError] if find_spec("rdkit") is None else [])):
            tasks[kind] = recipes.load(name)
    return tasks


def card(entry: Entry, task: Task | None, rows: dict[str, str]) -> str:
    """Return the card of a recipe."""
    lines = [f":::{{grid-item-card}} `{entry.name}`"]
    if (HERE / "gallery" / f"{entry.name}.png").exists():
        lines += [f":img-top: ../gallery/{entry.name}.png", f":img-alt: Draws of {entry.name}"]
    lines += ["", entry.what[:1].upper() + entry.what[1:] + ".", ""]
    if task is not None:
        with seeded(0):
            recipe = entry.make(task)
        lines += [f"*Graph:* {graph(recipe, task)}", "", f"*Loss:* {losses(recipe)}", ""]
    lines += [f"*For:* {', '.join(KINDS[kind].lower() for kind in entry.tasks)}", ""]
    if entry.name in rows:
        lines += [f"*Measured:* {rows[entry.name]}", ""]
    return "\n".join([*lines, f"*Source:* {entry.source}", ":::", ""])


def card_of_application(entry: Application, found: dict[str, str]) -> str:
    """Return the card of an application; ``found`` has a sentence for each data set that was measured."""
    lines = [f":::{{grid-item-card}} `apply {entry.name}`"]
    if (HERE / "gallery" / f"apply-{entry.name}.png").exists():
        lines += [f":img-top: ../gallery/apply-{entry.name}.png", f":img-alt: Of the report of {entry.name}"]
    if (HERE / "applications" / f"{entry.name}.md").exists():
        lines += [f":link: ../applications/{entry.name}", ":link-type: doc"]
    lines += ["", entry.title + ".", "", f"*Takes:* {entry.data}", ""]
    for data, sentence in found.items():
        lines += [f"*{data}:* {sentence}", ""]
    return "\n".join([*lines, ":::", ""])


def found_by_applications(results: str) -> dict[str, dict[str, str]]:
    """Return what was found first by each application on each data set, from the sections of RESULTS.md."""
    sections = re.findall(r"^## Application (\S+), (.*)\n((?:(?!## ).*\n?)*)", results, re.MULTILINE)
    found: dict[str, dict[str, str]] = {}
    for name, data, text in sections:
        for sentence in re.findall(r"^- (.*)$", text, re.MULTILINE)[:1]:
            found.setdefault(name, {})[data] = sentence
    return found


def losses(recipe: Recipe) -> str:
    """Return the names of what the stages minimise."""
    named = [
        " + ".join(f"`{name}`" for name in parts(stage.objective))
        if isinstance(stage, Stage)
        else ("one of what was learned" if number else "one of its own")
        for number, stage in enumerate(recipe.stages)
    ]
    return ", then ".join(named) or "none, what it knows is counted"


def parts(objective: Objective) -> list[str]:
    """Return the names of an objective's parts, or its own."""
    if isinstance(objective, Sum):
        return [name for part in objective.children() if isinstance(part, Objective) for name in parts(part)]
    return [type(objective).__name__]


def graph(recipe: Recipe, task: Task) -> str:
    """Return which sites depend on which, in the story and in the guide."""
    model, x = recipe.model, recipe.prepare(task.train.x[:2])
    story = edges(model.model, recipe)
    if isinstance(model, Pair) and not re.search(r"\bx\b", story):  # drawn outside of Pyro
        story = edges(model.model, recipe, x)
    if not re.search(r"\bx\b", story):
        drawn = f"{story} → x" if story else "x"
        story = drawn if hasattr(model, "log_prob") else f"{drawn}, without a density"
    guide = edges(model.guide, recipe, x) if isinstance(model, Pair) else ""
    return f"{story}; guide {guide}" if guide else story


def edges(story: Any, recipe: Recipe, x: Any = None) -> str:
    """Return the arrows from site to site, or the sites in their order where nets hide the arrows."""
    contexts = () if recipe.contexts is None else (recipe.contexts[:2],)
    arguments, options = (x, *contexts), {} if x is not None else {"n": 2}
    with torch.no_grad(), pyro.poutine.block(), seeded(0):
        try:
            found = get_dependencies(story, arguments, options)["prior_dependencies"]
        except (
            AttributeError,
            RuntimeError,
            TypeError,
            ValueError,
        ):  # of nets that look at shapes of tensors
            trace = pyro.poutine.trace(story).get_trace(*arguments, **options)
            return " → ".join(name for name in sample_sites(trace))
    parents = {site: [other for other in own if other != site] for site, own in found.items()}
    return ", ".join(f"{' '.join(own)} → {site}" if own else site for site, own in parents.items())


def measured() -> dict[str, str]:
    """Return what was measured of each recipe, from the table of the gallery in RESULTS.md."""
    section = re.search(
        r"^## Gallery\n(.*?)(?=^## |\Z)", RESULTS.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL
    )
    if section is None:
        return {}
    head, _, *rows = [
        [cell.strip() for cell in line.strip("| \n").split("|")]
        for line in section[1].splitlines()
        if line.startswith("|")
    ]
    return {
        row[0].strip("`"): ", ".join(
            f"{name} {cell}" for name, cell in zip(head[1:], row[1:], strict=True) if cell not in ("", "–")
        )
        for row in rows
    }
