"""Pictures of molecules: structures, laws of their properties, ways between codes, courses of searches."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure

from probgen import priors
from probgen.applications.parts.molecules import chemistry
from probgen.applications.parts.molecules.texts import Writing
from probgen.models import PropertyVAE
from probgen.plots.style import INK, PALETTE, panels, style


def densities(values: Mapping[str, np.ndarray]) -> Figure:
    """Draw the laws of properties, (n, 4) by name, a panel each; the first is the reference, in grey.

    Lines are kernel estimates of densities, of Scott's bandwidth; an upright one is of draws all alike.
    """
    from scipy.stats import gaussian_kde

    reference, *others = values
    with style():
        figure, axes = panels(len(chemistry.PROPERTIES), columns=2, width=4.2, height=2.4)
        for column, (axis, name) in enumerate(zip(axes, chemistry.PROPERTIES, strict=True)):
            own = values[reference][:, column]
            low, high = np.quantile(own, [0.002, 0.998])
            bins = np.linspace(low - 0.1 * (high - low), high + 0.1 * (high - low), 31)
            x = np.linspace(bins[0], bins[-1], 201)
            axis.hist(own, bins.tolist(), density=True, color="0.85", label=reference)
            for colour, other in zip(PALETTE, others, strict=False):
                drawn = values[other][:, column]
                if np.ptp(drawn):
                    axis.plot(x, gaussian_kde(drawn)(x), color=colour, label=other, linewidth=1.4)
                else:
                    axis.axvline(drawn[0], color=colour, label=other, linewidth=1.4)
            axis.set(title=name, yticks=[])
            axis.spines["left"].set_visible(False)
        figure.legend(
            *axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=4, frameon=False
        )
    return figure


def nearest(drawn: Mapping[str, Sequence[str]], train: Sequence[str], *, shown: int) -> Figure:
    """Draw molecules and below each the training molecule that is most like it."""
    prints = chemistry.fingerprints(train)
    rows = {}
    for name, own in drawn.items():
        own = list(own)[:shown]
        alike = chemistry.likeness(chemistry.fingerprints(own), prints)
        rows[name] = [(smiles, "") for smiles in own]
        rows[f"nearest to {name}, of the training molecules"] = [
            (train[int(row.argmax())], f"likeness {row.max():.2f}") for row in alike
        ]
    return chemistry.structures(rows, columns=shown)


def interpolated(
    model: PropertyVAE, writing: Writing, pairs: Sequence[tuple[str, str]], *, steps: int
) -> Figure:
    """Draw what is decoded on the straight way between the codes of two molecules, ends beside."""
    rows = {}
    for number, pair in enumerate(pairs, 1):
        first, last = model.encode(writing.tokens(pair).to(writing.train.device)).mean
        share = torch.linspace(0, 1, steps, device=first.device)[:, None]
        law: Any = model.decode(torch.lerp(first, last, share))
        back = writing.smiles(priors.greedy(law))
        valid = [
            (text, f"{100 * i // (steps - 1)} %") for i, text in enumerate(back) if chemistry.canonical(text)
        ]
        rows[f"way {number}"] = [(pair[0], "from"), *valid, (pair[1], "to")]
    return chemistry.structures(rows, columns=steps + 2)


def seeking(courses: Mapping[str, Sequence[float]], known: float, *, first: int) -> Figure:
    """Draw the mean of the ten best new molecules after each call, beside the ten best that were known."""
    with style():
        figure, (axis,) = panels(1, columns=1, width=6.0, height=3.2)
        for colour, (name, course) in zip(PALETTE, courses.items(), strict=False):
            axis.plot(range(first, first + len(course)), course, color=colour, label=name)
        axis.axhline(known, color=INK, linestyle=":", label="ten best of the training molecules")
        axis.set(xlabel="calls of the oracle", ylabel="5 QED − SA, mean of the ten best")
        axis.legend(frameon=False)
    return figure
