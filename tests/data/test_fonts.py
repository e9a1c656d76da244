"""Letters in fonts: what matplotlib brings, files that are no fonts, families, the extra."""

import importlib.util
import shutil
from pathlib import Path

import matplotlib
import pytest

from probgen.data import fonts

FOLDER = Path(matplotlib.get_data_path()) / "fonts" / "ttf"


def folder(tmp_path, *names):
    for name in names:
        shutil.copy(FOLDER / f"{name}.ttf", tmp_path)
    return tmp_path


def test_letters_are_drawn_on_one_baseline_with_room(tmp_path):
    found = fonts(folder(tmp_path, "DejaVuSans", "DejaVuSans-Bold", "cmr10", "DejaVuSerif"), size=20)
    assert found.images.shape == (4, 52, 20, 20)
    assert found.names == ["DejaVu Sans Bold", "DejaVu Sans Book", "DejaVu Serif Book", "cmr10 Regular"]
    assert found.families.tolist() == [0, 0, 0, 1]
    assert found.images.min() >= 0
    assert found.images.max() <= 1
    bold, book = (found.images[k].mean() for k in (0, 1))
    assert bold > 1.2 * book
    ink = {letter: found.images[1, found.letters.index(letter)].sum(1) > 0.5 for letter in "Hxpl"}
    bottom = {letter: int(rows.nonzero().max()) for letter, rows in ink.items()}
    top = {letter: int(rows.nonzero().min()) for letter, rows in ink.items()}
    assert bottom["H"] == bottom["x"] == bottom["l"] < bottom["p"]
    assert top["H"] < top["x"]
    border = found.images[:, :, [0, -1]].amax(), found.images[..., [0, -1]].amax()
    assert max(border) < 0.5, "no letter is cut off"


def test_fonts_without_letters_and_copies_are_left_out(tmp_path):
    own = folder(tmp_path, "DejaVuSans", "STIXSizOneSymReg")
    shutil.copy(FOLDER / "DejaVuSans.ttf", own / "again.ttf")
    found = fonts(own)
    assert found.names == ["DejaVu Sans Book"]
    assert found.left_out == ["STIXSizOneSymReg.ttf: variable, or without these letters"]


def test_matplotlib_has_twenty_and_the_extra_more():
    found = fonts("matplotlib", size=12)
    assert len(found.names) >= 20
    assert int(found.families.max()) + 1 >= 3
    if importlib.util.find_spec("font_roboto") is None:
        with pytest.raises(ValueError, match=r"pip install 'probgen\[style\]', or take --data matplotlib"):
            fonts()


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("page.ttf", b"<!DOCTYPE html><html></html>", "should be a TrueType or OpenType font but is none"),
        ("empty.otf", b"", "should be a TrueType or OpenType font but is none"),
        ("note.txt", b"hello", r"should hold .ttf or .otf files but holds none"),
    ],
)
def test_files_that_are_no_fonts_are_refused(tmp_path, name, content, said):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=said):
        fonts(tmp_path)


def test_a_folder_without_letters_and_no_folder_are_refused(tmp_path):
    with pytest.raises(ValueError, match="one at least should have all Latin letters"):
        fonts(folder(tmp_path, "STIXSizOneSymReg"))
    with pytest.raises(ValueError, match=r"should be a folder of .ttf and .otf files but"):
        fonts(tmp_path / "none")
