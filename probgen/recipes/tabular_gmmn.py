"""A moment-matching network for tables of numbers and categories."""

from __future__ import annotations

from torch import Tensor

from probgen.models import TabularGMMN
from probgen.objectives import MomentMatching
from probgen.recipes.registry import Recipe, Stage, recipe
from probgen.recipes.task import Budget, Rows, Task, gaussian_kernel


@recipe(
    "tabular-gmmn",
    "moment matching of a table's rows, numbers by normal scores, categories one-hot",
    source="Li, Swersky and Zemel (2015); Jang, Gu and Poole (2017)",
    tasks=("table",),
    by_default=True,
)
def tabular_gmmn(task: Task) -> Recipe:
    """A GMMN on the rows as the model encodes them."""
    assert task.table is not None
    model = TabularGMMN(task.table, noise=16).to(task.device)

    def encoded(rows: Rows) -> Tensor:
        assert rows.codes is not None
        return model.as_numbers(rows.codes)

    objective = MomentMatching(model, gaussian_kernel(encoded(task.train), (1 / 4, 1 / 2, 1)))
    stage = Stage(objective, encoded, Budget(3000, 256, 2e-3))
    return Recipe(model, [stage], finish=lambda draws: task.from_codes(model.as_rows(draws)))
