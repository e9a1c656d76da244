"""Chorales by Bach as sequences of chords."""

from __future__ import annotations

import json
from typing import NamedTuple

import torch
from torch import Tensor

from probgen.data.files import SOURCES, read

LOWEST, NOTES = 21, 88
"""The keys of a piano: MIDI pitches 21 to 108."""


class Chorales(NamedTuple):
    """Chorales, each float32 of shape (steps, 88): a row per quarter note, 1 where a key sounds, else 0.

    Key 0 is MIDI pitch 21. The three parts are those in which the chorales were published and have been used
    since; ``Ragged(chorales.train)`` pads them batch by batch.
    """

    train: list[Tensor]
    valid: list[Tensor]
    test: list[Tensor]
    name: str
    version: str


def chorales() -> Chorales:
    """Return 229, 76 and 77 chorales by Bach, of 13,807, 4,602 and 4,725 quarter notes.

    A note that is held and one that is struck again are the same here. The file is read from the folder
    ``jsb`` under PROBGEN_DATA or in the user's cache, or downloaded there. Raises ValueError where it is
    damaged, ConnectionError where it cannot be had.

    Source: Boulanger-Lewandowski, Bengio and Vincent (2012), Modeling temporal dependencies in
    high-dimensional sequences; the transcription of C.-Z. A. Huang.
    """
    source = SOURCES["chorales"]
    (file,) = source.files
    parts = json.loads(read("chorales", file))
    train, valid, test = ([_keys(chords) for chords in parts[part]] for part in ("train", "valid", "test"))
    return Chorales(train, valid, test, "chorales", source.version)


def _keys(chords: list[list[int]]) -> Tensor:
    """Return lists of pitches, one a step, as rows of 0 and 1."""
    keys = torch.zeros(len(chords), NOTES)
    sounding = [(step, pitch - LOWEST) for step, pitches in enumerate(chords) for pitch in pitches]
    for step, key in sounding:
        if not 0 <= key < NOTES:
            raise ValueError(f"pitches should be {LOWEST} to {LOWEST + NOTES - 1} but one is {key + LOWEST}")
        keys[step, key] = 1
    return keys
