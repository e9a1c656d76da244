"""Known modes: exact draws have the shares that theory says, and lost, narrow and doubled modes are seen."""

import math

import numpy as np
import pytest
import torch
from scipy import stats

from probgen.data import target
from probgen.evaluation import mode_coverage

RING = [[math.cos(a), math.sin(a)] for a in torch.arange(8) * math.pi / 4]


@pytest.mark.parametrize(("name", "modes", "n"), [("ring", 8, 2500), ("grid", 25, 2500)])
def test_exact_draws_find_all_modes_and_have_the_ceilings(name, modes, n, device, dtype):
    law = target(name)
    repeats = [
        mode_coverage(law.sample(n, seed=seed, dtype=dtype, device=device), law.modes, law.mode_scale)
        for seed in range(60)
    ]
    assert {result.found for result in repeats} == {modes}
    near = sum(round(result.high_quality * n) for result in repeats)
    low, high = stats.binom.interval(1 - 1e-6, 60 * n, 1 - math.exp(-4.5))
    assert low <= near <= high
    assert (high - low) / (60 * n) < 0.003  # a box of three sd, 0.9946, would be seen
    kl = torch.tensor([result.kl for result in repeats], dtype=torch.float64)
    stderr = kl.std() / 60**0.5
    assert abs(kl.mean() - (modes - 1) / (2 * n)) < 4.9 * stderr  # false alarm 1e-6; the next term is 1e-5
    assert 4.9 * stderr < 0.5 * (modes - 1) / (2 * n)


def test_lost_modes_and_weights(device, dtype, generator):
    centres = 10 * torch.tensor(RING, device=device, dtype=dtype)
    draws = centres[:4].repeat(100, 1) + 0.1 * torch.randn(
        400, 2, device=device, dtype=dtype, generator=generator
    )
    stray = torch.cat([draws, centres])  # one draw in each of the lost ones finds none
    found = mode_coverage(stray, centres, 0.1)
    assert found.found == 4
    assert mode_coverage(draws, centres, 0.1).kl == pytest.approx(math.log(2))
    weights = torch.tensor([1.0] * 4 + [1e-3] * 4, device=device)
    assert mode_coverage(stray, centres, 0.1, weights=weights).found == 8
    assert mode_coverage(draws, centres, 0.1, weights=weights).kl == pytest.approx(math.log(1.001))


def test_a_quarter_of_the_expected_mass_finds_a_mode():
    centres = torch.tensor([[0.0], [100.0]])
    expected = 0.25 * 1000 * 0.5 * stats.chi2.cdf(9, 1)  # 124.66
    for count, modes in ((math.floor(expected), 1), (math.ceil(expected), 2)):
        draws = centres[(torch.arange(1000) < count).long()]
        assert mode_coverage(draws, centres, 1.0).found == modes


def test_draws_off_the_modes_are_of_low_quality_and_narrow_ones_all_of_high():
    centres = torch.tensor([[0.0, 0.0], [10.0, 0.0]])
    assert mode_coverage(centres + 2.99 / 2**0.5, centres, 1.0).high_quality == 1
    assert mode_coverage(centres + 3.01 / 2**0.5, centres, 1.0) == (0, 0, 0)


def test_arrays_events_and_offsets(device, generator):
    x = torch.randn(50, 2, 2, device=device, dtype=torch.float64, generator=generator)
    centres = torch.stack([torch.zeros(2, 2), torch.full((2, 2), 9.0)]).to(x)
    expected = mode_coverage(x, centres, 1.0)
    assert expected.found == 1
    assert mode_coverage(x.flatten(1), centres.flatten(1), 1.0) == expected
    assert mode_coverage(x + 1e6, centres + 1e6, 1.0) == expected
    assert mode_coverage(x.cpu().numpy(), np.asarray(centres.cpu()), 1.0) == expected


X = torch.zeros(3, 2)
SEVEN = torch.tensor([[math.cos(a), math.sin(a)] for a in torch.linspace(0, 2 * math.pi, 8).double()])


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: mode_coverage(X, SEVEN, 0.01), ValueError, "belongs to one mode, but 0 and 7 are"),
        (lambda: mode_coverage(X, SEVEN[:7], 0.0), ValueError, "sd should be positive and finite but got 0"),
        (lambda: mode_coverage(X, SEVEN[:7, :1], 0.1), ValueError, "should have the same event shape"),
        (lambda: mode_coverage(X / 0, SEVEN[:7], 0.1), ValueError, "draws should be finite but holds NaN"),
        (lambda: mode_coverage(X, SEVEN / 0, 0.1), ValueError, "centres should be finite but holds NaN"),
        (lambda: mode_coverage([0.0], SEVEN, 0.1), TypeError, "draws should be a tensor but is a list"),
        (
            lambda: mode_coverage(torch.zeros(3, 10), torch.zeros(1, 10), 0.1),
            ValueError,
            "draws should have at most 9 coordinates, .* but have 10",
        ),
        (
            lambda: mode_coverage(X, SEVEN[:7], 0.1, weights=[1.0] * 7),
            TypeError,
            "weights should be a tensor",
        ),
        (
            lambda: mode_coverage(X, SEVEN[:7], 0.1, weights=torch.ones(3)),
            ValueError,
            r"weights should have shape \(7,\), one a mode, but have shape \(3,\)",
        ),
        (
            lambda: mode_coverage(X, SEVEN[:7], 0.1, weights=torch.arange(7.0)),
            ValueError,
            "weights should be positive and finite",
        ),
    ],
)
def test_bad_input(call, error, message):
    with pytest.raises(error, match=message):
        call()
