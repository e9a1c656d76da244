"""MIDI files read back, by hand-made bytes, and what is refused; music as sound."""

import struct

import pytest
import torch

from probgen import data


def file_of(track, *, kind=0, ticks=96):
    return b"MThd" + struct.pack(">IHHH", 6, kind, 1, ticks) + b"MTrk" + struct.pack(">I", len(track)) + track


def test_what_is_written_is_read(tmp_path):
    piece = (torch.rand(30, 88, generator=torch.Generator().manual_seed(0)) < 0.1).float()
    piece[0, 40] = piece[-1, 40] = 1
    path = data.write_midi(tmp_path / "own.mid", piece)
    assert torch.equal(data.read_midi(path), piece)
    assert torch.equal(
        data.read_midi(path, steps_per_beat=2), piece.repeat_interleave(2, 0)[: 2 * len(piece)]
    )


def test_events_are_read_as_the_standard_says(tmp_path):
    """A tempo, running status, a note ended by velocity 0, a drum, a controller, a program, and words."""
    track = (
        b"\x00\xff\x51\x03\x07\xa1\x20"  # tempo
        b"\x00\xc0\x05"  # program
        b"\x00\x90\x3c\x40"  # C at 0
        b"\x60\x3e\x40"  # D at 96 by running status
        b"\x00\x3c\x00"  # C ends at 96 by velocity 0
        b"\x00\x99\x24\x40"  # a drum
        b"\x00\xb0\x40\x7f"  # pedal
        b"\x00\xf0\x02\x01\xf7"  # of a maker
        b"\x81\x40\x80\x3e\x40"  # D ends 192 later
        b"\x00\xff\x2f\x00"
    )
    (tmp_path / "own.mid").write_bytes(file_of(track))
    found = data.read_midi(tmp_path / "own.mid")
    assert found.nonzero().tolist() == [[0, 39], [1, 41], [2, 41]]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "it does not begin as one does"),
        (b"MThd no midi at all", "it has format"),
        (file_of(b"", kind=2), "it has format 2"),
        (file_of(b"\x00\x90\x3c"), "should be a standard MIDI file of format 0 or 1 but is not"),
        (file_of(b"\x00\x3c\x40"), "an event has no status"),
        (file_of(b"\x00\x90\x3c\x40")[:-2], "a track is cut off"),
        (file_of(b"\x00\xff\x2f\x00"), "should have notes that sound as a step begins but has none"),
        (b"MThd" + bytes(4_000_001), "should have 4,000,000 bytes at most"),
        (file_of(b"\x00\x90\x3c\x40\xff\xff\xff\x7f\x3c\x00"), "should have 100,000 steps at most"),
    ],
)
def test_other_files_are_refused(tmp_path, content, said):
    (tmp_path / "own.mid").write_bytes(content)
    with pytest.raises(ValueError, match=said):
        data.read_midi(tmp_path / "own.mid")


def test_an_a_sounds_at_440_hertz():
    piece = torch.zeros(2, 88)
    piece[:, 48] = 1
    sound = data.sound_of(piece, steps_per_minute=60, rate=8000)
    assert sound.shape == (16_000,)
    assert float(sound.abs().max()) == 1
    spectrum = torch.fft.rfft(sound).abs()
    assert int(spectrum.argmax()) / 2 == 440, "in half hertz"
