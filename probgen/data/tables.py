"""Tables, real ones and the user's own: split, coded as numbers, and drawn rows put back into their units."""

from __future__ import annotations

import logging
from collections.abc import Hashable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from probgen.core.kinds import Kind
from probgen.data.columns import Column, described
from probgen.data.csv_files import read_csv
from probgen.data.split import by_digest, shuffled

if TYPE_CHECKING:
    import pandas as pd

logger = logging.getLogger("probgen")


@dataclass(frozen=True)
class Table:
    r"""A table, coded as numbers, in two parts.

    Attributes:
        train, test: a column of numbers for each column, shape (n, columns); what is missing is NaN.
        columns: what each column is, and its code.
        name, version: of the data.
        facts: for the record: what was left out, what is missing, how rows were split.
    """

    train: Tensor
    test: Tensor
    columns: tuple[Column, ...]
    name: str
    version: str = "1"
    facts: dict[str, Any] = field(default_factory=dict)

    @property
    def kinds(self) -> dict[Hashable, Kind]:
        """The kind of each column; of a categorical one ("categorical", its number of levels)."""
        return {c.name: (c.kind, len(c.levels)) if c.kind == "categorical" else c.kind for c in self.columns}

    def frame(self, x: Tensor) -> pd.DataFrame:
        """Return coded rows, draws of a model say, as a table of the user's columns, units and types."""
        import pandas as pd

        codes = x.detach().cpu().double().numpy()
        if codes.ndim != 2 or codes.shape[1] != len(self.columns):
            raise ValueError(f"x should have shape (n, {len(self.columns)}) but has {tuple(x.shape)}")
        decoded = {c.name: c.decoded(codes[:, i]) for i, c in enumerate(self.columns)}
        return pd.DataFrame(decoded, columns=pd.Index([c.name for c in self.columns]))

    def rows(self, frame: pd.DataFrame) -> Tensor:
        """Return more rows of the user's table, coded; ValueError for a value or column unlike those seen."""
        return torch.as_tensor(_coded(frame, self.columns), dtype=self.train.dtype)

    def distances(self, x: Tensor) -> Tensor:
        r"""Return coded rows as numbers that distances can be taken of, shape (n, k).

        Numbers are in standard deviations of the training rows, from their mean; other columns are one-hot.
        A missing value is NaN, in all numbers of its column.
        """
        parts = []
        for code, column in zip(x.unbind(1), self.columns, strict=True):
            if column.levels:
                places = torch.arange(len(column.levels), device=x.device)
                hot = (code.nan_to_num(0).round()[:, None] == places).to(x)
                parts.append(torch.where(code.isnan()[:, None], torch.nan, hot))
            elif column.kind == "real":
                parts.append(code[:, None])
            else:
                parts.append(((code * column.typical - column.mean) / column.sd)[:, None])
        return torch.cat(parts, 1)

    def from_distances(self, numbers: Tensor) -> Tensor:
        """Return the coded rows of which :meth:`distances` are ``numbers``."""
        parts = []
        for part, column in zip(
            numbers.split([len(c.levels) or 1 for c in self.columns], 1), self.columns, strict=True
        ):
            if column.levels:
                place = part.nan_to_num(0).argmax(1).to(part)
                parts.append(torch.where(part[:, 0].isnan(), torch.nan, place))
            elif column.kind == "real":
                parts.append(part[:, 0])
            elif column.kind == "count":
                parts.append((part[:, 0] * column.sd + column.mean).round())
            else:
                parts.append((part[:, 0] * column.sd + column.mean) / column.typical)
        return torch.stack(parts, 1)

    def __repr__(self) -> str:
        kinds = ", ".join(f"{c.name} {c.kind}" for c in self.columns[:6])
        more = f", and {len(self.columns) - 6} more" if len(self.columns) > 6 else ""
        return f"Table({self.name!r}, {len(self.train)} + {len(self.test)} rows: {kinds}{more})"


def table(
    source: Any,
    *,
    kinds: Mapping[Hashable, Kind | None] | None = None,
    test: float = 0.25,
    name: str | None = None,
    dtype: torch.dtype | None = None,
) -> Table:
    r"""Return a table of the user's own, its columns' kinds found, split and coded.

    Kinds are found as :func:`probgen.data.columns.found_kind` says. What is missing stays so, as NaN: models
    whose likelihood is a :class:`probgen.nets.MixedHead` learn from what is there. Columns that cannot be
    learned (dates, constants, row numbers, free text) are left out; the log and ``facts`` name them.

    Args:
        source: the path of a CSV, a DataFrame, an array (n, columns), or a mapping from names to arrays (n,).
        kinds: by column name, in the place of kinds found: "real", "positive", "count", "binary",
            "categorical"; None leaves a column out.
        test: the share of rows that are test: those that scikit-learn's ``train_test_split`` takes with
            ``random_state=0``.
        name: of the data, the file's where not given.
        dtype: of the numbers, torch's default where not given.

    Raises:
        ValueError: in one sentence, for what cannot be read or learned from.

    >>> people = table({"age": [31.5, 44.0, 12.25, 71.0], "town": ["A", "B", "C", "A"]})
    >>> people.kinds
    {'age': 'positive', 'town': ('categorical', 3)}
    >>> people.frame(people.train).round(3)
        age town
    0  31.5    A
    1  44.0    B
    2  71.0    A
    """
    if not 0 < test < 1:
        raise ValueError(f"test should be a share between 0 and 1 but got {test}")
    frame, read = _framed(source)
    name = name or (Path(source).stem if isinstance(source, str | Path) else "table")
    if len(frame) < 4:
        raise ValueError(f"a table should have at least 4 rows, to be split, but {name!r} has {len(frame)}")
    halves = shuffled(len(frame), test)
    rule = f"{len(halves[1])} rows are test, as by scikit-learn's train_test_split with random_state=0"
    return split_table(frame, halves, kinds or {}, name=name, facts=read | {"split": rule}, dtype=dtype)


