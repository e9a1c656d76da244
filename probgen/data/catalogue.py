"""What data there is, where it lies, and how to get it."""

from __future__ import annotations

from typing import NamedTuple

from probgen.data.files import SOURCES, cache, find, read, suggest
from probgen.data.graphs import AIR_ROUTES, LES_MISERABLES
from probgen.data.targets import TARGETS


class Entry(NamedTuple):
    """One data set: what it is, where it would be read from, under which licence."""

    name: str
    version: str
    what: str
    where: str
    licence: str


def listing() -> list[Entry]:
    """Return one entry per data set, real data first, then the two-dimensional targets."""
    digits = Entry(
        "digits", "1", "1,797 handwritten digits, 8x8, grey levels 0..16", "inside scikit-learn", "CC BY 4.0"
    )
    diabetes = Entry(
        "diabetes",
        "1",
        "442 patients, ten measurements and an outcome",
        "inside scikit-learn",
        "public",
    )
    sprites = Entry(
        "sprites",
        "1",
        "12,000 of 737,280 white shapes on black, 64x64, with their factors, as in dSprites",
        "computed, no file",
        "none needed",
    )
    graph = Entry(
        LES_MISERABLES,
        "1",
        "77 persons of a novel, and the 254 pairs of them who meet in a chapter",
        "inside networkx",
        "BSD-3-Clause",
    )
    shares = Entry(
        "sp500",
        "arch 8.0.0",
        "the S&P 500 on 5,031 days, 1999 to 2018",
        "inside arch, the extra finance",
        "of Yahoo! Finance, by arch (NCSA)",
    )
    routes = Entry(
        AIR_ROUTES,
        "2026.1",
        "352 airports of the United States, and the 3,017 pairs of them that airlines link",
        "inside bokeh_sampledata, the extra 'graphs'",
        "public domain",
    )
    real = [
        Entry(name, source.version, source.what, _place(name), source.licence)
        for name, source in SOURCES.items()
    ]
    targets = [
        Entry(target.name, target.version, target.what, "computed, no file", "none needed")
        for target in TARGETS.values()
    ]
    return [digits, *real, diabetes, sprites, graph, shares, routes, *targets]


def where(name: str) -> str:
    """Return where the data set ``name`` would be read from, or that it is not here yet."""
    entries = {entry.name: entry for entry in listing()}
    if name not in entries:
        raise ValueError(f"there is no data set {name!r}: {suggest(name, entries)}")
    return entries[name].where


def fetch(name: str) -> str:
    """Make sure that the files of data set ``name`` are here and whole, and return where they are.

    What is missing is downloaded to the user's cache, with a progress bar; what is here is checked.
    """
    where(name)
    if name in SOURCES:
        for file in SOURCES[name].files:
            read(name, file)
    return where(name)


def _place(name: str) -> str:
    paths = [find(name, file) for file in SOURCES[name].files]
    folders = dict.fromkeys(str(path.parent) for path in paths if path is not None)
    if None in paths:
        return f"not here yet (would be downloaded to {cache(name)})"
    return ", ".join(folders)
