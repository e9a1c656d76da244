"""The command line on a user's own files: compared, trained on, drawn from in their own units."""

import json

import numpy as np
import pandas as pd
import pytest

from probgen import recipes
from probgen.cli import classical_tables, comparing
from probgen.recipes import compared
from tests.cli.test_app import QUICK, probgen, refused

__all__ = ["probgen"]  # a fixture


def people(n=120, missing=0):
    random = np.random.default_rng(0)
    ill = random.random(n) < 0.4
    table = pd.DataFrame(
        {
            "id": range(1, n + 1),
            "age": np.where(ill, random.normal(60, 5, n), random.normal(40, 5, n)).round(1),
            "visits": random.poisson(np.where(ill, 8, 2)),
            "town": random.choice(["Ulm", "Bonn", "Köln"], n),
            "ill": np.where(ill, "yes", "no"),
        }
    )
    table.loc[: missing - 1, "age"] = np.nan
    return table


def short(monkeypatch, steps=3):
    train = compared.train
    monkeypatch.setattr(compared, "train", lambda *args, **given: train(*args, **given | {"steps": steps}))
    monkeypatch.setattr(compared, "PARTICLES", 2)


def test_a_table_is_compared_by_every_method_that_suits_it(probgen, tmp_path, monkeypatch):
    people().to_csv(tmp_path / "my.csv", index=False)
    short(monkeypatch)
    status, out, err = probgen("compare", "my.csv", "--repeats", 1, "--metrics", "energy,nll")
    assert status == 0, err
    folder = tmp_path / "results" / "my"
    frame = pd.read_csv(folder / "metrics.csv")
    assert set(frame.method) == {
        "columns",
        "copula",
        "tabular-gmmn",
        "vae",
        "memoriser",
        "train against test",
    }
    assert set(frame[frame.metric == "nll"].method) == {"vae"}
    facts = json.loads((folder / "protocol.json").read_text())["facts"]
    assert facts["file"] == str(tmp_path / "my.csv")
    assert facts["left out"] == "id: row numbers"
    assert facts["columns"] == "age: positive, visits: count, town: categorical, ill: binary"
    assert {path.stem for path in folder.glob("*.png")} == {"metrics", "columns", "correlations"}
    assert "report.html" in out


def test_rows_with_missing_values_are_learned_from_and_not_compared(probgen, tmp_path, monkeypatch):
    people(missing=30).to_csv(tmp_path / "my.csv", index=False)
    short(monkeypatch)
    status, _, err = probgen("compare", "my.csv", "--repeats", 1, "--metrics", "energy,nll")
    assert status == 0, err
    frame = pd.read_csv(tmp_path / "results" / "my" / "metrics.csv")
    assert "vae" in set(frame.method)
    assert "tabular-gmmn" not in set(frame.method)
    protocol = json.loads((tmp_path / "results" / "my" / "protocol.json").read_text())
    assert protocol["facts"]["missing values"] == "age: 30"
    assert "in which nothing is missing" in protocol["facts"]["compared"]
    assert protocol["reference_shape"][0] + protocol["train_shape"][0] == 90
    sentence = refused(probgen("compare", "my.csv", "--methods", "tabular-gmmn", *QUICK))
    assert "column 'age' should have no missing values" in sentence


def test_a_copula_keeps_what_columns_on_their_own_lose(tmp_path):
    random = np.random.default_rng(1)
    x = random.multivariate_normal([0, 0], [[1, 0.8], [0.8, 1]], 4000)
    frame = pd.DataFrame({"a": np.exp(x[:, 0]), "b": x[:, 1], "k": (x[:, 1] > 0.5).astype(int)})
    frame.to_csv(tmp_path / "my.csv", index=False)
    own = recipes.load(tmp_path / "my.csv")
    found = {}
    for name in ("columns", "copula"):
        fitted = getattr(classical_tables, name)(own).fit(own.train.x, 0)
        drawn = own.table.frame(own.to_codes(fitted.sample(20_000, seed=1)))
        found[name] = np.log(drawn.a).corr(drawn.b)
        np.testing.assert_allclose(
            drawn.a.quantile([0.1, 0.5, 0.9]), frame.a.quantile([0.1, 0.5, 0.9]), rtol=0.1
        )
        assert set(drawn.k) == {0, 1}
        assert drawn.k.mean() == pytest.approx(frame.k.mean(), abs=0.03)
    assert found["copula"] == pytest.approx(0.8, abs=0.03)
    assert abs(found["columns"]) < 0.03


def test_a_training_on_a_table_is_drawn_from_in_its_units(probgen, tmp_path):
    people(missing=10).to_csv(tmp_path / "my.csv", index=False)
    given = ("train", "vae", "--data", "my.csv", "--steps", 4, "--batch-size", 32)
    status, _, err = probgen(*given)
    assert status == 0, err
    folder = tmp_path / "runs" / "vae-my"
    about = json.loads((folder / "run.json").read_text())
    assert about["data"] == str(tmp_path / "my.csv")
    assert len(about["sha256"]) == 64
    status, _, err = probgen("sample", folder, "-n", 50)
    assert status == 0, err
    drawn = pd.read_csv(folder / "samples.csv")
    assert list(drawn.columns) == ["age", "visits", "town", "ill"]
    assert drawn.notna().all().all()
    assert drawn.visits.dtype == np.int64
    assert set(drawn.town) <= {"Ulm", "Bonn", "Köln"}
    assert (drawn.age > 0).all()
    assert (folder / "samples.png").exists()
    assert probgen("sample", folder, "--out", "x.npy")[0] == 0
    assert np.load("x.npy").shape == (100, 1 + 1 + 3 + 2)
    assert "--out should be a .csv or .npy file" in refused(probgen("sample", folder, "--out", "x.txt"))

    assert probgen(*given[:4], "--steps", 6, "--resume")[0] == 0
    people().to_csv(tmp_path / "my.csv", index=False)
    for call in (("train", "vae", "--data", "my.csv", "--steps", 8, "--resume"), ("sample", folder)):
        assert "as it was (SHA-256 " in refused(probgen(*call))


