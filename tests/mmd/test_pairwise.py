"""The engine against direct subtraction, under offsets, duplicates and any size of tile."""

import pytest
import torch

from probgen.mmd import pairwise
from probgen.mmd.pairwise import (
    accurate_squared_distances,
    by_rows,
    centred,
    nearest_squared_distances,
    product,
    quadratic_forms,
    squared_distances,
)


def direct(x, y):
    return (x[:, None].double() - y[None].double()).square().sum(-1)


def sample(n, d, device, dtype, generator):
    return torch.randn(n, d, device=device, dtype=dtype, generator=generator)


@pytest.fixture(params=["one tile", "many tiles"])
def tiling(request, monkeypatch):
    if request.param == "many tiles":
        monkeypatch.setattr(pairwise, "_tile_rows", lambda columns, device: 7)


@pytest.mark.parametrize("offset", [0.0, 1e3, 1e6])
def test_a_common_offset_costs_no_accuracy(offset, device, dtype, generator):
    x, y = (sample(n, 10, device, dtype, generator) + offset for n in (40, 50))
    torch.testing.assert_close(
        accurate_squared_distances(*centred(x=x, y=y)), direct(x, y), rtol=1e-9, atol=0
    )


def test_near_pairs_have_nine_digits_and_equal_pairs_are_zero(device, generator):
    x = sample(30, 64, device, torch.float64, generator) * 1e3
    y = torch.cat([x[:10], x[10:20] + 1e-5, x[20:] * (1 + 1e-9)])
    found = accurate_squared_distances(*centred(x=x, y=y))
    x, y = centred(x=x, y=y)
    torch.testing.assert_close(found, direct(x, y), rtol=1e-8, atol=0)
    assert (found[:10].diagonal() == 0).all()


def test_many_duplicates_are_exact(device, dtype, generator, tiling):
    x = sample(3, 2, device, dtype, generator).repeat(30, 1)
    (points,) = centred(x=x)
    found = by_rows(lambda _, block: block, points, points)
    torch.testing.assert_close(found, direct(x, x), rtol=1e-9, atol=0)


def test_the_tiles_cover_the_matrix(device, dtype, generator, tiling):
    x, y = centred(x=sample(20, 3, device, dtype, generator), y=sample(33, 3, device, dtype, generator))
    blocks = {}

    def seen(rows, block):
        blocks[rows.start, rows.stop] = block
        return block

    torch.testing.assert_close(by_rows(seen, x, y), direct(x, y))
    del blocks[0, 1]  # one row is tried first, for its form
    assert [start for start, _ in blocks] == [0, *[stop for _, stop in blocks][:-1]]


def test_product_is_that_of_the_matrix_without_its_diagonal(device, generator, tiling):
    points = sample(40, 3, device, torch.float64, generator)
    right = sample(40, 5, device, torch.float64, generator)
    kernels = lambda d: torch.stack([torch.exp(-d), 1 / (1 + d)])  # noqa: E731
    whole = kernels(direct(points, points))
    whole.diagonal(dim1=-2, dim2=-1).zero_()
    torch.testing.assert_close(product(kernels, points, right), whole @ right)


def test_nearest_distances(device, generator, tiling):
    x, y = (sample(n, 4, device, torch.float64, generator) for n in (25, 40))
    torch.testing.assert_close(nearest_squared_distances(x, y, 3), direct(x, y).sort(1).values[:, :3])


def test_the_differentiable_distances_have_the_right_gradient(device, generator):
    x, y = (sample(n, 3, device, torch.float64, generator).requires_grad_() for n in (5, 4))
    assert torch.autograd.gradcheck(squared_distances, (x, y))


def test_events_are_flattened(device, dtype, generator):
    images = torch.rand(5, 4, 3, device=device, dtype=dtype, generator=generator)
    found, scalars = centred(x=images)[0], centred(x=images[:, 0, 0])[0]
    assert found.shape == (5, 12)
    assert scalars.shape == (5, 1)
    assert found.dtype == torch.float64


X = torch.zeros(3, 2)
BAD = [
    (X.int(), X, TypeError, "x should be a floating-point tensor but has dtype torch.int32"),
    (X, X.double(), TypeError, "x and y should have the same dtype but have torch.float32 and torch.float64"),
    (X, X.to("meta"), TypeError, "x and y should have the same device but have cpu and meta"),
    (X, X[:, :1], ValueError, r"x and y should have the same event shape but have \(2,\) and \(1,\)"),
    (X, X[:0], ValueError, r"y should hold at least one point but has shape \(0, 2\)"),
    (X[0, 0], X, ValueError, r"x should hold at least one point but has shape \(\)"),
    (X, X + torch.nan, ValueError, "y should be finite but holds NaN or infinite values"),
    (X, X + torch.inf, ValueError, "y should be finite but holds NaN or infinite values"),
    (X.double(), X.double() + 1e200, ValueError, "x and y should lie close enough"),
]


@pytest.mark.parametrize(("x", "y", "error", "message"), BAD)
def test_bad_samples(x, y, error, message):
    with pytest.raises(error, match=message):
        centred(x=x, y=y)


def test_quadratic_forms_and_row_sums(device, generator, tiling):
    matrices = sample(2 * 90, 90, device, torch.float64, generator).reshape(2, 90, 90)
    matrices = matrices + matrices.mT
    right = sample(90, 4, device, torch.float64, generator)
    forms, sums = quadratic_forms(lambda rows, columns: matrices[:, rows, columns].clone(), right)
    matrices.diagonal(dim1=1, dim2=2).zero_()
    torch.testing.assert_close(forms, (right * (matrices @ right)).sum(1))
    torch.testing.assert_close(sums, matrices.sum(2))
