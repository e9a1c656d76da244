"""Sources: the same rows from tensors, datasets and loaders; shards, skipping, replaying."""

import pytest
import torch
from torch.utils.data import (
    DataLoader,
    Dataset,
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
