"""Appends what a benchmark measured, with protocol and versions, to RESULTS.md."""

import os
import platform
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import torch

RESULTS = Path(__file__).parent / "RESULTS.md"


def cpu_seconds() -> float:
    """Return the seconds of the processor that this process, its threads and its ended children have used."""
    return sum(os.times()[:4])


def append(title: str, protocol: str, body: str, *, packages: tuple[str, ...] = ()) -> None:
    """Append a section: what was done, where, and what came out."""
    named = {name: version(name) for name in ("torch", "pyro-ppl", *packages)}
    machine = f"{platform.machine()}, {os.cpu_count()} cores, {torch.get_num_threads()} torch threads"
    if torch.cuda.is_available():
        machine += f", {torch.cuda.get_device_name()}"
    versions = ", ".join(f"{name} {number}" for name, number in named.items())
    where = f"Python {platform.python_version()}, {versions}; {machine}; {datetime.now(UTC):%Y-%m-%d}"
    text = f"\n## {title}\n\n{protocol}\n\n{where}.\n\n{body}\n"
    with RESULTS.open("a", encoding="utf-8") as file:
        file.write(text)
    print(text)
