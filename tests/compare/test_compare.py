"""The loop: every number is that of the metric itself, seeds decide everything, mistakes name the method."""

import math
from typing import Any

import pandas as pd
import pytest
import torch
from torch import Tensor
from torch.distributions import constraints

from probgen import evaluation, mmd
from probgen.compare import METRICS, Comparison, Fitted, Method, compare
from probgen.compare import metrics as metrics_module
from probgen.compare.measurements import Trial
from probgen.compare.metrics import Column, Metric
from probgen.core import Density
from probgen.mmd.scaling import pooled_scale

FLOOR, HALVES, MEMORISER = "train against test", "reference against reference", "memoriser"
DISTANCES = ["mmd", "energy"]


def normal(shift: float = 0.0) -> Any:
    def sample(n: int, *, seed: int) -> Tensor:
        return shift + torch.randn(n, 2, generator=torch.Generator().manual_seed(seed))

    return sample


def fit_normal(train: Tensor, seed: int) -> Fitted:
    law = torch.distributions.Normal(train.mean(0), train.std(0))
    return Fitted(
        sample=lambda n, *, seed: law.sample((n,)),  # torch's global state: compare seeds it
        log_prob=lambda x: law.log_prob(x).sum(-1),
        notes={"seed": seed},
    )


@pytest.fixture
def data() -> tuple[Tensor, Tensor]:
    return normal()(60, seed=1), normal()(50, seed=2)


def run(methods: Any, data: tuple[Tensor, Tensor], metrics: Any = DISTANCES, **options: Any) -> Comparison:
    train, reference = data
    options = {"train": train, "repeats": 2, "progress": False, **options}
    return compare(methods, reference, metrics, **options)


def values(result: Comparison, method: str, metric: str) -> list[float]:
    frame = result.frame
    return frame.loc[(frame["method"] == method) & (frame["metric"] == metric), "value"].to_list()


@pytest.fixture
def trials(monkeypatch: pytest.MonkeyPatch) -> list[Trial]:
    """A metric named "spy" that keeps the trials it is given."""
    seen: list[Trial] = []

    def spy(trial: Trial) -> dict[str, float]:
        seen.append(trial)
        return {"spy": 0.0}

    monkeypatch.setitem(METRICS, "spy", Metric({"spy": Column("spy", "")}, spy))
    monkeypatch.setitem(metrics_module.COLUMNS, "spy", Column("spy", ""))
    return seen


def test_distances_are_those_of_the_draws_against_the_reference(data: tuple[Tensor, Tensor]) -> None:
    train, reference = data
    result = run({"shifted": normal(1.0)}, data)
    draws, units = result.draws["shifted"], pooled_scale(train, reference)
    x, y = draws / units, reference / units
    expected = mmd.mmd2(x, y, mmd.Gaussian(mmd.bandwidth_grid(y[::2], y[1::2])))
    assert (values(result, "shifted", "mmd2")[0], values(result, "shifted", "mmd2_stderr")[0]) == expected
    energy = mmd.energy_distance(draws, reference, scale=units).value
    assert values(result, "shifted", "energy_distance")[0] == energy


def test_sample_metrics_have_real_data_and_draws_in_their_places(data: tuple[Tensor, Tensor]) -> None:
    train, reference = data
    result = run({"wide": lambda n, seed: 2 * normal()(n, seed=seed)}, data, None, repeats=1, n=70)
    draws, scale = result.draws["wide"], pooled_scale(train, reference)
    seed = result.protocol["seeds"]["wide"][0]["measure"]
    expected = {
        **evaluation.precision_recall(reference, draws, scale=scale)._asdict(),
        **evaluation.density_coverage(reference, draws, scale=scale)._asdict(),
        "nn_ratio": evaluation.nearest_neighbour_ratio(draws, train, reference, scale=scale),
        "c2st_accuracy": evaluation.classifier_two_sample(draws, reference, seed=seed).accuracy,
    }
    assert {metric: values(result, "wide", metric) for metric in expected} == {
        m: [v] for m, v in expected.items()
    }


