"""Values that are easily misread in a user's own files: each is read as it was meant, or refused."""

import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from probgen.data import Images, Table, read, table

ROWS = 40
PLAIN = [round(0.37 * i - 3, 2) for i in range(ROWS)]


def written(tmp_path: Path, values: list[str], separator: str = ",") -> Path:
    path = tmp_path / "own.csv"
    lines = [f"{plain}{separator}{value}" for plain, value in zip(PLAIN, values, strict=True)]
    path.write_text("\n".join([f"plain{separator}a", *lines]))
    return path


@pytest.mark.parametrize(
    "form",
    ['"1,{:03d}"', '"{},5"', "${}", "{}%", "€ {}.5", "1 {:03d}", "1'{:03d}"],
)
def test_numbers_written_otherwise_are_no_categories(tmp_path, form):
    with pytest.raises(ValueError, match=r"column 'a' should hold numbers alone, such as 1234.5.*row 0"):
        read(written(tmp_path, [form.format(i) for i in range(ROWS)]))


def test_few_numbers_and_a_word_are_categories_and_many_are_not(tmp_path):
    few = read(written(tmp_path, [("3", "4+", "oops")[i % 3] for i in range(ROWS)]))
    assert few.kinds["a"] == ("categorical", 3)
    with pytest.raises(ValueError, match=r"row 4 holds '-'"):
        read(written(tmp_path, ["-" if i % 5 == 4 else f"{i}.5" for i in range(ROWS)]))


def test_words_that_are_different_in_all_rows_are_left_out(tmp_path):
    assert "a" not in read(written(tmp_path, [f"patient {i}" for i in range(ROWS)])).kinds
    assert read(written(tmp_path, [f"town {i // 2}" for i in range(ROWS)])).kinds["a"] == ("categorical", 20)


def test_booleans_with_holes_are_binary_and_come_back(tmp_path):
    people = read(written(tmp_path, [("True", "", "False")[i % 3] for i in range(ROWS)]))
    assert isinstance(people, Table)
    assert people.kinds["a"] == "binary"
    assert 0 < int(people.train[:, 1].isnan().sum()) < len(people.train)
    assert set(people.frame(people.train)["a"].dropna()) == {True, False}


def test_whole_numbers_beyond_64_bits_are_numbers(tmp_path):
    assert read(written(tmp_path, [str(10**25 * (i * i + 1)) for i in range(ROWS)])).kinds["a"] == "positive"


def test_a_quote_that_is_not_closed_is_said_with_its_file(tmp_path):
    with pytest.raises(ValueError, match=r"own.csv cannot be read as a CSV"):
        read(written(tmp_path, ['"x' if i == 9 else "x" for i in range(ROWS)]))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (np.linspace(1e299, 2e299, ROWS), "numbers up to 1e.150 but row 0"),
        (np.linspace(1e-300, 2e-300, ROWS), "change its unit"),
        (np.where(np.arange(ROWS) % 3, 1.0, np.inf), "finite or missing but row 0"),
        (np.arange(ROWS) * (1 + 1j), "real numbers but holds complex"),
    ],
)
def test_numbers_whose_moments_are_none_are_refused(values, message):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(ValueError, match=message):
            table({"a": values})


@pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.uint64, np.int64, np.float16])
def test_draws_beyond_a_columns_type_do_not_wrap_round(dtype):
    numbers = table({"a": np.random.default_rng(0).integers(0, 100, ROWS).astype(dtype)})
    assert str(numbers.frame(numbers.train)["a"].dtype) == np.dtype(dtype).name
    for wide in (300.0, -7.0, 1e6, 1e30):
        drawn = numbers.frame(torch.tensor([[wide]], dtype=torch.float64))["a"]
        column = numbers.columns[0]
        expected = wide * column.sd + column.mean if column.kind == "real" else wide
        assert float(drawn[0]) == pytest.approx(expected, rel=1e-3)


def test_lists_in_a_column_are_left_out():
    people = table(pd.DataFrame({"a": [[1], [2]] * 20, "plain": PLAIN}))
    assert list(people.kinds) == ["plain"]
    assert "list" in people.facts["left out"]["a"]


def test_arrays_in_the_other_order_of_bytes_and_in_half_precision(tmp_path):
    x = np.array(PLAIN).reshape(20, 2)
    np.save(tmp_path / "big.npy", x.astype(">f8"))
    assert torch.equal(read(tmp_path / "big.npy").train, table(x).train)
    assert table(torch.tensor(x).bfloat16()).kinds == {"x1": "real", "x2": "real"}


@pytest.mark.parametrize(
    ("labels", "found"),
    [
        ([0, 1, -1, 2], [-1, 0, 1, 2]),  # −1 is missing, as everywhere
        ([-1, 1, 1, -1], [0, 1]),  # two classes of their own
        ([0.0, np.nan, 1.0, 1.0], [-1, 0, 1]),
        (["b", "a", "b", "a"], [0, 1]),
    ],
)
def test_missing_labels_are_no_class(tmp_path, labels, found):
    y = np.array(labels * 10)
    x = np.random.default_rng(0).random((ROWS, 4, 3))
    np.savez(tmp_path / "pictures.npz", x=x, y=y)
    pictures = read(tmp_path / "pictures.npz")
    assert isinstance(pictures, Images)
    assert torch.cat([pictures[2], pictures[3]]).unique().tolist() == found
    np.savez(tmp_path / "rows.npz", x=x[:, 0], y=y)
    rows = read(tmp_path / "rows.npz")
    assert isinstance(rows, Table)
    codes = torch.cat([rows.train, rows.test])[:, -1]
    assert bool(codes.isnan().any()) == (found[0] == -1)
    assert len(codes[~codes.isnan()].unique()) == sum(label >= 0 for label in found)


def test_pictures_of_16_bits_keep_their_levels_and_hidden_files_are_none(tmp_path):
    from PIL import Image

    levels = np.array([[0, 257, 30069], [40000, 50000, 65535]], dtype=np.uint16)
    for i in range(4):
        Image.fromarray(levels).save(tmp_path / f"{i}.png")
    (tmp_path / "._0.png").write_bytes(b"of the system")
    pictures = read(tmp_path)
    expected = torch.tensor([0, 1, 117, 156, 195, 255]) / 255
    assert torch.allclose(pictures[0][0], expected.to(pictures[0]))
    Image.fromarray(levels.astype(np.float32)).save(tmp_path / "wide.tiff")
    with pytest.raises(ValueError, match=r"wide.tiff should be a picture of 8 or 16 bits"):
        read(tmp_path)
