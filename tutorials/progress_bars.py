"""What cells print, as a terminal shows it: of a line that is written again and again the last state."""

from __future__ import annotations

from typing import TYPE_CHECKING

from docutils import nodes

if TYPE_CHECKING:
    from sphinx.application import Sphinx


def setup(app: Sphinx) -> dict[str, bool]:
    """Register what is done to each page that was read."""
    app.connect("doctree-read", shorten)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def shorten(app: Sphinx, page: nodes.document) -> None:
    """Leave out what a carriage return has gone back over."""
    for block in page.findall(nodes.literal_block):
        if "\r" in block.astext():
            block.children = [nodes.Text(as_shown(block.astext()))]


def as_shown(text: str) -> str:
    r"""Return what stays of a text: of each line what comes after its last ``\r``.

    >>> as_shown("begin\n 0%\r50%\r100%\n")
    'begin\n100%\n'
    """
    return "\n".join(line.rstrip("\r").rpartition("\r")[2] for line in text.split("\n"))
