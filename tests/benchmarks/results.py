"""Writes what a benchmark measured, with protocol and versions, to RESULTS.md."""

import os
import platform
import re
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import torch

RESULTS = Path(__file__).parent / "RESULTS.md"


def cpu_seconds() -> float:
    """Return the seconds of the processor that this process, its threads and its ended children have used."""
    return sum(os.times()[:4])


def record(title: str, protocol: str, body: str, *, packages: tuple[str, ...] = ()) -> None:
    """Write a section, in the place of one of the same title: what was done, where, and what came out."""
    named = {name: version(name) for name in ("torch", "pyro-ppl", *packages)}
    machine = f"{platform.machine()}, {os.cpu_count()} cores, {torch.get_num_threads()} torch threads"
    if torch.cuda.is_available():
        machine += f", {torch.cuda.get_device_name()}"
    versions = ", ".join(f"{name} {number}" for name, number in named.items())
    where = f"Python {platform.python_version()}, {versions}; {machine}; {datetime.now(UTC):%Y-%m-%d}"
    text = f"## {title}\n\n{protocol}\n\n{where}.\n\n{body.rstrip()}\n\n"
    head, *sections = re.split(r"(?m)^(?=## )", RESULTS.read_text(encoding="utf-8").rstrip() + "\n\n")
    titles = [section.partition("\n")[0] for section in sections]
    if f"## {title}" in titles:
        sections[titles.index(f"## {title}")] = text
    else:
        sections.append(text)
    RESULTS.write_text(head + "".join(sections).rstrip() + "\n", encoding="utf-8")
    print(text)
