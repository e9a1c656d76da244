"""Ratings of films, or of whatever users have liked, as rows of who liked what."""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from probgen.data.csv_files import read_csv
from probgen.data.files import SOURCES, read

if TYPE_CHECKING:
    import pandas as pd

LIKED = 4.0
"""A rating from which something counts as liked."""

LEAST = 5
"""Fewest liked items of a user who is kept."""

COLUMNS = {
    "user": ("userid", "user", "user_id"),
    "item": ("movieid", "itemid", "item", "item_id", "movie_id"),
}


class Ratings(NamedTuple):
    """What users liked: pairs of a user's and an item's number, without order, each pair once.

    Attributes:
        users, items: of each event, int64, shape (events,), numbered 0, 1, ...
        titles: of each item, its name where it has none.
        name: of the data.
        read: events before users with few were left out, and what else was done, in words.
    """

    users: np.ndarray[Any, np.dtype[np.int64]]
    items: np.ndarray[Any, np.dtype[np.int64]]
    titles: list[str]
    name: str
    read: str


def ratings(path: str | Path | None = None, *, liked: float = LIKED, least: int = LEAST) -> Ratings:
    """Return who liked what: of MovieLens (latest, small), or of a CSV of the user's own.

    A CSV has columns of users and items (``userId`` and ``movieId``, ``user`` and ``item``, in letters of any
    case) and, where what is liked is told by a number, ``rating``; without that column each line is an item
    that is liked. Ratings from ``liked`` on count; users with fewer than ``least`` such items are left out,
    and so are items that none of the others liked. A column ``title`` names items; of MovieLens the titles
    are read beside it.

    The files are read from the folder ``movielens`` under PROBGEN_DATA or in the user's cache.

    Raises:
        ValueError: for a file that is damaged, a CSV without these columns or with empty places in them, and
            where nobody is left.
        ConnectionError: where the files of MovieLens are not here.

    Source: Harper and Konstan (2015), The MovieLens datasets; the split of ratings at 4 and the least of 5
    items are those of Liang, Krishnan, Hoffman and Jebara (2018).
    """
    import pandas as pd

    if path is None:
        rated, films = (
            pd.read_csv(io.BytesIO(read("movielens", file))) for file in SOURCES["movielens"].files
        )
        frame = rated.merge(films[["movieId", "title"]], on="movieId", how="left")
        return _ratings(frame, "movielens", liked, least)
    frame, _ = read_csv(Path(path))
    return _ratings(frame, str(path), liked, least)


def _ratings(frame: pd.DataFrame, name: str, liked: float, least: int) -> Ratings:
    from pandas.api.types import is_bool_dtype, is_numeric_dtype

    lower = {str(column).lower(): str(column) for column in frame.columns}
    user, item = (_column(lower, what, name) for what in COLUMNS)
    rating = lower.get("rating")
    for column in [user, item, *([] if rating is None else [rating])]:
        if bool(frame[column].isna().any()):
            line = int(frame[column].isna().to_numpy().argmax()) + 2
            raise ValueError(
                f"{name} should have a value in each place of {column!r} but line {line} has none"
            )
    if rating is not None:
        if not is_numeric_dtype(frame[rating]) or is_bool_dtype(frame[rating]):
            raise ValueError(
                f"the column {rating!r} of {name} should hold numbers but holds {frame[rating].dtype}"
            )
        frame = frame[frame[rating] >= liked]
    events = frame.drop_duplicates([user, item])
    kept = events[events.groupby(user)[item].transform("size") >= least]
    if kept.empty:
        raise ValueError(
            f"{name} should have a user with {least} liked items at least but has none: where there are "
            f"ratings, those from {liked:g} on are liked"
        )
    users, _ = _numbered(kept[user])
    items, names = _numbered(kept[item])
    titles = [str(value) for value in names]
    if "title" in lower:
        of_item = kept.drop_duplicates(item).set_index(item)[lower["title"]]
        titles = [str(of_item[value]) if isinstance(of_item[value], str) else str(value) for value in names]
    said = (
        f"{len(kept):,} of {len(events):,} liked pairs, of {int(users.max()) + 1:,} users with {least} or "
        f"more and {len(titles):,} items"
    )
    return Ratings(users, items, titles, name, said)


def _column(lower: dict[str, str], what: str, name: str) -> str:
    found = next((lower[word] for word in COLUMNS[what] if word in lower), None)
    if found is None:
        first, second, *_ = COLUMNS[what]
        raise ValueError(f"{name} should have a column {first!r} or {second!r} but has {[*lower.values()]}")
    return found


def _numbered(column: pd.Series) -> tuple[np.ndarray[Any, np.dtype[np.int64]], Any]:
    """Return numbers of values in sorted order, and the values."""
    import pandas as pd

    numbers, names = pd.factorize(column, sort=True)
    return numbers.astype(np.int64), names
