"""Chorales: read note by note, from where they lie, counted as published."""

import hashlib
import json

import pytest
import torch

from probgen.data import Ragged, chorales, where
from probgen.data.files import SOURCES, File, Source, find

TINY = {
    "train": [[[60, 72], [], [21, 108, 64, 65]], [[60]]],
    "valid": [[[61], [62]]],
    "test": [[[63, 67]]],
}


def put(monkeypatch, folder, parts):
    content = json.dumps(parts).encode()
    (folder / "jsb").mkdir()
    (folder / "jsb" / "tiny.json").write_bytes(content)
    file = File("tiny.json", hashlib.sha256(content).hexdigest(), ())
    monkeypatch.setitem(SOURCES, "chorales", Source("tiny", "1", "none", (file,), "jsb"))
    monkeypatch.setenv("PROBGEN_DATA", str(folder))


def test_every_note_is_in_its_place(tmp_path, monkeypatch):
    put(monkeypatch, tmp_path, TINY)
    found = chorales()
    assert where("chorales") == str(tmp_path / "jsb")
    for name, sequences in TINY.items():
        for keys, chords in zip(getattr(found, name), sequences, strict=True):
            assert keys.dtype == torch.float32
            assert keys.shape == (len(chords), 88)
            assert [(row.nonzero()[:, 0] + 21).tolist() for row in keys] == [sorted(c) for c in chords]
            assert set(keys.unique().tolist()) <= {0.0, 1.0}
    padded, lengths = Ragged(found.train)[torch.tensor([1, 0])]
    assert padded.shape == (2, 3, 88)
    assert lengths.tolist() == [1, 3]


def test_another_file_and_notes_that_no_piano_has_are_refused(tmp_path, monkeypatch):
    put(monkeypatch, tmp_path, TINY | {"test": [[[109]]]})
    with pytest.raises(ValueError, match="pitches should be 21 to 108 but one is 109"):
        chorales()
    (tmp_path / "jsb" / "tiny.json").write_text("{}")
    with pytest.raises(ValueError, match=r"tiny.json is damaged, truncated or another file"):
        chorales()


@pytest.mark.skipif(find("chorales", SOURCES["chorales"].files[0]) is None, reason="not on this machine")
def test_as_many_as_published():
    found = chorales()
    counts = [(len(part), sum(map(len, part))) for part in found[:3]]
    assert counts == [(229, 13_807), (76, 4_602), (77, 4_725)]
    every = torch.cat([keys for part in found[:3] for keys in part])
    sounding = every.any(0).nonzero()[:, 0] + 21
    assert (int(sounding[0]), int(sounding[-1])) == (43, 96)
    assert float(torch.cat(found.test).sum(1).mean()) == pytest.approx(3.9, abs=0.05)  # voices