def test_kinds_are_named_on_the_command_line_and_kept_by_a_run(probgen, tmp_path):
    people().to_csv(tmp_path / "my.csv", index=False)
    given = ("train", "vae", "--data", "my.csv", "--steps", 2, "--batch-size", 32)
    assert probgen(*given, "--kinds", "visits=categorical, town=none")[0] == 0
    folder = tmp_path / "runs" / "vae-my"
    assert json.loads((folder / "run.json").read_text())["kinds"] == "visits=categorical, town=none"
    assert probgen("sample", folder, "-n", 20)[0] == 0
    drawn = pd.read_csv(folder / "samples.csv")
    assert list(drawn.columns) == ["age", "visits", "ill"]
    assert set(drawn.visits) <= set(people().visits)
    assert probgen(*given[:4], "--steps", 3, "--resume")[0] == 0
    other = ("--kinds", "visits=real", "--resume")
    assert "has kinds 'visits=categorical, town=none' but got 'visits=real'" in refused(
        probgen(*given, *other)
    )
    compared = ("compare", "my.csv", *QUICK, "--kinds")
    assert "kinds should be written as town=categorical,id=none but hold 'town'" in refused(
        probgen(*compared, "town")
    )
    assert "the kind of column 'town' should be of real" in refused(probgen(*compared, "town=ordinal"))
    assert "'digits' is none" in refused(probgen("compare", "digits", *QUICK, "--kinds", "a=real"))


def test_arrays_of_pictures_are_compared(probgen, tmp_path):
    pictures = np.random.default_rng(0).integers(0, 256, (60, 5, 4), dtype=np.uint8)
    np.save(tmp_path / "pictures.npy", pictures)
    status, _, err = probgen(
        "compare", "pictures.npy", "--methods", "pixels", *QUICK[:2], "--metrics", "energy"
    )
    assert status == 0, err
    facts = json.loads((tmp_path / "results" / "pictures" / "protocol.json").read_text())["facts"]
    assert facts["pixels"] == "256 grey levels"
    assert facts["size"] == "4x5"


def test_draws_are_held_against_rows_of_the_whole_of_a_sorted_file(tmp_path):
    own = tmp_path / "sorted.csv"
    pd.DataFrame({"a": np.linspace(0.1, 1, 12_000), "b": np.linspace(1, 3.1, 12_000)}).to_csv(
        own, index=False
    )
    reference = comparing.reference_of(recipes.load(own))
    assert len(reference) == comparing.REFERENCE
    assert abs(float(reference[:, 0].mean())) < 4 / len(reference) ** 0.5, "in standard deviations, about 0"


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("nowhere.csv", None, "there is no file or folder 'nowhere.csv'"),
        ("./digits", None, "there is no file or folder 'digits'"),
        ("empty.csv", b"", "empty.csv should have a line of names and rows but is empty"),
        (
            "text.txt",
            b"some words " * 9,
            "text.txt should have 8 lines to learn from and 8 more, the last tenth, to test on, but has ",
        ),
        (
            "short.csv",
            b"a,b\n" + b"1.5,2.5\n2.5,1\n" * 5,
            "short.csv should have 8 whole rows to learn from and 8",
        ),
    ],
)
def test_what_is_wrong_with_a_file_is_one_sentence(name, content, sentence, probgen, tmp_path):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    assert sentence in refused(probgen("compare", name))
    assert not (tmp_path / "results").exists()


def test_large_pictures_are_refused(probgen, tmp_path):
    np.save(tmp_path / "large.npy", np.random.default_rng(0).random((12, 65, 64)))
    assert "at most 4,096 pixels but those of 'large' have 64x65" in refused(probgen("compare", "large.npy"))


def test_a_data_set_is_none_of_a_users_files(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "digits").mkdir()
    assert not recipes.is_file("digits")
    assert recipes.is_file("./digits")
    assert recipes.is_file("my.csv")
    assert not recipes.is_file("minst")


def test_links_of_ones_own_are_a_graph(probgen, tmp_path):
    path = tmp_path / "friends.csv"
    lines = [f"n{i},n{(i + k) % 20},{k}" for i in range(20) for k in (1, 2)]
    path.write_text("\n".join(["from,to,days", *lines]) + "\n")
    said = refused(probgen("train", "graph-vae", "--data", path, "--steps", 2))
    assert "name the ends by kinds, as in from=node,to=node" in said
    options = ("--data", path, "--kinds", "from=node,to=node", "--steps", 2)
    status, out, err = probgen("train", "graph-vae", *options)
    assert status == 0, err
    folder = tmp_path / "runs" / "graph-vae-friends"
    status, out, err = probgen("sample", folder, "-n", 2)
    assert status == 0, err
    assert "2 draws of graph-vae on" in out
    assert np.load(folder / "samples.npy").shape == (2, 20, 20)
