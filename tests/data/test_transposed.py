"""Music in other keys: whole pieces move, each by itself, and as often by each interval."""

import pytest
import torch

from probgen.data import Ragged, Transposed, batches
from probgen.data.fingerprint import fingerprint
from probgen.data.sources import source


def pieces(n=4, keys=12):
    gen = torch.Generator().manual_seed(0)
    rolls = [(torch.rand(3 + i % 3, keys, generator=gen) < 0.4).float() for i in range(n)]
    for roll in rolls:
        roll[:, :2] = roll[:, -2:] = 0
    return rolls


def test_pieces_are_moved_as_a_whole_and_each_by_itself():
    rolls = pieces(n=40)
    torch.manual_seed(0)
    x, lengths = Transposed(Ragged(rolls, multiple=8), semitones=2)[torch.arange(40)]
    assert x.shape == (40, 8, 12)
    found = []
    for row, length, roll in zip(x, lengths.tolist(), rolls, strict=True):
        assert length == len(roll)
        assert not row[length:].any()
        (by,) = [k for k in range(-2, 3) if torch.equal(row[:length], roll.roll(k, -1))]
        found.append(by)
    assert set(found) == {-2, -1, 0, 1, 2}


def test_intervals_are_equally_frequent_and_follow_torchs_generator():
    roll = torch.zeros(1, 12)
    roll[0, 6] = 1
    moved = Transposed(Ragged([roll]), semitones=2)
    torch.manual_seed(1)
    x, _ = moved[torch.zeros(5000, dtype=torch.int64)]
    counts = x[:, 0].sum(0)
    assert counts[:4].sum() == counts[9:].sum() == 0
    assert float(((counts[4:9] - 1000) ** 2 / 1000).sum()) < 23.5  # χ² of 4 degrees: one in 10⁴
    torch.manual_seed(1)
    assert torch.equal(moved[torch.zeros(5000, dtype=torch.int64)][0], x)


def test_batches_are_of_like_lengths_and_data_are_known_again():
    rolls = pieces(n=40)
    ragged = Ragged(rolls)
    moved, order = Transposed(ragged, semitones=1), torch.randperm(40)
    assert torch.equal(moved.arranged(order, 8, None).sort().values, torch.arange(40))
    shapes = [x.shape[1] for x, _ in batches(moved, 8)]
    assert shapes.count(5) < 5  # unsorted, nearly all batches hold a longest piece
    assert fingerprint(source(moved)) == fingerprint(source(ragged))


def test_what_leaves_the_keys_is_refused():
    with pytest.raises(ValueError, match="leave 3 keys free below and above, to be moved by as many"):
        Transposed(Ragged(pieces()), semitones=3)
    with pytest.raises(ValueError, match=r"more than 12 keys, but have \(5, 12\)"):
        Transposed(Ragged(pieces()), semitones=6)
    with pytest.raises(ValueError, match="semitones"):
        Transposed(Ragged(pieces()), semitones=0)
