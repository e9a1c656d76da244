"""A comparison as answers to questions: a row a question in words, a column a method, a cell a number."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Sequence
from functools import partial
from statistics import stdev
from typing import TYPE_CHECKING, NamedTuple

from probgen.compare.metrics import COLUMNS
from probgen.compare.table import BEST, MARK, NOTHING, cells, footnotes, ideal, number

if TYPE_CHECKING:
    from probgen.compare.comparison import Comparison

Answer = Callable[["Comparison", str], str | None]
"""What a comparison says of a method; None where it says nothing."""


class Question(NamedTuple):
    """A row of a table.

    Attributes:
        name: of the row.
        about: a sentence that says what the numbers mean.
        answer: from a comparison and a method's name to the cell.
        lacking: why a method has no answer.
        column: the number that the answer is made of, where there is one.
        ranked: whether the best methods are marked.
    """

    name: str
    about: str
    answer: Answer
    lacking: str = NOTHING
    column: str | None = None
    ranked: bool = False


def measured(name: str, column: str, about: str = "", lacking: str = NOTHING) -> Question:
    """A column of a metric: its mean over repeats with its interval; the metric's own sentence by default."""
    answer = partial(_mean, column=column)
    return Question(name, about or COLUMNS[column].about, answer, lacking, column, ranked=True)


def deviation(name: str, column: str, about: str, lacking: str = NOTHING) -> Question:
    """The standard deviation of a column over repeats."""
    return Question(name, about, partial(_deviation, column=column), lacking, column)


def worst(name: str, column: str, about: str, lacking: str = NOTHING) -> Question:
    """The least value of a column over repeats."""
    return Question(name, about, partial(_least, column=column), lacking, column)


def noted(name: str, note: str, about: str, lacking: str = NOTHING) -> Question:
    """A note that a method left in its first repeat."""
    return Question(name, about, partial(_note, note=note), lacking)


def sound(name: str, about: str) -> Question:
    """In how many repeats a method's own diagnosis found nothing wrong."""
    return Question(name, about, _sound)


def _mean(comparison: Comparison, method: str, *, column: str) -> str | None:
    if not _values(comparison, method, column):
        return None
    return cells(comparison.summary().loc[[method], [column]])[method][column]


def _deviation(comparison: Comparison, method: str, *, column: str) -> str | None:
    values = _values(comparison, method, column)
    return number(stdev(values), digits=2) if len(values) > 1 else None


def _least(comparison: Comparison, method: str, *, column: str) -> str | None:
    values = _values(comparison, method, column)
    return number(min(values)) if values else None


def _note(comparison: Comparison, method: str, *, note: str) -> str | None:
    found = comparison.protocol["notes"].get(method, [{}])[0].get(note)
    return found if found is None or isinstance(found, str) else number(found)


def _sound(comparison: Comparison, method: str) -> str | None:
    repeats = comparison.protocol["findings"].get(method)
    return None if repeats is None else f"{sum(not own for own in repeats)} of {len(repeats)}"


def _values(comparison: Comparison, method: str, column: str) -> list[float]:
    frame = comparison.frame
    return frame.loc[(frame["method"] == method) & (frame["metric"] == column), "value"].tolist()


def answers(comparison: Comparison, questions: Sequence[Question]) -> dict[str, dict[str, str]]:
    """Return question -> method -> cell; a method without an answer says why, a baseline nothing."""
    methods = comparison.protocol["methods"]
    return {
        question.name: {
            name: question.answer(comparison, name) or (question.lacking if name in methods else NOTHING)
            for name in [*methods, *comparison.baselines]
        }
        for question in questions
    }


def best_answers(comparison: Comparison, question: Question) -> set[str]:
    """Return the methods that are not told apart from the best at a question."""
    column = question.column
    if column is None or not question.ranked or column not in set(comparison.frame["metric"]):
        return set()
    return comparison.best(column)


def best_value(question: Question) -> str:
    """Return the best answer to a question in words."""
    return ideal(COLUMNS[question.column]) if question.ranked and question.column is not None else ""


def text(comparison: Comparison, questions: Sequence[Question], width: int) -> str:
    """Return questions and answers for a terminal, methods in as many blocks as the width takes."""
    found, marked = answers(comparison, questions), comparison.findings()
    names = [*comparison.protocol["methods"], *comparison.baselines]
    heads = {name: f"{name} {MARK}" if name in marked else name for name in names}
    rows = {
        question.name: {
            name: BEST + cell if name in best_answers(comparison, question) else cell
            for name, cell in found[question.name].items()
        }
        for question in questions
    }
    stub = max(len(name) for name in [*rows, "question"])
    wide = {name: max(len(heads[name]), *(len(row[name]) for row in rows.values())) for name in names}
    blocks: list[list[str]] = []
    room = 0
    for name in names:
        if not blocks or room < wide[name] + 2:
            blocks.append([])
            room = width - stub
        blocks[-1].append(name)
        room -= wide[name] + 2
    parts = []
    for block in blocks:
        rule = "─" * (stub + sum(wide[name] + 2 for name in block))
        head = f"{'question':<{stub}}" + "".join(f"  {heads[name]:>{wide[name]}}" for name in block)
        lines = [
            f"{question:<{stub}}" + "".join(f"  {row[name]:>{wide[name]}}" for name in block)
            for question, row in rows.items()
        ]
        parts.append("\n".join([head, rule, *lines]))
    notes = [textwrap.fill(note, width, subsequent_indent="  ") for note in footnotes(comparison)]
    return "\n\n".join([*parts, "\n".join(notes)] if notes else parts)
