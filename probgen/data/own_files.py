"""One door for a user's own files: tables, arrays, pictures, text, sequences."""

from __future__ import annotations

import zipfile
from collections.abc import Hashable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch

from probgen.core.kinds import Kind
from probgen.data.csv_files import encoding_of, read_csv
from probgen.data.images import Images
from probgen.data.pictures import images_of, read_folder
from probgen.data.ragged import Ragged
from probgen.data.split import shuffled
from probgen.data.tables import Table, table
from probgen.data.text import Text
from probgen.data.vocabulary import Vocabulary

if TYPE_CHECKING:
    import pandas as pd

SUFFIXES = (".csv", ".tsv", ".npy", ".npz", ".txt")
TEST = 0.25
"""The share of rows, pictures or sequences that are test."""


class Sequences(NamedTuple):
    """Sequences of unequal length, in two parts: steps of shape (values,), in the order of time.

    ``train_ids`` and ``test_ids`` are whose they are, ``values`` the names of what is measured.
    """

    train: Ragged
    test: Ragged
    train_ids: list[Any]
    test_ids: list[Any]
    values: list[str]
    name: str


def read(
    path: str | Path,
    *,
    kinds: Mapping[Hashable, Kind | None] | None = None,
    by: str | None = None,
    time: str | None = None,
) -> Table | Images | Text | Sequences:
    r"""Read data of the user's own from a file or a folder, and split them into train and test.

    A quarter of rows, pictures and sequences are test, those that scikit-learn's ``train_test_split`` takes
    with ``random_state=0``; of a text it is the last tenth, and of the line
    in which that begins the whole. Nothing in a file is executed.

    Args:
        path: a table (``.csv``, ``.tsv``) gives a :class:`Table`, and with ``by`` and ``time``
            :class:`Sequences`; an array (``.npy``, or ``.npz`` with one array, or ``x`` and its labels ``y``,
            of which NaN, and −1 beside 0, are missing) of shape (n, d) gives a table, of shape
            (n, height, width) or (n, height, width, 3) :class:`Images`; so does a folder of pictures of one
            size, with a class for each of its folders; ``.txt`` gives :class:`Text`.
        kinds: of a table's columns, see :func:`table`.
        by, time: columns of a table in long form, with a row for each step of each sequence: whose step it
            is, and when.

    Raises:
        ValueError: in one sentence, for what is not there, or cannot be read or learned from.
    """
    path = Path(path)
    if not path.exists():
        raise ValueError(f"there is no file or folder {str(path)!r}")
    if path.is_dir():
        return read_folder(path, TEST)
    suffix = path.suffix.lower()
    if suffix in (".csv", ".tsv"):
        if by is not None or time is not None:
            return _sequences(path, by, time)
        return table(path, kinds=kinds, test=TEST)
    if suffix in (".npy", ".npz"):
        x, labels = _arrays(path)
        if x.ndim > 2:
            return images_of(x, labels, path.stem, TEST)
        if labels is not None:
            columns = {f"x{i}": column for i, column in enumerate(np.atleast_2d(x.T), start=1)}
            classes: dict[Hashable, Kind | None] = {"y": "categorical"} if labels.nunique() > 2 else {}
            columns["y"] = labels
            return table(columns, kinds=classes | dict(kinds or {}), test=TEST, name=path.stem)
        return table(x[:, None] if x.ndim == 1 else x, kinds=kinds, test=TEST, name=path.stem)
    if suffix == ".txt":
        return _text(path)
    raise ValueError(
        f"{path} should be one of {', '.join(SUFFIXES)} or a folder of pictures"
        + (": save the sheet as CSV" if suffix in (".xls", ".xlsx", ".ods") else "")
    )


