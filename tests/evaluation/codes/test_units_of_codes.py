"""Judges of codes say the same of codes in other units, in another type and in other containers."""

import numpy as np
import pandas as pd
import pytest
import torch

from probgen import evaluation
from probgen.evaluation import (
    binned_mutual_information_gap,
    chance_correlation,
    clustering,
    clustering_accuracy,
    code_usage,
    dci,
    embedding,
    infomec,
    mean_correlation,
    principal_components,
    sap_score,
    transfer,
)

noise = np.random.default_rng(0)
FACTORS = np.array([(i, j) for i in range(3) for j in range(4)] * 12)
CODES = FACTORS + 0.2 * noise.normal(size=FACTORS.shape)
TURNED = CODES @ [[0.8, 0.6, 0.1], [-0.6, 0.8, 0.2]]

JUDGES = {
    "k-means": lambda z: clustering(z, FACTORS[:, 0], repeats=1)[::2],
    "gaussian mixture": lambda z: clustering(z, FACTORS[:, 0], method="gaussian mixture", repeats=1)[::2],
    "transfer": lambda z: transfer(
        {"z": (z, z)}, FACTORS[:, 0], FACTORS[:, 0], sizes=[12], draws=1
    ).accuracy.tolist(),
    "mean correlation": lambda z: mean_correlation(FACTORS, z).value,
    "chance correlation": lambda z: chance_correlation(z, draws=10).value,
    "binned gap": lambda z: binned_mutual_information_gap(z, FACTORS).score,
    "dci": lambda z: dci(z, FACTORS, trees=3)[:3],
    "sap of continuous factors": lambda z: sap_score(z, FACTORS, continuous=[0, 1]).score,
    "infomec": lambda z: infomec(z, FACTORS)[:3],
    "beta-vae": lambda z: evaluation.beta_vae_score(z, FACTORS, train=100, test=100),
    "t-sne": lambda z: embedding(z, method="t-sne").std(0).tolist(),
    "pca": lambda z: (embedding(z) / embedding(z).abs().max()).abs().sum(0).tolist(),
}


CHANGES = [(1e-50, 0.0), (1e-8, 0.0), (1e50, 0.0), (1.0, 1e7)]
CHANGED = [
    (name, *change)
    for name in JUDGES
    for change in CHANGES
    if name != "t-sne" or not change[1]  # its picture follows the last digits, that the shift rounds away
]


@pytest.mark.parametrize(("name", "scale", "shift"), CHANGED)
def test_judges_do_not_depend_on_the_unit_or_the_origin_of_codes(name, scale, shift):
    tolerance = 1e-9 if not shift else 1e-5
    assert JUDGES[name](TURNED * scale + shift) == pytest.approx(
        JUDGES[name](TURNED), rel=1e-3 if name == "t-sne" else tolerance
    )


@pytest.mark.parametrize("name", ["k-means", "transfer", "mean correlation", "dci", "infomec", "binned gap"])
def test_arrays_are_as_exact_as_tensors_and_half_precision_is_taken(name):
    judge, far = JUDGES[name], TURNED + 1e9
    assert judge(far) == judge(torch.from_numpy(far)) == judge(pd.DataFrame(far))
    coarse = torch.from_numpy(TURNED).bfloat16()
    assert judge(coarse) == judge(coarse.double())


@pytest.mark.parametrize(
    "name", [name for name in JUDGES if name not in ("mean correlation", "chance correlation", "pca")]
)
@pytest.mark.parametrize("scale", [1e-200, 1e200])
def test_codes_without_room_for_their_squares_are_refused(name, scale):
    with pytest.raises(ValueError, match="other units"):
        JUDGES[name](TURNED * scale)


@pytest.mark.parametrize("scale", [1e-200, 1e200])
def test_correlations_and_components_take_numbers_of_any_size(scale):
    assert mean_correlation(FACTORS, TURNED * scale).value == pytest.approx(
        JUDGES["mean correlation"](TURNED)
    )
    assert chance_correlation(TURNED * scale, draws=10).value == pytest.approx(
        JUDGES["chance correlation"](TURNED)
    )
    (one, _), (other, _) = (principal_components(z, z, 2) for z in (TURNED, TURNED * scale))
    torch.testing.assert_close((other / scale).abs(), one.abs())


def test_labels_and_factors_are_classes_whatever_their_numbers():
    far = FACTORS[:, 0] * 10**12
    assert clustering_accuracy(far, FACTORS[:, 0]) == 1
    near = FACTORS[:, 0] + 2.0**24  # apart by less than float32 tells
    assert clustering_accuracy(near, FACTORS[:, 0]) == 1
    assert binned_mutual_information_gap(CODES, FACTORS + 2.0**24)[0] == JUDGES["binned gap"](CODES)
    with pytest.raises(ValueError, match="whole numbers"):
        clustering_accuracy(np.where(near > 2**24, np.inf, 0.0), FACTORS[:, 0])
    with pytest.raises(ValueError, match="whole numbers"):
        dci(CODES, np.where(FACTORS > 1, np.inf, 0.0))
    with pytest.raises(ValueError, match="whole numbers"):
        clustering_accuracy(np.full(3, 1 - 1e-9), np.ones(3))
    with pytest.raises(ValueError, match="at least one"):
        clustering_accuracy([], [])
    with pytest.raises(ValueError, match="real numbers"):
        clustering_accuracy(["a"], ["a"])


def test_a_constant_code_is_said_to_be_one_whatever_its_rounding():
    same = torch.full((len(FACTORS), 3), 0.1, dtype=torch.float64)
    with pytest.raises(ValueError, match="all the same"):
        JUDGES["transfer"](same)


def test_what_is_no_codes_or_labels_is_refused_in_a_sentence():
    z, y = CODES, FACTORS[:, 0]
    with pytest.raises(TypeError, match="pairs"):
        transfer({"z": z}, y, y)
    with pytest.raises(ValueError, match="2 classes"):
        transfer({"z": (z, z)}, 0 * y, 0 * y)
    for sizes in (12, []):
        with pytest.raises(ValueError, match="sizes should be a sequence"):
            transfer({"z": (z, z)}, y, y, sizes=sizes)
    with pytest.raises(ValueError, match="finite"):
        principal_components(np.where(z > 2, np.nan, z), z, 1)
    with pytest.raises(ValueError, match="numbers a row"):
        principal_components(z, z[:, :1], 1)
    with pytest.raises(ValueError, match="shape"):
        principal_components(z[:, 0], z, 1)
    with pytest.raises(TypeError, match="is list"):
        mean_correlation(z.tolist(), z)
    with pytest.raises(TypeError, match="complex"):
        mean_correlation(z, torch.complex(*torch.zeros(2, *z.shape)))
    with pytest.raises(TypeError, match="bool"):
        code_usage(torch.tensor([True, False]), 2)


def test_usage_takes_arrays():
    assert code_usage(np.array([0, 1, 1], dtype=np.uint8), 3).counts.tolist() == [1, 2, 0]
