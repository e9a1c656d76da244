"""What a table of questions is: which methods are asked, on which data, and what."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from probgen.compare.questions import Question


class Table(NamedTuple):
    """A comparison whose rows are questions and whose columns are methods.

    Attributes:
        name: on the command line.
        title: of the report.
        kind: of the data that it is made on.
        data: the data set that is taken where none is named.
        methods: by name, as ``probgen compare`` knows them.
        metrics: what is measured.
        questions: the rows.
    """

    name: str
    title: str
    kind: str
    data: str
    methods: Sequence[str]
    metrics: Sequence[str]
    questions: Sequence[Question]
