"""Formulas as MathML, which browsers draw by themselves: the site needs no script and no net."""

from __future__ import annotations

import re
from html import escape
from typing import TYPE_CHECKING

from docutils import nodes
from docutils.utils.math import MathError
from docutils.utils.math.latex2mathml import tex2mathml

if TYPE_CHECKING:
    from sphinx.application import Sphinx
    from sphinx.writers.html5 import HTML5Translator


def setup(app: Sphinx) -> dict[str, bool]:
    app.add_html_math_renderer("mathml", inline_renderers=(inline, None), block_renderers=(block, None))
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def inline(page: HTML5Translator, node: nodes.math) -> None:
    page.body.append(drawn(node))
    raise nodes.SkipNode


def block(page: HTML5Translator, node: nodes.math_block) -> None:
    page.body.append(f'<div class="formula">{drawn(node)}</div>\n')
    raise nodes.SkipNode


def drawn(node: nodes.math | nodes.math_block) -> str:
    """Return a formula as MathML; one that cannot be read is a warning, and stands there as LaTeX."""
    from sphinx.util import logging

    try:
        return mathml(node.astext(), as_block=isinstance(node, nodes.math_block))
    except MathError as error:
        logging.getLogger(__name__).warning("the formula %s: %s", node.astext(), error, location=node)
        return f"<code>{escape(node.astext())}</code>"


def mathml(tex: str, *, as_block: bool = False) -> str:
    r"""Return LaTeX as MathML, with three things put right in what docutils says.

    It reads ``\frac12`` as twelve over what comes next, where TeX takes a digit each; around a function
    without brackets, as in 2 log x, it leaves no space, and around bars, as in \|x\|, too much.
    """
    digits = re.sub(r"(\\[td]?frac)\s*(\d)\s*(\d)", r"\1{\2}{\3}", tex)
    text = tex2mathml(digits, as_block=as_block)
    space, applied = '<mspace width="0.17em"></mspace>', "<mo>&ApplyFunction;</mo>"
    text = re.sub(rf"(</m(?:i|n|sub|sup)>\s*)(<mi>\w+</mi>\s*{applied})", rf"\1{space}\2", text)
    text = re.sub(rf"{applied}(?!\s*(<mrow>\s*)?<mo)", space, text)
    return re.sub(r"<mo[^>]*>\|</mo>", '<mo stretchy="false" lspace="0" rspace="0">|</mo>', text)
