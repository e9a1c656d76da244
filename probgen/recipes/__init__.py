"""Recipes: one file a paper, each a model, its trainings and their settings for the tasks that it suits.

``load`` makes a task of a data set by name or of your own file, ``make`` puts a recipe together for it,
``train`` runs its trainings, and ``recipe.sample`` draws data. ``entries`` lists all, with their sources.
``probgen.load`` opens what was trained. To add one, read ``beta_vae.py``, which is the shortest, and
CONTRIBUTING.md. Read first ``load`` and ``make``.
"""

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
