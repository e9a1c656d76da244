"""The reference: a page a room, with every public name of its face."""

import importlib
import inspect
import re
from typing import Any

ROOMS = (
    "sampling",
    "mmd",
    "models",
    "objectives",
    "training",
    "priors",
    "nets",
    "evaluation",
    "compare",
    "recipes",
    "applications",
    "data",
    "plots",
    "core",
)


def pages() -> dict[str, str]:
    """Return the pages by name, the contents first."""
    return {"reference": contents()} | {f"reference/{room}": page(room) for room in ROOMS}


def contents() -> str:
    """Return the page that lists the rooms, each with the first sentence of its docstring."""
    lines = ["# Reference", "", "Every public name, room by room.", ""]
    for room in ROOMS:
        said = (inspect.getdoc(importlib.import_module(f"probgen.{room}")) or "").split("\n\n")[0]
        lines.append(f"- [`probgen.{room}`](reference/{room}.md): {' '.join(said.split())}")
    listed = "\n".join(f"reference/{room}" for room in ROOMS)
    return "\n".join([*lines, "", "```{toctree}", ":hidden:", "", listed, "```", ""])


def page(room: str) -> str:
    """Return the page of a room: what it says of itself, then its names."""
    module = importlib.import_module(f"probgen.{room}")
    lines = [
        f"# `probgen.{room}`",
        "",
        "```{eval-rst}",
        f".. automodule:: probgen.{room}",
        "   :no-index:",
        "",
    ]
    for name in public(module):
        thing = getattr(module, name)
        if inspect.isclass(thing):
            lines += [f".. autoclass:: probgen.{room}.{name}", "   :members:", ""]
        elif inspect.isfunction(thing):
            lines += [f".. autofunction:: probgen.{room}.{name}", ""]
        elif inspect.ismodule(thing):
            lines += [f".. automodule:: {thing.__name__}", "   :members:", ""]
        else:
            lines += [f".. py:data:: probgen.{room}.{name}", f"   :type: {type(thing).__name__}", ""]
    return "\n".join([*lines, "```", ""])


def public(module: object) -> list[str]:
    """Return the public names of a room."""
    return list(getattr(module, "__all__", ()))


LITERAL = re.compile(r"(``.*?``|:\w+:`.*?`)")
MEANT = re.compile(r"\||(?<![*\w])\*(?=[\s,.)]|$)|(?<=\w)_(?=\W|$)")
"""Signs of mathematics that reStructuredText would take for its own: |x|, a lone *, an index's last dash."""


def as_meant(app: Any, what: str, name: str, thing: Any, options: Any, lines: list[str]) -> None:
    """Keep the signs of a docstring's mathematics, outside of code and blocks that are literal."""
    if lines and lines[0].startswith("Alias for field number"):  # of a named tuple, whose docstring has it
        lines.clear()
    literal_beyond = None
    for i, line in enumerate(lines):
        indent = len(line) - len(line.lstrip())
        if literal_beyond is not None and line.strip() and indent <= literal_beyond:
            literal_beyond = None
        if literal_beyond is None and not line.lstrip().startswith((">>>", "...", "..")):
            parts = LITERAL.split(line)
            lines[i] = "".join(
                part if LITERAL.fullmatch(part) else MEANT.sub(r"\\\g<0>", part) for part in parts
            )
        if line.rstrip().endswith("::"):
            literal_beyond = indent
