"""Copies of training data: the test has its level on the true law, and power on either side of it."""

import math

import pytest
import torch
from scipy import stats

from probgen.evaluation import authenticity, data_copying_test


def normal(n, d, device, dtype, generator):
    return torch.randn(n, d, device=device, dtype=dtype, generator=generator)


@pytest.mark.parametrize(("sizes", "cells"), [((60, 80, 50), 5), ((40, 30, 30), 12)])
def test_the_true_law_has_a_standard_normal_score(sizes, cells, device, dtype, generator):
    scores = torch.tensor(
        [
            data_copying_test(
                *(normal(n, 2, device, dtype, generator) for n in sizes), cells=cells, seed=seed
            ).z
            for seed in range(200)
        ]
    )
    assert stats.kstest(scores, "norm").pvalue > 1e-5
    assert sum(scores < stats.norm.ppf(0.05)) <= stats.binom.isf(1e-5, 200, 0.05)
    assert sum(scores > stats.norm.ppf(0.95)) <= stats.binom.isf(1e-5, 200, 0.05)
    # A variance off by a half would be seen: here is the 1e-5 interval of that of 200 normal scores.
    low, high = stats.chi2.interval(1 - 1e-5, 199)
    assert low / 199 < scores.double().var() < high / 199
    assert 0.5 < low / 199 < high / 199 < 1.55


def test_of_one_cell_it_is_the_test_of_mann_and_whitney(device, generator):
    draws, train, held_out = (
        normal(n, 3, device, torch.float64, generator).mul(3).round() for n in (70, 90, 50)
    )
    result = data_copying_test(draws, train, held_out, cells=1, scale=None)
    mine, theirs = (torch.cdist(x, train).min(1).values.cpu() for x in (draws, held_out))
    expected = stats.mannwhitneyu(mine, theirs, alternative="less", use_continuity=False, method="asymptotic")
    assert len(torch.cat([mine, theirs]).unique()) < 20  # ties among 120
    assert result.p_value == pytest.approx(expected.pvalue, rel=1e-9)
    assert result.by_cell.tolist() == [pytest.approx(result.z)]


def test_power_on_both_sides(device, dtype, generator):
    train, held_out, fresh = (normal(150, 2, device, dtype, generator) for _ in range(3))
    copies = train + 0.02 * held_out
    some = torch.cat([copies[:75], fresh[:75]])
    assert data_copying_test(train, train, held_out).z < -10
    assert data_copying_test(copies, train, held_out).z < -5
    assert data_copying_test(some, train, held_out).p_value < 1e-3
    assert data_copying_test(2.5 * fresh, train, held_out).z > 3
    assert data_copying_test(2.5 * fresh, train, held_out).p_value > 0.999


def test_copies_in_one_cell_are_seen_where_draws_elsewhere_are_far(device, dtype, generator):
    """By distances in all cells together, far draws of a wide mode hide the copies of a narrow one."""
    wide = 10 * normal(450, 2, device, dtype, generator) + 100
    narrow = 0.1 * normal(450, 2, device, dtype, generator)
    train, held_out = (torch.cat([wide[rows], narrow[rows]]) for rows in (slice(150), slice(150, 300)))
    draws = torch.cat([2 * (wide[300:] - 100) + 100, narrow[:150]])
    by_cell = data_copying_test(draws, train, held_out, cells=2, scale=None).by_cell.sort().values
    assert by_cell[0] < -10
    assert by_cell[1] > 3


def test_cells_without_draws_say_nothing(device, dtype, generator):
    near, far = normal(300, 2, device, dtype, generator), normal(300, 2, device, dtype, generator) + 50
    train, held_out = (torch.cat([near[rows], far[rows]]) for rows in (slice(100), slice(100, 200)))
    result = data_copying_test(near[200:], train, held_out, cells=2)
    assert len(result.by_cell) == 1
    assert abs(result.z) < 4.9


@pytest.mark.parametrize(
    ("d", "mutual"), [(1, 2 / 3), (2, 6 * math.pi / (8 * math.pi + 27**0.5)), (3, 16 / 27)]
)
def test_authenticity_of_new_data_has_its_closed_form(d, mutual, device, generator):
    """Uniform points away from the edges of a cube, where neighbours are those of a Poisson process."""
    shares = []
    for _ in range(30):
        train, new = torch.rand(2, 2000, d, device=device, dtype=torch.float64, generator=generator)
        inner = ((new - 0.5).abs() < 0.3).all(1)
        shares.append(authenticity(new[inner], train, scale=None))
    shares = torch.tensor(shares, dtype=torch.float64)
    stderr = shares.std() / 30**0.5
    assert abs(shares.mean() - (1 - mutual)) < 4.9 * stderr  # false alarm 1e-6
    assert 4.9 * stderr < 0.04


def test_authenticity_is_that_of_its_definition(device, generator):
    train, draws = (normal(n, 3, device, torch.float64, generator) for n in (40, 60))
    draws[:5] = train[:5]
    apart, inner = torch.cdist(draws, train), torch.cdist(train, train).fill_diagonal_(math.inf)
    mine, nearest = apart.min(1)
    assert authenticity(draws, train, scale=None) == float(
        (mine > inner.min(1).values[nearest]).double().mean()
    )
    assert authenticity(train, train) == 0
    assert authenticity(train + 100, train) == 1


def test_units_images_and_seeds(device, generator):
    draws, train, held_out = (normal(60, 4, device, torch.float64, generator) for _ in range(3))
    units = torch.tensor([1e-3, 1.0, 1e3, 1.0], dtype=torch.float64, device=device)
    plain = data_copying_test(draws, train, held_out)
    scaled = data_copying_test(draws * units, train * units, held_out * units)
    assert scaled.z == pytest.approx(plain.z)
    assert authenticity(draws * units, train * units) == authenticity(draws, train)
    images = [x.reshape(-1, 1, 2, 2) for x in (draws, train, held_out)]
    assert data_copying_test(*images).z == data_copying_test(draws, train, held_out, scale=None).z
    assert data_copying_test(draws, train, held_out, seed=0).z == plain.z
    assert len({data_copying_test(draws, train, held_out, seed=seed).z for seed in range(5)}) > 1


X = torch.arange(12.0).reshape(6, 2)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: data_copying_test(X, X, X, cells=0), "cells should be at least 1 but got 0"),
        (lambda: data_copying_test(X, X, X, cells=7), "number of different points of train but got 7"),
        (lambda: data_copying_test(X, X[:1].repeat(9, 1), X, cells=2), "different points of train but got 2"),
        (lambda: data_copying_test(X, X, X, cells=1), "at different distances to train, but do in none of 1"),
        (lambda: data_copying_test(X / 0, X, X), "draws should be finite"),
        (lambda: data_copying_test(X, X[:0], X), "train should hold at least one point"),
        (lambda: authenticity(X, X[:1]), "train should hold at least 2 points, .* but holds 1"),
        (lambda: authenticity(X, X[:, :1]), "draws and train should have the same event shape"),
    ],
)
def test_bad_input(call, message):
    with pytest.raises(ValueError, match=message):
        call()
