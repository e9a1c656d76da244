"""The outcome of a comparison: numbers, table, and the folder that holds all of it."""

from __future__ import annotations

import io
import json
import math
import re
import shutil
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor

from probgen.compare.methods import Fitted
from probgen.compare.metrics import COLUMNS
from probgen.compare.protocol import plain
from probgen.compare.report import page
from probgen.compare.table import text_table

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Comparison:
    """What :func:`compare` found.

    Attributes:
        frame: tidy, one row per value: method, metric, repeat, value.
        baselines: the rows that are no method, the floor last.
        draws: method -> its draws in the first repeat.
        fitted: method -> its :class:`Fitted` of the first repeat.
        protocol: what was done, with which seeds and versions.
    """

    frame: pd.DataFrame
    baselines: list[str]
    draws: dict[str, Tensor]
    fitted: dict[str, Fitted]
    protocol: dict[str, Any]

    def summary(self) -> pd.DataFrame:
        """Return, by method and metric, the mean over repeats and the half-width of its 95 % t-interval.

        The columns are pairs (metric, "mean" or "half_width"). A half-width is missing with one repeat and
        where a value is infinite.
        """
        from scipy import stats

        groups = self.frame.groupby(["method", "metric"], sort=False)["value"]
        wide = groups.agg(mean="mean", spread=_spread, repeats="count")
        quantile = stats.t.ppf(0.975, (wide["repeats"] - 1).where(wide["repeats"] > 1))
        wide["half_width"] = quantile * wide["spread"] / wide["repeats"] ** 0.5
        table = wide[["mean", "half_width"]].unstack("metric").swaplevel(axis=1)
        metrics = [column for column in COLUMNS if column in set(self.frame["metric"])]
        order = [(metric, part) for metric in metrics for part in ("mean", "half_width")]
        return table.reindex(index=[*self.protocol["methods"], *self.baselines], columns=order)

    def table(self) -> str:
        """Return the summary as text, as wide as the terminal but at most 160 columns."""
        width = min(160, max(80, shutil.get_terminal_size((160, 24)).columns))
        return text_table(self.summary(), self.baselines, width)

    def __str__(self) -> str:
        return self.table()

    def plot(self) -> Figure:
        """Draw every metric but the standard errors, repeats and intervals, against the floor."""
        from probgen import plots

        shown = [name for name in COLUMNS if name in set(self.frame["metric"])]
        shown = [name for name in shown if not name.endswith("_stderr")] or shown
        frame = self.frame[self.frame["metric"].isin(shown)]
        frame = frame.sort_values("metric", key=lambda names: names.map(shown.index), kind="stable")
        ideal = {COLUMNS[name].label: best for name in shown if isinstance(best := COLUMNS[name].best, float)}
        labels = {name: COLUMNS[name].label for name in shown}
        return plots.intervals(frame.replace({"metric": labels}), floor=self.baselines[-1], ideal=ideal)

    def save(
        self,
        out: str | Path,
        *,
        figures: Mapping[str, Figure] | None = None,
        captions: Mapping[str, str] | None = None,
    ) -> Path:
        """Write metrics.csv, protocol.json, report.html and every figure as NAME.png to a new folder.

        The figure of the metrics comes first, as ``metrics``, unless one is given by that name. The folder
        appears whole or not at all.

        Args:
            out: a folder that does not exist, or is empty.
            figures: name -> figure, in the order of the report.
            captions: name -> one line below the figure in the report.

        Raises:
            ValueError: ``out`` is there and not empty, or a figure's name is no plain word.
        """
        out = Path(out)
        if out.exists() and not (out.is_dir() and not any(out.iterdir())):
            raise ValueError(f"out should be a new or empty folder but {str(out)!r} holds something already")
        drawn = dict(figures or {})
        if "metrics" not in drawn:
            drawn = {"metrics": self.plot(), **drawn}
        for name in drawn:
            if not re.fullmatch(r"[\w-]+", name):
                raise ValueError(f"a figure's name should be letters, digits, - and _ but got {name!r}")
        images = {name: _png(figure) for name, figure in drawn.items()}
        html = page(self, images, {"metrics": _METRICS_CAPTION, **(captions or {})})
        part = out.with_name(f".{out.name}.{uuid.uuid4().hex}.part")
        part.mkdir(parents=True)
        try:
            self.frame.to_csv(part / "metrics.csv", index=False)
            record = json.dumps(plain(self.protocol), indent=2, ensure_ascii=False, allow_nan=False)
            (part / "protocol.json").write_text(record + "\n", encoding="utf-8")
            (part / "report.html").write_text(html, encoding="utf-8")
            for name, image in images.items():
                (part / f"{name}.png").write_bytes(image)
            if out.exists():
                out.rmdir()
            part.replace(out)
        except BaseException:
            shutil.rmtree(part, ignore_errors=True)
            raise
        return out


_METRICS_CAPTION = (
    "Every metric: one dot per repeat, the mean with its 95 % interval, the floor of real data against real "
    "data as a grey band, and the ideal value, where there is one, as a dotted line."
)


def _spread(values: pd.Series[float]) -> float:
    if not all(math.isfinite(value) for value in values):
        return math.nan
    if len(values) > 1 and values.nunique() == 1:
        return 0.0  # not the rounding error of their mean
    return float(values.std())


def _png(figure: Figure) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=150)
    return buffer.getvalue()
