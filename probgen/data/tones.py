"""Music as sound: a simple tone for each key."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from probgen.data.chorales import LOWEST, NOTES

HARMONICS = (1.0, 0.5, 0.25, 0.12)


def sound_of(piece: Tensor, *, steps_per_minute: int = 80, rate: int = 16000) -> Tensor:
    """Return a piece of music, (T, 88) of 0 and 1, as sound in [−1, 1]: samples of so many a second.

    A key that is held sounds on; a tone begins in 10 ms and fades by half in a second. Raises ValueError
    for a piece of another shape or with other values.
    """
    if piece.dim() != 2 or piece.shape[1] != NOTES or not bool(((piece == 0) | (piece == 1)).all()):
        raise ValueError(
            f"piece should be of shape (T, {NOTES}), of 0 and 1, but has shape {tuple(piece.shape)}"
        )
    step = round(60 / steps_per_minute * rate)
    roll = torch.zeros(len(piece) + 2, NOTES)
    roll[1:-1] = piece.cpu()
    moves = roll.diff(dim=0)
    sound = torch.zeros(len(piece) * step)
    for key in piece.any(0).nonzero()[:, 0].tolist():
        frequency = 440 * 2 ** ((key + LOWEST - 69) / 12)
        starts, ends = ((moves[:, key] == sign).nonzero()[:, 0].tolist() for sign in (1, -1))
        for start, end in zip(starts, ends, strict=True):
            t = torch.arange((end - start) * step) / rate
            tone = sum(
                weight * torch.sin(2 * math.pi * frequency * (k + 1) * t)
                for k, weight in enumerate(HARMONICS)
                if frequency * (k + 1) < rate / 2
            )
            envelope = (t / 0.01).clamp(max=1) * ((t[-1] - t) / 0.01).clamp(max=1) * 0.5**t
            sound[start * step : end * step] += tone * envelope
    peak = sound.abs().max()
    return sound / peak if peak > 0 else sound
