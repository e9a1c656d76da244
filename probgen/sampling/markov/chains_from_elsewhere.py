"""Draws of other programs as tensors by site: arrays, ArviZ, CSV files, those of Stan among them."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

if TYPE_CHECKING:
    import pandas as pd

Named = dict[str, Tensor]

OF_ARVIZ = {
    "log_prob": "lp",
    "acceptance": "acceptance_rate",
    "divergent": "diverging",
    "energy": "energy",
    "gradients": "n_steps",
}
"""What ArviZ calls the statistics of chains."""

_OF_STAN = {
    "log_prob": "lp__",
    "acceptance": "accept_stat__",
    "divergent": "divergent__",
    "energy": "energy__",
    "gradients": "n_leapfrog__",
}
_CHAIN = ("chain", ".chain", "chain__")
_ORDER = (".iteration", "iteration", "draw", ".draw", "draw__", "iter__")
_LONG = ("variable", "parameter", "name", "site")


def of_arrays(draws: Mapping[str, Any] | Any, name: str) -> Named:
    """Return draws as tensors (chain, draw, ...), checked to be of as many chains and draws everywhere."""
    if not isinstance(draws, Mapping):
        draws = {name: draws}
    if not draws:
        raise ValueError("draws should name at least one site but are empty")
    tensors = {str(site): _tensor(str(site), values) for site, values in draws.items()}
    shapes = {site: tuple(value.shape[:2]) for site, value in tensors.items()}
    first, shape = next(iter(shapes.items()))
    for site, other in shapes.items():
        if len(other) < 2:
            raise ValueError(
                f"draws of {site!r} should have shape (chains, draws, *event) but have "
                f"{tuple(tensors[site].shape)}: write draws[None] for those of one chain"
            )
        if other != shape:
            raise ValueError(
                f"sites should have as many chains and draws each but {first!r} has {shape} and {site!r} "
                f"{other}"
            )
    if not shape[0] * shape[1]:
        raise ValueError(f"there should be a draw at least but {first!r} has {shape} chains and draws")
    return tensors


def of_arviz(data: Any) -> tuple[Named, Named]:
    """Return draws and statistics of ArviZ's InferenceData or DataTree, or of an xarray Dataset of draws."""
    groups = _groups(data)
    posterior = groups.get("posterior", data if not groups else None)
    if posterior is None or not hasattr(posterior, "data_vars"):
        raise ValueError(
            f"data should have a group 'posterior' of draws but is a {type(data).__name__} with "
            f"{sorted(groups) or 'none'}"
        )
    draws = of_arrays({str(name): _array(values) for name, values in posterior.data_vars.items()}, "x")
    found = groups.get("sample_stats")
    known = {} if found is None else found.data_vars
    statistics = {ours: _array(known[theirs]) for ours, theirs in OF_ARVIZ.items() if theirs in known}
    return draws, {name: torch.as_tensor(value) for name, value in statistics.items()}


def of_csv(paths: str | Path | Sequence[str | Path]) -> tuple[Named, Named]:
    """Return draws and statistics of CSV files: Stan's, wide or long ones; several files are chains."""
    import pandas as pd

    files = [paths] if isinstance(paths, str | Path) else list(paths)
    if not files:
        raise ValueError("paths should name a file at least but are empty")
    frames = [_frame(Path(file)) for file in files]
    table = pd.concat(
        [
            frame.assign(chain__=place) if len(files) > 1 or not set(_CHAIN) & set(frame.columns) else frame
            for place, frame in enumerate(frames)
        ]
    )
    for path, frame in zip(files, frames, strict=True):
        if list(frame.columns) != list(frames[0].columns):
            odd = set(frame.columns) ^ set(frames[0].columns)
            raise ValueError(
                f"all files should have the same columns but {path} differs in {sorted(odd)[:5]}"
            )
    table = _wide(table)
    chains = _by_chain(table)
    known = [*_CHAIN, *_ORDER]
    numbers = [column for column in table.columns if column not in known]
    stats = {ours: theirs for ours, theirs in _OF_STAN.items() if theirs in numbers}
    sites = [column for column in numbers if not column.endswith("__")]
    if not sites:
        raise ValueError(f"{files[0]} should have a column of draws but has {numbers or 'none'}")
    stacked = {
        column: torch.as_tensor(np.stack([chain[column].to_numpy() for chain in chains]))
        for column in [*sites, *stats.values()]
    }
    return _gathered({site: stacked[site] for site in sites}), {
        ours: stacked[theirs].to(torch.float64) for ours, theirs in stats.items()
    }


