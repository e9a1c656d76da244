"""Sources refuse bad data, at once or at the batch, and say which row of whose it is."""

import array
import math

import numpy as np
import pytest
import scipy.sparse
import torch
from torch import nn
from torch.utils.data import (
    DataLoader,
    Dataset,
    DistributedSampler,
    TensorDataset,
)

from probgen.data import MemoryMapped, source
from tests.data.test_sources import LABELS, Items, Stream, X, epoch


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
        (DataLoader(X, batch_size=None), ValueError, "batch_size=None, by which each row is read as a"),
        (DataLoader(Items(X), batch_size=None), ValueError, "by which each row is read as a batch"),
        (Items(torch.zeros(0, 2)), ValueError, "data should have at least one row but is empty"),
        ((Items(X), LABELS[:5]), ValueError, r"equally long but have \[11, 5\] rows: .* data.Ragged"),
        (Stream(), TypeError, "rows to index but is the stream Stream: give DataLoader"),
        (Unsized(), TypeError, "rows to index but is the stream Unsized: give DataLoader"),
        ((loader(X), LABELS), TypeError, "data should be one DataLoader or a tuple without one"),
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