def _arrays(path: Path) -> tuple[np.ndarray, pd.Series | None]:
    """Return the array in a file, and its labels where it has some: NaN, and −1 beside 0, as NA."""
    import pandas as pd

    try:
        with path.open("rb") as file:
            found = np.load(file, allow_pickle=False)
            arrays = {"x": found} if isinstance(found, np.ndarray) else dict(found)
    except (ValueError, EOFError, OSError, zipfile.BadZipFile) as error:
        raise ValueError(
            f"{path} should be NumPy's file of an array of numbers but is none: {error}"
        ) from None
    names = sorted(arrays)
    if len(arrays) == 1:
        arrays = {"x": arrays[names[0]]}
    elif names not in (["x", "y"], ["images", "labels"]):
        raise ValueError(
            f"{path} should hold one array, or x and its labels y, but holds {', '.join(names) or 'nothing'}"
        )
    x, labels = arrays.get("x", arrays.get("images")), arrays.get("y", arrays.get("labels"))
    assert x is not None
    if x.dtype.kind not in "biuf" or not x.size or not x.ndim:
        raise ValueError(f"{path} should hold real numbers but holds {x.dtype} of shape {x.shape}")
    if labels is not None and labels.shape != x.shape[:1]:
        raise ValueError(f"{path} should have a label for each of {len(x)} rows but they are {labels.shape}")
    x = x.astype(x.dtype.newbyteorder("="), copy=False)
    if labels is None:
        return x, None
    classes = pd.Series(labels.astype(labels.dtype.newbyteorder("="), copy=False))
    if classes.dtype.kind == "i" and (classes == 0).any() and (classes == -1).any():
        classes = classes.astype("Int64").mask(classes == -1)
    return x, classes


def _text(path: Path) -> Text:
    content = path.read_text(encoding=encoding_of(path))
    if len(content) < 10:
        raise ValueError(f"{path} should hold a text of at least 10 characters but holds {len(content)}")
    vocabulary = Vocabulary.of([content])
    tokens = vocabulary.encode(content, end=False)
    cut = len(tokens) * 9 // 10
    line = content.rfind("\n", 0, cut) + 1
    if line >= len(tokens) * 8 // 10:  # a line that is longer than a tenth is cut
        cut = line
    return Text(tokens[:cut], tokens[cut:], vocabulary, path.stem)


def _sequences(path: Path, by: str | None, time: str | None) -> Sequences:
    """Return the sequences of a table in long form."""
    import pandas as pd
    from pandas.api.types import is_numeric_dtype

    frame, _ = read_csv(path)
    if by is None or time is None:
        raise ValueError("a table in long form needs both: by=, whose step a row is, and time=, when it was")
    for column in (by, time):
        if column not in frame:
            raise ValueError(f"{path} should have the column {column!r} but has {list(frame.columns)}")
    if not is_numeric_dtype(frame[time].dtype):
        try:
            frame[time] = pd.to_datetime(frame[time], format="mixed")
        except (ValueError, TypeError):
            raise ValueError(
                f"column {time!r} should hold numbers or dates but holds {frame[time].iloc[0]!r}"
            ) from None
    values = [column for column in frame.columns if column not in (by, time)]
    for column in values:
        if not is_numeric_dtype(frame[column].dtype):
            raise ValueError(f"column {column!r} should hold numbers but holds {frame[column].iloc[0]!r}")
    holes = frame.isna().any()
    if holes.any() or not values:
        missing = f"{holes.idxmax()!r} misses some" if values else "there is none beside by and time"
        raise ValueError(f"the columns of sequences should have a value in each row but {missing}")
    if frame.duplicated([by, time]).any():
        row = int(frame.duplicated([by, time]).to_numpy().argmax())
        raise ValueError(
            f"a sequence should have one step at a time but {frame[by].iloc[row]!r} has two at "
            f"{frame[time].iloc[row]}"
        )
    parts = dict(iter(frame.sort_values([by, time]).groupby(by, sort=True)))
    if len(parts) < 3:
        raise ValueError(f"{path} should hold at least 3 sequences, to be split, but holds {len(parts)}")
    ids = list(parts)
    steps = [torch.tensor(parts[key][values].to_numpy(), dtype=torch.get_default_dtype()) for key in ids]
    train, test = shuffled(len(ids), TEST)
    return Sequences(
        Ragged([steps[i] for i in train]),
        Ragged([steps[i] for i in test]),
        [ids[i] for i in train],
        [ids[i] for i in test],
        values,
        path.stem,
    )
