"""Codes of digits and of a made table whose rows lie near a plane, judged on the smallest path."""

import numpy as np
import pandas as pd
import pytest
import torch

from probgen import applications
from probgen.applications.parts.features.codes_of_rows import Case
from probgen.applications.parts.features.codings import Coding, by_components
from probgen.applications.parts.features.worth_of_codes import by_clusters, by_labels, by_rows, correlations
from probgen.recipes import Rows, Task


def values(folder):
    frame = pd.read_csv(folder / "metrics.csv")
    return frame.pivot_table(index="method", columns="metric", values="value")


def made(path, *, rows=300, label=True, missing=False, classes=("left", "right")):
    """Write rows near a plane in six dimensions, of which one direction tells the class."""
    source = np.random.default_rng(0)
    side = np.arange(rows) % 2
    plane = np.stack([6.0 * side - 3 + source.normal(size=rows), source.normal(size=rows)], 1)
    x = plane @ source.normal(size=(2, 6)) + 0.01 * source.normal(size=(rows, 6))
    frame = pd.DataFrame(x, columns=list("abcdef"))
    if label:
        frame["label"] = np.array(classes)[side]
    if missing:
        frame.loc[::7, "b"] = np.nan
    frame.to_csv(path, index=False)
    return path


def of_plane():
    """Return a case of rows in a plane, in four dimensions, of two classes far apart."""
    source = torch.Generator().manual_seed(0)
    x = torch.zeros(120, 4)
    x[:, :2] = torch.randn(120, 2, generator=source)
    labels = torch.arange(120) % 2
    x[:, 0] += 10 * labels
    train, test = x[:80], x[80:]
    task = Task("plane", "table", Rows(train), Rows(test))
    return Case(task, train, test, labels[:80], labels[80:], ["a", "b"])


def test_a_plane_is_its_two_components_and_loses_nothing():
    case = of_plane()
    two, one = by_components(case, 2), by_components(case, 1)
    kept = by_rows(case, two)
    assert kept["lost"] < 1e-10
    assert kept["kept"] == 1, "distances in the plane are those in all four dimensions"
    centred = case.train - case.train.mean(0)
    axis = torch.linalg.svd(centred.double()).Vh[0]
    test = case.test.double() - case.train.mean(0)
    left = test - (test @ axis)[:, None] * axis
    assert by_rows(case, one)["lost"] == pytest.approx(float(left.square().sum() / test.square().sum()))
    assert by_rows(case, Coding(case.train, case.test)) == {}, "what is not made again loses nothing"


def test_what_is_missing_counts_nowhere():
    case = of_plane()
    holes = case.test.clone()
    holes[::2, 1] = torch.nan
    restored = torch.where(holes.isnan(), 1e3, case.test)
    found = by_rows(case._replace(test=holes), Coding(case.train, case.test, restored))
    assert found["lost"] == 0


def test_classes_far_apart_are_told_by_one_label_and_by_clusters():
    case = of_plane()
    codes = by_components(case, 2)
    frame = by_labels(case, {"two": codes}, each=(1, 10, 1000), draws=2, seed=0)
    assert sorted(set(frame["each"])) == [1, 10], "there are no 1000 of a class"
    assert (frame["accuracy"] == 1).all()
    assert by_clusters(case, codes, rows=40, seed=0) == {"clusters": 1, "nmi": 1, "ari": 1}
    hidden = case._replace(labels=case.labels.masked_fill(torch.arange(80) < 40, -1))
    assert (by_labels(hidden, {"two": codes}, each=(1,), draws=2, seed=0)["accuracy"] == 1).all()


def test_correlations_are_by_rank():
    x = torch.linspace(-1, 1, 9)
    frame = pd.DataFrame({"cube": x.numpy() ** 3, "falling": -x.numpy(), "town": list("aaabbbccc")})
    found = correlations(torch.stack([x, x.square()], 1), frame).set_index("column")
    assert found.loc["cube", "z1"] == pytest.approx(1)
    assert found.loc["falling", "z1"] == pytest.approx(-1)
    assert found.loc["cube", "z2"] == pytest.approx(0, abs=1e-12)
    assert found.loc["town", "z1"] > 0.9


