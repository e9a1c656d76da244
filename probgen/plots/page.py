"""A page of HTML that stands by itself: no server, no other file, nothing from the net."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from html import escape
from importlib import resources
from pathlib import Path
from typing import Any

import matplotlib.colors
import numpy as np
from numpy.typing import ArrayLike

from probgen.plots.style import PALETTE

COLOURS = [matplotlib.colors.to_hex(colour) for colour in PALETTE]
"""The palette of all pictures, as a page takes it."""


class Page:
    """One self-contained page, shown in a notebook as it stands.

    Attributes:
        html: the whole of it.
        title: what it is called.
    """

    def __init__(self, html: str, title: str) -> None:
        self.html, self.title = html, title

    def save(self, path: str | Path) -> Path:
        """Write the page to a file, which any browser opens; return its path.

        Raises ValueError for a path that does not end in .html.
        """
        path = Path(path)
        if path.suffix != ".html":
            raise ValueError(f"path should end in .html but is {str(path)!r}")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(self.html, encoding="utf-8")
        return path

    def frame(self) -> str:
        """Return the page as an element of another page."""
        return (
            f'<iframe title="{escape(self.title)}" loading="lazy" srcdoc="{escape(self.html)}" '
            'style="width: 100%; height: 50rem; max-height: 95vh; border: 1px solid #9aa3ad"></iframe>'
        )

    def _repr_html_(self) -> str:
        return self.frame()

    def __repr__(self) -> str:
        return f"Page({self.title!r}, {len(self.html.encode()) / 1000:,.0f} kB)"


def filled(name: str, title: str, record: Mapping[str, Any]) -> Page:
    """Put a record into the page called ``name``, whose parts lie in the folder ``pages``."""
    data = json.dumps(record, allow_nan=False, separators=(",", ":"), ensure_ascii=False)
    parts = {
        "title": escape(title),
        "style": _part("page.css"),
        "data": data.replace("<", "\\u003c"),
        "script": _part("drawing.js") + _part(f"{name}.js"),
    }
    pieces = _part(f"{name}.html").split("@@")
    return Page("".join(parts[p] if i % 2 else p for i, p in enumerate(pieces)), title)


def _part(name: str) -> str:
    return resources.files("probgen.plots").joinpath("pages", name).read_text(encoding="utf-8")


def packed(values: ArrayLike, kind: str) -> str:
    """Return the bytes of an array in base 64, little-endian, of a NumPy ``kind`` such as "f4"."""
    return base64.b64encode(np.ascontiguousarray(values, dtype=f"<{kind}").tobytes()).decode("ascii")


def rounded(values: ArrayLike, digits: int = 5) -> Any:
    """Return nested lists of numbers to so many significant digits."""
    found = np.asarray(values, dtype=float)
    if found.ndim:
        return [rounded(part, digits) for part in found]
    return float(f"{float(found):.{digits}g}")
