"""No row that flatters: columns in units of their own, doubtful methods marked, the best not by chance."""

import logging

import pytest
import torch
from torch import Tensor

from probgen.compare import Comparison, Fitted, Method, compare
from probgen.compare.best import not_told_apart_from_the_best

KIDIQ = torch.tensor([15.0, 14.0, 0.15, 0.16, 0.6])
FINDING = "R-hat is above 1.01: the chains disagree."


def normal(off: float = 0.0, scale: Tensor | float = 1.0, columns: int = 5) -> object:
    def sample(n: int, *, seed: int) -> Tensor:
        x = torch.randn(n, columns, generator=torch.Generator().manual_seed(seed))
        return (x + off * torch.eye(columns)[2]) * scale

    return sample


def means(result: Comparison, metric: str) -> dict[str, float]:
    return result.summary()[metric, "mean"].to_dict()


def test_a_column_of_small_scale_counts() -> None:
    """Off by three standard deviations: .95 of the real points have a draw nearby where nothing is scaled."""
    reference, train = (normal(scale=KIDIQ)(400, seed=s) for s in (1, 2))  # type: ignore[operator]
    methods = {"right": normal(scale=KIDIQ), "off": normal(3.0, KIDIQ)}
    metrics = ["coverage", "precision", "energy_distance", "mmd2", "mmd2_p"]
    options = {"train": train, "repeats": 2, "progress": False}
    scaled = compare(methods, reference, metrics, **options)
    blind = compare(methods, reference, metrics, scale=None, **options)
    assert means(blind, "coverage")["off"] > 0.9
    assert means(scaled, "coverage")["off"] < 0.35
    assert means(scaled, "coverage")["right"] > 0.9
    assert means(scaled, "precision")["off"] < 0.7 < 0.9 < means(blind, "precision")["off"]
    assert means(scaled, "energy_distance")["off"] > 0.3
    assert means(scaled, "mmd2_p")["off"] <= 0.002 < means(scaled, "mmd2_p")["right"]
    assert "standard deviations in the real data" in scaled.protocol["scale"]
    assert "as they are" in blind.protocol["scale"]


def test_far_draws_do_not_widen_the_units() -> None:
    """A method's own outliers would hide that its column is wrong, were the units pooled with its draws."""
    reference, train = (normal()(400, seed=s) for s in (1, 2))  # type: ignore[operator]

    def with_outliers(n: int, *, seed: int) -> Tensor:
        x = normal(4.0)(n, seed=seed)  # type: ignore[operator]
        x[:2, 2] = 1e5
        return x

    result = compare(
        {"outliers": with_outliers}, reference, ["coverage"], train=train, repeats=1, progress=False
    )
    assert means(result, "coverage")["outliers"] < 0.1


def test_a_constant_column_that_a_method_varies_counts() -> None:
    reference = normal()(200, seed=1)  # type: ignore[operator]
    reference[:, 2] = 7.0

    def varies(n: int, *, seed: int) -> Tensor:
        x = normal()(n, seed=seed)  # type: ignore[operator]
        x[:, 2] = 7.0 + 1e-3 * (1 + x[:, 2].abs())
        return x

    result = compare({"varies": varies}, reference, ["coverage", "mmd2_p"], repeats=1, progress=False)
    assert (
        means(result, "coverage")["varies"] < 0.7 < means(result, "coverage")["reference against reference"]
    )
    assert means(result, "mmd2_p")["varies"] < 0.01


def test_images_and_given_scales() -> None:
    reference = torch.rand(40, 1, 3, 3, generator=torch.Generator().manual_seed(0))

    def sample(n: int, *, seed: int) -> Tensor:
        return torch.rand(n, 1, 3, 3, generator=torch.Generator().manual_seed(seed))

    options = {"repeats": 1, "progress": False}
    result = compare({"a": sample}, reference, ["energy"], **options)
    same = compare({"a": sample}, reference, ["energy"], scale=None, **options)
    assert result.frame.equals(same.frame)
    assert "as they are" in result.protocol["scale"]
    half = compare({"a": sample}, reference, ["energy_distance"], scale=torch.tensor(0.5), **options)
    assert means(half, "energy_distance")["a"] == pytest.approx(2 * means(same, "energy_distance")["a"])
    assert "given" in half.protocol["scale"]


