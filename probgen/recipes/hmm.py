"""The hidden Markov model: the honest baseline of sequences, with an exact likelihood."""

from __future__ import annotations

from probgen.models import HiddenMarkov
from probgen.objectives import MaximumLikelihood
from probgen.recipes.registry import Recipe, Stage, recipe
from probgen.recipes.task import Budget, Task

STATES = 128

BUDGET = Budget(600, 32, 3e-2)


@recipe(
    "hmm",
    "hidden Markov model of 128 states, its likelihood exact",
    source="Rabiner (1989)",
    tasks=("music",),
    by_default=True,
)
def hmm(task: Task) -> Recipe:
    """States start at steps of the data, and climb the likelihood by its gradient."""
    model = HiddenMarkov(STATES, task.size).to(task.device)

    def stage() -> Stage:
        lengths = [] if task.train.lengths is None else [task.train.lengths]
        model.start_at(task.train.x, *lengths)
        return Stage(MaximumLikelihood(model), lambda rows: rows.fresh, BUDGET)

    return Recipe(model, [stage], finish=task.padded, contexts=task.train.lengths)
