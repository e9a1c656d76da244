"""Metrics of codes: every number is that of the evaluation itself, real data are their own codes."""

import math
from typing import Any

import pytest
import torch
from pyro.distributions import Delta, Normal
from torch import Tensor

from probgen import evaluation
from probgen.compare import METRICS, Comparison, Fitted, Method, compare
from probgen.compare.code_measurements import NOISE

ASKED = [name for name, metric in METRICS.items() if metric.asked]
FLOOR, MEMORISER = "train against test", "memoriser"


def classes(n: int, seed: int) -> tuple[Tensor, Tensor]:
    """Two classes, N(±2 e₁, I) in three dimensions."""
    generator = torch.Generator().manual_seed(seed)
    y = torch.arange(n) % 2
    x = torch.randn(n, 3, generator=generator)
    x[:, 0] += 4.0 * y - 2
    return x, y


class First:
    """The code is a law about the first coordinate, which alone is restored."""

    def encode(self, x: Tensor, *context: Tensor) -> Any:
        return Normal(x[:, :1], 0.5).to_event(1)

    def decode(self, z: Tensor, *context: Tensor) -> Any:
        return Delta(torch.cat([z, torch.zeros(len(z), 2)], 1), event_dim=1)


def sample(n: int, *, seed: int) -> Tensor:
    return classes(n, seed % 2**31)[0]


