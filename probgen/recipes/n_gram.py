"""The n-gram: what networks of tokens are held against."""

from __future__ import annotations

from probgen.models import NGram
from probgen.recipes.registry import Recipe, recipe
from probgen.recipes.task import Task

ORDER = 6


@recipe(
    "n-gram",
    "each token given the five before it, by discounted counts; it counts and has no training",
    source="Kneser and Ney (1995); Chen and Goodman (1999)",
    tasks=("text",),
)
def n_gram(task: Task) -> Recipe:
    """Count the training rows, each from its start."""
    model = NGram(task.symbols.size, order=ORDER, steps=task.size).to(task.device)
    return Recipe(model.learn(task.train.x), [])
