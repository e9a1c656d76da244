"""Pages of the site that are made from the package and its results when the site is built."""

from __future__ import annotations

import re
from pathlib import Path
from shutil import copyfile
from typing import TYPE_CHECKING, Any

from generated_pages import gallery, reference, results

if TYPE_CHECKING:
    from sphinx.application import Sphinx


def setup(app: Sphinx) -> dict[str, bool]:
    """Write the pages before Sphinx reads its sources."""
    app.connect("builder-inited", write)
    app.connect("autodoc-process-docstring", reference.as_meant)
    app.connect("source-read", link_results)
    app.connect("html-page-context", offer_notebook)
    app.connect("html-page-context", load_nothing)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def write(app: Sphinx) -> None:
    """Write the pages of the reference, the gallery and the results; what stands is left as it is."""
    folder = Path(app.srcdir) / "generated"
    pages = reference.pages() | gallery.pages() | results.pages()
    for name, text in pages.items():
        path = folder / f"{name}.md"
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")
    for path in folder.rglob("*.md"):
        if str(path.relative_to(folder).with_suffix("")) not in pages:
            path.unlink()


def link_results(app: Sphinx, page: str, source: list[str]) -> None:
    """Let links to RESULTS.md, which are right in the repository, lead to the page of results."""
    source[0] = source[0].replace("(../tests/benchmarks/RESULTS.md)", "(generated/results.md)")


def offer_notebook(app: Sphinx, page: str, template: str, context: dict[str, Any], tree: object) -> None:
    """Lay the notebook of a page, as MyST-NB has written it, where the theme's download button looks."""
    notebook = Path(app.outdir).parent / "jupyter_execute" / f"{page}.ipynb"
    if tree is not None and notebook.exists():
        offered = Path(app.outdir) / "_sources" / f"{page}.ipynb"
        offered.parent.mkdir(parents=True, exist_ok=True)
        copyfile(notebook, offered)
        context["ipynb_source"] = f"{page}.ipynb"


def load_nothing(app: Sphinx, page: str, template: str, context: dict[str, Any], tree: object) -> None:
    """Leave out the icons that an animation of matplotlib loads from the net; the theme has them too."""
    if "body" in context:
        icons = r'<link rel="stylesheet"\s+href="https://[^"]*/font-awesome[^"]*">'
        context["body"] = re.sub(icons, "", context["body"])
