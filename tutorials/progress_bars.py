"""What cells print, as a terminal shows it: of a progress bar, which is written again and again, the end.

MyST-NB joins what a cell prints by line breaks, where the bar went back to the start of its line.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from docutils import nodes

if TYPE_CHECKING:
    from sphinx.application import Sphinx

BAR = re.compile(r"(\d+)%\|.*\|.*\[.*\]$")


def setup(app: Sphinx) -> dict[str, bool]:
    """Register what is done to each page that was read."""
    app.connect("doctree-read", shorten)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def shorten(app: Sphinx, page: nodes.document) -> None:
    """Leave out the states of bars that were written over."""
    for block in page.findall(nodes.literal_block):
        text = block.astext()
        if (shown := as_shown(text)) != text:
            block.clear()
            block += nodes.Text(shown)
            block.rawsource = shown


def as_shown(text: str) -> str:
    r"""Return a text without the lines of a bar whose next line is the same bar, as far or further.

    >>> as_shown("a\n 0%|    | 0/2 [00:00]\n 50%|##  | 1/2 [00:01]\n100%|####| 2/2 [00:02]\nb")
    'a\n100%|####| 2/2 [00:02]\nb'
    """
    lines, reached = [], None
    for line in text.split("\n"):
        found = BAR.search(line)
        now = None if found is None else int(found[1])
        if now is not None and reached is not None and now >= reached:
            lines.pop()
        lines.append(line)
        reached = now
    return "\n".join(lines)
