"""Pieces of music in numbers of their own kind: chords, keys, and how one step follows another."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

if TYPE_CHECKING:
    import pandas as pd

MAJOR = (0, 2, 4, 5, 7, 9, 11)
MINOR = (0, 2, 3, 5, 7, 8, 11)
"""Steps of a scale in semitones above its tonic; minor is harmonic."""

OF_ONE_STEP = ("polyphony", "scale consistency", "pitch-class entropy", "semitones")
OF_TRANSITIONS = ("repeats", "held notes", "leaps", "bass by fifths")


def music_statistics(pieces: Sequence[Tensor], *, lowest: int = 21) -> pd.DataFrame:
    r"""Return a row of statistics for each piece of music, (T, keys) of 0 and 1.

    Of steps, whatever their order:

    - ``polyphony``: notes in a step that has any;
    - ``scale consistency``: the share of notes in the best of 24 scales, major and harmonic minor;
    - ``pitch-class entropy``: of the twelve pitch classes of the notes, in bits;
    - ``semitones``: the share of steps with two pitch classes a semitone apart.

    Of transitions, which a shuffling of the steps changes:

    - ``repeats``: the share of steps that are the same as the step before;
    - ``held notes``: the share of notes that sounded in the step before;
    - ``leaps``: the mean move of the highest note from step to step, in semitones;
    - ``bass by fifths``: of moves of the lowest note to another pitch class, the share by 5 or 7 semitones.

    Where a piece has nothing to tell one by, as a piece of one step, it is NaN there.

    Args:
        lowest: MIDI pitch of the first key.

    Raises ValueError for a piece of another shape or with other values, and one in which nothing sounds.

    Source: the first three as in muspy (Dong, Chen, McAuley and Berg-Kirkpatrick, 2020).

    >>> piece = torch.zeros(3, 88)
    >>> piece[:, 39] = piece[:2, 43] = piece[2, 44] = 1  # C and E twice, then C and F
    >>> music_statistics([piece])[["polyphony", "repeats", "held notes", "leaps"]].iloc[0].tolist()
    [2.0, 0.5, 0.75, 0.5]
    """
    import pandas as pd

    return pd.DataFrame(
        [_of_piece(piece, lowest) for piece in pieces], columns=[*OF_ONE_STEP, *OF_TRANSITIONS]
    )


def statistics_distance(x: pd.DataFrame, y: pd.DataFrame) -> dict[str, float]:
    """Return for each statistic the Kolmogorov-Smirnov distance of its law over the pieces of two samples.

    The largest distance of the distribution functions: 0 for the same values, 1 where all of one are below
    all of the other. Pieces without a value are left out; where a sample has no value the distance is 1.
    """
    from scipy.stats import ks_2samp

    found = {}
    for name in x.columns:
        one, other = x[name].dropna(), y[name].dropna()
        both = len(one) and len(other)  # the p-value, which may fail with a warning, is not asked for
        found[name] = float(ks_2samp(one, other, method="asymp").statistic) if both else 1.0
    return found


def copied_share(pieces: Sequence[Tensor], training: Sequence[Tensor], *, steps: int = 4) -> float:
    """Return the share of passages of so many steps that stand, note for note, in a training piece.

    Passages begin at every step; those of one chord throughout are left out, as they are no one's own.

    Raises ValueError where no piece is long enough.
    """
    known = {passage for piece in training for passage in _passages(piece, steps)}
    own = [passage for piece in pieces for passage in _passages(piece, steps)]
    if not own:
        raise ValueError(
            f"pieces should have a passage of {steps} steps that are not all alike but have none"
        )
    return float(np.mean([passage in known for passage in own]))


def nearest_passage(piece: Tensor, training: Sequence[Tensor]) -> tuple[int, int, float]:
    """Return the training piece nearest to a piece, from which step on, and how many notes a step differ.

    The piece, or as much of it as a training piece has steps, is held against all places of each.
    """
    best = (0, 0, float("inf"))
    for number, other in enumerate(training):
        length = min(len(piece), len(other))
        windows = other.unfold(0, length, 1).transpose(1, 2)  # (places, length, keys)
        differ = (windows - piece[:length]).abs().sum((1, 2)) / length
        place = int(differ.argmin())
        if float(differ[place]) < best[2]:
            best = (number, place, float(differ[place]))
    return best


def _passages(piece: Tensor, steps: int) -> list[bytes]:
    rows = piece.to(torch.uint8).cpu().numpy()
    found = [rows[i : i + steps] for i in range(len(rows) - steps + 1)]
    return [passage.tobytes() for passage in found if (passage != passage[0]).any()]


def _of_piece(piece: Tensor, lowest: int) -> list[float]:
    if piece.dim() != 2 or not bool(((piece == 0) | (piece == 1)).all()) or not bool(piece.any()):
        raise ValueError(
            f"a piece should be of shape (steps, keys), of 0 and 1 and not silent, but one has shape "
            f"{tuple(piece.shape)} and values from {float(piece.min()):g} to {float(piece.max()):g}"
            if piece.numel()
            else f"a piece should have steps but one has shape {tuple(piece.shape)}"
        )
    x = piece.cpu().numpy().astype(bool)
    classes = (np.arange(x.shape[1]) + lowest) % 12
    sounding = np.stack([x[:, classes == k].any(1) for k in range(12)], 1)
    notes = x.sum(1)
    counts = np.array([x[:, classes == k].sum() for k in range(12)], dtype=float)
    shares = counts / counts.sum()
    scales = [[(tonic + step) % 12 for step in scale] for tonic in range(12) for scale in (MAJOR, MINOR)]
    rubbing = (sounding.astype(int) * np.roll(sounding, 1, axis=1)).sum(1) > 0
    found = [
        notes[notes > 0].mean(),
        max(shares[scale].sum() for scale in scales),
        -sum(p * np.log2(p) for p in shares if p > 0),
        rubbing[notes > 0].mean(),
    ]
    pairs = (notes[1:] > 0) & (notes[:-1] > 0)
    if not pairs.any():
        return [*map(float, found), *[float("nan")] * len(OF_TRANSITIONS)]
    before, after = x[:-1][pairs], x[1:][pairs]
    high = x.shape[1] - 1 - x[:, ::-1].argmax(1)
    bass = np.diff(x.argmax(1))[pairs]
    moved = bass[bass % 12 != 0] % 12
    found += [
        np.mean((before ^ after).sum(1) == 0),
        (before & after).sum() / after.sum(),
        np.abs(np.diff(high)[pairs]).mean(),
        np.isin(moved, (5, 7)).mean() if len(moved) else float("nan"),
    ]
    return [*map(float, found)]
