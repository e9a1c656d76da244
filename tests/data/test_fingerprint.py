"""Data are told from other data by sums of their numbers, and from themselves by none."""

import re

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, Dataset, TensorDataset

from probgen.data import Binarised, Dequantised, MemoryMapped, Ragged, source
from probgen.data.fingerprint import BLOCKS, ROWS, changed, fingerprint

X = torch.rand(300, 5, generator=torch.Generator().manual_seed(0))
TOKENS = torch.randint(9, (300, 7), generator=torch.Generator().manual_seed(1))


def told(before, now):
    return changed(fingerprint(source(before)), fingerprint(source(now)))


OTHERS = {  # data, others of as many rows, and what is said of them
    "fresh": (X, torch.rand(300, 5), "other numbers in row 0"),
    "in another order": (X, X.flip(0), "other numbers in row 0"),
    "columns exchanged": (X, X.flip(1), "other numbers in row 0"),
    "of another sign": (X, -X, "other numbers in row 0"),
    "in other units": (X, 2 * X, "other numbers in row 0"),
    "another end": (X, torch.cat([X[:200], 1 - X[200:]]), "other numbers in row 20"),
    "another shape": (X, X[:, :4], r"rows of shape \[\[4\]\] instead of \[\[5\]\]"),
    "another label": ((X, TOKENS), (X, TOKENS + 1), "part 2 has other numbers in row 0"),
    "another type": ((X, TOKENS), (X, TOKENS.int()), r"part 2 has numbers of type \['int32'\] instead"),
    "one token": (TOKENS, torch.cat([TOKENS[:-1], TOKENS[-1:] ^ torch.eye(7).long()[:1]]), "in row 299"),
    "without labels": ((X, TOKENS), X, "1 parts instead of 2"),
    "binarised": (Binarised(X), Binarised(X.flip(0)), "other numbers"),
    "dequantised": (Dequantised(X.round(), 2), Dequantised(1 - X.round(), 2), "other numbers"),
    "in a file": (MemoryMapped(X.numpy()), MemoryMapped(X.flip(0).numpy()), "other numbers"),
    "ragged": (Ragged([*X]), Ragged([*X[:-1], X[-1, :3]]), "other numbers in row 299"),
}


@pytest.mark.parametrize(("before", "now", "sentence"), OTHERS.values(), ids=OTHERS)
def test_others_are_seen_and_the_same_are_not(before, now, sentence):
    assert told(before, before) is None
    assert re.search(sentence, told(before, now) or "nothing")


MANY = torch.rand(3 * BLOCKS + 5, 20, generator=torch.Generator().manual_seed(2))


@pytest.mark.parametrize("row", [0, 1, BLOCKS + 1, len(MANY) - 1])
@pytest.mark.parametrize("kind", ["float32", "float64", "int64", "ragged"])
def test_one_row_among_many_is_seen(row, kind):
    before = MANY if kind == "ragged" else (100 * MANY).to(getattr(torch, kind))
    now = before.clone()
    now[row] = before[row].flip(0)
    if kind == "ragged":
        before, now = Ragged([*before]), Ragged([*now])
    first = row - row % 4  # in blocks of four rows
    last = min(first + 3, len(MANY) - 1)
    said = f"rows {first} to {last}" if last > first else f"row {first}"
    assert told(before, now) == f"other numbers in {said}"
    assert told(before, before) is None


def test_rows_exchanged_within_a_block_are_seen():
    now = MANY.clone()
    now[[4, 5]] = MANY[[5, 4]]
    assert told(MANY, now) == "other numbers in rows 4 to 7"


def test_rounding_of_many_is_not_seen_and_large_numbers_are():
    assert told(MANY, (MANY.double() * (1 + 1e-7)).float()) is None
    tokens = torch.full((2, 1000), 10**6)
    assert told(tokens, tokens + torch.eye(1000).long()[:2]) == "other numbers in row 0"
    large = torch.full((3, 5), 3e38)
    assert told(large, large * torch.eye(5)[:3].sub(0.5).mul(2)) == "other numbers in row 0"


def test_a_run_of_an_older_version_that_looked_at_other_rows_is_taken_on_trust():
    old, now = (fingerprint(source(x)) for x in (MANY, MANY))
    old[0] |= {"looked at": [0, 7], "sums": [old[0]["sums"][0][:2]]}
    assert changed(old, now) is None


def test_what_is_missing_is_missing_in_the_same_places():
    before, now = X.clone(), X.clone()
    before[0, 0] = now[0, 1] = torch.nan
    prints = [fingerprint(source(x, missing=True)) for x in (before, before, now)]
    assert changed(*prints[:2]) is None
    assert changed(*prints[1:]) == "other numbers in row 0"


def test_rounding_is_not_seen():
    centred = (X.double() - X.double().mean(0)) / X.double().std(0)
    assert told((X - X.mean(0)) / X.std(0), centred.float()) is None
    assert told(X, (X.double() * (1 + 1e-7)).float()) is None
    assert told(X.double(), X.double() * (1 + 1e-7)) is not None


def test_only_few_rows_are_read_and_no_noise_is_drawn(tmp_path):
    read = []

    class Counted(np.memmap):
        def __getitem__(self, index):
            read.append(np.size(index))
            return super().__getitem__(index)

    np.save(tmp_path / "x.npy", np.zeros((10**6, 4), dtype=np.float32))
    rows = MemoryMapped(tmp_path / "x.npy")
    rows._array = rows._array.view(Counted)
    torch.manual_seed(0)
    before = torch.get_rng_state()
    assert len(fingerprint(source(rows))[0]["looked at"]) == ROWS
    assert sum(read) == ROWS + 1
    fingerprint(source(Binarised(X)))
    assert torch.equal(before, torch.get_rng_state())


def test_what_a_user_makes_is_not_looked_at():
    class Own(Dataset):
        def __len__(self):
            return 300

        def __getitem__(self, row):
            raise AssertionError("read")

    assert fingerprint(source(Own())) == [None]
    assert fingerprint(source(DataLoader(TensorDataset(X)))) == []
    assert told((X, TOKENS), (X, TOKENS)) is None
    assert told(DataLoader(TensorDataset(X)), X) is None


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_data_of_16_bits_are_told_from_others_and_from_themselves_computed_anew_by_none(dtype):
    generator = torch.Generator().manual_seed(0)
    before, other, noise = (torch.rand(500, 12_000, generator=generator) for _ in range(3))
    assert "other numbers" in told(before.to(dtype), other.to(dtype))
    assert told(before.to(dtype), (before * (1 + 1e-6 * noise)).to(dtype)) is None
    one = before[:, :1].to(dtype)
    assert told(one, torch.nextafter(one.float(), torch.tensor(2.0)).to(dtype)) is None
    assert told(one, (one.float() * (1 + torch.finfo(dtype).eps)).to(dtype)) is None
