"""What an application is given: data, seeds, and a folder that keeps all that it measures and shows."""

from __future__ import annotations

import json
import math
import re
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import torch
from tqdm import tqdm

from probgen import recipes
from probgen.applications.frame.registry import Application
from probgen.compare.html_page import png
from probgen.compare.protocol import plain
from probgen.compare.trial import naming, seeds_of
from probgen.core import Objective, seeded
from probgen.recipes import Recipe, Task
from probgen.training import History, fit

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

Size = Literal["full", "quick", "tiny"]
Choice = TypeVar("Choice")

COLUMNS = ("method", "metric", "repeat", "value")
METRICS, PROTOCOL = "metrics.csv", "protocol.json"


class Study:
    """One run of an application, in a folder; run again there, it goes on with what it has not measured yet.

    Args:
        application: what is run.
        folder: where everything is written.
        about: what the study is, which a folder that holds one has to agree with: its ``size``, "full",
            "quick" (at most a minute of one core) or "tiny" (for tests), and the ``seed`` of everything
            random among it.
        source: the data: the path of the user's own, or the name of a shipped data set.
        device: where models and data lie.
        progress: show what is measured, and a bar for each training.

    Raises:
        ValueError: where the folder holds another study.
    """

    def __init__(
        self,
        application: Application,
        folder: Path,
        about: Mapping[str, Any],
        *,
        source: str | Path,
        device: torch.device | str = "cpu",
        progress: bool = True,
    ) -> None:
        self.application, self.folder, self.source = application, folder, source
        self.size: Size = about["size"]
        self.seed: int = about["seed"]
        self.device, self.progress = torch.device(device), progress
        self.methods: dict[str, str] = {}
        self.baselines: set[str] = set()
        self.floor: str | None = None
        self.figures: dict[str, str] = {}
        self.tables: dict[str, tuple[pd.DataFrame, str]] = {}
        self.outputs: dict[str, str] = {}
        self.said: list[str] = []
        self.facts: dict[str, str] = {}
        self._started = time.perf_counter()
        self._kept = _Kept(folder, about)

    @property
    def rows(self) -> list[tuple[str, str, int, float]]:
        """What is measured: method, measure, repeat and value."""
        return self._kept.rows

    @property
    def findings(self) -> Mapping[str, list[str]]:
        """What the trainings of methods were found to have gone wrong in, in words."""
        return self._kept.findings

    def pick(self, *, full: Choice, quick: Choice, tiny: Choice) -> Choice:
        """Return what suits the size of the study."""
        return {"full": full, "quick": quick, "tiny": tiny}[self.size]

    def seed_of(self, method: str, repeat: int) -> int:
        """Return the seed of a method in a repeat, which depends on no other method."""
        return seeds_of(self.seed, repeat, method)["fit"]

    def ours(self, name: str, about: str) -> None:
        """Name a method of ours; ``about`` is a sentence for the report."""
        self.methods[name] = about

    def baseline(self, name: str, about: str, *, floor: bool = False) -> None:
        """Name a method that ours are held against; the ``floor`` is real data judged as if it were drawn."""
        self.methods[name] = about
        self.baselines.add(name)
        if floor:
            self.floor = name

    def measure(self, method: str, repeat: int, function: Callable[[], Mapping[str, float]]) -> None:
        """Keep what a function measures of a method in a repeat; what is kept already is not measured again.

        Raises ValueError for a method or measure that is not named, for NaN, and where nothing is measured.
        """
        if method not in self.methods:
            raise ValueError(f"method {method!r} should be named by ours or baseline before it is measured")
        if any((name, number) == (method, repeat) for name, _, number, _ in self.rows):
            return
        start = time.perf_counter()
        with naming(method), seeded(self.seed_of(method, repeat)):
            values = {name: float(value) for name, value in function().items()}
        unknown = values.keys() - self.application.measures.keys()
        if unknown or not values:
            raise ValueError(
                f"method {method!r} should have measures of {', '.join(self.application.measures)} but has "
                f"{', '.join(sorted(unknown)) or 'none'}"
            )
        for name, value in values.items():
            if math.isnan(value):
                raise ValueError(f"{name!r} of method {method!r} should be a number but is NaN")
        self._kept.add([(method, name, repeat, value) for name, value in values.items()])
        if self.progress:
            first = next(name for name in self.application.measures if name in values)
            label = self.application.measures[first].label
            seconds = time.perf_counter() - start
            tqdm.write(f"{method}, repeat {repeat + 1}: {label} {values[first]:.4g} ({seconds:.0f} s)")

    def train(
        self,
        name: str,
        make: Callable[[], Recipe],
        task: Task,
        *,
        seed: int,
        steps: int | None = None,
        method: str | None = None,
    ) -> tuple[Recipe, list[History]]:
        """Return a recipe, trained in the run folder of that name, where one that ended is not repeated.

        With it come the histories of its stages. A training that collapsed is a finding of the ``method``,
        where it is named.
        """
        with seeded(seed):
            recipe = make()
        histories = recipes.train(
            recipe, task, seed=seed, folder=self._run(name), resume=True, steps=steps, progress=self.progress
        )
        self._look(histories[-1], method)
        recipe.model.eval()
        return recipe, histories

    def fit(
        self,
        name: str,
        objective: Objective,
        data: Any,
        *,
        seed: int,
        method: str | None = None,
        **options: Any,
    ) -> History:
        """Minimise an objective as :func:`probgen.fit` does, in the run folder of that name."""
        history = fit(
            objective,
            data,
            seed=seed,
            checkpoint=self._run(name),
            resume=True,
            progress=self.progress,
            **options,
        )
        self._look(history, method)
        return history

    def figure(self, name: str, figure: Figure, caption: str) -> None:
        """Write a figure, NAME.png, and show it in the report with a caption."""
        self._write(f"{_word(name)}.png", png(figure))
        self.figures[name] = caption

    def table(self, name: str, frame: pd.DataFrame, caption: str) -> None:
        """Write a table, NAME.csv, and show it in the report with a caption."""
        self._write(f"{_word(name)}.csv", frame.to_csv(index=False).encode())
        self.tables[name] = (frame, caption)

    def output(self, name: str, content: bytes, about: str) -> None:
        """Write another file, such as a sound, and name it in the report."""
        self._write(name, content)
        self.outputs[name] = about

    def find(self, method: str, sentences: Sequence[str]) -> None:
        """Keep what was found wrong with a method, which marks it and takes it out of the contest."""
        if sentences:
            self._kept.find(method, sentences)

    def say(self, sentence: str) -> None:
        """Put a sentence at the head of the report, below those on who wins."""
        self.said.append(sentence)

    def fact(self, name: str, text: object) -> None:
        """Put a fact into the protocol: of the data, the split, what was chosen and by what."""
        self.facts[name] = str(text)

    def seconds(self) -> float:
        """Return the wall seconds of this process at the study."""
        return time.perf_counter() - self._started

    def _run(self, name: str) -> Path:
        return self.folder / "runs" / _word(name)

    def _look(self, history: History, method: str | None) -> None:
        if history.ended == "interrupted":
            raise KeyboardInterrupt
        if method is not None and history.collapsed():
            self.find(method, history.diagnose())

    def _write(self, name: str, content: bytes) -> None:
        path = self.folder / name
        part = path.with_name(f".{path.name}.part")
        part.write_bytes(content)
        part.replace(path)


