"""The kinds of columns of a table, as data finds them and heads make laws of them."""

from __future__ import annotations

from typing import TypeAlias

KINDS = ("real", "positive", "count", "binary", "categorical")
"""Numbers, numbers above 0, whole numbers from 0 on, two values, several values in no order."""

Kind: TypeAlias = str | tuple[str, int]
"""A kind by name; of a categorical column with the number of its levels, ``("categorical", 3)``."""
