"""A recipe as a method to compare, and what is known of a task's data beside their rows."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

import torch
from pyro.distributions import Delta
from torch import Tensor
from torch.distributions import Distribution

from probgen.compare.methods import Fitted, Method
from probgen.core import Coded, Pair
from probgen.evaluation import ClassifierFeatures, classifier_features, log_likelihoods
from probgen.recipes import sequence_likelihood
from probgen.recipes.registry import Recipe, Stage, make
from probgen.recipes.task import SEQUENCES, Task
from probgen.recipes.training import train
from probgen.training import History

PARTICLES = 200
"""Importance samples per datum in a model's likelihood."""

LABELS = 100
"""Fewest labels that features of pictures are learned from."""


def learned(name: str, task: Task, about: str, *, steps: int | None = None) -> Method:
    """Return a recipe as a method to compare; ``steps`` are those of each stage, in the place of its own."""

    def fit(rows: Tensor, seed: int) -> Fitted:
        torch.manual_seed(seed)  # of the initial weights; compare puts the global state back
        recipe = make(name, task)
        return fitted(recipe, task, train(recipe, task, seed=seed, steps=steps, progress=False), seed=seed)

    return Method(fit, about)


def fitted(
    recipe: Recipe, task: Task, histories: Sequence[History], *, seed: int, particles: int | None = None
) -> Fitted:
    """Return a trained recipe as what is compared: draws, likelihood, codes, what its trainings say.

    Args:
        recipe, task: what was trained, and on what.
        histories: of its stages; what a collapsed one says is a finding.
        seed: of the likelihood's draws.
        particles: of these for a datum; 200 if not given.
    """
    notes = {"training": "none: what it knows was counted"}
    if histories:
        notes = {
            "objective": ", then ".join(_objectives(recipe)),
            "training": f"{histories[-1].ended}, {sum(h.step for h in histories)} steps",
        }
    if task.kind in SEQUENCES:
        return _fitted_to_sequences(recipe, task, notes, histories, seed=seed, particles=particles or 100)
    log_prob = None
    if isinstance(recipe.model, Pair) and recipe.contexts is None:  # else it is that of x given a context
        log_prob = partial(_log_probs, recipe, recipe.model, seed=seed, particles=particles or PARTICLES)
    has_codes = isinstance(recipe.model, Coded) and recipe.contexts is None
    return Fitted(
        recipe.sample,
        log_prob,
        model=recipe.model,
        notes=notes,
        findings=[sentence for h in histories if h.collapsed() for sentence in h.diagnose()],
        coded=Codes(recipe, task) if has_codes else None,
        of_class=None if recipe.labels is None else recipe.sample,
    )


def _fitted_to_sequences(
    recipe: Recipe,
    task: Task,
    notes: dict[str, str],
    histories: Sequence[History],
    *,
    seed: int,
    particles: int,
) -> Fitted:
    """Return what is judged by the likelihood of its steps; its draws are told with their lengths."""

    def sample(n: int, *, seed: int) -> tuple[Tensor, ...]:
        x = recipe.sample(n, seed=seed)
        lengths = None if task.train.lengths is None else recipe.contexts_of(n, seed=seed)
        return (x,) if lengths is None else (x, lengths)

    how = sequence_likelihood.how(recipe.model, particles=particles)
    return Fitted(
        sample,  # type: ignore[arg-type]  # parts of draws stand side by side in compare
        model=recipe.model,
        notes=notes | {"likelihood": how},
        findings=[sentence for h in histories if h.collapsed() for sentence in h.diagnose()],
        of_sequences=partial(sequence_likelihood.per_step, recipe.model, particles=particles, seed=seed),
    )


class Codes(NamedTuple):
    """What encodes a task's data as they are compared, and decodes into them, by a model of a recipe."""

    recipe: Recipe
    task: Task

    def encode(self, x: Tensor, *context: Tensor) -> Distribution:
        model = self.recipe.model
        assert isinstance(model, Coded)
        return model.encode(self.recipe.prepare(x))

    def decode(self, z: Tensor, *context: Tensor) -> Distribution:
        model = self.recipe.model
        assert isinstance(model, Coded)
        law = model.decode(z)
        return law if self.task.table is None else Delta(self.task.from_codes(law.mean), event_dim=1)


def _objectives(recipe: Recipe) -> list[str]:
    """Return what is minimised, stage by stage; of one that is made in training only that there is one."""
    return [
        type(stage.objective).__name__ if isinstance(stage, Stage) else "a stage on its codes"
        for stage in recipe.stages
    ]


def _log_probs(recipe: Recipe, pair: Pair, x: Tensor, *, seed: int, particles: int) -> Tensor:
    return log_likelihoods(pair, recipe.prepare(x), particles=particles, seed=seed)


def features(task: Task, seed: int) -> ClassifierFeatures | None:
    """Return features of pictures by which their classes are told, where enough of them have a label."""
    labels = task.train.labels
    if task.kind != "images" or labels is None:
        return None
    known = labels[labels >= 0]
    if len(known) < LABELS or len(known.unique()) < 2:
        return None
    return classifier_features(task.train.x, labels, scale=None, seed=seed)


def labels(task: Task, rows: int) -> tuple[Tensor, Tensor] | None:
    """Return the classes of the rows to learn from and of those that draws are compared with, if known."""
    found = task.train.labels, task.test.labels
    if found[0] is None or found[1] is None or task.table is not None:
        return None
    pair = found[0], found[1][:rows]
    return pair if all(len(part[part >= 0].unique()) > 1 for part in pair) else None
