"""CSV files as they come: encodings, separators, decimal commas; what is broken is one sentence."""

import numpy as np
import pandas as pd
import pytest

from probgen import data

ROWS = [
    "size,town,when",
    "1.5,Köln,2020-01-01",
    "-2.5,Ulm,2020-01-02",
    "3.25,Köln,2020-01-03",
    "4.0,Bonn,2020-01-04",
]
PLAIN = "\n".join(ROWS) + "\n"
GERMAN = PLAIN.replace(".", "#").replace(",", ";").replace("#", ",")


@pytest.mark.parametrize(
    ("content", "how"),
    [
        (PLAIN.encode(), "UTF-8, fields separated by commas"),
        (PLAIN.encode("utf-8-sig"), "UTF-8, fields separated by commas"),
        (PLAIN.encode("utf-16"), "utf-16, fields separated by commas"),
        (PLAIN.encode("cp1252"), "cp1252, fields separated by commas"),
        (PLAIN.replace(",", "\t").encode(), "UTF-8, fields separated by tabs"),
        (PLAIN.replace(",", " | ").encode(), "UTF-8, fields separated by bars"),
        (PLAIN.replace("\n", "\r\n").encode(), "UTF-8, fields separated by commas"),
        (GERMAN.encode(), "UTF-8, fields separated by semicolons, decimal commas"),
        (PLAIN.replace(",", ";").encode(), "UTF-8, fields separated by semicolons"),
        (PLAIN.encode() + b"\n\n", "UTF-8, fields separated by commas"),
        (PLAIN.replace("Ulm", '"Ulm, an der\nDonau"').encode(), "UTF-8, fields separated by commas"),
    ],
)
def test_a_file_is_read_however_it_is_written(content, how, tmp_path):
    path = tmp_path / "my.csv"
    path.write_bytes(content)
    table = data.table(path)
    assert table.name == "my"
    assert table.facts["read"] == how
    assert table.facts["left out"] == {"when": "dates and times"}
    found = pd.concat([table.frame(table.train), table.frame(table.test)])
    assert sorted(found["size"].round(5)) == [-2.5, 1.5, 3.25, 4.0]
    assert found.town.str.strip().str.startswith(("Köln", "Ulm", "Bonn")).all()


def test_missing_values_are_missing(tmp_path):
    path = tmp_path / "my.csv"
    path.write_text("a,b\n1.5,x\n,y\nNA,?\n2.5,x\n-1,z\n0.1,y\n")
    table = data.table(str(path))
    assert table.kinds == {"a": "real", "b": ("categorical", 3)}
    assert table.facts["missing values"] == {"a": 2, "b": 1}
    assert int(table.train.isnan().sum() + table.test.isnan().sum()) == 3


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"", "should have a line of names and rows but is empty"),
        (b"\n \n", "should have a line of names and rows but is empty"),
        (b"a,b\n", "should have rows below its line of names but has none"),
        (b"a,b\n1,2\n3,4,5\n", "should have 2 fields in each line, as its first one has, but line 3 has 3"),
        (b"a,b,c\n1,2,3\n3,4\n5,6,7\n", "should have 3 fields in each line, .* but line 3 has 2"),
        (b"a,b,a\n1,2,3\n", "should have columns of different names but has 'a' twice"),
        (b"1,2\n3,4\n", r"should name its columns in the first line .* \(1, 2\): put a line of names above"),
        (b"a,b\n1\x00,2\n", "should be a text but holds bytes of 0"),
        (b"a,b\n\x81,2\n", "should be a text in UTF-8, UTF-16 or Windows-1252 but is in neither"),
        (b'a,b\n"1,2\n' + b"3,4\n" * 60000, "cannot be read as a CSV at line .*field larger"),
    ],
)
def test_what_is_broken_is_one_sentence(content, sentence, tmp_path):
    path = tmp_path / "my.csv"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=f"my.csv {sentence}"):
        data.table(path)


def test_a_file_that_is_not_there_is_named():
    with pytest.raises(ValueError, match=r"there is no file 'nowhere\.csv'"):
        data.table("nowhere.csv")


def test_a_formula_is_text_and_nothing_runs(tmp_path):
    path = tmp_path / "my.csv"
    path.write_text("a,b\n" + "=cmd|' /C calc'!A0,1.5\n__import__('os').abort(),2.5\n" * 3)
    table = data.table(path)
    assert table.kinds["a"] == "binary"
    assert "__import__('os').abort()" in set(table.frame(table.train).a)


def test_a_large_file_is_read_in_seconds(tmp_path):
    path = tmp_path / "my.csv"
    random = np.random.default_rng(0)
    pd.DataFrame({"x": random.normal(size=20_000), "k": random.poisson(3, 20_000)}).to_csv(path, index=False)
    table = data.table(path)
    assert table.kinds == {"x": "real", "k": "count"}
    assert len(table.train) == 15_000
