"""DCI, SAP, InfoMEC and the scores of FactorVAE and β-VAE on codes whose disentanglement is known."""

import math

import numpy as np
import pytest
import torch

from probgen import evaluation
from probgen.evaluation import (
    beta_vae_score,
    binned_mutual_information_gap,
    dci,
    factor_vae_score,
    infomec,
    sap_score,
)

FACTORS = torch.cartesian_prod(*[torch.arange(n) for n in (4, 4, 4)]).repeat(30, 1)
ROWS = len(FACTORS)
SMALL = {"train": 1500, "test": 1500}


def noise(columns, seed=0):
    return torch.randn(ROWS, columns, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def copied():
    """The factors in another order, in other units, with a little noise that parts ties."""
    return FACTORS[:, [2, 0, 1]].double() * torch.tensor([1.0, -2.0, 0.5]) + 0.01 * noise(3)


def turned():
    """All coordinates have as much to do with each of the first two factors."""
    v = FACTORS.double()
    half = math.sqrt(0.5)
    return torch.stack([half * (v[:, 0] + v[:, 1]), half * (v[:, 0] - v[:, 1])], 1) + 0.01 * noise(2)


def with_collapsed(codes):
    return torch.cat([codes[:, :1], torch.full((ROWS, 1), 0.7), codes[:, 1:]], 1)


def test_codes_that_are_the_factors_score_1():
    z = copied()
    found = dci(z, FACTORS, trees=10)
    assert found.disentanglement == pytest.approx(1.0, abs=0.01)
    assert found.completeness == pytest.approx(1.0, abs=0.01)
    assert found.informativeness == 1.0
    assert found.importance.argmax(0).tolist() == [1, 2, 0]
    told = infomec(z, FACTORS)
    assert told.modularity == pytest.approx(1.0, abs=0.05)
    assert told.compactness == pytest.approx(1.0, abs=0.05)
    assert told.explicitness == pytest.approx(1.0, abs=0.02)
    assert told.information.argmax(0).tolist() == [1, 2, 0]
    assert factor_vae_score(z, FACTORS, **SMALL) == (1.0, 3)
    assert beta_vae_score(z, FACTORS, **SMALL) == 1.0
    assert sap_score(z, FACTORS, continuous=[0, 1, 2]).score == pytest.approx(1.0, abs=0.01)


def test_turned_codes_are_explicit_and_not_modular():
    z, factors = turned(), FACTORS[:, :2]
    told = infomec(z, factors)
    assert told.explicitness == pytest.approx(1.0, abs=0.02)
    assert told.modularity == pytest.approx(0.0, abs=0.05)
    assert told.compactness == pytest.approx(0.0, abs=0.05)
    found = dci(z, factors, trees=10)
    assert found.disentanglement < 0.1
    assert found.informativeness > 0.9
    assert sap_score(z, factors, continuous=[0, 1]).score == pytest.approx(0.0, abs=0.01)
    assert beta_vae_score(z, FACTORS[:, :2], **SMALL) < 0.7  # |z − z'| of two turned factors is symmetric


def test_a_factor_in_two_coordinates_is_not_compact():
    z = copied()
    twice = torch.cat([z, z + 0.001 * noise(3, seed=1)], 1)
    told = infomec(twice, FACTORS)
    # The largest share is ½: (½ − 1/6) / (1 − 1/6).
    assert told.compactness == pytest.approx(0.4, abs=0.03)
    assert told.modularity == pytest.approx(1.0, abs=0.05)
    assert told.explicitness == pytest.approx(1.0, abs=0.02)
    found = dci(twice, FACTORS, trees=10)
    # Importance is shared by two of six: 1 − log 2 / log 6, if evenly.
    assert found.completeness == pytest.approx(1 - math.log(2) / math.log(6), abs=0.05)
    assert found.disentanglement == pytest.approx(1.0, abs=0.01)
    assert sap_score(twice, FACTORS, continuous=[0, 1, 2]).score == pytest.approx(0.0, abs=0.01)
    assert binned_mutual_information_gap(twice, FACTORS).score == pytest.approx(0.0, abs=0.01)
    assert factor_vae_score(twice, FACTORS, **SMALL).score == 1.0


def test_noise_scores_as_a_guess_does():
    z = noise(3, seed=5)
    found = dci(z, FACTORS, trees=20)
    assert found.disentanglement < 0.02
    assert found.completeness < 0.02
    assert found.informativeness == pytest.approx(0.25, abs=4 * math.sqrt(0.25 * 0.75 / (3 * ROWS / 3)))
    # 3 · 3 − 3 free numbers of a factor tell 3 · 6 / (2 · 1920 log 4) of it: 0.003.
    assert infomec(z, FACTORS).explicitness == pytest.approx(0.0, abs=0.02)
    assert binned_mutual_information_gap(z, FACTORS).score < 0.02
    assert sap_score(z, FACTORS).score < 0.05
    assert sap_score(z, FACTORS, continuous=[0, 1, 2]).score < 0.01
    of_chance = 4 * math.sqrt(2 / 9 / 1500) + 0.02
    assert factor_vae_score(z, FACTORS, **SMALL).score == pytest.approx(1 / 3, abs=of_chance)
    assert beta_vae_score(z, FACTORS, **SMALL) == pytest.approx(1 / 3, abs=of_chance)


def test_a_collapsed_coordinate_is_not_picked_and_changes_no_score():
    z = copied()
    more = with_collapsed(z)
    assert factor_vae_score(more, FACTORS, **SMALL) == factor_vae_score(z, FACTORS, **SMALL) == (1.0, 3)
    # With a threshold of 0 the quotient 0/0 is still none.
    assert factor_vae_score(more, FACTORS, least_scale=0.0, **SMALL) == (1.0, 3)
    assert beta_vae_score(more, FACTORS, **SMALL) == 1.0
    told = infomec(more, FACTORS)
    assert told.active.tolist() == [0, 2, 3]
    assert told[:3] == pytest.approx(infomec(z, FACTORS)[:3], abs=1e-6)
    found = dci(more, FACTORS, trees=10)
    assert found.importance[1].tolist() == [0.0, 0.0, 0.0]
    assert found.disentanglement == pytest.approx(1.0, abs=0.01)
    assert sap_score(more, FACTORS, continuous=[0, 1, 2]).predictability[1].tolist() == [0.0, 0.0, 0.0]
    for score in (sap_score(more, FACTORS).score, binned_mutual_information_gap(more, FACTORS).score):
        assert math.isfinite(score)


def test_a_nearly_collapsed_coordinate_is_inactive():
    """It would win each vote where it takes the least values by chance."""
    z = copied()
    faint = torch.cat([z, 1e-3 * noise(1, seed=7)], 1)
    assert factor_vae_score(faint, FACTORS, **SMALL) == (1.0, 3)
    assert infomec(faint, FACTORS).active.tolist() == [0, 1, 2]


def test_all_collapsed_is_said():
    z = torch.ones(ROWS, 2)
    with pytest.raises(ValueError, match=r"least_scale = 0.05 but the largest is 0"):
        factor_vae_score(z, FACTORS)
    with pytest.raises(ValueError, match="codes should vary but every coordinate has one value"):
        infomec(z, FACTORS)
    found = dci(z, FACTORS, trees=2)
    assert found[:2] == (0.0, 0.0)
    assert beta_vae_score(z, FACTORS, **SMALL) < 0.4


def test_sap_of_a_binary_factor_is_1_less_the_guess():
    factors = torch.cartesian_prod(torch.arange(2), torch.arange(2)).repeat(500, 1)
    z = torch.stack([2.0 * factors[:, 0] - 1, 2.0 * factors[:, 1] - 1], 1)
    found = sap_score(z, factors)
    torch.testing.assert_close(found.predictability.diagonal(), torch.ones(2).double())
    assert found.score == pytest.approx(0.5, abs=4 * math.sqrt(0.25 / 1000))


def test_sap_of_a_continuous_factor_is_the_squared_correlation():
    v = FACTORS[:, 0].double()
    z = torch.stack([v + noise(1, seed=8)[:, 0], v**2], 1)
    found = sap_score(z, FACTORS[:, :1], continuous=[0])
    expected = [np.corrcoef(z[:, j], v)[0, 1] ** 2 for j in range(2)]
    np.testing.assert_allclose(found.predictability[:, 0], expected, rtol=1e-9)
    assert found.score == pytest.approx(abs(expected[0] - expected[1]))


def test_symbols_have_the_information_of_counts():
    symbols = torch.stack([FACTORS[:, 0] * 4 + FACTORS[:, 1], FACTORS[:, 2], FACTORS[:, 2] % 2], 1)
    told = infomec(symbols, FACTORS)
    expected = torch.tensor([[1, 1, 0], [0, 0, 1], [0, 0, 0.5]]).double()
    torch.testing.assert_close(told.information, expected, atol=1e-9, rtol=0)
    # Shares of the largest: of coordinates 1/2, 1, 1; of factors 1, 1, 2/3.
    assert told.modularity == pytest.approx((0.25 + 1 + 1) / 3)
    assert told.compactness == pytest.approx((1 + 1 + 0.5) / 3)
    assert told.explicitness == pytest.approx(1.0, abs=0.01)


def test_explicitness_is_that_of_the_best_linear_classifier():
    """Of a code that is 0, or a symbol that is wrong once in four, the cross-entropy is known."""
    factors = torch.stack([FACTORS[:, 0] % 2, FACTORS[:, 1] % 2], 1)
    wrong = (torch.arange(ROWS) // 64 % 4 == 0).long()  # evenly within each value
    code = (factors[:, 0] + wrong) % 2
    told = infomec(torch.stack([code, code], 1), factors)
    rate = float(wrong.double().mean())
    entropy = -(rate * math.log(rate) + (1 - rate) * math.log(1 - rate))
    assert told.explicitness == pytest.approx((1 - entropy / math.log(2)) / 2, abs=1e-3)


def test_probabilities_that_are_0_in_float64_are_no_warning():
    factors = torch.stack([FACTORS[:, 0], FACTORS[:, 1] % 2], 1)
    z = torch.stack([factors[:, 0] + 1e-3 * noise(1)[:, 0], factors[:, 1] + 1e-3 * noise(1, seed=2)[:, 0]], 1)
    z[-1, 0] = 60.0  # of class 3, far on its side
    assert infomec(z, factors).explicitness == pytest.approx(1.0, abs=1e-3)


def test_seeds_and_generators_decide():
    z = noise(3, seed=9)
    for score in (factor_vae_score, beta_vae_score):
        once = score(z, FACTORS, train=200, test=200, seed=1)
        assert score(z, FACTORS, train=200, test=200, seed=1) == once
        generators = [torch.Generator().manual_seed(2) for _ in range(2)]
        drawn, again = (score(z, FACTORS, train=200, test=200, generator=own) for own in generators)
        assert drawn == again
    with pytest.raises(ValueError, match="one at most"):
        dci(z, FACTORS, seed=1, generator=torch.Generator())


SCORES = {
    "dci": dci,
    "sap": sap_score,
    "infomec": infomec,
    "factor": factor_vae_score,
    "beta": beta_vae_score,
    "mig": binned_mutual_information_gap,
}


@pytest.mark.parametrize("name", SCORES)
def test_bad_input_is_named(name):
    score, z = SCORES[name], noise(3)
    with pytest.raises(ValueError, match=r"codes should have shape \(n, columns\) but have shape \(1920,\)"):
        score(z[:, 0], FACTORS)
    with pytest.raises(ValueError, match="factors should have 1920 rows, one a code, but have 5"):
        score(z, FACTORS[:5])
    with pytest.raises(ValueError, match="column 1 has one value: leave it out"):
        score(z, FACTORS * torch.tensor([1, 0, 1]))
    with pytest.raises(ValueError, match="factors should be whole numbers"):
        score(z, FACTORS + 0.5)
    with pytest.raises(ValueError, match="codes should be finite but hold 1 numbers"):
        score(torch.where(torch.arange(3) == 1, math.nan, z)[:1].repeat(ROWS, 1)[:1], FACTORS[:1])


def test_the_face_has_them():
    assert {"mutual_information_gap", "dci", "infomec", "sap_score"} <= set(evaluation.__all__)
