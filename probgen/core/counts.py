"""Numbers of things, as a user gives them: Python's integers, NumPy's and those of a scalar tensor."""

from __future__ import annotations

import operator
from typing import Any


def check_count(name: str, value: Any, *, least: int = 1) -> int:
    """Return a number of draws, steps or rows as a Python integer, after checking that it is one.

    Raises:
        TypeError: for what is no integer, True and False among it.
        ValueError: for one below ``least``.

    >>> import numpy as np
    >>> check_count("steps", np.int64(5))
    5
    >>> check_count("steps", 0)
    Traceback (most recent call last):
    ValueError: steps should be at least 1 but got 0
    """
    try:
        number = operator.index(value)
    except TypeError:
        raise TypeError(f"{name} should be an integer but got {value!r}") from None
    if isinstance(value, bool):
        raise TypeError(f"{name} should be an integer but got {value!r}")
    if number < least:
        raise ValueError(f"{name} should be at least {least} but got {number}")
    return number