@pytest.fixture(scope="module")
def doubtful() -> Comparison:
    def fit(train: Tensor, seed: int) -> Fitted:
        return Fitted(normal(columns=3), findings=[FINDING])  # type: ignore[arg-type]

    def warn(train: Tensor, seed: int) -> Fitted:
        logging.getLogger("probgen").warning("the loss runs eagerly, since its captured graph disagrees")
        return Fitted(normal(columns=3))  # type: ignore[arg-type]

    methods = {
        "chains": Method(fit), "warned": Method(warn), "sound": normal(0.5, columns=3),
        "other": normal(0.5, columns=3), "far": normal(5.0, columns=3),
    }  # fmt: skip
    reference = normal(columns=3)(60, seed=1)  # type: ignore[operator]
    return compare(
        methods, reference, ["energy_distance", "coverage", "mmd2_p"], train=reference, repeats=3,
        progress=False,
    )  # fmt: skip


def test_a_method_whose_own_diagnosis_failed_is_marked_wherever_it_is_shown(
    doubtful: Comparison, tmp_path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "120")
    assert list(doubtful.findings()) == ["chains", "warned"]
    table = doubtful.table()
    assert "chains †" in table
    assert "sound †" not in table
    flat = " ".join(table.split())
    assert f"† chains: in 3 of 3 repeats. {FINDING}" in flat
    assert "† warned: in 3 of 3 repeats. the loss runs eagerly" in flat
    out = doubtful.save(tmp_path / "run")
    html = (out / "report.html").read_text()
    assert '<th scope="col" class="doubt">chains †</th>' in html
    assert html.count(FINDING) == 2, "below the table, and with the method"
    rows = (out / "metrics.csv").read_text().splitlines()
    assert all((FINDING in row) == row.startswith("chains,") for row in rows)
    labels = doubtful.plot().axes[0].get_yticklabels()
    assert {label.get_text(): label.get_color() for label in labels}["chains †"] == "#b3261e"


def test_the_best_are_those_not_told_apart_and_sound(doubtful: Comparison) -> None:
    """The methods in doubt draw from the very law of the data, yet are no candidates."""
    assert doubtful.best("energy_distance") == {"sound", "other"}
    assert doubtful.best("mmd2_p") == set()
    line = next(line for line in doubtful.table().splitlines() if line.startswith("other"))
    assert "*" in line
    assert "*" not in next(line for line in doubtful.table().splitlines() if line.startswith("far"))


def test_the_best_is_left_out_seldom_and_the_worse_are_told_apart() -> None:
    generator, left_out, told_apart = torch.Generator().manual_seed(0), 0, 0
    for _ in range(400):
        values = 5 + torch.randn(4, 3, generator=generator, dtype=torch.float64)
        values[3] += 20
        kept = not_told_apart_from_the_best(dict(enumerate(values.tolist())), target=0.0)  # type: ignore[arg-type]
        left_out += 0 not in kept
        told_apart += 3 not in kept
    assert left_out <= 36  # of 400 at 5 % or less, more with probability 4e-4
    assert told_apart > 380


def test_noise_about_the_target_is_no_loss() -> None:
    """Of methods that are all right hardly one is left out; by their mean distance 47 of 2,000 would be."""
    generator, left_out = torch.Generator().manual_seed(1), 0
    for _ in range(400):
        values = 0.5 + 0.02 * torch.randn(5, 3, generator=generator, dtype=torch.float64)
        kept = not_told_apart_from_the_best(dict(enumerate(values.tolist())), target=0.5)  # type: ignore[arg-type]
        left_out += 5 - len(kept)
    assert left_out <= 25


def test_values_without_spread_and_infinite_ones() -> None:
    inf = float("inf")
    values = {"a": [1.0, 1.0], "b": [1.0, 1.0], "c": [2.0, 2.0], "d": [inf, 1.0]}
    assert not_told_apart_from_the_best(values, target=-inf) == {"a", "b"}
    assert not_told_apart_from_the_best({"a": [1.0], "b": [2.0]}, target=-inf) == set()
    assert not_told_apart_from_the_best({"a": [1.0, 2.0]}, target=-inf) == set()
