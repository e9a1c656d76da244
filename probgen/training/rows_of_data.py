"""How many data a training has, for losses that have to know: a batch does not say."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from contextvars import ContextVar

_ROWS: ContextVar[int | None] = ContextVar("rows of the data", default=None)


def rows_of_data() -> int | None:
    """Return how many rows the data of the training at work have; None outside of one, or where unknown."""
    return _ROWS.get()


@contextlib.contextmanager
def training_on(rows: int | None) -> Iterator[None]:
    """Say for a while how many rows the data have."""
    token = _ROWS.set(rows)
    try:
        yield
    finally:
        _ROWS.reset(token)