class _Kept:
    """What a study has measured and found so far, on the disk."""

    def __init__(self, folder: Path, about: Mapping[str, Any]) -> None:
        import pandas as pd

        self._folder, self._about = folder, dict(about)
        self.rows: list[tuple[str, str, int, float]] = []
        self.findings: dict[str, list[str]] = {}
        path = folder / PROTOCOL
        if path.exists():
            try:
                record = json.loads(path.read_text(encoding="utf-8"))
                before, self.findings = record["study"], record["findings"]
            except (ValueError, KeyError, TypeError) as error:
                raise ValueError(f"{path} is damaged: move {folder} away, or choose another --out") from error
            for key, value in self._about.items():
                if before.get(key) != value:
                    raise ValueError(
                        f"{folder} holds a study whose {key} is {before.get(key)!r}, not {value!r}: choose "
                        "another --out"
                    )
        if (folder / METRICS).exists():
            frame = pd.read_csv(
                folder / METRICS, dtype=str, keep_default_na=False
            )  # float() rounds as repr()
            self.rows = [
                (str(method), str(metric), int(repeat), float(value))
                for method, metric, repeat, value in frame[list(COLUMNS)].itertuples(index=False)
            ]
        self._save()

    def add(self, rows: list[tuple[str, str, int, float]]) -> None:
        self.rows += rows
        self._save()

    def find(self, method: str, sentences: Sequence[str]) -> None:
        self.findings[method] = list(dict.fromkeys([*self.findings.get(method, []), *sentences]))
        self._save()

    def _save(self) -> None:
        import pandas as pd

        record = {"study": self._about, "findings": self.findings}
        contents = {
            METRICS: pd.DataFrame(self.rows, columns=list(COLUMNS)).to_csv(index=False),
            PROTOCOL: json.dumps(plain(record), indent=2, ensure_ascii=False) + "\n",
        }
        for name, content in contents.items():
            part = self._folder / f".{name}.part"
            part.write_text(content, encoding="utf-8")
            part.replace(self._folder / name)


def _word(name: str) -> str:
    if not re.fullmatch(r"[\w. -]+", name):
        raise ValueError(f"a file's name should be letters, digits, ., -, _ and blanks but is {name!r}")
    return name.replace(" ", "-")
