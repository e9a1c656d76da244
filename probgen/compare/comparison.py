"""The outcome of a comparison: numbers, table, and the folder that holds all of it."""

from __future__ import annotations

import json
import math
import re
import shutil
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor

from probgen.compare.best import not_told_apart_from_the_best
from probgen.compare.columns import over_repeats
from probgen.compare.html_page import png
from probgen.compare.methods import Fitted
from probgen.compare.metrics import COLUMNS
from probgen.compare.protocol import plain
from probgen.compare.questions import Question, answers, text
from probgen.compare.report import page
from probgen.compare.table import text_table
from probgen.core.intervals import Interval

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

    from probgen.plots import Page


@dataclass(frozen=True)
class Comparison:
    """What :func:`compare` found.

    Attributes:
        frame: tidy, one row per value: method, metric, repeat, value, and what the method's own diagnosis
            found wrong in that repeat.
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
        """Return, by method and metric, the mean over repeats and its 95 % interval.

        The columns are pairs (metric, "mean", "low" or "high"). Intervals are t-intervals that keep to the
        bounds of what is measured (:func:`mean_interval`); they are missing with one repeat and where a value
        is infinite. Of p-values the "mean" is that of :func:`combined_p_value`, without an interval.
        """
        import pandas as pd

        rows = [*self.protocol["methods"], *self.baselines]
        metrics = [column for column in COLUMNS if column in set(self.frame["metric"])]
        found = {key: own["value"].tolist() for key, own in self.frame.groupby(["method", "metric"])}
        table = {
            (metric, part): [
                getattr(over_repeats(COLUMNS[metric], found.get((row, metric), [])), part) for row in rows
            ]
            for metric in metrics
            for part in Interval._fields
        }
        return pd.DataFrame(table, index=pd.Index(rows, name="method"))

    def findings(self) -> dict[str, str]:
        """Return what the methods' own diagnoses found wrong, in words, of those where they did."""
        told = {}
        for name, repeats in self.protocol["findings"].items():
            wrong = [own for own in repeats if own]
            if wrong:
                told[name] = f"in {len(wrong)} of {len(repeats)} repeats. {' '.join(wrong[0])}"
        return told

    def best(self, metric: str) -> set[str]:
        """Return the methods that are not told apart from the best by a metric, over the repeats.

        Methods of which :meth:`findings` speaks are no candidates; see :func:`not_told_apart_from_the_best`.
        """
        goal = COLUMNS[metric].best
        if goal is None:
            return set()
        own = self.frame[self.frame["metric"] == metric].groupby("method", sort=False)["value"]
        values = {str(name): group.tolist() for name, group in own}
        if goal == "floor":
            floor = values.get(self.baselines[-1])
            if floor is None:
                return set()
            target = sum(floor) / len(floor)
        else:
            target = {"lower": -math.inf, "higher": math.inf}[goal] if isinstance(goal, str) else goal
        sound = {
            name: values[name]
            for name in self.protocol["methods"]
            if name in values and name not in self.findings()
        }
        if goal == "lower" and COLUMNS[metric].bounds[0] == 0 and all(min(own) > 0 for own in sound.values()):
            sound = {name: [math.log(value) for value in own] for name, own in sound.items()}  # seconds
        return not_told_apart_from_the_best(sound, target=target)

    def table(self) -> str:
        """Return the summary as text, as wide as the terminal but at most 160 columns."""
        return text_table(self, _width())

    def answers(self, questions: Sequence[Question]) -> str:
        """Return a table with a row for each question and a column for each method, as wide as that."""
        return text(self, questions, _width())

    def __str__(self) -> str:
        return self.table()

    def __repr__(self) -> str:
        metrics, repeats = self.frame["metric"].nunique(), self.protocol["repeats"]
        counts = f"{metrics} metrics, {repeats} repeats"
        return f"Comparison({', '.join(self.protocol['methods'])}; {counts}; print it for the table)"

    def plot(self) -> Figure:
        """Draw every metric but the standard errors, repeats and intervals, against the floor."""
        from probgen import plots

        shown = [name for name in COLUMNS if name in set(self.frame["metric"])]
        shown = [name for name in shown if not name.endswith("_stderr")] or shown
        frame = self.frame[self.frame["metric"].isin(shown)]
        frame = frame.sort_values("metric", key=lambda names: names.map(shown.index), kind="stable")
        labels = {name: COLUMNS[name].label for name in shown}
        summary = self.summary()[shown].rename(columns=labels, level=0)
        return plots.intervals(
            frame.replace({"metric": labels}),
            floor=self.baselines[-1],
            ideal={labels[name]: best for name in shown if isinstance(best := COLUMNS[name].best, float)},
            summary=summary,
            logarithmic=[labels[name] for name in shown if COLUMNS[name].axis == "log"],
            marked=self.findings(),
        )

    def save(
        self,
        out: str | Path,
        *,
        figures: Mapping[str, Figure] | None = None,
        captions: Mapping[str, str] | None = None,
        questions: Sequence[Question] = (),
        pages: Mapping[str, Page] | None = None,
    ) -> Path:
        """Write metrics.csv, protocol.json, report.html and every figure as NAME.png to a new folder.

        The figure of the metrics comes first, as ``metrics``, unless one is given by that name. Pages to play
        with are in the report and, each alone, in NAME.html. The folder appears whole or not at all. Where
        there are questions, the report begins with their answers, which are in answers.csv too.

        Args:
            out: a folder that does not exist, or is empty.
            figures: name -> figure, in the order of the report.
            captions: name -> one line below the figure in the report.
            questions: rows of the table at the head of the report.
            pages: name -> page, as :func:`probgen.plots.explorer` makes one.

        Raises:
            ValueError: ``out`` is there and not empty, or a figure's name is no plain word.
        """
        import pandas as pd

        out = Path(out)
        if out.exists() and not (out.is_dir() and not any(out.iterdir())):
            raise ValueError(f"out should be a new or empty folder but {str(out)!r} holds something already")
        drawn = dict(figures or {})
        if "metrics" not in drawn:
            drawn = {"metrics": self.plot(), **drawn}
        played = dict(pages or {})
        if "report" in played:
            raise ValueError("a page should have another name than 'report', which is the report's own")
        for name in (*drawn, *played):
            if not re.fullmatch(r"[\w-]+", name):
                raise ValueError(f"a figure's name should be letters, digits, - and _ but got {name!r}")
        images = {name: png(figure) for name, figure in drawn.items()}
        html = page(self, images, {"metrics": _METRICS_CAPTION, **(captions or {})}, questions, played)
        part = out.with_name(f".{out.name}.{uuid.uuid4().hex}.part")
        part.mkdir(parents=True)
        try:
            self.frame.to_csv(part / "metrics.csv", index=False)
            record = json.dumps(plain(self.protocol), indent=2, ensure_ascii=False, allow_nan=False)
            (part / "protocol.json").write_text(record + "\n", encoding="utf-8")
            if questions:
                found = pd.DataFrame(answers(self, questions)).T.rename_axis("question")
                found.to_csv(part / "answers.csv")
            (part / "report.html").write_text(html, encoding="utf-8")
            for name, own in played.items():
                own.save(part / f"{name}.html")
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
    "Every metric: one dot per repeat, the mean with its 95 % interval (of p-values the combined one), the "
    "floor of real data against real data as a grey band, and the ideal value, where there is one, as a "
    "dotted line. Methods whose own diagnosis found something wrong are red."
)


def _width() -> int:
    return min(160, max(80, shutil.get_terminal_size((160, 24)).columns))
