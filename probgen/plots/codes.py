"""How often the codes of a codebook are used."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import ArrayLike
from torch import Tensor

from probgen.plots.style import MUTED, PALETTE, across, array, panels, style


def code_usage(counts: Mapping[str, Tensor | ArrayLike]) -> Figure:
    """Draw the share of each code, the most used first, in a panel for each codebook.

    A dotted line is the share that all would have; a panel says the perplexity, and how many codes are dead.

    Args:
        counts: name -> how often each code occurs, shape (K,), as ``evaluation.code_usage`` counts.

    Raises:
        ValueError: no codebook, another shape, or counts below 0 or all 0.
    """
    if not counts:
        raise ValueError("counts should have at least 1 entry but has 0")
    found = {name: array(part, f"counts[{name!r}]").astype(float) for name, part in counts.items()}
    for name, part in found.items():
        if part.ndim != 1 or not len(part) or part.min() < 0 or part.sum() == 0:
            raise ValueError(
                f"counts[{name!r}] should be counts of codes, (K,), not all 0, but has shape {part.shape}"
                + (f" and sum {part.sum():g}" if part.size else "")
            )
    with style():
        figure, axes = panels(len(found), columns=across(len(found)), width=3.4, height=2.4)
        for axis, (name, part) in zip(axes, found.items(), strict=True):
            shares = np.sort(part / part.sum())[::-1]
            used = shares[shares > 0]
            perplexity = float(np.exp(-(used * np.log(used)).sum()))
            axis.stairs(shares, np.arange(len(shares) + 1) + 0.5, fill=True, color=PALETTE[0], alpha=0.75)
            axis.axhline(1 / len(shares), color=MUTED, linestyle=":", linewidth=1)
            dead = f"perplexity {perplexity:.3g} of {len(shares)}, {(part == 0).sum()} dead"
            axis.text(0.98, 0.94, dead, transform=axis.transAxes, ha="right", va="top", size="small")
            axis.set(title=name, xlabel="code, most used first", ylabel="share", ylim=(0, None))
            axis.set_xlim(0.5, len(shares) + 0.5)
    return figure
