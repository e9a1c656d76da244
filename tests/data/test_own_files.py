"""The door for a user's own files: arrays, pictures, text, sequences, and a sentence for what is none."""

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from probgen import data

RANDOM = np.random.default_rng(0)


def test_a_csv_is_a_table(tmp_path):
    pd.DataFrame({"a": [1.5, 2, 4, 8], "k": [*"xyyx"]}).to_csv(tmp_path / "my.csv", index=False)
    found = data.read(tmp_path / "my.csv", kinds={"a": "real"})
    assert isinstance(found, data.Table)
    assert found.kinds == {"a": "real", "k": "binary"}


def test_an_array_of_vectors_is_a_table(tmp_path):
    x = RANDOM.normal(size=(40, 3))
    np.save(tmp_path / "x.npy", x)
    np.savez(tmp_path / "xy.npz", x=x, y=np.arange(40) % 3)
    table = data.read(str(tmp_path / "x.npy"))
    assert table.name == "x"
    assert torch.equal(table.train, data.table(x).train)
    assert data.read(tmp_path / "xy.npz").kinds == {
        "x1": "real",
        "x2": "real",
        "x3": "real",
        "y": "categorical",
    } | {"y": ("categorical", 3)}


@pytest.mark.parametrize(
    ("x", "levels", "grey"),
    [
        (np.arange(200, dtype=np.uint8).reshape(8, 5, 5), 256, np.arange(200) / 255),
        (np.arange(200).reshape(8, 5, 5) % 17, 17, np.arange(200) % 17 / 16),
        (np.arange(200).reshape(8, 5, 5) % 2 == 1, 2, np.arange(200) % 2),
        (np.arange(200).reshape(8, 5, 5) % 2 * 255, 2, np.arange(200) % 2),
        (np.arange(200.0).reshape(8, 5, 5) / 200, 256, np.round(np.arange(200) / 200 * 255) / 255),
    ],
)
def test_an_array_of_pictures_is_grey_levels(x, levels, grey, tmp_path):
    np.save(tmp_path / "pictures.npy", x)
    images = data.read(tmp_path / "pictures.npy")
    assert isinstance(images, data.Images)
    assert (images.image_shape, images.levels, images.name) == ((5, 5), levels, "pictures")
    assert images.train_labels.eq(-1).all()
    assert (len(images.train), len(images.test)) == (6, 2)
    rows = torch.cat([images.train, images.test]).sort(0).values
    expected = torch.from_numpy(grey.reshape(8, 25)).float().sort(0).values
    torch.testing.assert_close(rows, expected)


def pictures(folder, sizes=((6, 4),) * 8, mode="L"):
    for i, (width, height) in enumerate(sizes):
        (folder / f"class{i % 2}").mkdir(parents=True, exist_ok=True)
        shape = (height, width) if mode == "L" else (height, width, 3)
        Image.fromarray(RANDOM.integers(0, 256, shape, dtype=np.uint8)).save(
            folder / f"class{i % 2}" / f"{i}.png"
        )


def test_a_folder_of_pictures_has_a_class_for_each_folder(tmp_path):
    pictures(tmp_path / "cats")
    (tmp_path / "cats" / "notes.txt").write_text("not a picture")
    (tmp_path / "cats" / "class0" / "old.png").mkdir()
    images = data.read(tmp_path / "cats")
    assert (images.image_shape, images.levels, images.name) == ((4, 6), 256, "cats")
    labels = torch.cat([images.train_labels, images.test_labels])
    assert labels.bincount().tolist() == [4, 4]
    pictures(tmp_path / "colour", mode="RGB")
    assert data.read(tmp_path / "colour").train.shape == (6, 24)


def test_colour_becomes_grey(tmp_path):
    x = np.zeros((4, 2, 2, 3))
    x[0, 0, 0, 1] = 1.0
    np.save(tmp_path / "x.npy", x)
    images = data.read(tmp_path / "x.npy")
    assert torch.cat([images.train, images.test]).max() == pytest.approx(0.587, abs=1 / 255)


def test_a_text_is_characters_in_their_order(tmp_path):
    content = "Übermut tut selten gut.\n" * 5
    (tmp_path / "my.txt").write_text(content, encoding="utf-8")
    text = data.read(tmp_path / "my.txt")
    assert text.vocabulary.symbols == tuple(sorted(set(content)))
    assert text.train.dtype == torch.int64
    assert text.string(torch.cat([text.train, text.test])) == content
    assert text.string(text.test) == "Übermut tut selten gut.\n", "no line in two"


def test_a_text_whose_lines_are_longer_than_a_tenth_is_cut_within_one(tmp_path):
    (tmp_path / "my.txt").write_text("a\n" + "b" * 98, encoding="utf-8")
    assert len(data.read(tmp_path / "my.txt").test) == 10


