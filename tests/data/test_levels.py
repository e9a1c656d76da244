"""Binarised and dequantised grey levels."""

import math

import pytest
import torch
from scipy import stats

from probgen.data import Binarised, Dequantised, binarise, dequantise, quantise
from probgen.data.uniform import inner_uniform

ALPHA = 1e-6


def test_binarise_draws_each_pixel_with_its_grey(generator, device, dtype):
    grey = torch.tensor([0.0, 0.2, 0.7, 1.0], device=device, dtype=dtype)
    x = binarise(grey.expand(20000, 4), generator=generator)
    assert x.dtype == dtype
    assert ((x == 0) | (x == 1)).all()
    ones = x.sum(0).tolist()
    assert (ones[0], ones[3]) == (0, 20000)
    for count, p in zip(ones[1:3], (0.2, 0.7), strict=True):
        assert stats.binomtest(int(count), 20000, p).pvalue > ALPHA
        assert stats.binomtest(int(count), 20000, p + 0.05).pvalue < ALPHA


def test_binarised_is_drawn_afresh_from_the_global_generator(device):
    data = Binarised(torch.full((3, 50), 0.5, device=device))
    index = torch.tensor([0, 2], device=device)
    assert len(data) == 3
    assert data[index].shape == (2, 50)
    assert not torch.equal(data[index], data[index])
    draws = []
    for _ in range(2):
        torch.manual_seed(5)
        draws.append(data[index])
    assert torch.equal(*draws)


@pytest.mark.parametrize("laid_out", ["rows", "columns"])
def test_binarised_draws_what_torch_does_to_the_bit(laid_out, device, dtype):
    grey = torch.linspace(0, 1, 60, device=device, dtype=dtype).reshape(5, 12)
    grey = grey if laid_out == "rows" else grey.t().contiguous().t()
    for index in (torch.tensor([3, 0, 3]), torch.tensor([-1, 0]), torch.tensor([True, False] * 2 + [True])):
        torch.manual_seed(5)
        found, after = Binarised(grey)[index.to(device)], torch.rand(())
        torch.manual_seed(5)
        assert torch.equal(found, torch.bernoulli(grey[index.to(device)]))
        assert torch.equal(after, torch.rand(()))
    assert Binarised(grey)[1:3].shape == (2, 12)
    assert found.dtype == dtype


@pytest.mark.parametrize("levels", [2, 3, 17, 256, 1000])
def test_dequantised_lies_strictly_inside_its_cell(levels, generator, device, dtype):
    level = torch.arange(levels, device=device).repeat(2000 if levels < 20 else 200)
    x = level.to(dtype) / (levels - 1)
    y = dequantise(x, levels, generator=generator)
    assert y.dtype == dtype
    assert ((y > 0) & (y < 1)).all()
    assert ((y * levels).floor() == level).all()
    assert torch.equal(quantise(y, levels), x)
    offsets = y.double() * levels - level
    assert stats.kstest(offsets.cpu(), "uniform").pvalue > ALPHA
    assert stats.kstest((0.9 * offsets).cpu(), "uniform").pvalue < ALPHA


def test_inner_uniforms_are_midpoints(generator, device):
    # Few cells, so that every one is seen: 2^10 / 2^7 of them in half precision.
    u = inner_uniform((1000,), integer_bits=7, generator=generator, dtype=torch.float16, device=device)
    assert u.unique().tolist() == [(k + 0.5) / 8 for k in range(8)]
    assert torch.equal((127 + u).double(), 127 + u.double())  # the sum is exact


def test_the_last_cell_is_closed():
    assert quantise(torch.tensor([1.0]), 17).item() == 1


def test_dequantised_is_drawn_afresh(device):
    x = torch.tensor([[0.0, 0.5], [1.0, 0.5]], device=device)
    data = Dequantised(x, 3)
    index = torch.tensor([1], device=device)
    assert len(data) == 2
    assert not torch.equal(data[index], data[index])
    assert torch.equal(quantise(data[index], 3), x[index])


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (
            lambda: binarise(torch.tensor([0.5, 1.5])),
            ValueError,
            r"grey should lie in \[0, 1\] but holds 1.5",
        ),
        (lambda: Binarised(torch.tensor([-0.1])), ValueError, r"grey should lie in \[0, 1\] but holds -0.1"),
        (lambda: Binarised(torch.tensor([math.nan])), ValueError, "but holds nan"),
        (lambda: Binarised(torch.tensor([1])), TypeError, "grey should be floating point but is torch.int64"),
        (
            lambda: dequantise(torch.tensor([0.3]), 3),
            ValueError,
            "x should lie on the grid 0, 1/2, ..., 1 but",
        ),
        (lambda: Dequantised(torch.tensor([0.3]), 3), ValueError, "x should lie on the grid 0, 1/2, ..., 1"),
        (lambda: Dequantised(torch.tensor([2.0]), 3), ValueError, r"x should lie in \[0, 1\] but holds 2"),
        (lambda: dequantise(torch.tensor([0.0]), 1), ValueError, "levels should be at least 2 but got 1"),
        (lambda: quantise(torch.tensor([0.0]), 1), ValueError, "levels should be at least 2 but got 1"),
        (lambda: quantise(torch.tensor([1.1]), 4), ValueError, r"y should lie in \[0, 1\] but holds 1.1"),
        (
            lambda: dequantise(torch.tensor([0.0]).half(), 2**12),
            ValueError,
            "torch.float16 is too coarse for 4096 levels",
        ),
    ],
)
def test_wrong_input(call, error, message):
    with pytest.raises(error, match=message):
        call()
