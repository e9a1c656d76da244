"""MIDI files, read back by a reader written out here: the same keys sound in the same steps."""

import struct

import pytest
import torch

from probgen import data


def read(path):
    """Return the keys (T, 88) of a MIDI file of one track, and the microseconds of a step."""
    raw = path.read_bytes()
    assert raw[:4] == b"MThd"
    size, kind, tracks, ticks = struct.unpack(">IHHH", raw[4:14])
    assert (size, kind, tracks) == (6, 0, 1)
    assert raw[14:18] == b"MTrk"
    (length,) = struct.unpack(">I", raw[18:22])
    assert len(raw) == 22 + length
    place, time, tempo, sounding, held = 22, 0, None, {}, []
    while place < len(raw):
        wait = 0
        while True:
            byte, place = raw[place], place + 1
            wait = wait << 7 | byte & 0x7F
            if not byte & 0x80:
                break
        time += wait
        status = raw[place]
        if status == 0xFF:
            what, size = raw[place + 1], raw[place + 2]
            if what == 0x51:
                tempo = int.from_bytes(raw[place + 3 : place + 3 + size], "big")
            place += 3 + size
            if what == 0x2F:
                break
            continue
        pitch, place = raw[place + 1], place + 3
        assert time % ticks == 0
        if status == 0x90:
            assert pitch not in sounding
            sounding[pitch] = time // ticks
        else:
            assert status == 0x80
            held.append((pitch - 21, sounding.pop(pitch), time // ticks))
    assert not sounding
    assert place == len(raw)
    keys = torch.zeros(time // ticks, 88)
    for key, start, end in held:
        keys[start:end, key] = 1
    return keys, tempo


def test_what_is_written_is_read_back(tmp_path):
    torch.manual_seed(0)
    one, other = (torch.rand(200, 88) < 0.3).float(), (torch.rand(7, 88) < 0.3).float()
    one[-1, 0] = other[-1, 0] = other[0, 87] = 1
    path = data.write_midi(tmp_path / "two.mid", [one, other], steps_per_minute=100, rest=3)
    keys, tempo = read(path)
    assert tempo == 600_000
    assert torch.equal(keys, torch.cat([one, torch.zeros(3, 88), other]))
    assert torch.equal(read(data.write_midi(tmp_path / "one.mid", one))[0], one)


def test_a_chorale_is_written(tmp_path):
    chorale = data.chorales().test[0]
    assert torch.equal(read(data.write_midi(tmp_path / "chorale.mid", chorale))[0], chorale)


@pytest.mark.parametrize("piece", [torch.zeros(3, 12), torch.full((3, 88), 0.5), torch.zeros(88)])
def test_what_is_no_piece_is_refused(piece, tmp_path):
    with pytest.raises(ValueError, match=r"of shape \(T, 88\), of 0 and 1"):
        data.write_midi(tmp_path / "wrong.mid", [piece])
    assert not list(tmp_path.iterdir())
