"""A user's own pictures, from a folder or an array, as grey levels."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from probgen.data.images import Images
from probgen.data.split import shuffled

if TYPE_CHECKING:
    import pandas as pd
    from PIL import Image

PICTURES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".pgm")
FEW_LEVELS = 32
"""Whole numbers up to this one are grey levels of their own; beyond, they are those of 0 to 255."""

GREY = np.array([0.299, 0.587, 0.114])
"""The weights of red, green and blue in grey (ITU-R BT.601)."""


def read_folder(folder: Path, test: float) -> Images:
    """Return the pictures in a folder, in the order of their paths, in grey.

    Where all of them lie in folders of it, each is a class, numbered in the order of their names.
    """
    from PIL import Image, UnidentifiedImageError

    paths = sorted(
        path
        for path in folder.rglob("*")
        if path.suffix.lower() in PICTURES and path.is_file() and not _hidden(path.relative_to(folder))
    )
    if not paths:
        raise ValueError(f"{folder} should hold pictures ({', '.join(PICTURES)}) but holds none")
    rows: list[np.ndarray] = []
    for path in paths:
        try:
            with Image.open(path) as picture:
                if rows and picture.size[::-1] != rows[0].shape:
                    raise ValueError(
                        f"pictures should be of one size but {paths[0].name} has {_size(rows[0])} pixels and "
                        f"{path.name} {picture.size[0]}x{picture.size[1]}: make them alike"
                    )
                rows.append(_grey(path, picture))
        except (UnidentifiedImageError, OSError, SyntaxError, Image.DecompressionBombError) as error:
            raise ValueError(f"{path} should be a picture but cannot be read: {error}") from None
    classes = sorted({path.parent for path in paths})
    own = len(classes) > 1 and folder not in classes
    labels = np.array([classes.index(path.parent) for path in paths]) if own else None
    return images_of(np.stack(rows), labels, folder.resolve().name, test)


def images_of(x: np.ndarray, labels: np.ndarray | pd.Series | None, name: str, test: float) -> Images:
    """Return an array of pictures, (n, height, width) or (n, height, width, 3), as grey levels in [0, 1].

    Whole numbers are levels: 0 and 1 black and white, up to 32 so many, beyond those of 0 to 255. Other
    numbers lie in [0, 1] and are rounded to 256 levels. Labels that are not there are −1.
    """
    if x.ndim == 4 and x.shape[-1] in (1, 3):
        x = x[..., 0] if x.shape[-1] == 1 else x @ GREY if x.dtype.kind == "f" else np.round(x @ GREY)
    if x.ndim != 3 or len(x) < 4:
        raise ValueError(
            f"pictures should have shape (n, height, width), n at least 4, but {name!r} has {x.shape}"
        )
    low, high = float(x.min()), float(x.max())
    whole = x.dtype.kind in "biu" or (high > 1 and bool((x == np.round(x)).all()))
    if not (low >= 0 and high <= (255 if whole else 1) and low < high):
        raise ValueError(
            f"pictures should hold whole numbers from 0 to 255 or numbers from 0 to 1, not all the same, but "
            f"{name!r} holds {low:g} to {high:g}"
        )
    top = (high if high <= FEW_LEVELS else 255) if whole else 255
    steps = x.reshape(len(x), -1) * (1.0 if whole else 255)
    grey = torch.from_numpy(np.round(steps) / top).to(torch.get_default_dtype())
    levels = 2 if bool(((grey == 0) | (grey == 1)).all()) else int(top) + 1
    kinds = torch.full((len(x),), -1) if labels is None else _classes(labels)
    train, test_rows = map(torch.from_numpy, shuffled(len(x), test))
    parts = (grey[train], grey[test_rows], kinds[train], kinds[test_rows])
    return Images(*parts, (x.shape[1], x.shape[2]), levels, name, "1")


def _classes(labels: np.ndarray | pd.Series) -> Tensor:
    import pandas as pd

    return torch.from_numpy(pd.factorize(labels, sort=True)[0].astype(np.int64))  # −1 where it is missing


def _hidden(path: Path) -> bool:
    """Whether a file or a folder above it is one of the system's own, as ._1.png of macOS."""
    return any(part.startswith(".") for part in path.parts)


def _grey(path: Path, picture: Image.Image) -> np.ndarray:
    """Return a picture as grey levels, 0 to 255."""
    if picture.mode.startswith("I;16"):  # which Pillow itself would cut off at 255
        return np.round(np.asarray(picture) / 257).astype(np.uint8)
    if picture.mode in ("I", "F"):
        raise ValueError(f"{path} should be a picture of 8 or 16 bits but has 32: save it with 8")
    return np.asarray(picture.convert("L"))


def _size(picture: np.ndarray) -> str:
    return f"{picture.shape[1]}x{picture.shape[0]}"
