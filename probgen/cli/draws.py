"""Draws of a task's data: the files they are written to, and pictures of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from probgen import data
from probgen.recipes import Rows, Task

SUFFIXES = {
    "table": (".csv", ".npy"),
    "music": (".npz", ".mid"),
    "text": (".txt", ".npy"),
    "molecules": (".smi", ".npy"),
}
"""What draws of a kind of data may be written as, the first where nothing is said; of others ``.npy``."""


def suffixes(task: Task) -> tuple[str, ...]:
    """Return the endings of files that draws of a task may be written to."""
    return SUFFIXES.get(task.kind, (".npy",))


def write(task: Task, draws: Rows, path: Path) -> None:
    """Write draws: rows of a table in its columns and units, sequences with their lengths, texts as such.

    Molecules are SMILES, a line each; a draw that is no molecule is an empty line.
    """
    if path.suffix == ".csv":
        assert task.table is not None
        task.table.frame(task.to_codes(draws.x)).to_csv(path, index=False)
    elif path.suffix == ".txt":
        path.write_text("".join(f"{line}\n" for line in task.symbols.decode(draws.x)), encoding="utf-8")
    elif path.suffix == ".smi":
        path.write_text("".join(f"{line or ''}\n" for line in task.bonds.decode(draws.x)), encoding="utf-8")
    elif path.suffix == ".mid":
        data.write_midi(path, draws.sequences())
    elif path.suffix == ".npz":
        assert draws.lengths is not None
        np.savez_compressed(path, x=_array(draws.x), lengths=_array(draws.lengths))
    else:
        np.save(path, _array(draws.x))


def picture(task: Task, draws: Rows) -> Any:
    """Return draws beside real data, where these can be shown."""
    from probgen import plots

    x = draws.x.cpu()
    if task.image_shape is not None:
        return plots.image_grid({"real": task.test.x.cpu(), "model": x}, image_shape=task.image_shape)
    if task.table is not None:
        real, drawn = (task.table.frame(task.to_codes(rows)) for rows in (task.test.x.cpu(), x))
        return plots.table_columns({"real, held out": real, "model": drawn})
    if task.kind == "plane":
        return plots.scatter({"exact draws": task.test.x[:2000].cpu(), "model": x})
    if task.kind == "video":
        films = {f"real {k + 1}": film for k, film in enumerate(task.test.x[:3].cpu())}
        films |= {f"model {k + 1}": film for k, film in enumerate(x[:5])}
        return plots.frames(films, every=2)
    if task.kind == "music":
        return plots.piano_rolls({"real, held out": task.test.sequences(), "model": draws.sequences()})
    return None


def _array(x: Tensor) -> np.ndarray:
    return x.cpu().numpy()
