"""Graphs: nodes and which pairs of them are linked."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from probgen.data.csv_files import read_csv
from probgen.data.files import suggest

LES_MISERABLES, AIR_ROUTES = "les-miserables", "air-routes"
GRAPHS = (LES_MISERABLES, AIR_ROUTES)
"""Names of graphs that are known."""

MOST_NODES = 5000
"""Most nodes of a graph of the user's own: it is kept as a matrix of all pairs."""


class Graph(NamedTuple):
    """A graph: ``x`` is (n, n), symmetric, 1 where two nodes are linked, else 0, as on the diagonal.

    ``nodes`` are the names of the n nodes, in the order of the rows.
    """

    x: Tensor
    nodes: list[str]
    name: str
    version: str


def graph(name: str | Path, *, ends: tuple[str, str] | None = None) -> Graph:
    """Return a graph by its name, or one of the user's own from a CSV with a line for each link.

    "les-miserables" has 77 persons of Hugo's novel and 254 links, between those who meet in a chapter; it
    comes inside networkx. "air-routes" has 352 airports of the United States and the 3,017 pairs of them
    between which an airline flew in July 2026; it comes inside bokeh_sampledata, the extra ``graphs``. A link
    of a CSV that is named twice, in either direction, is one.

    Args:
        name: "les-miserables", "air-routes", or a path to a CSV or TSV.
        ends: the two columns that name the nodes of a link, where there are others beside them.

    Raises:
        ValueError: for what is not known or not there; for a CSV with other than two columns where ``ends``
            does not name them, with names missing, or of different kinds in the two, with a node that is
            linked to itself, or with fewer than three nodes or more than 5,000; where the extra is missing.

    Source: Knuth (1993), The Stanford GraphBase; Bureau of Transportation Statistics (2026), Reporting
    carrier on-time performance.

    >>> x = graph("les-miserables").x
    >>> x.shape, int(x.triu().sum())
    (torch.Size([77, 77]), 254)
    """
    if str(name) in GRAPHS:
        if ends is not None:
            raise ValueError(f"ends are columns of a CSV of one's own but {name!r} is none")
        return _les_miserables() if str(name) == LES_MISERABLES else _air_routes()
    path = Path(name)
    if path.suffix.lower() not in (".csv", ".tsv"):
        raise ValueError(f"there is no graph {str(name)!r}: {suggest(str(name), GRAPHS)}, or name a CSV")
    return _of_links(_links(path, ends), path.stem, "own")


def _les_miserables() -> Graph:
    import networkx

    found = networkx.les_miserables_graph()
    links = sorted(tuple(sorted(pair)) for pair in found.edges())
    graph = _of_links(links, LES_MISERABLES, "1")
    if (len(graph.nodes), len(links)) != (77, 254):
        raise ValueError(
            f"les-miserables should have 77 nodes and 254 links but that of networkx {networkx.__version__} "
            f"has {len(graph.nodes)} and {len(links)}"
        )
    return graph


def _air_routes() -> Graph:
    """Return the routes in the package's own file; none of its code is run."""
    found = find_spec("bokeh_sampledata")
    if found is None or not found.submodule_search_locations:
        raise ValueError(
            "air-routes needs bokeh_sampledata, which is not here: pip install 'probgen[graphs]'"
        )
    path = Path(found.submodule_search_locations[0]) / "_data" / "routes.csv.gz"
    if not path.exists():
        raise ValueError(f"air-routes should lie at {path} but do not: pip install 'probgen[graphs]'")
    import pandas as pd

    flights = pd.read_csv(path, usecols=["Source", "Destination"], dtype=str, keep_default_na=False)
    ends = zip(flights["Source"], flights["Destination"], strict=True)
    links = sorted({(min(pair), max(pair)) for pair in ends if pair[0] != pair[1]})
    graph = _of_links(links, AIR_ROUTES, "2026.1")
    if (len(graph.nodes), len(links)) != (352, 3017):
        raise ValueError(
            f"air-routes should have 352 nodes and 3,017 links, as bokeh_sampledata 2026.1, but {path} has "
            f"{len(graph.nodes)} and {len(links):,}"
        )
    return graph


def _of_links(links: list[tuple[str, str]], name: str, version: str) -> Graph:
    nodes = sorted({node for pair in links for node in pair})
    place = {node: i for i, node in enumerate(nodes)}
    first, second = torch.tensor([[place[a], place[b]] for a, b in links]).T
    x = torch.zeros(len(nodes), len(nodes))
    x[first, second] = 1
    x[second, first] = 1
    return Graph(x, nodes, name, version)


def _links(path: Path, ends: tuple[str, str] | None) -> list[tuple[str, str]]:
    """Return the pairs of names in a CSV, checked."""
    from pandas.api.types import is_bool_dtype, is_integer_dtype, is_string_dtype

    frame, _ = read_csv(path)
    columns = list(frame.columns) if ends is None else list(ends)
    if len(columns) != 2 or columns[0] == columns[1]:
        raise ValueError(
            f"{path} should have two columns, the ends of a link, but has {columns}: "
            "name the two, as in ends=('from', 'to')"
        )
    for column in columns:
        if column not in frame:
            raise ValueError(f"{path} should have the column {column!r} but has {list(frame.columns)}")
    kinds = []
    for column in columns:
        missing = frame[column].isna()
        if missing.any():
            raise ValueError(
                f"{path} should name a node at both ends of each link but column {column!r} misses one in "
                f"row {int(missing.to_numpy().argmax()) + 1}"
            )
        whole, words = is_integer_dtype(frame[column].dtype), is_string_dtype(frame[column].dtype)
        if is_bool_dtype(frame[column].dtype) or not (whole or words):
            raise ValueError(
                f"names of nodes should be words or whole numbers but column {column!r} of {path} holds "
                f"{frame[column].iloc[0]!r}"
            )
        kinds.append(whole)
    if kinds[0] != kinds[1]:
        raise ValueError(
            f"both ends of links should be words or both whole numbers but in {path} {columns[kinds[1]]!r} "
            f"holds numbers alone: put a letter before them"
        )
    links = [(str(a), str(b)) for a, b in zip(frame[columns[0]], frame[columns[1]], strict=True)]
    loop = next((a for a, b in links if a == b), None)
    if loop is not None:
        raise ValueError(f"a node should not be linked to itself but {loop!r} is in {path}")
    nodes = {node for pair in links for node in pair}
    if len(nodes) < 3:
        raise ValueError(f"{path} should have at least 3 nodes but has {len(nodes)}")
    if len(nodes) > MOST_NODES:
        raise ValueError(
            f"{path} should have at most {MOST_NODES:,} nodes but has {len(nodes):,}: take a part"
        )
    return links
