"""Music read from standard MIDI files into steps of a beat."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor

from probgen.core import check_count
from probgen.data.chorales import LOWEST, NOTES

MOST_BYTES, MOST_STEPS = 4_000_000, 100_000
DRUMS = 9
"""The channel whose keys are no pitches."""

Event = tuple[int, int, int, bool]
"""Of a note: its time in ticks, its channel, its pitch, and whether it begins."""


def read_midi(path: str | Path, *, steps_per_beat: int = 1) -> Tensor:
    """Return a piece of music as float32 of shape (T, 88): 1 where a key sounds as a step begins.

    What begins between two steps and ends there is lost. Drums are left out, and notes beyond the 88 keys
    of a piano; tempo, loudness and pedals are not read. The piece begins and ends with a step that sounds.

    Args:
        path: of a standard MIDI file, of one track or several at once (formats 0 and 1).
        steps_per_beat: 1 for quarter notes, 4 for sixteenths.

    Raises ValueError for a file that is none, damaged, of another format, huge, or without notes.
    """
    steps_per_beat = check_count("steps_per_beat", steps_per_beat)
    content = Path(path).read_bytes()[: MOST_BYTES + 1]
    if len(content) > MOST_BYTES:
        raise ValueError(f"{path} should have {MOST_BYTES:,} bytes at most but has more")
    try:
        ticks, events = _events(content)
    except (IndexError, ValueError) as error:
        raise ValueError(
            f"{path} should be a standard MIDI file of format 0 or 1 but is not: {error}"
        ) from None
    notes = sorted(event for event in events if event[1] != DRUMS and 0 <= event[2] - LOWEST < NOTES)
    last = max((time for time, *_ in notes), default=0)
    if last * steps_per_beat > MOST_STEPS * ticks:
        raise ValueError(f"{path} should have {MOST_STEPS:,} steps at most but has more")
    roll = torch.zeros(-(-last * steps_per_beat // ticks), NOTES)
    since: dict[tuple[int, int], int] = {}
    for time, channel, pitch, begins in notes:
        start = since.pop((channel, pitch), None)
        if start is not None:  # the steps that begin in [start, time)
            first, end = (-(-tick * steps_per_beat // ticks) for tick in (start, time))
            roll[first:end, pitch - LOWEST] = 1
        if begins:
            since[channel, pitch] = time
    sounds = roll.any(1).nonzero()[:, 0]
    if not len(sounds):
        raise ValueError(f"{path} should have notes that sound as a step begins but has none")
    return roll[int(sounds[0]) : int(sounds[-1]) + 1]


def _events(content: bytes) -> tuple[int, list[Event]]:
    """Return the ticks of a beat and the notes of all tracks."""
    if content[:4] != b"MThd" or len(content) < 14:
        raise ValueError("it does not begin as one does")
    kind, ticks = int.from_bytes(content[8:10], "big"), int.from_bytes(content[12:14], "big")
    if kind > 1 or not 0 < ticks < 0x8000:
        raise ValueError(f"it has format {kind} and a division of {ticks}")
    at = 8 + int.from_bytes(content[4:8], "big")
    events: list[Event] = []
    while at + 8 <= len(content):
        length = int.from_bytes(content[at + 4 : at + 8], "big")
        if at + 8 + length > len(content):
            raise ValueError("a track is cut off")
        if content[at : at + 4] == b"MTrk":
            events += _track(content[at + 8 : at + 8 + length])
        at += 8 + length
    return ticks, events


def _track(content: bytes) -> Iterator[Event]:
    """Go through the events of a track; a status byte that is left out is that of the event before."""
    at, now, status = 0, 0, 0
    while at < len(content):
        delta, at = _variable(content, at)
        now += delta
        if content[at] & 0x80:
            status, at = content[at], at + 1
        if status in (0xFF, 0xF0, 0xF7):  # words about the piece, and of makers of instruments
            length, at = _variable(content, at + (status == 0xFF))
            at += length
        elif status >= 0x80:
            kind, channel = status & 0xF0, status & 0x0F
            if kind in (0x80, 0x90):
                yield now, channel, content[at], kind == 0x90 and content[at + 1] > 0
            at += 1 if kind in (0xC0, 0xD0) else 2
        else:
            raise ValueError("an event has no status")


def _variable(content: bytes, at: int) -> tuple[int, int]:
    """Return a whole number of seven bits a byte, and where it ends."""
    number = 0
    while True:
        number = number << 7 | content[at] & 0x7F
        at += 1
        if not content[at - 1] & 0x80:
            return number, at
