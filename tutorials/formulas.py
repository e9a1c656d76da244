"""Formulas as MathML, which browsers draw by themselves: the site needs no script and no net."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

from docutils import nodes
from docutils.utils.math import MathError
from docutils.utils.math.latex2mathml import tex2mathml
from sphinx.util import logging

if TYPE_CHECKING:
    from sphinx.application import Sphinx
    from sphinx.writers.html5 import HTML5Translator


def setup(app: Sphinx) -> dict[str, bool]:
    app.add_html_math_renderer("mathml", inline_renderers=(inline, None), block_renderers=(block, None))
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def inline(page: HTML5Translator, node: nodes.math) -> None:
    page.body.append(mathml(node))
    raise nodes.SkipNode


def block(page: HTML5Translator, node: nodes.math_block) -> None:
    page.body.append(f'<div class="formula">{mathml(node, as_block=True)}</div>\n')
    raise nodes.SkipNode


def mathml(node: nodes.math | nodes.math_block, *, as_block: bool = False) -> str:
    """Return a formula as MathML; one that cannot be read is a warning, and stands there as LaTeX."""
    try:
        return tex2mathml(node.astext(), as_block=as_block)
    except MathError as error:
        logging.getLogger(__name__).warning("the formula %s: %s", node.astext(), error, location=node)
        return f"<code>{escape(node.astext())}</code>"