def test_codes_of_digits_are_judged_beside_pixels_and_written_down(tmp_path):
    folder = applications.apply("features", data="digits", out=tmp_path / "here", size="tiny", progress=False)
    found = values(folder)
    assert set(found.index) == {
        "autoencoder", "VAE", "β-TCVAE", "moved VAE", "raw",
        "16 principal components", "32 principal components",
    }  # fmt: skip
    assert found.loc["raw", "linear_10"] > 0.8, "pixels of digits reach .9"
    assert found.loc["raw", "linear_10"] > found.loc["VAE", "linear_10"], "two steps learn no code"
    assert np.isnan(found.loc["raw", "lost"])
    assert found.loc["32 principal components", "lost"] < found.loc["16 principal components", "lost"] < 0.3
    for name in ("maps.png", "probe-curves.png", "coordinates.png", "nearest-pictures.png", "curves.csv"):
        assert (folder / name).exists(), name
    codes = pd.read_csv(folder / "codes-VAE.csv")
    assert list(codes.columns[:3]) == ["part", "row", "label"]
    assert codes.shape == (500, 3 + 16)


def test_a_table_of_the_users_with_labels_and_holes(tmp_path):
    own = made(tmp_path / "own.csv", missing=True)
    folder = applications.apply("features", data=own, out=tmp_path / "here", size="tiny", progress=False)
    found = values(folder)
    assert found.loc["raw", "linear_10"] > 0.95
    assert found.loc["2 principal components", "lost"] < 0.1
    assert "moved VAE" not in found.index, "rows of a table cannot be moved"
    codes = pd.read_csv(folder / "codes-VAE.csv").sort_values("line")
    assert codes["line"].tolist() == list(range(2, 302))
    assert codes["label"].tolist() == ["left", "right"] * 150
    assert set(pd.read_csv(folder / "coordinates.csv")["column"]) == set("abcdef")


def test_a_table_without_labels_is_judged_by_what_codes_keep(tmp_path):
    own = made(tmp_path / "own.csv", label=False)
    folder = applications.apply("features", data=own, out=tmp_path / "here", size="tiny", progress=False)
    assert set(values(folder).columns) == {"lost", "kept"}
    assert "The file has no column" in (folder / "report.html").read_text()


def test_a_column_that_is_called_line_is_one_of_the_users(tmp_path):
    frame = pd.read_csv(made(tmp_path / "own.csv", label=False))
    frame.rename(columns={"a": "line"})[["line", "b", "c"]].to_csv(tmp_path / "own.csv", index=False)
    folder = applications.apply(
        "features", data=tmp_path / "own.csv", out=tmp_path / "here", size="tiny", progress=False
    )
    assert set(pd.read_csv(folder / "coordinates.csv")["column"]) == {"line", "b", "c"}
    assert sorted(pd.read_csv(folder / "codes-VAE.csv")["line"]) == list(range(2, 302))


@pytest.mark.parametrize(
    ("faults", "said"),
    [
        ({"rows": 99}, "should have 100 rows at least, to learn codes from, but has 99"),
        ({"classes": ("one", "one")}, "should hold classes, two at least with 20 rows each"),
    ],
)
def test_what_cannot_be_learned_is_refused_in_a_sentence(tmp_path, faults, said):
    own = made(tmp_path / "own.csv", **faults)
    with pytest.raises(ValueError, match=said):
        applications.apply("features", data=own, out=tmp_path / "here", size="tiny", progress=False)


def test_a_label_that_is_a_number_of_each_row_is_no_class(tmp_path):
    frame = pd.read_csv(made(tmp_path / "own.csv"))
    frame.assign(label=np.linspace(0, 1, 300)).to_csv(tmp_path / "own.csv", index=False)
    with pytest.raises(ValueError, match="but holds 300 different values in 300 rows"):
        applications.apply(
            "features", data=tmp_path / "own.csv", out=tmp_path / "here", size="tiny", progress=False
        )


def test_labels_alone_are_no_table(tmp_path):
    pd.DataFrame({"label": ["x", "y"] * 60}).to_csv(tmp_path / "own.csv", index=False)
    with pytest.raises(ValueError, match="should have columns beside 'label' but has none"):
        applications.apply(
            "features", data=tmp_path / "own.csv", out=tmp_path / "here", size="tiny", progress=False
        )


def test_one_column_is_no_table_to_shorten(tmp_path):
    pd.DataFrame({"a": np.arange(120) % 7 + 0.5, "label": ["x", "y"] * 60}).to_csv(
        tmp_path / "own.csv", index=False
    )
    with pytest.raises(ValueError, match="should have columns of 3 numbers at least"):
        applications.apply(
            "features", data=tmp_path / "own.csv", out=tmp_path / "here", size="tiny", progress=False
        )
