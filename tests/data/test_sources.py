"""Sources: the same rows from tensors, datasets and loaders; shards, skipping, replaying; bad input."""

import array
import math

import numpy as np
import pandas as pd
import pytest
import scipy.sparse
import torch
from torch import nn
from torch.utils.data import (
    DataLoader,
    Dataset,
    DistributedSampler,
    IterableDataset,
    RandomSampler,
    Subset,
    TensorDataset,
)

from probgen.data import Binarised, MemoryMapped, Ragged, source

X = torch.rand(11, 3, generator=torch.Generator().manual_seed(1))
LABELS = torch.arange(11)


class Items(Dataset):
    """Map-style, indexed by int; remembers what was read."""

    def __init__(self, *columns):
        self.columns, self.read = columns, []

    def __len__(self):
        return len(self.columns[0])

    def __getitem__(self, i):
        self.read.append(i)
        item = tuple(column[i] for column in self.columns)
        return item if len(item) > 1 else item[0]


class ItemsAtOnce(Items):
    def __getitem__(self, i):
        raise AssertionError("__getitems__ should be used where it is there")

    def __getitems__(self, rows):
        return [(self.columns[0][i], int(self.columns[1][i])) for i in rows]


class Noisy(Items):
    """Draws at each access, as augmentation does."""

    def __getitem__(self, i):
        return self.columns[0][i] + torch.rand(()), i


class Stream(IterableDataset):
    def __iter__(self):
        return iter(zip(X, LABELS, strict=True))


class SizedStream(Stream):
    def __len__(self):
        return len(X)


def epoch(data, *arguments, seed=7, **options):
    return list(source(data).batches(*arguments, generator=torch.Generator().manual_seed(seed), **options))


def same(these, those):
    return len(these) == len(those) and all(
        len(a) == len(b) and all(torch.equal(p, q) for p, q in zip(a, b, strict=True))
        for a, b in zip(these, those, strict=True)
    )