def test_the_floor_of_what_asks_for_fresh_data_is_of_two_halves_of_the_reference(
    data: tuple[Tensor, Tensor], trials: list[Trial], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert {name for name, metric in METRICS.items() if metric.fresh} == {"nn_ratio", "copying", "features"}
    train, reference = data
    for fresh, real in ((False, train), (True, reference)):
        monkeypatch.setitem(METRICS, "spy", METRICS["spy"]._replace(fresh=fresh))
        trials.clear()
        run({"normal": normal()}, data, ["spy"], repeats=1)
        floor = trials[-1]
        assert (floor.draws[:, None] == real).all(-1).any(1).all()
        assert len(floor.draws) == (25 if fresh else 50)


def test_two_methods_have_draws_of_their_own(data: tuple[Tensor, Tensor]) -> None:
    result = run({"one": normal(), "two": normal()}, data, repeats=1)
    assert not torch.equal(result.draws["one"], result.draws["two"])


def test_the_true_law_is_not_told_apart_and_a_wrong_one_is(data: tuple[Tensor, Tensor]) -> None:
    """A p-value at or below 1/1001 has that probability under the true law."""
    result = run({"true": normal(), "wrong": normal(1.0)}, data, n=100)
    assert min(values(result, "true", "mmd2_p")) > 0.001
    assert max(values(result, "wrong", "mmd2_p")) < 0.001


def test_nll_is_minus_the_mean_log_likelihood_with_its_standard_error(data: tuple[Tensor, Tensor]) -> None:
    train, reference = data
    result = run({"fitted": Method(fit_normal), "sampler": normal()}, data, ["nll"])
    law = torch.distributions.Normal(train.mean(0).double(), train.std(0).double())
    nll = -law.log_prob(reference.double()).sum(-1)
    assert values(result, "fitted", "nll") == pytest.approx([float(nll.mean())] * 2, rel=1e-5)
    assert values(result, "fitted", "nll_stderr") == pytest.approx(
        [float(nll.std()) / math.sqrt(50)] * 2, rel=1e-5
    )
    assert values(result, "sampler", "nll") == []


def test_a_point_without_mass_gives_an_infinite_nll(data: tuple[Tensor, Tensor]) -> None:
    def log_prob(x: Tensor) -> Tensor:
        return torch.where(x[:, 0] > 0, 0.0, -torch.inf)

    result = run({"half": Fitted(normal(), log_prob)}, data, ["nll"])
    assert values(result, "half", "nll") == values(result, "half", "nll_stderr") == [math.inf] * 2
    assert "∞" in result.table()
    assert math.isnan(result.summary().loc["half", ("nll", "low")])


def test_cost_is_measured_for_what_is_fitted_and_drawn(data: tuple[Tensor, Tensor]) -> None:
    result = run({"fitted": Method(fit_normal), "sampler": normal()}, data, ["cost"])
    assert min(values(result, "fitted", "fit_seconds")) > 0
    assert values(result, "sampler", "fit_seconds") == []
    assert min(values(result, "sampler", "seconds_per_1000")) > 0


def test_baselines_are_real_data_and_copies(data: tuple[Tensor, Tensor], trials: list[Trial]) -> None:
    train, reference = data
    result = run({"normal": normal()}, data, ["spy"], n=40, repeats=1)
    _, memoriser, floor = trials
    assert result.baselines == [MEMORISER, FLOOR]
    known = {tuple(row) for row in train.tolist()}
    drawn = {
        name: [tuple(row) for row in trial.draws.tolist()]
        for name, trial in zip("mf", trials[1:], strict=True)
    }
    assert len(drawn["m"]) == 40
    assert len(set(drawn["m"])) < 40, "with replacement"
    assert len(set(drawn["f"])) == 40, "without replacement"
    assert set(drawn["m"]) | set(drawn["f"]) <= known
    assert memoriser.reference is reference
    assert floor.reference is reference


def test_the_floor_holds_all_training_points_where_n_is_larger(
    data: tuple[Tensor, Tensor], trials: list[Trial]
) -> None:
    run({"normal": normal()}, data, ["spy"], n=100, repeats=1)
    assert torch.equal(trials[-1].draws, data[0])


def test_without_training_data_halves_of_the_reference_are_the_floor(
    data: tuple[Tensor, Tensor], trials: list[Trial]
) -> None:
    reference = data[1]
    result = compare({"normal": normal()}, reference, ["spy"], repeats=2, progress=False)
    assert result.baselines == [HALVES]
    for trial in trials[1::2]:
        both = torch.cat([trial.draws, trial.reference])
        assert {tuple(row) for row in both.tolist()} == {tuple(row) for row in reference.tolist()}
        assert len(both) == len(reference)
    assert not torch.equal(trials[1].draws, trials[3].draws)


def test_one_seed_gives_the_same_numbers_whichever_methods_stand_beside(data: tuple[Tensor, Tensor]) -> None:
    alone = run({"fitted": Method(fit_normal)}, data)
    beside = run({"normal": normal(), "fitted": Method(fit_normal)}, data)
    pd.testing.assert_frame_equal(
        alone.frame, beside.frame[beside.frame["method"] != "normal"].reset_index(drop=True)
    )
    assert torch.equal(alone.draws["fitted"], beside.draws["fitted"])
    other = run({"fitted": Method(fit_normal)}, data, seed=1)
    assert values(other, "fitted", "mmd2") != values(alone, "fitted", "mmd2")


def test_repeats_refit_with_seeds_of_their_own_and_global_randomness_stays(
    data: tuple[Tensor, Tensor],
) -> None:
    before = torch.get_rng_state()
    result = run({"fitted": Method(fit_normal)}, data, repeats=3)
    assert torch.equal(torch.get_rng_state(), before)
    used = [note["seed"] for note in result.protocol["notes"]["fitted"]]
    assert used == [seeds["fit"] for seeds in result.protocol["seeds"]["fitted"]]
    assert len(set(used)) == 3
    assert result.fitted["fitted"].notes["seed"] == used[0]
    assert len(set(values(result, "fitted", "mmd2"))) == 3


def test_single_columns_and_groups_can_be_named(data: tuple[Tensor, Tensor]) -> None:
    result = run({"normal": normal()}, data, ["energy_distance", "mmd"])
    assert set(result.frame["metric"]) == {"mmd2", "mmd2_stderr", "mmd2_p", "energy_distance"}
    assert list(result.summary().columns.get_level_values(0).unique()) == [
        "mmd2", "mmd2_stderr", "mmd2_p", "energy_distance",
    ]  # fmt: skip


def test_every_metric_has_every_column_and_the_rows_that_can_have_it() -> None:
    data = normal()(200, seed=1), normal()(150, seed=2)
    density = Density(lambda x: -0.5 * (x**2).sum(-1), support=constraints.real_vector, event_shape=(2,))
    result = run(
        {"fitted": Method(fit_normal), "far": normal(20.0), "drawn": Fitted(normal(), density=density)},
        data, None, repeats=1, modes=(torch.zeros(1, 2), 1.0), features=torch.tanh,
    )  # fmt: skip
    means = result.summary().xs("mean", axis=1, level=1)
    by_default = [column for own in METRICS.values() if not own.asked for column in own.columns]
    assert list(means.columns) == by_default
    of_density = ["ksd2", "ksd2_stderr", "ksd_p", "evaluations", "gradients"]
    assert means.loc["drawn", of_density].notna().all()
    means = means.drop(columns=of_density)
    assert means.loc["fitted"].notna().all()
    no_density = ["nll", "nll_stderr"]
    assert set(means.columns[means.loc["far"].isna()]) == {*no_density, "fit_seconds"}
    for name in (MEMORISER, FLOOR):
        missing = set(means.columns[means.loc[name].isna()])
        assert missing == {*no_density, "fit_seconds", "seconds_per_1000"}
    far = {"c2st_accuracy": 1.0, "precision": 0.0, "recall": 0.0, "density": 0.0, "coverage": 0.0}
    assert means.loc["far", list(far)].to_dict() == far
    assert means.loc[MEMORISER, ["nn_ratio", "authenticity"]].eq(0).all()
    assert means.loc[MEMORISER, "copying_p"] < 1e-9
    assert 0.5 < means.loc[FLOOR, "nn_ratio"] < 2
    assert 0.2 < means.loc[FLOOR, "authenticity"] < 0.55
    assert means.loc[FLOOR, "copying_p"] > 1e-4
    assert means.loc[["fitted", FLOOR, MEMORISER], "modes"].eq(1).all()
    assert means.loc["far", ["modes", "high_quality"]].eq(0).all()
    assert means.loc["far", "frechet"] > 0.5 > 0.05 > abs(means.loc[FLOOR, "frechet"])
    assert 0.4 < means.loc["fitted", "c2st_accuracy"] < 0.6
    assert means.loc["fitted", "coverage"] > 0.9


def test_any_event_shape_device_and_dtype(device: torch.device, dtype: torch.dtype) -> None:
    def sample(n: int, *, seed: int) -> Tensor:
        return torch.randn(n, 2, 3, device=device, dtype=dtype)

    result = compare(
        {"a": sample}, sample(20, seed=0), DISTANCES, train=sample(20, seed=1), repeats=1, progress=False
    )
    assert len(values(result, "a", "mmd2")) == 1
    assert result.draws["a"].device.type == device.type


def bad_fit(train: Tensor, seed: int) -> Fitted:
    raise KeyError("weights")


X = torch.zeros(10, 2)


@pytest.mark.parametrize(
    ("method", "kind", "message"),
    [
        (
            lambda n, seed: torch.full((n, 2), torch.nan),
            ValueError,
            "draws should be finite but has 100 values",
        ),
        (
            lambda n, seed: torch.zeros(n, 3),
            ValueError,
            r"draws should have shape \(n, 2\).* has shape \(50, 3\)",
        ),
        (lambda n, seed: torch.zeros(n - 1, 2), ValueError, "draws should be 50 points but are 49"),
        (
            lambda n, seed: torch.zeros(n, 2).double(),
            TypeError,
            "draws should be torch.float32 on cpu but is",
        ),
        (lambda n, seed: [0.0] * n, TypeError, "draws should be a tensor but is of type list"),
        (Method(bad_fit), RuntimeError, "failed with KeyError: 'weights'"),
        (
            Method(lambda train, seed: normal()),
            TypeError,
            "fit should return a Fitted but returned type function",
        ),
        (
            Fitted(normal(), lambda x: x),
            ValueError,
            r"log_prob should return shape \(50,\) but returned \(50, 2\)",
        ),
        (Fitted(normal(), lambda x: x[:, 0] * torch.nan), ValueError, "log_prob should be below infinity"),
        (Fitted(normal(), lambda x: x[:, 0].exp() / 0), ValueError, "log_prob should be below infinity"),
    ],
)
def test_what_is_wrong_in_a_method_names_it(
    data: tuple[Tensor, Tensor], method: Any, kind: type[Exception], message: str
) -> None:
    with pytest.raises(kind, match=message) as caught:
        run({"right": normal(), "culprit": method}, data, ["nll", "energy"])
    assert str(caught.value).startswith("method 'culprit'")


@pytest.mark.parametrize(
    ("options", "kind", "message"),
    [
        ({"methods": {}}, ValueError, "methods should have at least 1 entry"),
        ({"methods": {MEMORISER: normal()}}, ValueError, "method 'memoriser' should have another name"),
        (
            {"methods": {"a": 3}},
            TypeError,
            "method 'a' should be a Method, a Fitted or a sampler .* is of type int",
        ),
        (
            {"methods": {"a": torch.nn.Linear(2, 2)}},
            TypeError,
            "method 'a' should be .* but is of type Linear",
        ),
        ({"methods": {"a": Method(fit_normal)}}, ValueError, "train should be given, for method 'a'"),
        ({"n": 0}, ValueError, "n should be at least 1 but got 0"),
        ({"repeats": 0}, ValueError, "repeats should be at least 1 but got 0"),
        ({"seed": -1}, ValueError, "seed should be at least 0 but got -1"),
        ({"metrics": ["mdm"]}, ValueError, "known names but has 'mdm'; near: mmd"),
        ({"metrics": ["converage"]}, ValueError, "'converage'; near: coverage"),
        ({"metrics": "mmd"}, TypeError, "metrics should be a list of names but got the string 'mmd'"),
        ({"metrics": []}, ValueError, "metrics should have at least 1 name"),
        ({"metrics": ["nll"]}, ValueError, "metrics should have one that some method has but has only nll"),
        ({"modes": 3}, TypeError, r"modes should be \(centres, sd\) but are of type int"),
        ({"modes": (X[:2], 1.0)}, ValueError, "centres should be more than 6 sd, 6, apart"),
        ({"features": 3}, TypeError, "features should be a function of data but are of type int"),
        ({"features": lambda x: x[:2]}, ValueError, "features should return a row for each of the 8 points"),
        ({"reference": [[0.0]]}, TypeError, "reference should be a tensor but is of type list"),
        ({"reference": X.long()}, TypeError, "reference should be floating-point but is torch.int64"),
        ({"reference": X / 0}, ValueError, "reference should be finite but has 20 values"),
        ({"reference": X[:7]}, ValueError, "reference should have at least 8 points but has 7"),
        ({"reference": X[:0]}, ValueError, "reference should have shape .* at least 1"),
        ({"train": X[:, :1]}, ValueError, r"train should have shape \(n, 2\) .* but has shape \(10, 1\)"),
        ({"train": X.double()}, TypeError, "train should be torch.float32 on cpu but is torch.float64"),
    ],
)
def test_bad_input_is_refused_in_one_sentence(
    options: dict[str, Any], kind: type[Exception], message: str
) -> None:
    arguments = {
        "methods": {"normal": normal()},
        "reference": X,
        "metrics": ["energy"],
        "progress": False,
    } | options
    with pytest.raises(kind, match=message) as caught:
        compare(**arguments)
    assert "\n" not in str(caught.value)


def test_the_bar_counts_every_method_and_baseline(
    data: tuple[Tensor, Tensor], capsys: pytest.CaptureFixture[str]
) -> None:
    run({"normal": normal()}, data, progress=True)
    assert "6/6" in capsys.readouterr().err
    run({"normal": normal()}, data)
    assert capsys.readouterr().err == ""