def split_table(
    frame: pd.DataFrame,
    halves: tuple[np.ndarray, np.ndarray],
    kinds: Mapping[Hashable, Kind | None],
    *,
    name: str,
    version: str = "1",
    facts: Mapping[str, Any],
    dtype: torch.dtype | None = None,
) -> Table:
    """Return a table whose rows to learn from and to test on are told."""
    columns, left_out = described(frame, halves[0], kinds)
    if not columns:
        reasons = "; ".join(f"{column!r}: {reason}" for column, reason in left_out.items())
        raise ValueError(f"the table {name!r} should have a column to learn but all are left out ({reasons})")
    if left_out:
        reasons = "; ".join(f"{column!r} ({reason})" for column, reason in left_out.items())
        logger.warning("of the table %r these columns are left out: %s", name, reasons)
    codes = _coded(frame, columns)
    missing = {str(c.name): int(k) for c, k in zip(columns, np.isnan(codes).sum(0), strict=True) if k}
    about = dict(facts) | {"columns": ", ".join(f"{c.name}: {c.kind}" for c in columns)}
    if left_out:
        about["left out"] = {str(column): reason for column, reason in left_out.items()}
    if missing:
        about["missing values"] = missing
    train, test = (torch.as_tensor(codes[rows], dtype=dtype or torch.get_default_dtype()) for rows in halves)
    return Table(train, test, columns, name, version, about)


def diabetes() -> Table:
    """Return scikit-learn's 442 patients (Efron et al., 2004): ten measurements, one of them the sex, and the
    progression of the disease after a year.

    Split, version 1: the 221 rows whose place in the file, written in decimal, has the smallest SHA-256 are
    test, the others train.

    >>> patients = diabetes()
    >>> patients.train.shape, patients.test.shape
    (torch.Size([221, 11]), torch.Size([221, 11]))
    """
    from sklearn.datasets import load_diabetes

    frame = load_diabetes(as_frame=True, scaled=False).frame.astype(float)
    frame["sex"] = frame["sex"].map({1.0: "one", 2.0: "two"})  # the file does not say which is which
    return split_table(frame, by_digest(len(frame), 221), {}, name="diabetes", facts={})


def _coded(frame: pd.DataFrame, columns: tuple[Column, ...]) -> np.ndarray:
    """Return the columns of a table as numbers, float64."""
    absent = next((c.name for c in columns if c.name not in frame.columns), None)
    if absent is not None:
        raise ValueError(f"the table should have the column {absent!r} but has {list(frame.columns)}")
    return np.stack([column.coded(frame[column.name]) for column in columns], 1)


def _framed(source: Any) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Return a source as a DataFrame with rows numbered from 0, and how it was read."""
    import pandas as pd

    read: dict[str, Any] = {}
    if isinstance(source, str | Path):
        frame, how = read_csv(Path(source))
        read = {"read": how}
    elif isinstance(source, pd.DataFrame):
        frame = source
    elif isinstance(source, Mapping):
        try:
            frame = pd.DataFrame({key: _array(value) for key, value in source.items()})
        except ValueError as error:
            raise ValueError(
                f"the columns of a table should be equally long arrays but are not: {error}"
            ) from None
    else:
        array = _array(source)
        if array.ndim != 2:
            raise ValueError(
                "a table should be the path of a CSV, a DataFrame, an array of shape (n, columns) or a "
                f"mapping from names to arrays but is a {type(source).__name__} of shape {array.shape}"
            )
        frame = pd.DataFrame(array, columns=[f"x{i}" for i in range(1, array.shape[1] + 1)])
    if not frame.columns.is_unique:
        twice = frame.columns[frame.columns.duplicated()][0]
        raise ValueError(f"a table should have columns of different names but has {twice!r} twice")
    return frame.reset_index(drop=True), read


def _array(value: Any) -> np.ndarray:
    if isinstance(value, Tensor):
        value = value.detach().cpu()
        return (value.float() if value.dtype == torch.bfloat16 else value).numpy()
    array = np.asarray(value)
    return array.astype(array.dtype.newbyteorder("="), copy=False)  # in the order of this machine's bytes
