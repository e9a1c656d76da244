"""Letters in fonts: each letter drawn in each font, so that content and style of a picture are both known."""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Iterable
from pathlib import Path
from string import ascii_lowercase, ascii_uppercase
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

PACKAGES = (
    "font_amatic_sc", "font_caladea", "font_fredoka_one", "font_hanken_grotesk", "font_intuitive",
    "font_lato", "font_manrope", "font_roboto", "font_source_sans_pro", "font_source_serif_pro",
)  # fmt: skip
"""Of the extra ``style``: fonts under the SIL Open Font License or Apache 2.0, packed for Python."""

SUFFIXES = (".ttf", ".otf")
LETTERS = ascii_uppercase + ascii_lowercase

SYMBOLS = ("cmex10", "cmsy10")
"""Files of matplotlib that have signs in the places of letters."""

MOST = 400
"""Fonts of a folder that are taken: the first ones by name."""

LARGEST = 40 * 2**20
"""Bytes of a file that is taken for a font."""


class Fonts(NamedTuple):
    """Letters in fonts, ink from 0 to 1 in float32: ``images`` of shape (fonts, letters, size, size).

    Attributes:
        names: of the fonts, family and style.
        families: the number of each font's family, int64, shape (fonts,): fonts whose names begin with the
            same word, such as DejaVu Sans and DejaVu Serif, are of one.
        letters: which they are.
        left_out: why files were left out, in words.
    """

    images: Tensor
    names: list[str]
    families: Tensor
    letters: str
    left_out: list[str]


def fonts(source: str | Path = "fonts", *, size: int = 24) -> Fonts:
    """Return the Latin letters, capitals and small ones, in each font of a source.

    Each font is drawn so large that all of its letters have room, on one baseline, in the middle of the
    picture from left to right. Fonts that lack letters, look like an earlier one, or are variable are left
    out, and said. Nothing in a file is executed.

    Args:
        source: "matplotlib", the fonts that matplotlib brings; "fonts", those and the fonts of the extra
            ``style``; or a folder with .ttf and .otf files, searched with its folders.
        size: pixels across.

    Raises:
        ValueError: where the extra is not here, a folder has no font, or a file is none.
    """
    if str(source) in ("fonts", "matplotlib"):
        return drawn(_shipped(extra=str(source) == "fonts"), size=size)
    folder = Path(source)
    if not folder.is_dir():
        raise ValueError(f"fonts should be a folder of .ttf and .otf files but {str(folder)!r} is none")
    paths = sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES and path.is_file())
    if not paths:
        raise ValueError(f"{folder} should hold .ttf or .otf files but holds none")
    return drawn(paths, size=size)


def drawn(paths: Iterable[Path], *, size: int = 24, letters: str = LETTERS) -> Fonts:
    """Return letters as fonts of these files draw them; see :func:`fonts`."""
    images, names, families, left_out = list[np.ndarray](), list[str](), list[str](), list[str]()
    paths = list(paths)
    for path in paths[:MOST]:
        family, style = _names(path)
        name = f"{family} {style}".strip()
        if name in names:
            continue  # the same font in another format
        found = None if "variable" in path.stem.lower() else _sheet(path, size, letters)
        if found is None:
            left_out.append(f"{path.name}: variable, or without these letters")
        elif any(np.abs(found - known).max() < 0.1 for known in images):
            left_out.append(f"{path.name}: looks like an earlier one")
        else:
            images.append(found)
            names.append(name)
            families.append(_family(name))
    if len(paths) > MOST:
        left_out.append(f"{len(paths) - MOST} files after the first {MOST}")
    if not images:
        raise ValueError(
            f"of {len(paths)} font files one at least should have all Latin letters, but none has"
        )
    number = {family: k for k, family in enumerate(dict.fromkeys(families))}
    return Fonts(
        torch.from_numpy(np.stack(images)),
        names,
        torch.tensor([number[family] for family in families]),
        letters,
        left_out,
    )


def _shipped(*, extra: bool) -> list[Path]:
    import matplotlib

    paths = sorted((Path(matplotlib.get_data_path()) / "fonts" / "ttf").glob("*.ttf"))
    paths = [path for path in paths if path.stem not in SYMBOLS]
    for package in PACKAGES if extra else ():
        found = importlib.util.find_spec(package)
        if found is None or not found.submodule_search_locations:
            raise ValueError(
                f"this needs {package.replace('_', '-')}, which is not here: pip install "
                "'probgen[style]', or take --data matplotlib"
            )
        folder = Path(next(iter(found.submodule_search_locations))) / "files"
        paths += sorted(path for path in folder.glob("*") if path.suffix in SUFFIXES)
    return paths


def _family(name: str) -> str:
    return "Computer Modern" if re.match(r"cm[a-z]+\d+", name) else name.split()[0]


def _names(path: Path) -> tuple[str, str]:
    """Return the family and the style of a font; raise where the file is none."""
    from PIL import ImageFont

    if path.stat().st_size > LARGEST:
        raise ValueError(f"{path} should be a font of at most {LARGEST >> 20} MB but is larger")
    try:
        family, style = ImageFont.truetype(str(path), 10).getname()
    except (OSError, ValueError) as error:
        raise ValueError(f"{path} should be a TrueType or OpenType font but is none: {error}") from None
    return family or path.stem, style or ""


def _sheet(path: Path, size: int, letters: str) -> np.ndarray | None:
    """Return the letters of a font, (letters, size, size), None where it has not half of them."""
    from PIL import Image, ImageDraw, ImageFont

    scale = 4  # drawn larger, then averaged
    probe = ImageFont.truetype(str(path), 100)
    boxes = np.array([probe.getbbox(letter, anchor="ls") for letter in letters], dtype=float)
    width, top, bottom = (boxes[:, 2] - boxes[:, 0]).max(), boxes[:, 1].min(), boxes[:, 3].max()
    if not (width > 0 and bottom > top):
        return None
    em = int(100 * scale * (size - 2) / max(width, bottom - top))
    font = ImageFont.truetype(str(path), em)
    found = []
    for letter in letters:
        picture = Image.new("L", (size * scale, size * scale))
        left, _, right, _ = font.getbbox(letter, anchor="ls")
        place = ((size * scale - left - right) / 2, scale - top * em / 100)
        ImageDraw.Draw(picture).text(place, letter, fill=255, font=font, anchor="ls")
        found.append(np.asarray(picture, dtype=np.float32) / 255)
    sheet = np.stack(found).reshape(len(letters), size, scale, size, scale).mean((2, 4))
    distinct = len({letter.tobytes() for letter in sheet})
    return sheet if distinct > len(letters) // 2 and sheet.max((1, 2)).min() > 0.05 else None
