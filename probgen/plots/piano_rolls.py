"""Music as piano rolls, real and generated side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import ArrayLike
from torch import Tensor

from probgen.core import check_count
from probgen.plots.style import PALETTE, array, panels, style

LOWEST = 21
"""The MIDI pitch of the first of 88 keys; it is an A, and C is three keys on."""


def piano_rolls(
    pieces: Mapping[str, Sequence[Tensor | ArrayLike]], *, columns: int = 3, steps: int = 64
) -> Figure:
    """Draw pieces of music as the keys that sound, a row of panels for each entry.

    Time goes to the right and pitch upwards; the lines are the Cs, and all panels show the same keys, those
    that some piece uses.

    Args:
        pieces: name -> pieces, each of shape (T, 88) and of 0 and 1; the first ``columns`` are shown.
        columns: pieces in a row.
        steps: of a piece, the most that are shown.

    Raises:
        ValueError: no entry, no piece in an entry, a shape that does not fit, or a value that is not finite.
    """
    if not pieces or not all(map(len, pieces.values())):
        raise ValueError("pieces should have at least 1 entry with at least 1 piece in each but has fewer")
    columns, steps = check_count("columns", columns), check_count("steps", steps)
    rolls = {
        name: [_roll(piece, f"pieces[{name!r}]")[:steps] for piece in own[:columns]]
        for name, own in pieces.items()
    }
    columns = max(map(len, rolls.values()))
    used = np.flatnonzero(np.concatenate([roll for own in rolls.values() for roll in own]).any(0))
    low, high = (int(used[0]), int(used[-1])) if len(used) else (0, 87)
    longest = max(len(roll) for own in rolls.values() for roll in own)
    octaves = [key for key in range(3, 88, 12) if low <= key <= high]
    with style():
        figure, axes = panels(len(rolls) * columns, columns=columns, width=9.0 / columns, height=2.0)
        for row, (name, own) in enumerate(rolls.items()):
            for column in range(columns):
                axis = axes[row * columns + column]
                if column >= len(own):
                    axis.set_axis_off()
                    continue
                step, key = np.nonzero(own[column])
                colour = PALETTE[row % len(PALETTE)]
                axis.bar(
                    step, 1.0, 1.0, key - 0.5, align="edge", color=colour, edgecolor=colour, linewidth=0.5
                )
                for octave in octaves:
                    axis.axhline(octave - 0.5, color="0.85", linewidth=0.6, zorder=0)
                axis.set_xlim(0, longest)
                axis.set_ylim(low - 1, high + 1)
                axis.set_yticks(octaves, [f"C{(key + LOWEST) // 12 - 1}" for key in octaves])
                if column == 0:
                    axis.set_title(name)
                if row < len(rolls) - 1:
                    axis.set_xticklabels([])
                else:
                    axis.set_xlabel("step")
    return figure


def _roll(piece: Tensor | ArrayLike, name: str) -> np.ndarray:
    roll = array(piece, name)
    if roll.ndim != 2 or roll.shape[1] != 88 or not len(roll):
        raise ValueError(f"{name} should be of shape (T, 88) but one has shape {roll.shape}")
    return roll > 0.5
