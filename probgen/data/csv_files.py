"""A user's CSV: its encoding and separator found, its form checked line by line, its values parsed."""

from __future__ import annotations

import csv
import io
import re
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd

SEPARATORS = (",", ";", "\t", "|")
HEAD = 2**16
_DECIMAL_COMMA = re.compile(r"-?\d+,\d+")


def read_csv(path: Path) -> tuple[pd.DataFrame, str]:
    """Return the table in a CSV, and how it was read.

    The first line names the columns. The text is UTF-8 (with or without a mark), UTF-16 by its mark, or else
    Windows-1252; the separator is that of comma, semicolon, tab and bar which cuts the first lines into
    equally many fields; with a semicolon decimal commas are read. Empty fields, NA, NaN, null and ? are
    missing.

    Raises:
        ValueError: for a file that is none, empty or no text, and for names or lines that do not fit; one
            sentence says which.
    """
    import pandas as pd
    from pandas.api.types import is_string_dtype
    from pandas.errors import ParserError

    if not path.is_file():
        raise ValueError(f"there is no file {str(path)!r}")
    encoding = encoding_of(path)
    with path.open(encoding=encoding, newline="") as file:
        head = file.read(HEAD)
    if not head.strip():
        raise ValueError(f"{path} should have a line of names and rows but is empty")
    separator = _separator(head)
    decimal = "," if separator == ";" and _has_decimal_commas(head) else "."
    _check_form(path, encoding, separator)
    try:
        frame = pd.read_csv(
            path,
            sep=separator,
            decimal=decimal,
            encoding=encoding,
            na_values=["?"],
            skipinitialspace=True,
            index_col=False,
            low_memory=False,  # one type for a column, not one for each block of lines
        )
    except ParserError as error:
        raise ValueError(f"{path} cannot be read as a CSV: {error}") from None
    frame.columns = frame.columns.str.strip()
    for column in frame.columns[[is_string_dtype(frame[name]) for name in frame.columns]]:
        frame[column] = frame[column].str.strip()
    name = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "bars"}[separator]
    shown = "UTF-8" if encoding == "utf-8-sig" else encoding
    comma = ", decimal commas" if decimal == "," else ""
    return frame, f"{shown}, fields separated by {name}{comma}"


def encoding_of(path: Path) -> str:
    """Return the first encoding by which the whole file can be read."""
    with path.open("rb") as file:
        start = file.read(4)
    candidates = ("utf-16",) if start[:2] in (b"\xff\xfe", b"\xfe\xff") else ("utf-8-sig", "cp1252")
    for encoding in candidates:
        try:
            with path.open(encoding=encoding, newline="") as file:
                while block := file.read(2**20):
                    if "\0" in block:
                        raise ValueError(f"{path} should be a text but holds bytes of 0")
        except UnicodeError:
            continue
        return encoding
    raise ValueError(f"{path} should be a text in UTF-8, UTF-16 or Windows-1252 but is in neither")


def _separator(head: str) -> str:
    """Return the separator that cuts the first lines into equally many fields, the most there are."""
    lines = head.splitlines()
    lines = lines[: max(1, len(lines) - (len(head) == HEAD))][:100]

    def fields(separator: str) -> tuple[int, int]:
        widths = [len(row) for row in csv.reader(lines, delimiter=separator) if row]
        alike = sum(width == widths[0] for width in widths)
        return (alike if widths[0] > 1 else 0), widths[0]

    return max(SEPARATORS, key=fields)


def _has_decimal_commas(head: str) -> bool:
    fields = [field.strip() for row in csv.reader(io.StringIO(head), delimiter=";") for field in row]
    commas = sum(bool(_DECIMAL_COMMA.fullmatch(field)) for field in fields)
    points = sum(bool(re.fullmatch(r"-?\d+\.\d+", field)) for field in fields)
    return commas > points


def _check_form(path: Path, encoding: str, separator: str) -> None:
    """Raise unless all lines have a field for each name, and the names are different and no numbers."""
    with path.open(encoding=encoding, newline="") as file:
        rows = csv.reader(file, delimiter=separator, skipinitialspace=True)
        try:
            names = next(row for row in rows if row)
            _check_names(path, names)
            empty = True
            for row in rows:
                if row and len(row) != len(names):
                    raise ValueError(
                        f"{path} should have {len(names)} fields in each line, as its first one has, but "
                        f"line {rows.line_num} has {len(row)}"
                    )
                empty = empty and not row
        except csv.Error as error:
            raise ValueError(f"{path} cannot be read as a CSV at line {rows.line_num}: {error}") from None
    if empty:
        raise ValueError(f"{path} should have rows below its line of names but has none")


def _check_names(path: Path, names: list[str]) -> None:
    stripped = [name.strip() for name in names]
    twice = next((name for i, name in enumerate(stripped) if name and name in stripped[:i]), None)
    if twice is not None:
        raise ValueError(f"{path} should have columns of different names but has {twice!r} twice")
    if all(re.fullmatch(r"[-+.\d]+(e[-+]?\d+)?", name, re.IGNORECASE) for name in stripped):
        raise ValueError(
            f"{path} should name its columns in the first line but that holds numbers alone "
            f"({', '.join(stripped[:3])}): put a line of names above"
        )