FORMS = {
    "tensors": (X, LABELS),
    "TensorDataset": TensorDataset(X, LABELS),
    "Subset": Subset(TensorDataset(torch.cat([X, X]), torch.cat([LABELS, LABELS])), range(11, 22)),
    "map-style": Items(X, LABELS),
    "at once": ItemsAtOnce(X, LABELS),
    "in a tuple": (X, Items(LABELS)),
    "nested": Items(list(zip(X, LABELS, strict=True))),
    "memory-mapped": (MemoryMapped(X.numpy()), MemoryMapped(LABELS.numpy(), dtype=torch.int64)),
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_gives_the_same_batches(form):
    data = source(FORMS[form])
    assert (data.rows, data.steps(4), data.own_batches, data.batch_size) == (11, 3, False, None)
    order = torch.randperm(11, generator=torch.Generator().manual_seed(7)).split(4)
    assert same(epoch(FORMS[form], 4), [(X[index], LABELS[index]) for index in order])
    assert same(epoch(FORMS[form], 6, shuffle=False), [(X[:6], LABELS[:6]), (X[6:], LABELS[6:])])


def test_what_is_made_of_tensors_is_read_as_tensors():
    assert source((X, LABELS)).tensors == (X, LABELS)
    assert source(TensorDataset(X, LABELS)).tensors[0] is X
    assert torch.equal(source(Subset(TensorDataset(X), [3, 1])).tensors[0], X[[3, 1]])
    assert source((X, Items(LABELS))).tensors == ()


LOADERS = {
    "own order": lambda: DataLoader(Noisy(X), batch_size=4),
    "global generator": lambda: DataLoader(Noisy(X), batch_size=4, shuffle=True),
    "its generator": lambda: DataLoader(Noisy(X), batch_size=4, shuffle=True, generator=torch.Generator()),
    "its sampler's": lambda: DataLoader(
        Noisy(X), batch_size=4, sampler=RandomSampler(X, generator=torch.Generator())
    ),
    "batch sampler": lambda: DataLoader(
        Noisy(X), batch_sampler=torch.utils.data.BatchSampler(RandomSampler(X), 4, drop_last=False)
    ),
    "worker": lambda: DataLoader(Noisy(X), batch_size=4, shuffle=True, num_workers=1),
}


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
@pytest.mark.parametrize("kind", LOADERS)
def test_an_epoch_of_a_loader_can_be_had_again(kind):
    loader = LOADERS[kind]()
    data = source(loader)
    assert (data.rows, data.steps(), data.own_batches, data.batch_size) == (11, 3, True, 4)
    generator = torch.Generator().manual_seed(7)
    first = list(data.batches(generator=generator))
    second = list(data.batches(generator=generator))
    assert [len(x) for x, _ in first] == [4, 4, 3]
    assert torch.cat([rows for _, rows in first]).sort().values.tolist() == list(range(11))
    assert not torch.equal(first[0][0], second[0][0])
    noise = torch.cat([(x - X[rows])[:, 0] for x, rows in first])
    assert noise.sort().values.diff().min() > 1e-6  # drawn afresh for every item
    torch.rand(3)  # what happens elsewhere has no say
    assert same(epoch(loader), first)
    assert same(epoch(loader, skip=1), first[1:])
    assert same(epoch(LOADERS[kind]()), first)  # nor has what the loader did before


def test_a_loader_leaves_the_noise_alone_and_the_noise_the_loader():
    data, generator = source(LOADERS["global generator"]()), torch.Generator().manual_seed(7)
    torch.manual_seed(3)
    batches, noise = [], []
    for batch in data.batches(generator=generator):
        batches.append(batch)
        noise.append(torch.rand(2))
    torch.manual_seed(3)
    assert torch.equal(torch.cat(noise), torch.rand(6))
    assert same(epoch(LOADERS["global generator"]()), batches)


def test_draws_are_made_at_the_call():
    for data in (X, LOADERS["global generator"]()):
        generator = torch.Generator().manual_seed(7)
        batches = source(data).batches(4, generator=generator)
        state = generator.get_state()
        assert not torch.equal(state, torch.Generator().manual_seed(7).get_state())
        assert len(list(batches)) == 3
        assert torch.equal(generator.get_state(), state)


def test_a_loader_keeps_its_own_batches():
    halves = DataLoader(Items(X, LABELS), batch_sampler=[[0, 1, 2], [10, 3]])
    assert same(list(source(halves).batches()), [(X[:3], LABELS[:3]), (X[[10, 3]], LABELS[[10, 3]])])
    assert source(halves).batch_size is None
    assert source(DataLoader(Items(X), batch_size=4, drop_last=True)).steps() == 2
    pairs = DataLoader(
        Items(X), batch_size=11, collate_fn=lambda items: ((torch.stack(items), LABELS), LABELS)
    )
    assert same(list(source(pairs).batches()), [(X, LABELS, LABELS)])


@pytest.mark.parametrize(("stream", "rows", "steps"), [(Stream, None, None), (SizedStream, 11, 3)])
def test_streams(stream, rows, steps):
    data = source(DataLoader(stream(), batch_size=4))
    assert (data.rows, data.steps(), data.batch_size) == (rows, steps, 4)
    assert same(list(data.batches()), [(X[i : i + 4], LABELS[i : i + 4]) for i in (0, 4, 8)])


SHARDED = {
    "tensors": (X, LABELS),
    "map-style": Items(X, LABELS),
    "memory-mapped": (MemoryMapped(X.numpy()), LABELS),
    "loader": LOADERS["global generator"](),
}


@pytest.mark.parametrize("world", [1, 2, 3, 5])
@pytest.mark.parametrize("form", SHARDED)
def test_shards_are_the_batch_in_parts(form, world):
    whole = epoch(SHARDED[form], 4)
    shards = [epoch(SHARDED[form], 4, shard=(rank, world)) for rank in range(world)]
    joined = [tuple(map(torch.cat, zip(*parts, strict=True))) for parts in zip(*shards, strict=True)]
    assert same(joined, whole)
    for parts, batch in zip(zip(*shards, strict=True), whole, strict=True):
        sizes = [len(part[0]) for part in parts]
        assert max(sizes) - min(sizes) <= 1
        assert (min(sizes) == 0) == (len(batch[0]) < world)
        assert sizes[0] > 0


def test_an_empty_share_keeps_its_shape():
    ragged = Ragged(list(X.split(1)))
    for data in ((X, LABELS), Items(X, LABELS), (MemoryMapped(X.numpy()), LABELS), (ragged, LABELS)):
        *_, last = epoch(data, 10, shard=(1, 2))
        assert [len(part) for part in last] == [0] * len(last)
        assert last[0].shape[-1] == 3


def test_skipped_rows_are_not_read():
    items = Items(X)
    batches = epoch(items, 4, skip=2)
    assert sorted(items.read) == sorted(
        torch.randperm(11, generator=torch.Generator().manual_seed(7))[8:].tolist()
    )
    assert same(batches, epoch(X, 4)[2:])
    for data in (X, DataLoader(Items(X), batch_size=4)):
        assert epoch(data, 4, skip=3) == []


def test_batches_go_to_the_device(device, dtype, generator):
    x = X.to(device, dtype)
    items, loader = Items(X.to(dtype), LABELS), DataLoader(Items(X.to(dtype)), batch_size=4)
    mixed = (x, MemoryMapped(X.numpy(), dtype=dtype), Ragged(list(x.split(1))))
    for data in ((x, LABELS.to(device)), items, loader, mixed):
        for batch in source(data).batches(4, generator=generator, device=device):
            assert {part.device.type for part in batch} == {device.type}
            assert batch[0].dtype == dtype
    for part, mapped, padded, _ in source(mixed).batches(4, generator=generator):
        assert (part.device.type, mapped.device.type) == (device.type, "cpu")
        assert torch.equal(part.cpu(), mapped)
        assert torch.equal(part, padded[:, 0])


class Elsewhere:
    """An indexable on another device than the CPU: meta, which is there on every machine."""

    device = torch.device("meta")

    def __len__(self):
        return 11

    def __getitem__(self, index):
        assert index.device == self.device
        return torch.empty(len(index), 2, device=index.device)


def test_two_devices_without_a_second_one():
    for x, other in source((X, Elsewhere())).batches(4):
        assert (x.device.type, other.device.type) == ("cpu", "meta")
    for data in (X, Items(X), DataLoader(Items(X), batch_size=4)):
        assert {x.device.type for (x,) in source(data).batches(4, device=torch.device("meta"))} == {"meta"}


def test_what_draws_at_each_access_still_does(device):
    (x,), (y,) = (epoch(Binarised(torch.full((50,), 0.5, device=device)), 50)[0] for _ in range(2))
    assert not torch.equal(x, y)


def with_bad(value, row=3, dtype=torch.float32):
    x = torch.zeros(5, 2, 2, dtype=dtype)
    x[row, 1, 0] = value
    return x


class Wrong:
    """An indexable that gives what it is told."""

    def __init__(self, value):
        self.value = value

    def __len__(self):
        return 5

    def __getitem__(self, index):
        return self.value


class Unsized(Dataset):
    def __getitem__(self, i):
        return X[i]


def loader(*columns, **options):
    return DataLoader(Items(*columns), **{"batch_size": 2, **options})


@pytest.mark.parametrize(
    ("data", "error", "message"),
    [
        (with_bad(math.nan), ValueError, "data should be finite but row 3 holds NaN or infinity"),
        (TensorDataset(X[:5], with_bad(math.inf)), ValueError, r"data\[1\] should be finite but row 3 holds"),
        (TensorDataset(LABELS.cfloat()), TypeError, "data should hold real numbers but is torch.complex64"),
        (X.to_sparse(), ValueError, r"dense tensor but is torch.sparse_coo: give x.to_dense\(\)"),
        (
            torch.nested.nested_tensor([X, X], layout=torch.jagged),
            ValueError,
            r"but is nested: give data.Ragged\(x.unbind\(\)\)",
        ),
        (list(X), TypeError, r"but is a list of 11: where they are rows, give torch.stack\(rows\)"),
        (X.to("meta"), ValueError, "data should hold numbers but lies on the meta device"),
        (scipy.sparse.csr_matrix(X), TypeError, r"holds a csr_matrix: use torch.as_tensor\(x.toarray\(\)\)"),
        (
            nn.utils.rnn.pack_sequence([X, X]),
            TypeError,
            r"holds a PackedSequence: use data.Ragged\(sequences\)",
        ),
        ((X, [0] * 11), TypeError, "holds a list: use torch.tensor or torch.stack"),
        ((X, (X, X)), TypeError, "holds a tuple: .* lay nested tuples out in one"),
        ({"x": X}, TypeError, r"holds a dict: give its columns in a tuple, \(d\['x'\], ...\)"),
        (pd.DataFrame(X), TypeError, r"holds a DataFrame: use torch.as_tensor\(x.to_numpy\(\)\)"),
        ((X, pd.Series(X[:, 0])), TypeError, r"holds a Series: use torch.as_tensor\(x.to_numpy\(\)\)"),
        (DataLoader(X, batch_size=None), ValueError, "batch_size=None, by which each row is read as a"),
        (DataLoader(Items(X), batch_size=None), ValueError, "by which each row is read as a batch"),
        (Items(torch.zeros(0, 2)), ValueError, "data should have at least one row but is empty"),
        ((Items(X), LABELS[:5]), ValueError, r"equally long but have \[11, 5\] rows: .* data.Ragged"),
        (Stream(), TypeError, "rows to index but is the stream Stream: give DataLoader"),
        (Unsized(), TypeError, "rows to index but is the stream Unsized: give DataLoader"),
        ((loader(X), LABELS), TypeError, "data should be one DataLoader or a tuple without one"),
        (X.numpy(), TypeError, "holds a ndarray: use torch.from_numpy or data.MemoryMapped"),
        (None, TypeError, "data should be a tensor or a tuple of tensors but holds a NoneType"),
        (loader(torch.zeros(0, 2)), ValueError, "data should have at least one row but the loader is empty"),
        (loader(X[:1], drop_last=True), ValueError, "at least one row but the loader is empty"),
    ],
)
def test_data_refused_at_once(data, error, message):
    with pytest.raises(error, match=message):
        source(data)


ALIKE = r"the items of data should be alike but row 0 is \(2,\) and row 1 \(3,\): .* data.Ragged"


@pytest.mark.parametrize(
    ("data", "error", "message"),
    [
        (Items(with_bad(math.nan)), ValueError, "data should be finite but row 3 holds NaN or infinity"),
        ((X[:5], Items(with_bad(-math.inf))), ValueError, r"data\[1\] should be finite but row 3 holds"),
        (MemoryMapped(with_bad(math.inf).numpy()), ValueError, "data should be finite but row 3 holds NaN"),
        (Items(LABELS.cfloat()), TypeError, "data should hold real numbers but is torch.complex64"),
        (
            range(5),
            TypeError,
            "rows for a tensor of indices but is a range, which raised TypeError: give a t",
        ),
        (array.array("f", [0.0] * 5), TypeError, "rows for a tensor of indices but is a array, which raised"),
        (Items([torch.zeros(2), torch.zeros(3)]), ValueError, ALIKE),
        (Items([(X[0], 1), (X[0], 1, 2)]), ValueError, "the items of data should be alike but row 0"),
        (Items(["a", "b"]), TypeError, "data should give tensors or tuples of tensors but gave a str"),
        (Items([{"x": X[0]}]), TypeError, "tensors or tuples of tensors but gave a dict: use a Dataset"),
        (Items([None]), TypeError, "items of data should be tensors, numbers, arrays or .* row 0 is None"),
        (Items([np.array([None])]), TypeError, "items of data should be tensors, numbers, arrays or tuples"),
        (Wrong(torch.zeros(3)), ValueError, r"a row per index but gave shape \(3,\) for 5"),
        (Wrong(torch.tensor(0.0)), ValueError, r"a row per index but gave shape \(\) for 5"),
        (Wrong([0.0] * 5), TypeError, "data should give tensors or tuples of tensors but gave a float"),
        (loader(with_bad(math.nan)), ValueError, "finite but row 1 of batch 2 holds NaN or infinity"),
        (loader(X, with_bad(math.inf, 4).repeat(3, 1, 1)), ValueError, "finite but row 0 of batch 3 holds"),
        (loader([{"x": x} for x in X]), TypeError, "but gave a dict: use a Dataset or a collate_fn that"),
        (loader(X, collate_fn=lambda _: X.numpy()), TypeError, "but gave a ndarray: use a Dataset or a coll"),
        (
            loader(X, collate_fn=lambda _: (X, X[:2])),
            ValueError,
            r"batch 1 have shapes \[\(11, 3\), \(2, 3\)",
        ),
        (loader(X, collate_fn=lambda _: X[:0]), ValueError, r"those of batch 1 have shapes \[\(0, 3\)\]"),
        (loader(X, collate_fn=lambda _: X.sum()), ValueError, r"those of batch 1 have shapes \[\(\)\]"),
        (loader(X, collate_fn=lambda _: ()), ValueError, r"those of batch 1 have shapes \[\]"),
        (loader(LABELS.cfloat()), TypeError, "data should hold real numbers but is torch.complex64"),
        (DataLoader(Stream(), 20, drop_last=True), ValueError, "at least 1 batches but the loader gave 0"),
    ],
)
def test_data_refused_at_the_batch(data, error, message):
    batches = source(data).batches(5, shuffle=False)
    with pytest.raises(error, match=message):
        list(batches)


def test_the_row_that_is_named_is_that_of_the_data():
    with pytest.raises(ValueError, match="data should be finite but row 3 holds NaN or infinity"):
        epoch(Items(with_bad(math.nan)), 2, seed=7)
    assert torch.randperm(5, generator=torch.Generator().manual_seed(7)).tolist().index(3) != 3


@pytest.mark.parametrize("data", [X, DataLoader(Items(X), batch_size=4)])
@pytest.mark.parametrize("shard", [(2, 2), (-1, 2), (0, 0)])
def test_shards_that_are_none(data, shard):
    with pytest.raises(ValueError, match=r"shard should be \(rank, world\) with 0 <= rank < world but got"):
        source(data).batches(4, shard=shard)


def test_a_loader_that_is_sharded_already():
    sharded = DataLoader(Items(X), sampler=DistributedSampler(X, num_replicas=2, rank=0))
    with pytest.raises(
        ValueError, match="whole batches, of which each takes its share, but the loader has a"
    ):
        source(sharded).batches(shard=(0, 2))


def test_a_loader_with_fewer_batches_than_were_taken():
    with pytest.raises(ValueError, match="at least 4 batches but the loader gave 3"):
        epoch(DataLoader(Items(X), batch_size=4), skip=4)


@pytest.mark.parametrize("size", [None, 0, -1])
def test_batch_sizes_that_are_none(size):
    for call in (source(X).batches, source(X).steps):
        with pytest.raises(ValueError, match=f"batch_size should be at least 1 but got {size}"):
            call(size)


def test_a_sum_that_overflows_is_no_bad_row():
    huge = torch.full((5, 2), 3e38)
    assert torch.equal(epoch((huge, Items(huge)), 5)[0][1], huge)
    with pytest.raises(ValueError, match="row 3 holds"):
        source(huge.index_fill(0, torch.tensor(3), math.nan))
