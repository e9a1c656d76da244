"""Ragged sequences, padded batch by batch."""

import math

import pytest
import torch
from torch.nn.utils.rnn import pad_sequence

from probgen.data import Ragged, batches, source

LENGTHS = [3, 1, 6, 2, 4]


@pytest.fixture(params=[(), (2,), (2, 3)], ids=str)
def sequences(request, generator, device, dtype):
    options = {"generator": generator, "device": device, "dtype": dtype}
    return [1 + torch.rand(length, *request.param, **options) for length in LENGTHS]


def test_padded_as_torch_pads(sequences, device):
    data = Ragged(sequences)
    assert len(data) == 5
    for index in ([0, 1, 2, 3, 4], [4, 0], [3, 3, 1], [1]):
        padded, lengths = data[torch.tensor(index)]
        assert torch.equal(padded, pad_sequence([sequences[i] for i in index], batch_first=True))
        assert lengths.tolist() == [LENGTHS[i] for i in index]
        assert lengths.dtype == torch.int64
        assert padded.device.type == lengths.device.type == device.type


@pytest.mark.parametrize(
    ("index", "multiple", "steps"), [([0, 1], 4, 4), ([2], 4, 8), ([4], 4, 4), ([0], 1, 3)]
)
def test_lengths_are_rounded_up(sequences, index, multiple, steps):
    padded, lengths = Ragged(sequences, multiple=multiple)[torch.tensor(index)]
    assert padded.shape[1] == steps
    for row, (length, i) in enumerate(zip(lengths.tolist(), index, strict=True)):
        assert torch.equal(padded[row, :length], sequences[i])
        assert not padded[row, length:].any()


def test_alone_and_with_context(sequences, device):
    data, context = Ragged(sequences, bucketed=False), torch.arange(5.0, device=device)
    order = torch.randperm(5, generator=torch.Generator().manual_seed(1))
    for given, parts, place in ((data, 2, 0), ((data, context), 3, 0), ((context, data), 3, 1)):
        found = list(source(given).batches(2, generator=torch.Generator().manual_seed(1)))
        assert [len(batch) for batch in found] == [parts] * 3
        for batch, index in zip(found, order.split(2), strict=True):
            padded, lengths = data[index]
            assert torch.equal(batch[place], padded)
            assert torch.equal(batch[place + 1], lengths)
            assert parts == 2 or torch.equal(batch[2 - 2 * place], context[index.to(device)])


def test_the_data_stay_as_they_were(sequences):
    before = [sequence.clone() for sequence in sequences]
    data = Ragged(sequences)
    data[torch.tensor([0, 1])][0].fill_(7)
    assert all(map(torch.equal, sequences, before))
    assert torch.equal(data[torch.tensor([0])][0][0], before[0])


@pytest.mark.parametrize(
    ("sequences", "options", "error", "message"),
    [
        ([], {}, ValueError, "sequences should hold at least one sequence but is empty"),
        ([torch.ones(2)], {"multiple": 0}, ValueError, "multiple should be at least 1 but got 0"),
        ([torch.ones(2)], {"multiple": -2}, ValueError, "multiple should be at least 1 but got -2"),
        ([torch.ones(2), [1.0]], {}, TypeError, "sequences should be tensors but sequence 1 is a list"),
        (
            [torch.ones(2), torch.ones(0)],
            {},
            ValueError,
            r"at least one step but sequence 1 has shape \(0,\)",
        ),
        ([torch.tensor(1.0)], {}, ValueError, r"at least one step but sequence 0 has shape \(\)"),
        (
            [torch.ones(2, 3), torch.ones(2, 4)],
            {},
            ValueError,
            r"the steps of sequence 1 should be \(3,\) of torch.float32 on cpu, as the first, but are \(4,\)",
        ),
        ([torch.ones(2), torch.ones(2).double()], {}, ValueError, r"but are \(\) of torch.float64 on cpu"),
        (
            [torch.ones(2), torch.tensor([1.0, math.nan])],
            {},
            ValueError,
            "sequences should be finite but sequence 1 holds NaN or infinity",
        ),
    ],
)
def test_wrong_sequences(sequences, options, error, message):
    with pytest.raises(error, match=message):
        Ragged(sequences, **options)


def test_sequences_of_like_lengths_share_a_batch():
    gen = torch.Generator().manual_seed(0)
    lengths = torch.randint(10, 129, (500,), generator=gen)
    sequences = [torch.full((int(length),), float(row)) for row, length in enumerate(lengths)]

    def epoch(seed, **options):
        ragged = Ragged(sequences, **options)
        found = list(batches(ragged, 32, generator=torch.Generator().manual_seed(seed)))
        rows = [x[:, 0].long() for x, _ in found]
        return sum(x.numel() for x, _ in found), rows, [x.shape for x, _ in found]

    padded, rows, shapes = epoch(1)
    plain, plain_rows, _ = epoch(1, bucketed=False)
    assert torch.equal(torch.cat(rows).sort().values, torch.arange(500))  # each sequence once
    assert plain > 1.4 * padded
    assert padded < 1.15 * int(lengths.sum())
    assert torch.equal(rows[-1], plain_rows[-1])  # a smaller batch holds any sequences
    heights = [shape[1] for shape in shapes[:-1]]
    assert heights != sorted(heights)
    assert heights != sorted(heights, reverse=True)  # batches come in random order
    assert torch.equal(torch.cat(epoch(1)[1]), torch.cat(rows))
    assert not torch.equal(torch.cat(epoch(2)[1]), torch.cat(rows))
    together = {frozenset(part.tolist()) for part in rows}
    assert not together & {frozenset(part.tolist()) for part in epoch(2)[1]}  # in other company each time


def test_every_sequence_is_as_often_in_the_last_batch():
    """One that is left out is any: not the longest of the window."""
    sequences = [torch.ones(length) for length in range(1, 12)]
    last = torch.zeros(11)
    for seed in range(400):
        *_, (_, lengths) = batches(Ragged(sequences), 4, generator=torch.Generator().manual_seed(seed))
        last[lengths - 1] += 1
    expected = 400 * 3 / 11
    assert float(((last - expected) ** 2 / (expected * 8 / 11)).sum()) < 35  # χ² of 10 degrees: one in 10⁴
