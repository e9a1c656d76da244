"""An application run from its data to its report."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from probgen.applications.frame.page import page
from probgen.applications.frame.registry import Application, called
from probgen.applications.frame.study import COLUMNS, PROTOCOL, Size, Study
from probgen.compare.columns import over_repeats
from probgen.compare.protocol import environment, plain
from probgen.core.intervals import Interval
from probgen.data import digest_of
from probgen.recipes import short_name
from probgen.training.lock import locked, writable

if TYPE_CHECKING:
    import pandas as pd

SHOWN = 8
"""Most measures in the figure of the metrics: the first ones."""


def apply(
    name: str,
    *,
    data: str | Path | None = None,
    out: str | Path | None = None,
    size: Size = "full",
    seed: int = 0,
    device: torch.device | str = "cpu",
    progress: bool = True,
) -> Path:
    """Run an application and return the folder of report.html, metrics.csv, protocol.json and figures.

    Run again with the same arguments it goes on where it was interrupted: what is measured is kept, and a
    training goes on from its last checkpoint.

    Args:
        name: of the application; :func:`applications` has them all.
        data: the path of data of the user's own, of the form that the application says, or the name of a
            data set that is shipped for it; the first of these if not given.
        out: the folder, results/NAME if not given.
        size: "full", "quick" (at most a minute of one core) or "tiny" (for tests).
        seed: of everything random.
        device: where models and data lie.
        progress: show what is measured.

    Raises:
        ValueError: for a name that is not known, a file that does not suit, an extra that is missing, and a
            folder that holds another study.
    """

    application = called(name)
    name_of_data = application.shipped[0] if data is None else str(data)
    path = None if name_of_data in application.shipped else Path(name_of_data)
    if path is not None and not path.exists():
        known = ", ".join(application.shipped)
        raise ValueError(f"there is no file or folder {str(path)!r}, and shipped are {known}")
    folder = _folder(application, name_of_data, out)
    about = {
        "application": name,
        "data": name_of_data if path is None else str(path.resolve()),
        "SHA-256": None if path is None else digest_of(path),
        "size": size,
        "seed": seed,
    }
    with writable(folder):
        folder.mkdir(parents=True, exist_ok=True)
    if not (folder / PROTOCOL).exists() and any(not own.name.startswith(".") for own in folder.iterdir()):
        raise ValueError(f"--out should be a new or empty folder, or a study's, but {folder} has other files")
    with locked(folder):
        study = Study(
            application, folder, about, source=path or name_of_data, device=device, progress=progress
        )
        application.run(study)
        _write(study, about)
    return folder


def _folder(application: Application, name: str, out: str | Path | None) -> Path:
    if out is not None:
        return Path(out)
    own = "" if name == application.shipped[0] else f"-{short_name(name)}"
    return Path("results") / f"{application.name}{own}"


def _write(study: Study, about: Mapping[str, Any]) -> None:
    import pandas as pd

    frame = pd.DataFrame(study.rows, columns=list(COLUMNS))
    frame = frame[frame["method"].isin(study.methods)]
    study.figures = {"metrics": _CAPTION, **study.figures}
    study.figure("metrics", _metrics(study, frame), _CAPTION)
    machine = environment(study.device)
    record = {
        **about,
        **study.facts,
        "repeats": int(frame["repeat"].nunique()),
        "written": datetime.now(UTC).isoformat(timespec="seconds"),
        "last run": f"{study.seconds():.0f} s",
        **{key: value for key, value in machine.items() if key != "versions"},
        "versions": ", ".join(f"{key} {value}" for key, value in machine["versions"].items()),
    }
    own = {
        "study": dict(about),
        "findings": study.findings,
        "methods": study.methods,
        "baselines": [name for name in study.methods if name in study.baselines],
        "floor": study.floor,
        "said": study.said,
        "facts": record,
    }
    contents = {
        PROTOCOL: json.dumps(plain(own), indent=2, ensure_ascii=False, allow_nan=False) + "\n",
        "report.html": page(study, frame, record),
    }
    for name, content in contents.items():
        part = study.folder / f".{name}.part"
        part.write_text(content, encoding="utf-8")
        part.replace(study.folder / name)


def _metrics(study: Study, frame: pd.DataFrame) -> Any:
    """Draw the first measures, repeat by repeat, with their intervals."""
    import pandas as pd

    from probgen import plots

    measures = {k: c for k, c in study.application.measures.items() if k in set(frame["metric"])}
    shown = dict(list(measures.items())[:SHOWN])
    own = frame[frame["metric"].isin(shown)].sort_values(
        "metric", key=lambda names: names.map(list(shown).index), kind="stable"
    )
    values = {key: part["value"].tolist() for key, part in own.groupby(["method", "metric"])}
    summary = pd.DataFrame(
        {
            (column.label, part): [
                getattr(over_repeats(column, values.get((method, name), [])), part)
                for method in study.methods
            ]
            for name, column in shown.items()
            for part in Interval._fields
        },
        index=list(study.methods),
    )
    return plots.intervals(
        own.replace({"metric": {name: column.label for name, column in shown.items()}}),
        floor=study.floor,
        ideal={c.label: c.best for c in shown.values() if isinstance(c.best, float)},
        summary=summary,
        logarithmic=[column.label for column in shown.values() if column.axis == "log"],
        marked=study.findings,
    )


_CAPTION = "A dot for each repeat, the mean with its 95 % interval; a dotted line is the best value."
