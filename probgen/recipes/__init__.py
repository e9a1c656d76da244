"""Recipes: one file a paper, each a model, its trainings and their settings for the tasks that it suits."""

from probgen.recipes.registry import Entry, Recipe, Stage, entries, make, recipe
from probgen.recipes.task import Budget, Rows, Task
from probgen.recipes.tasks import is_file, load, short_name
from probgen.recipes.training import restore, stage_folder, train

__all__ = [
    "Budget",
    "Entry",
    "Recipe",
    "Rows",
    "Stage",
    "Task",
    "entries",
    "is_file",
    "load",
    "make",
    "recipe",
    "restore",
    "short_name",
    "stage_folder",
    "train",
]


def __dir__() -> list[str]:
    return __all__