def _frame(path: Path) -> pd.DataFrame:
    """Read a CSV file, less Stan's comments, and less its warm-up draws where they were saved."""
    import pandas as pd

    try:
        with path.open(encoding="utf-8") as lines:
            comments = dict(
                re.findall(r"#\s*(\w+)\s*=\s*(\w+)", "".join(line for line in lines if line.startswith("#")))
            )
        frame = pd.read_csv(path, comment="#", skip_blank_lines=True)
    except (UnicodeDecodeError, pd.errors.ParserError, pd.errors.EmptyDataError) as error:
        raise ValueError(
            f"{path} should be a CSV file of draws, in UTF-8, but cannot be read: {error}"
        ) from None
    frame.columns = [str(column).strip() for column in frame.columns]
    if comments.get("save_warmup", "0").lower() in ("1", "true"):
        frame = frame.iloc[-(-int(comments["num_warmup"]) // int(comments.get("thin", 1))) :]
    if not len(frame):
        raise ValueError(f"{path} should hold draws but has no row of them")
    texts = [column for column in frame.columns if not pd.api.types.is_numeric_dtype(frame[column])]
    wrong = [column for column in texts if column not in _LONG]
    if wrong:
        raise ValueError(
            f"column {wrong[0]!r} of {path} should hold numbers but holds {frame[wrong[0]].iloc[0]!r}"
        )
    return frame


def _wide(table: pd.DataFrame) -> pd.DataFrame:
    """Return a table with a column for each number; a long one has a row for each draw of each number."""
    names = [column for column in _LONG if column in table.columns and "value" in table.columns]
    if not names:
        return table
    index = [column for column in (*_CHAIN, *_ORDER) if column in table.columns]
    if not set(index) & set(_ORDER):
        raise ValueError("a long table of draws should have a column 'draw' beside 'variable' and 'value'")
    if table.duplicated([*index, names[0]]).any():
        raise ValueError("a long table should hold each number of each draw once but holds some twice")
    return table.pivot(index=index, columns=names[0], values="value").reset_index()


def _by_chain(table: pd.DataFrame) -> list[pd.DataFrame]:
    """Return the rows of each chain, in the order of its draws."""
    chain = next(column for column in (*_CHAIN[::-1], *_CHAIN) if column in table.columns)
    order = [column for column in _ORDER if column in table.columns][:1]
    parts = [part.sort_values(order, kind="stable") if order else part for _, part in table.groupby(chain)]
    lengths = sorted({len(part) for part in parts})
    if len(lengths) > 1:
        raise ValueError(
            f"chains should have as many draws each but the shortest has {lengths[0]}, the longest "
            f"{lengths[-1]}"
        )
    return parts


def _gathered(numbers: Named) -> Named:
    """Return the sites of which numbers are elements: theta.1.2 as Stan counts, theta[0, 1], theta[1,2]."""
    places: dict[str, dict[tuple[int, ...], str]] = {}
    for column in numbers:
        found = re.fullmatch(r"(.+?)\[([\d,\s]+)\]", column) or re.fullmatch(r"(.+?)((?:\.\d+)+)", column)
        name = found[1] if found else column
        index = tuple(int(i) for i in re.findall(r"\d+", found[2])) if found else ()
        places.setdefault(name, {})[index] = column
    return {name: _assembled(name, elements, numbers) for name, elements in places.items()}


def _assembled(name: str, elements: dict[tuple[int, ...], str], numbers: Named) -> Tensor:
    index = np.array(list(elements))
    if not index.size:
        return numbers[elements[()]]
    if len({len(place) for place in elements}) > 1:
        raise ValueError(
            f"the elements of {name!r} should have as many indices each but are {list(elements)[:5]}"
        )
    index = index - index.min(0)
    shape = index.max(0) + 1
    if len(index) != shape.prod():
        raise ValueError(
            f"{name!r} should have {shape.prod()} elements, {tuple(shape)}, but has {len(index)}"
        )
    columns = list(elements.values())
    first = numbers[columns[0]]
    whole = first.new_empty((*first.shape, *shape.tolist()))
    for place, column in zip(index, columns, strict=True):
        whole[(..., *place.tolist())] = numbers[column]
    return whole


def _groups(data: Any) -> dict[str, Any]:
    if hasattr(data, "groups") and callable(data.groups):  # InferenceData
        return {name: data[name] for name in data.groups()}
    children = getattr(data, "children", None)  # DataTree
    return {} if children is None else {name: child.to_dataset() for name, child in children.items()}


def _array(values: Any) -> np.ndarray:
    """Return an xarray DataArray as an array whose first dimensions are the chain and the draw."""
    return values.transpose("chain", "draw", ...).to_numpy()


def _tensor(site: str, values: Any) -> Tensor:
    try:
        tensor = torch.as_tensor(values if isinstance(values, Tensor) else np.array(values))
    except (TypeError, ValueError) as error:
        raise TypeError(f"draws of {site!r} should be an array of numbers but are not: {error}") from None
    return tensor.detach()
