"""Detection against scikit-learn and U-statistics by enumeration; errors against repeats."""

import math
from itertools import product

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.special import ndtr
from sklearn.metrics import average_precision_score, roc_auc_score, roc_curve

from probgen.evaluation import detection, detection_table


def drawn(seed, n=60, m=40, *, shift=1.0, ties=False):
    source = np.random.default_rng(seed)
    normal, anomalous = source.normal(size=n), source.normal(shift, size=m)
    return (np.round(normal), np.round(anomalous)) if ties else (normal, anomalous)


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("seed", range(4))
def test_values_are_scikit_learns(seed, ties):
    normal, anomalous = drawn(seed, ties=ties)
    y, scores = np.repeat([0, 1], [60, 40]), np.concatenate([normal, anomalous])
    rates, caught, _ = roc_curve(y, scores, drop_intermediate=False)
    found = detection(normal, torch.from_numpy(anomalous))
    assert found.auc.value == pytest.approx(roc_auc_score(y, scores), abs=1e-12)
    assert found.average_precision.value == pytest.approx(average_precision_score(y, scores), abs=1e-12)
    assert found.false_alarms.value == pytest.approx(rates[np.argmax(caught >= 0.95)], abs=1e-12)


def test_all_equal_is_chance_and_all_apart_is_certain():
    equal = detection(np.zeros(9), np.zeros(4))
    assert (equal.auc.value, equal.false_alarms.value) == (0.5, 1.0)
    assert equal.average_precision.value == pytest.approx(4 / 13)
    apart = detection([0.0, 1.0], [math.inf, 2.0])
    assert [part.value for part in apart] == [1.0, 1.0, 0.0]
    assert [part.stderr for part in apart] == [0.0, 0.0, 0.0]
    assert math.isnan(detection([0.0], [1.0, 2.0]).auc.stderr)


def test_the_error_of_the_area_is_delongs_by_its_definition():
    """S₁₀ / m + S₀₁ / n of the kernel ψ(x, y) = 1[x < y] + ½ 1[x = y], all pairs written out."""
    normal, anomalous = drawn(7, n=15, m=11, ties=True)
    psi = np.array([[(x < y) + 0.5 * (x == y) for y in anomalous] for x in normal])
    expected = math.sqrt(psi.mean(0).var(ddof=1) / 11 + psi.mean(1).var(ddof=1) / 15)
    assert detection(normal, anomalous).auc.stderr == pytest.approx(expected, rel=1e-12)


def test_errors_are_those_of_repeats():
    """200 repeats: a spread is known to 1 / √400 = 5 %, and the mean error should be it to within 20 %."""
    found = np.array([[part for pair in detection(*drawn(s, 100, 80)) for part in pair] for s in range(200)])
    value, stderr = found[:, 0::2], found[:, 1::2]
    ratio = stderr.mean(0) / value.std(0, ddof=1)
    assert ratio == pytest.approx(1.0, abs=0.2)
    assert float(value[:, 0].mean()) == pytest.approx(ndtr(1 / math.sqrt(2)), abs=4.4 * 0.04 / 200**0.5)


def test_a_table_has_a_row_for_each_score_and_class():
    normal, anomalous = drawn(3)
    classes = np.arange(40) % 3
    good = {"good": normal, "opposite": -normal}
    bad = pd.DataFrame({"good": anomalous, "opposite": -anomalous})
    table = detection_table(good, bad, classes=classes).set_index(["score", "class"])
    for name, label in product(good, range(3)):
        alone = detection(good[name], bad[name][classes == label])
        assert table.auc[name, label] == alone.auc.value
        assert table.false_alarms_stderr[name, label] == alone.false_alarms.stderr
    np.testing.assert_allclose(table.auc["good"] + table.auc["opposite"], 1)
    assert detection_table(good, bad).score.tolist() == ["good", "opposite"]


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (
            lambda: detection([], [1.0]),
            r"normal should be scores, .* at least one, but are float64 of shape \(0,",
        ),
        (lambda: detection([0.0], [1.0, math.nan]), "anomalous should be numbers but are NaN at row 1"),
        (lambda: detection([[0.0]], [1.0]), r"normal should be scores.* of shape \(1, 1\)"),
        (lambda: detection(["a"], [1.0]), "normal should be scores, numbers"),
        (lambda: detection_table({"a": [1]}, {"b": [1]}), r"the same scores but have \['a'\] and \['b'\]"),
        (lambda: detection_table({}, {}), "the same scores but have"),
        (
            lambda: detection_table({"a": [1]}, {"a": [1]}, classes=[1, 2]),
            r"classes should have shape \(1,\)",
        ),
    ],
)
def test_bad_input_is_named(call, words):
    with pytest.raises(ValueError, match=words):
        call()
