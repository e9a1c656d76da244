"""What reports have in common: the page, figures inside it, tables of facts, cells of numbers."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from html import escape
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_CSS = """
:root { color-scheme: light dark; --ink: #1c1f23; --soft: #5d6670; --line: #d9dde2; --band: #f1f3f5;
  --accent: #0072b2; --doubt: #b3261e; --paper: #fff; }
@media screen and (prefers-color-scheme: dark) { :root { --ink: #eceff2; --soft: #b3bcc5; --line: #444c55;
  --band: #23282e; --accent: #5fb4ea; --doubt: #ff8f83; --paper: #16191d; } }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 2rem 1.25rem 4rem; max-width: 68rem;
  color: var(--ink); background: var(--paper);
  font: 16px/1.55 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif; }
h1 { font-size: 1.9rem; line-height: 1.2; margin: 0 0 .6rem; }
h2 { font-size: 1.25rem; margin: 2.6rem 0 .7rem; padding-top: .8rem; border-top: 1px solid var(--line); }
h3 { font-size: 1rem; margin: 1.2rem 0 .2rem; }
p, dd, li { max-width: 46rem; }
p { margin: .5rem 0; }
.soft { color: var(--soft); }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: .875rem; }
th, td { padding: .34rem .75rem; text-align: right; white-space: nowrap;
  border-bottom: 1px solid var(--line); }
th, td { vertical-align: top; }
thead th { white-space: normal; border-bottom: 2px solid var(--ink); }
th:first-child { text-align: left; position: sticky; left: 0; background: var(--paper); white-space: nowrap; }
.base { background: var(--band); }
.best { font-weight: 700; color: var(--accent); }
.doubt, .doubt small { color: var(--doubt); }
tr.minor th, tr.minor td { color: var(--soft); font-size: .92em; font-weight: 400; }
.ideal { color: var(--soft); font-weight: 400; }
.answers td { white-space: normal; min-width: 6rem; }
td small { display: block; color: var(--soft); font-weight: 400; }
figure { margin: 1.6rem 0 2.2rem; }
figure img { max-width: 100%; height: auto; display: block; background: #fff; }
figcaption { margin-top: .5rem; max-width: 46rem; color: var(--soft); font-size: .93rem; }
dl { margin: .5rem 0; }
dt { font-weight: 600; margin-top: .7rem; }
dd { margin: 0; }
.facts th, .facts td { text-align: left; white-space: normal; vertical-align: top; overflow-wrap: anywhere; }
.facts th { font-weight: 600; width: 12rem; }
@media print {
  body { max-width: none; padding: 0; font-size: 10pt; }
  table { font-size: 7.5pt; } th, td { padding: .15rem .3rem; }
  .scroll { overflow: visible; } figure, tr { break-inside: avoid; } h2, h3, dt { break-after: avoid; }
}
"""


def page_of(title: str, what: str, body: Sequence[str]) -> str:
    """Return a page with a title, a sentence below it, and a body of HTML."""
    return "\n".join(
        [
            '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            f"<title>{escape(title)}</title>\n<style>{_CSS}</style>\n</head>\n<body>",
            f"<header>\n<h1>{escape(title)}</h1>",
            f"<p>{what}</p>\n</header>\n<main>",
            *body,
            "</main>\n</body>\n</html>\n",
        ]
    )


def png(figure: Figure) -> bytes:
    """Return a figure as a PNG."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=150)
    return buffer.getvalue()


def cell(text: str, kind: str) -> str:
    """Return a cell of a table, the interval of a number in small print."""
    split = text[:1] in "0123456789−∞" and ("±" in text or "[" in text)
    mean, _, rest = text.partition(" ") if split else (text, "", "")
    return f'<td class="{kind}">{escape(mean)}{f"<small>{escape(rest)}</small>" if rest else ""}</td>'


def figure_of(name: str, image: bytes, caption: str) -> str:
    """Return a figure, a PNG put into the page itself, with its caption."""
    source = base64.b64encode(image).decode("ascii")
    heading = name.replace("_", " ").replace("-", " ").capitalize()
    return (
        f'<figure>\n<h3>{escape(heading)}</h3>\n<img alt="{escape(caption or heading)}" '
        f'src="data:image/png;base64,{source}">\n<figcaption>{escape(caption)}</figcaption>\n</figure>'
    )


def term(label: str, name: str, about: str) -> str:
    """Return what a number means, an entry of a list."""
    return f'<dt>{escape(label)} <code class="soft">{escape(name)}</code></dt>\n<dd>{escape(about)}</dd>'


def table_of_facts(rows: Sequence[tuple[str, str]]) -> str:
    """Return a table of facts, or nothing where there are none."""
    if not rows:
        return ""
    body = "\n".join(f"<tr><th>{escape(key)}</th><td>{escape(value)}</td></tr>" for key, value in rows)
    return f'<table class="facts">\n{body}\n</table>'
