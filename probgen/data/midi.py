"""Music written as a standard MIDI file, which any player reads."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from pathlib import Path

from torch import Tensor

from probgen.core import check_count
from probgen.data.chorales import LOWEST, NOTES

TICKS = 480
"""Of a step in the file's own time."""

ON, OFF, VELOCITY = 0x90, 0x80, 80


def write_midi(
    path: str | Path, pieces: Tensor | Sequence[Tensor], *, steps_per_minute: int = 80, rest: int = 4
) -> Path:
    """Write pieces, each of shape (T, 88), one after the other into a MIDI file; return its path.

    A key that sounds in steps that follow one another is held: what was struck again is not known.

    Args:
        path: of the file, which is replaced.
        pieces: a piece or several, of 0 and 1.
        steps_per_minute: how fast.
        rest: silent steps between pieces.

    Raises ValueError for a piece of another shape, or with other values.
    """
    steps_per_minute = check_count("steps_per_minute", steps_per_minute)
    events, now = [], 0
    for piece in [pieces] if isinstance(pieces, Tensor) else pieces:
        if piece.dim() != 2 or piece.shape[1] != NOTES or not bool(((piece == 0) | (piece == 1)).all()):
            raise ValueError(
                f"pieces should be of shape (T, {NOTES}), of 0 and 1, but one has shape {tuple(piece.shape)} "
                f"and values from {float(piece.min()):g} to {float(piece.max()):g}"
            )
        roll = piece.new_zeros(len(piece) + 2, NOTES)  # silence before and after
        roll[1:-1] = piece
        for step, key in roll.diff(dim=0).nonzero().tolist():
            kind = ON if roll[step + 1, key] else OFF
            events.append(((now + step) * TICKS, kind == ON, bytes([kind, key + LOWEST, VELOCITY])))
        now += len(piece) + rest
    track = b"\x00\xff\x51\x03" + round(60e6 / steps_per_minute).to_bytes(3, "big")  # µs of a step
    last = 0
    for time, _, message in sorted(events):  # what ends before what begins
        track += _variable(time - last) + message
        last = time
    track += b"\x00\xff\x2f\x00"
    head = b"MThd" + struct.pack(">IHHH", 6, 0, 1, TICKS)
    path = Path(path)
    path.write_bytes(head + b"MTrk" + struct.pack(">I", len(track)) + track)
    return path


def _variable(number: int) -> bytes:
    """Return a whole number in seven bits a byte, the last byte without its highest bit."""
    parts = [number & 0x7F]
    while number := number >> 7:
        parts.append(number & 0x7F | 0x80)
    return bytes(reversed(parts))
