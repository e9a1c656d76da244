"""The terms of a training since its last report, kept by name, whatever their order and number."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from probgen.core import Terms
from probgen.training.processes import Processes

OWN = ("loss", "gradient_norm")
"""What a training reports itself, beside the terms of the objective."""


DENOMINATOR = "/denominator"
"""What the denominator of a ratio is called behind the term's name."""


class Entry(NamedTuple):
    """The means of some terms over so many rows of a step."""

    step: int
    names: tuple[str, ...]
    values: Tensor
    rows: float


class Table(NamedTuple):
    """Sums over the rows of each step, and how many rows have each term, over all processes."""

    names: list[str]
    first: int  # the step of the first line
    sums: Tensor  # [step, name]
    rows: Tensor  # [step, name]

    def means(self) -> dict[str, float]:
        """Return the mean of each term over the rows of the steps that have it, or the ratio of two means."""
        means = dict(zip(self.names, self.sums.sum(0) / self.rows.sum(0), strict=True))
        for name in [name for name in means if name.endswith(DENOMINATOR)]:
            means[name.removesuffix(DENOMINATOR)] /= means.pop(name)
        return {name: float(mean) for name, mean in means.items()}

    def not_finite(self) -> tuple[int, dict[str, float]] | None:
        """Return the first step with a term that is not finite, and the terms of that step; None without."""
        bad = ~self.sums.isfinite().all(1)
        if not bad.any():
            return None
        line = int(bad.nonzero()[0])
        pairs = zip(self.names, self.sums[line].tolist(), self.rows[line].tolist(), strict=True)
        return self.first + line, {name: total / rows for name, total, rows in pairs if rows}


class Tally:
    """Terms as they come, step by step, until a report takes their means.

    A term belongs to its name. Its mean is over the rows of those steps, and parts of steps, that have it.
    """

    def __init__(self) -> None:
        self._entries: list[Entry] = []
        self._before: Table | None = None  # what a resumed run had
        self._start = 0  # the step after which it counts

    def add(self, step: int, names: tuple[str, ...], values: Tensor, rows: int) -> None:
        """Add the means of some terms over ``rows`` of a step."""
        for place in range(len(self._entries) - 1, -1, -1):
            entry = self._entries[place]
            if entry.step != step:
                break
            if entry.names == names:  # another part of the batch
                total = entry.rows + rows
                mean = (entry.values * entry.rows + values * rows) / total
                self._entries[place] = Entry(step, names, mean, total)
                return
        self._entries.append(Entry(step, names, values, float(rows)))

    def table(self, step: int, processes: Processes, device: torch.device) -> Table:
        """Return what all processes have added up to ``step``."""
        own = {name: None for entry in self._entries for name in entry.names}
        before = {} if self._before is None else dict.fromkeys(self._before.names)
        names = list(dict.fromkeys(name for seen in processes.gather([*before, *own]) for name in seen))
        column = {name: i for i, name in enumerate(names)}
        both = torch.zeros(2, step - self._start, len(names), dtype=torch.float64)
        sums, rows = both
        if self._before is not None:
            at = torch.tensor([column[name] for name in before], dtype=torch.long)
            sums[: len(self._before.sums), at] = self._before.sums
            rows[: len(self._before.rows), at] = self._before.rows
        # One transfer from the device for each set of names; each has a step once.
        groups: dict[tuple[str, ...], list[Entry]] = defaultdict(list)
        for entry in self._entries:
            groups[entry.names].append(entry)
        for named, entries in groups.items():
            lines = torch.tensor([entry.step - self._start - 1 for entry in entries])[:, None]
            at = torch.tensor([column[name] for name in named])
            sizes = torch.tensor([entry.rows for entry in entries], dtype=torch.float64)[:, None]
            sums[lines, at] += torch.stack([entry.values for entry in entries]).cpu().double() * sizes
            rows[lines, at] += sizes
        if processes.world > 1:
            sums, rows = processes.sum(both.to(device)).cpu()
        return Table(names, self._start + 1, sums, rows)

    def restart(self, step: int, before: Sequence[Any] | None = None) -> None:
        """Count afresh after ``step``, or go on from the table of a run that is resumed."""
        self._entries, self._start = [], step
        self._before = None if before is None else Table(*before)


def named(loss: Tensor, terms: Terms) -> tuple[tuple[str, ...], Tensor]:
    """Return the names and the values of a loss and its terms, of ratios the numerators and denominators.

    Raises:
        ValueError: for a term that is called as what a training reports itself.
    """
    if not terms.keys().isdisjoint(OWN):
        taken = next(name for name in OWN if name in terms)
        raise ValueError(f"a term should not be called {taken!r}, which fit reports itself: rename it")
    ratios = [name for name, value in terms.items() if value.dim()]
    values = [value[0] if value.dim() else value for value in terms.values()]
    names = ("loss", *terms, *(name + DENOMINATOR for name in ratios))
    return names, torch.stack([loss, *values, *(terms[name][1] for name in ratios)])
