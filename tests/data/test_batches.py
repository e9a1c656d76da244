"""Batches and the checks of data."""

import math

import numpy as np
import pytest
import torch

from probgen.data import Binarised, batches, check_data


def test_every_row_once_and_parts_together(device, generator):
    x, labels = torch.arange(10.0, device=device)[:, None], torch.arange(10, device=device)
    seen = list(batches((x, labels), 4, generator=generator))
    assert [len(part) for part, _ in seen] == [4, 4, 2]
    assert all(torch.equal(part[:, 0], label.float()) for part, label in seen)
    rows = torch.cat([label for _, label in seen])
    assert rows.sort().values.tolist() == list(range(10))
    assert rows.tolist() != list(range(10))
    assert rows.device == x.device


def test_order_comes_from_the_generator(device):
    x = torch.arange(50.0, device=device)
    orders = [
        torch.cat([b for (b,) in batches(x, 7, generator=torch.Generator(device).manual_seed(seed))])
        for seed in (1, 1, 2)
    ]
    assert torch.equal(orders[0], orders[1])
    assert not torch.equal(orders[0], orders[2])


def test_unshuffled_keeps_the_order():
    assert torch.cat([b for (b,) in batches(torch.arange(9.0), 4, shuffle=False)]).tolist() == list(range(9))


def test_a_batch_larger_than_the_data_is_the_data():
    assert [len(b) for (b,) in batches(torch.rand(3, 2), 100)] == [3]


def test_order_is_uniform():
    generator = torch.Generator().manual_seed(1)
    first = [int(next(batches(torch.arange(5), 1, generator=generator))[0]) for _ in range(2000)]
    counts = torch.tensor(first).bincount(minlength=5)
    assert ((counts - 400).abs() < 6 * math.sqrt(2000 * 0.16)).all()


def test_gradients_pass_through():
    x = torch.rand(6, 2, requires_grad=True)
    sum(b.sum() for (b,) in batches(x, 4)).backward()
    assert torch.equal(x.grad, torch.ones_like(x))


def test_check_data_returns_the_parts():
    x, labels = torch.rand(4, 2), torch.arange(4)
    assert check_data(x) == (x,)
    assert check_data([x, labels])[1] is labels
    grey = Binarised(x)
    assert check_data(grey) == (grey,)


def bad_row(value):
    x = torch.zeros(5, 2, 2)
    x[3, 1, 0] = value
    return x


@pytest.mark.parametrize(
    ("data", "error", "message"),
    [
        (bad_row(math.nan), ValueError, "data should be finite but row 3 holds NaN or infinity"),
        ((torch.zeros(5, 1), bad_row(-math.inf)), ValueError, r"data\[1\] should be finite but row 3 holds"),
        (torch.zeros(0, 2), ValueError, "data should have at least one row but is empty"),
        ((), ValueError, "data should have at least one row but is empty"),
        (torch.zeros(2, 0), ValueError, r"data should hold at least one value but has shape \(2, 0\)"),
        (torch.tensor(1.0), ValueError, "data should have a row per datum but is a scalar"),
        ((torch.zeros(5), torch.zeros(4)), ValueError, r"data should be equally long but have \[5, 4\] rows"),
        (
            torch.zeros(5).cfloat(),
            TypeError,
            "data should hold real numbers but is torch.complex64: give real",
        ),
        (np.zeros((5, 2)), TypeError, "data should be a tensor or a tuple of tensors but holds a ndarray"),
        ([1.0, 2.0], TypeError, "data should be a tensor or a tuple of tensors but holds a float"),
        ("digits", TypeError, "data should be a tensor or a tuple of tensors but holds a str"),
    ],
)
def test_data_that_cannot_be_learned_from(data, error, message):
    with pytest.raises(error, match=message):
        check_data(data)


def test_messages_name_the_argument():
    with pytest.raises(ValueError, match="validation should be finite but row 3"):
        check_data(bad_row(math.nan), name="validation")


@pytest.mark.parametrize("size", [0, -1])
def test_batches_refuse_at_the_call_not_at_the_first_batch(size):
    with pytest.raises(ValueError, match=f"batch_size should be at least 1 but got {size}"):
        batches(torch.zeros(3), size)
