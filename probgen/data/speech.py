"""Recordings of single words by several speakers: spoken digits, or a folder of the user's own."""

from __future__ import annotations

import io
import re
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from probgen.data.files import SOURCES, read
from probgen.data.wav import read_wav

MOST = 20_000
"""Recordings of a folder; more are refused."""

NAMED = re.compile(r"([^_]+)_([^_]+)_(\d{1,9})\.wav", re.IGNORECASE)


class Speech(NamedTuple):
    """Recordings of single words.

    Attributes:
        waves: float32, (n, samples), in [−1, 1]; after its end a recording is silent.
        words, speakers, takes: of each recording, int64, (n,): which word and which speaker by number, and
            the number of the take in the file's name.
        word_names, speaker_names: of these numbers, sorted.
        rate: samples a second.
        name: of the data.
        read: what was done, in words.
    """

    waves: Tensor
    words: Tensor
    speakers: Tensor
    takes: Tensor
    word_names: list[str]
    speaker_names: list[str]
    rate: int
    name: str
    read: str


def speech(path: str | Path | None = None, *, seconds: float = 1.0) -> Speech:
    """Return 3,000 spoken digits, FSDD, or the recordings in a folder of the user's own.

    Files are named WORD_SPEAKER_TAKE.wav, take being a number of nine digits at most, and have one rate;
    others in the folder are left out, and counted. What is longer than ``seconds`` is cut off there, what is
    shorter is followed by silence; each recording is divided by its largest magnitude.

    The file is read from the folder ``fsdd`` under PROBGEN_DATA or in the user's cache.

    Raises:
        ValueError: for a damaged file, a folder without such files or with too many, a recording that is no
            WAV file or silent, and rates that differ.
        ConnectionError: where the spoken digits are not here.

    Source: Jackson and others (2016), Free Spoken Digit Dataset: ten digits, six speakers, 50 takes each, at
    8 kHz; takes 0 to 4 are its test part.
    """
    if path is None:
        return _speech(_shipped(), "fsdd", seconds)
    folder = Path(path)
    if not folder.is_dir():
        raise ValueError(f"{path} should be a folder of files WORD_SPEAKER_TAKE.wav but is none")
    files = sorted(file for file in folder.rglob("*") if file.is_file())
    if len(files) > MOST:
        raise ValueError(f"{path} should hold {MOST:,} files at most but holds {len(files):,}")
    return _speech(((file.name, file.read_bytes()) for file in files), str(path), seconds)


def _shipped() -> Iterator[tuple[str, bytes]]:
    (file,) = SOURCES["fsdd"].files
    with tarfile.open(fileobj=io.BytesIO(read("fsdd", file)), mode="r:") as archive:
        for member in sorted(archive.getmembers(), key=lambda member: member.name):
            content = archive.extractfile(member) if member.isfile() else None
            if content is not None:
                yield Path(member.name).name, content.read()


def _speech(files: Iterator[tuple[str, bytes]], name: str, seconds: float) -> Speech:
    kept, left_out, cut = [], 0, 0
    rates: dict[int, str] = {}
    for file, content in files:
        named = NAMED.fullmatch(file)
        if named is None:
            left_out += 1
            continue
        samples, rate = read_wav(content, name=file)
        rates.setdefault(rate, file)
        if len(rates) > 1:
            (one, first), (other, second) = list(rates.items())[:2]
            raise ValueError(
                f"recordings of {name} should have one rate but {first} has {one} samples a second and "
                f"{second} {other}"
            )
        most = round(seconds * rate)
        cut += len(samples) > most
        samples = samples[:most]
        peak = samples.abs().max()
        if peak == 0:
            raise ValueError(f"{file} of {name} should be heard within {seconds:g} s but is silent there")
        wave = torch.zeros(most)
        wave[: len(samples)] = samples / peak
        kept.append((wave, named[1], named[2], int(named[3])))
    if not kept:
        raise ValueError(
            f"{name} should hold files named WORD_SPEAKER_TAKE.wav, as 7_anna_0.wav, but of its {left_out} "
            "files none is"
        )
    waves, words, speakers, takes = zip(*kept, strict=True)
    word_names, speaker_names = sorted(set(words)), sorted(set(speakers))
    said = (
        f"{len(kept):,} recordings of {len(word_names)} words by {len(speaker_names)} speakers at "
        f"{next(iter(rates)):,} Hz, each divided by its largest magnitude; {cut} cut off after {seconds:g} s"
        + (f"; {left_out} other files left out" if left_out else "")
    )
    return Speech(
        torch.stack(waves),
        torch.tensor([word_names.index(word) for word in words]),
        torch.tensor([speaker_names.index(speaker) for speaker in speakers]),
        torch.tensor(takes),
        word_names,
        speaker_names,
        next(iter(rates)),
        name,
        said,
    )
