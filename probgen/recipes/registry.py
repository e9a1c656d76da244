"""What a recipe is, and the registry: each recipe is registered where it stands."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from probgen.core import GenerativeModel, Objective, seeded
from probgen.data import suggest
from probgen.recipes.task import KINDS, Budget, Rows, Task
from probgen.training.schedules import Schedule


class Stage(NamedTuple):
    """One training of a recipe.

    Attributes:
        objective: what is minimised.
        data: how rows of the task, those to learn from or those held out, become what the objective takes.
        budget: steps, rows of a batch, and the learning rate at the start.
        schedules: of the objective's buffers and the rates of its own optimizer, as :func:`probgen.fit` takes
            them, or a function from the number of steps to them.
        optimizer: what makes an optimizer of its own from the parameters, whose rates stay as they are but
            for the schedules; by default Adam, with a rate that falls by a cosine.
        max_gradient_norm: to which a larger gradient is scaled down, as :func:`probgen.fit` takes it.
    """

    objective: Objective
    data: Callable[[Rows], Any]
    budget: Budget
    schedules: Mapping[str, Schedule] | Callable[[int], Mapping[str, Schedule]] = {}  # noqa: RUF012
    optimizer: Callable[[Iterable[nn.Parameter]], Optimizer] | None = None
    max_gradient_norm: float | None = None

    def __repr__(self) -> str:
        name = type(self.objective).__name__
        return f"Stage({name}, {self.budget.steps} steps of {self.budget.batch_size} rows)"


class Recipe(NamedTuple):
    """A paper put together for a task: a model, its trainings one after the other, how it is drawn from.

    Attributes:
        model: what is learned and drawn from.
        stages: trainings in their order; a function in a place of one returns it when it is called, once the
            stages before are trained.
        finish: turns draws of the model into data of the task.
        prepare: turns data of the task into what the model's likelihood and codes are of.
        contexts: rows of which one is drawn with replacement for each draw of the model: attributes, or the
            lengths of sequences.
        labels: the class of each context, for draws of one class.
    """

    model: GenerativeModel
    stages: Sequence[Stage | Callable[[], Stage]]
    finish: Callable[[Tensor], Tensor] = lambda draws: draws
    prepare: Callable[[Tensor], Tensor] = lambda x: x
    contexts: Tensor | None = None
    labels: Tensor | None = None

    def __repr__(self) -> str:
        stages = [
            type(stage.objective).__name__ if isinstance(stage, Stage) else "a stage made of the ones before"
            for stage in self.stages
        ]
        return f"Recipe({type(self.model).__name__}, by {', then '.join(stages)})"

    def sample(self, n: int, *, seed: int, label: int | None = None) -> Tensor:
        """Draw n points of the task's data, of a model with labels all of one class where it is given.

        Raises ValueError for a class that no context has, and where there are no labels.
        """
        with seeded(seed):
            contexts = self._drawn_contexts(n, label)
            return self.finish(self.model.sample(n, *([] if contexts is None else [contexts])))

    def contexts_of(self, n: int, *, seed: int, label: int | None = None) -> Tensor | None:
        """Return the contexts of the draws that :meth:`sample` makes, such as how long sequences are."""
        with seeded(seed):
            return self._drawn_contexts(n, label)

    def _drawn_contexts(self, n: int, label: int | None) -> Tensor | None:
        contexts = self.contexts if label is None else self._of_class(label)
        if contexts is None:
            return None
        return contexts[torch.randint(len(contexts), (n,), device=contexts.device)]

    def _of_class(self, label: int) -> Tensor:
        if self.labels is None or self.contexts is None:
            raise ValueError(
                f"label {label} should be drawn by a recipe that is told the class, such as 'cvae', and this "
                "one is not"
            )
        found = self.contexts[self.labels == label]
        if not len(found):
            known = self.labels.unique().tolist()
            raise ValueError(f"label should be one of {known} but is {label}")
        return found


class Entry(NamedTuple):
    """A recipe as it is registered."""

    name: str
    what: str
    source: str
    tasks: tuple[str, ...]
    by_default: bool
    missing: bool
    make: Callable[[Task], Recipe]


_ENTRIES: dict[str, Entry] = {}


def recipe(
    name: str,
    what: str,
    *,
    source: str,
    tasks: Sequence[str],
    by_default: bool = False,
    missing: bool = False,
) -> Callable[[Callable[[Task], Recipe]], Callable[[Task], Recipe]]:
    """Register the function below as a recipe.

    Args:
        name: on the command line.
        what: one line for help texts and reports.
        source: authors and year.
        tasks: the kinds of data that it suits, of ``probgen.recipes.task.KINDS``.
        by_default: whether ``probgen compare`` takes it without being asked.
        missing: whether it learns from rows of which some values are missing.
    """
    for kind in tasks:
        if kind not in KINDS:
            raise ValueError(f"tasks of recipe {name!r} should be of {', '.join(KINDS)} but name {kind!r}")

    def register(make: Callable[[Task], Recipe]) -> Callable[[Task], Recipe]:
        if name in _ENTRIES and _ENTRIES[name].make.__module__ != make.__module__:
            raise ValueError(f"there is a recipe {name!r} already, in {_ENTRIES[name].make.__module__}")
        _ENTRIES[name] = Entry(name, what, source, tuple(tasks), by_default, missing, make)
        return make

    return register


def entries(kind: str | None = None) -> dict[str, Entry]:
    """Return the recipes by name, all of them or those for a kind of task."""
    import probgen.recipes as room

    for module in pkgutil.iter_modules(room.__path__):
        importlib.import_module(f"{room.__name__}.{module.name}")
    return {name: entry for name, entry in sorted(_ENTRIES.items()) if kind is None or kind in entry.tasks}


def make(name: str, task: Task) -> Recipe:
    """Return the recipe called ``name``, put together for a task.

    Raises ValueError for a name that is not known, and for a recipe that does not suit the task.
    """
    known = entries()
    if name not in known:
        raise ValueError(f"there is no recipe {name!r}: {suggest(name, known)}")
    if task.kind not in known[name].tasks:
        links = task.kind == "table" and "graph" in known[name].tasks
        raise ValueError(
            f"the recipe {name!r} suits {', '.join(known[name].tasks)}, but {task.name!r} is {task.kind!r}; "
            f"for it there are {', '.join(entries(task.kind))}"
            + ("; where its rows are links, name the ends by kinds, as in from=node,to=node" if links else "")
        )
    return known[name].make(task)