def test_a_table_in_long_form_is_sequences(tmp_path):
    rows = [(f"p{i}", day, i + day / 10, -day) for i in range(8) for day in range(i + 1)]
    frame = pd.DataFrame(rows, columns=["patient", "day", "dose", "change"]).sample(frac=1, random_state=0)
    frame.to_csv(tmp_path / "long.csv", index=False)
    found = data.read(tmp_path / "long.csv", by="patient", time="day")
    assert found.values == ["dose", "change"]
    assert sorted(found.train_ids + found.test_ids) == [f"p{i}" for i in range(8)]
    padded, lengths = found.train[torch.arange(6)]
    for i, key in enumerate(found.train_ids):
        n = int(key[1]) + 1
        assert lengths[i] == n
        torch.testing.assert_close(padded[i, :n, 0], int(key[1]) + torch.arange(n) / 10)
        torch.testing.assert_close(padded[i, :n, 1], -torch.arange(float(n)))


def long(**changes):
    frame = pd.DataFrame({"who": [*"aabb"], "when": [0, 1, 0, 1], "x": [1.0, 2, 3, 4]})
    return frame.assign(**changes).to_csv(index=False).encode()


@pytest.mark.parametrize(
    ("name", "content", "options", "sentence"),
    [
        ("x.xlsx", b"PK", {}, r"should be one of .csv, .* or a folder of pictures: save the sheet as CSV"),
        ("x.npy", b"no array", {}, "should be NumPy's file of an array of numbers but is none"),
        ("x.npz", b"PK\x03\x04", {}, "should be NumPy's file of an array of numbers but is none"),
        ("x.txt", b"short", {}, "should hold a text of at least 10 characters but holds 5"),
        ("x.csv", long(), {"by": "who"}, "needs both: by=, .* and time="),
        ("x.csv", long(), {"by": "whom", "time": "when"}, "should have the column 'whom' but has"),
        (
            "x.csv",
            long(x=[*"abcd"]),
            {"by": "who", "time": "when"},
            "column 'x' should hold numbers but holds 'a'",
        ),
        ("x.csv", long(x=[1, None, 2, 3]), {"by": "who", "time": "when"}, "in each row but 'x' misses some"),
        ("x.csv", long(when=0), {"by": "who", "time": "when"}, "one step at a time but 'a' has two at 0"),
        ("x.csv", long(who="a", when=range(4)), {"by": "who", "time": "when"}, "at least 3 sequences"),
        ("x.csv", long(when=[*"wxyz"]), {"by": "who", "time": "when"}, "'when' should hold numbers or dates"),
    ],
)
def test_what_is_wrong_is_one_sentence(name, content, options, sentence, tmp_path):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=sentence):
        data.read(tmp_path / name, **options)


@pytest.mark.parametrize(
    ("x", "sentence"),
    [
        (np.array([1.0 + 2j]), "should hold real numbers but holds complex128"),
        (np.zeros((5, 3, 3)), "not all the same, but 'x' holds 0 to 0"),
        (np.full((5, 3, 3), 7.5) + RANDOM.random((5, 3, 3)), "from 0 to 255 or numbers from 0 to 1, .* 7.5"),
        (RANDOM.normal(size=(5, 3, 3, 2)), r"\(n, height, width\), n at least 4, but 'x' has \(5, 3, 3, 2\)"),
    ],
)
def test_arrays_that_are_no_data_are_refused(x, sentence, tmp_path):
    np.save(tmp_path / "x.npy", x)
    with pytest.raises(ValueError, match=sentence):
        data.read(tmp_path / "x.npy")
    np.savez(tmp_path / "two.npz", a=x, b=x)
    with pytest.raises(ValueError, match="should hold one array, or x and its labels y, but holds a, b"):
        data.read(tmp_path / "two.npz")


def test_pickles_are_not_loaded(tmp_path):
    np.save(tmp_path / "x.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(ValueError, match="should be NumPy's file of an array of numbers but is none"):
        data.read(tmp_path / "x.npy")


def test_folders_that_are_no_pictures_are_refused(tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match=r"empty should hold pictures .* but holds none"):
        data.read(tmp_path / "empty")
    pictures(tmp_path / "mixed", sizes=((6, 4), (5, 5)))
    with pytest.raises(ValueError, match=r"of one size but 0.png has 6x4 pixels and 1.png 5x5"):
        data.read(tmp_path / "mixed")
    pictures(tmp_path / "broken")
    (tmp_path / "broken" / "class0" / "0.png").write_bytes(b"no picture")
    with pytest.raises(ValueError, match=r"0.png should be a picture but cannot be read"):
        data.read(tmp_path / "broken")
    with pytest.raises(ValueError, match="there is no file or folder 'nowhere'"):
        data.read("nowhere")


def test_a_digest_is_that_of_the_content(tmp_path):
    pictures(tmp_path / "a")
    before = data.digest_of(tmp_path / "a")
    assert before == data.digest_of(tmp_path / "a")
    (tmp_path / "a" / "class0" / "0.png").rename(tmp_path / "a" / "class0" / "z.png")
    assert data.digest_of(tmp_path / "a") != before
