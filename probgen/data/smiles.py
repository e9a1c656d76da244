"""Molecules as SMILES, in which an atom of two letters or in brackets is one token."""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from probgen.data.csv_files import read_csv
from probgen.data.files import SOURCES, read
from probgen.data.split import shuffled
from probgen.data.text import Sentences
from probgen.data.vocabulary import Vocabulary

if TYPE_CHECKING:
    import pandas as pd

SYMBOL = r"\[[^\]]+\]|Br|Cl|%\d\d|(?s:.)"
"""A symbol of SMILES: an atom in brackets, such as [nH], one of two letters, a ring's number, a character."""

TEST = 0.1
"""The share of molecules that are test."""


def smiles(path: str | Path | None = None) -> Sentences:
    """Return molecules as sequences of tokens: 20,000 of ZINC, or those in a CSV of the user's own.

    Of ZINC logP, qed and SAS are the attributes; qed there differs from what RDKit computes today. Of a CSV
    the column ``smiles`` is read, its name in letters of any case, and all columns of numbers are attributes,
    NaN where missing; of rows with equal strings the first is taken. A tenth of the molecules are test, those
    that scikit-learn's ``train_test_split`` takes with ``random_state=0``; the vocabulary is that of all.
    Strings are taken as they are: whether they are valid molecules is not asked.

    The file is read from the folder ``zinc`` under PROBGEN_DATA or in the user's cache, or downloaded there.

    Raises:
        ValueError: for a file that is damaged, or a CSV that has no column ``smiles``, has empty ones or
            fewer than three different ones.
        ConnectionError: where the file of ZINC cannot be had.

    Source: Gómez-Bombarelli and others (2018), Automatic chemical design, whose subset of ZINC it is of.
    """
    import pandas as pd

    if path is None:
        (file,) = SOURCES["zinc"].files
        frame = pd.read_csv(io.BytesIO(read("zinc", file)))[["smiles", "logP", "qed", "SAS"]]
        return _sentences(frame, "zinc", SOURCES["zinc"].version)
    frame, _ = read_csv(Path(path))
    return _sentences(frame, Path(path).stem, "its own")


def _sentences(frame: pd.DataFrame, name: str, version: str) -> Sentences:
    from pandas.api.types import is_bool_dtype, is_numeric_dtype

    texts = smiles_column(frame, name)
    frame, molecules = frame.iloc[list(texts)], list(texts.values())
    vocabulary = Vocabulary.of(molecules, pattern=SYMBOL)
    tokens = vocabulary.encode_all(molecules)
    numbers = [c for c in frame if is_numeric_dtype(frame[c].dtype) and not is_bool_dtype(frame[c].dtype)]
    rows = [torch.from_numpy(part) for part in shuffled(len(tokens), TEST)]
    train, test = (tokens[part] for part in rows)
    if not numbers:
        return Sentences(train, test, vocabulary, name, version)
    attributes = torch.tensor(frame[numbers].to_numpy(dtype="float32", na_value=float("nan")))
    return Sentences(
        train,
        test,
        vocabulary,
        name,
        version,
        train_attributes=attributes[rows[0]],
        test_attributes=attributes[rows[1]],
        attributes=tuple(map(str, numbers)),
    )


def smiles_column(frame: pd.DataFrame, name: str) -> dict[int, str]:
    """Return the different texts of a table's column ``smiles`` by the rows, from 0, where each comes first.

    Else a molecule could be learned from and tested on. Raises ValueError for columns that are none of these.
    """
    from pandas.api.types import is_numeric_dtype

    column = next((column for column in frame.columns if str(column).lower() == "smiles"), None)
    if column is None:
        raise ValueError(f"{name!r} should have a column 'smiles' but has {[*map(str, frame.columns)]}")
    texts = frame[column]
    if texts.isna().any() or is_numeric_dtype(texts.dtype) or len(texts) < 3:
        raise ValueError(
            f"the column {column!r} of {name!r} should be at least 3 SMILES, none missing, but "
            + (
                f"row {int(texts.isna().argmax()) + 1} has none"
                if texts.isna().any()
                else f"is {texts.dtype}"
                if is_numeric_dtype(texts.dtype)
                else f"has {len(texts)}"
            )
        )
    rows: dict[str, int] = {}
    for row, text in enumerate(texts):
        rows.setdefault(str(text).strip(), row)
    if len(rows) < 3:
        raise ValueError(
            f"the column {column!r} of {name!r} should have at least 3 different SMILES but has {len(rows)}"
        )
    return {row: text for text, row in rows.items()}