def of_class(n: int, *, seed: int, label: int) -> Tensor:
    """Draws of the class that was asked for, but for every fourth, which is of the other."""
    x, y = classes(4 * n, seed % 2**31)
    return torch.cat([x[y == label][: n - n // 4], x[y != label][: n // 4]])


TRAIN, Y = classes(400, 1)
TEST, Y_TEST = classes(300, 2)
FITTED = Fitted(sample, coded=First(), of_class=of_class)


@pytest.fixture(scope="module")
def features() -> evaluation.ClassifierFeatures:
    return evaluation.classifier_features(TRAIN, Y, width=4, steps=300)


def run(methods: Any, metrics: Any = ASKED, **options: Any) -> Comparison:
    options = {
        "train": TRAIN,
        "labels": (Y, Y_TEST),
        "repeats": 1,
        "progress": False,
        "scale": None,
        **options,
    }
    return compare(methods, TEST, metrics, **options)


def test_every_number_is_the_evaluations(features: evaluation.ClassifierFeatures) -> None:
    result = run({"first": FITTED, "draws": sample}, features=features)
    means = result.summary().xs("mean", axis=1, level=1)
    seed = result.protocol["seeds"]["first"][0]["measure"]
    spread, codes = evaluation.code_spread(First(), TEST), (TRAIN[:, :1], TEST[:, :1])
    probes = evaluation.transfer({"first": codes}, Y, Y_TEST, sizes=(10, 100), probes=["linear"])
    clusters = evaluation.clustering(TEST[:, :1], Y_TEST, repeats=1, seed=seed)
    expected = {
        "reconstruction": float(TEST[:, 1:].double().square().sum(1).mean()),
        "code_spread": spread.own,
        "active_units": 1,
        "code_gaps": evaluation.code_gaps(First(), TEST, TRAIN, seed=seed).value,
        "probe_10": probes.accuracy[0],
        "probe_100": probes.accuracy[1],
        "cluster_accuracy": clusters.accuracy,
        "cluster_nmi": clusters.nmi,
    }
    assert means.loc["first", list(expected)].to_dict() == pytest.approx(expected)
    row = means.loc["first"]
    assert row.overfitting == pytest.approx(1.0, abs=0.3)
    assert row.noise_error == pytest.approx(
        row.reconstruction + NOISE**2, abs=4.4 * NOISE**2 / math.sqrt(150)
    )
    assert row.noise_probe == pytest.approx(row.probe_100, abs=0.05)
    # Every fourth draw is of the other class; of two classes N(±2, 1) the best classifier knows 97.7 %.
    assert row.control == pytest.approx(0.75 * 0.977 + 0.25 * 0.023, abs=0.05)
    assert means.loc["draws"].isna().all(), "what has no codes is not judged by them"


def test_real_data_are_their_own_codes(features: evaluation.ClassifierFeatures) -> None:
    means = run({"first": FITTED}, features=features).summary().xs("mean", axis=1, level=1)
    floor, raw = (
        means.loc[FLOOR],
        evaluation.transfer({"raw": (TRAIN, TEST)}, Y, Y_TEST, sizes=(10, 100), probes=["linear"]).accuracy,
    )
    assert (floor.probe_10, floor.probe_100) == pytest.approx(tuple(raw))
    assert (floor.reconstruction, floor.code_spread, floor.active_units) == (0, 0, 3)
    assert floor.noise_error == pytest.approx(3 * NOISE**2, rel=4.4 * math.sqrt(2 / 900))
    assert floor.control == pytest.approx(0.977, abs=0.05)
    assert floor.notna().sum() == len(means.columns) - 1, "all but overfitting, 0 / 0"
    assert means.loc[MEMORISER].isna().all()
    alone = compare({"first": FITTED}, TEST, ["robustness", "code_law"], repeats=1, progress=False)
    assert alone.summary().loc["reference against reference"].notna().any()


def test_numbers_are_the_same_in_other_processes() -> None:
    one, two = (run({"first": FITTED, "b": FITTED}, repeats=2, jobs=jobs) for jobs in (1, 2))
    assert one.frame.equals(two.frame)
    own = one.frame[(one.frame.method == "first") & (one.frame.metric == "probe_10")].value
    assert own.nunique() == 1, "labels are drawn alike in all repeats"


def test_missing_labels_are_left_out() -> None:
    some = torch.where(torch.arange(400) < 200, Y, -1), torch.where(torch.arange(300) < 150, Y_TEST, -1)
    means = run({"first": FITTED}, ["probe", "clusters"], labels=some).summary().loc["first"]
    codes = TRAIN[:200, :1], TEST[:150, :1]
    probes = evaluation.transfer({"a": codes}, Y[:200], Y_TEST[:150], sizes=(10, 100), probes=["linear"])
    assert means["probe_100", "mean"] == pytest.approx(probes.accuracy[1])
    few = torch.where(torch.arange(400) < 40, Y, -1), Y_TEST
    found = run({"first": FITTED}, ["probe"], labels=few)
    assert set(found.frame.metric) == {"probe_10"}, "there are not 100 labels"


class Discrete(First):
    def encode(self, x: Tensor, *context: Tensor) -> Any:
        return Delta((x[:, :1] > 0).long(), event_dim=1)


class Wide(First):
    def decode(self, z: Tensor, *context: Tensor) -> Any:
        return Delta(torch.cat([z, z], 1), event_dim=1)


def test_nothing_lies_between_discrete_codes() -> None:
    found = run({"discrete": Fitted(sample, coded=Discrete())}, ["gaps", "probe"])
    assert set(found.frame[found.frame.method == "discrete"].metric) == {"probe_10", "probe_100"}


def test_they_are_computed_where_they_are_named() -> None:
    assert not set(run({"first": FITTED}, None, n=20).frame.metric) & {
        column for name in ASKED for column in METRICS[name].columns
    }


@pytest.mark.parametrize(
    ("options", "kind", "sentence"),
    [
        ({"labels": Y}, TypeError, "labels should be a pair, .* but are of type Tensor"),
        ({"labels": (Y, Y_TEST), "train": None}, TypeError, "but are of type tuple without train"),
        ({"labels": (Y[1:], Y_TEST)}, ValueError, "labels of train should be 400 whole numbers"),
        ({"labels": (Y, Y_TEST - 2)}, ValueError, "labels of reference .* values from -2"),
        ({"labels": (Y, 0 * Y_TEST)}, ValueError, "labels of reference should be of at least 2 classes"),
        ({"methods": {"wide": Fitted(sample, coded=Wide())}}, ValueError, r"method 'wide': what is decoded"),
    ],
)
def test_what_does_not_fit_is_said(options: Any, kind: type[Exception], sentence: str) -> None:
    with pytest.raises(kind, match=sentence):
        run(**{"methods": {"first": FITTED}, "metrics": ["reconstruction"], **options})


def test_a_method_is_judged_as_it_was_fitted() -> None:
    method = Method(lambda train, seed: FITTED)
    assert set(run({"method": method}, ["reconstruction"]).frame.method) == {"method", FLOOR}
