"""Recurrent networks without codes, whose likelihood is exact."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import nn

from probgen import nets, priors
from probgen.models import AutoregressiveSequence, LanguageModel
from probgen.objectives import MaximumLikelihood
from probgen.recipes.registry import Recipe, Stage, recipe
from probgen.recipes.task import Budget, Rows, Task

WIDTH = 200
"""Of the states of the recurrence."""

NARROW = 64
"""Of the states where notes know their chord."""

CHORDS = 2
"""Before a chord, that its notes are told as they are."""

PARTS, STEPS_OF_EM = 512, 30
"""Of a mixture: chords that may come next, and the steps in which they are found before a training."""


@recipe(
    "gru",
    "a recurrent network without codes: each step given all before, a token or independent notes",
    source="Cho and others (2014)",
    tasks=("music", "text"),
    by_default=True,
)
def gru(task: Task) -> Recipe:
    """What codes are worth is told by what this one lacks."""
    if task.kind == "text":
        (width,) = task.sizes.hidden
        net = nets.TokenGRU(task.symbols.size, task.size, width=width, dropout=0.3)
        model = LanguageModel(priors.Sentences(net)).to(task.device)
        stage = Stage(
            MaximumLikelihood(model), lambda rows: rows.fresh, task.sizes.budget, max_gradient_norm=20.0
        )
        return Recipe(model, [stage])
    return _learned(task, nets.BernoulliHead(nets.MLP(WIDTH, task.size, hidden=())), lambda rows: rows.fresh)


@recipe(
    "rnn-nade",
    "a recurrent network whose notes know the lower ones of their chord",
    source="Boulanger-Lewandowski, Bengio and Vincent (2012); Germain et al. (2015)",
    tasks=("music",),
    by_default=True,
)
def rnn_nade(task: Task) -> Recipe:
    """The chord by a masked network of its notes.

    A narrow one with its gradients cut: at 150 steps it needed 6.6 nats a chord of validation where one three
    times as wide, its gradients not cut, needed 7.8.
    """
    head = nets.AutoregressiveBernoulliHead(NARROW, task.size, hidden=256, dropout=0.2)
    budget = Budget(1000, 32, 5e-3)
    return _learned(task, head, lambda rows: rows.fresh, width=NARROW, dropout=0.3, budget=budget)


@recipe(
    "rnn-intervals",
    "a recurrent network whose notes know the lower ones and the last two chords by their intervals",
    source="Boulanger-Lewandowski, Bengio and Vincent (2012); Huang et al. (2017)",
    tasks=("music",),
)
def rnn_intervals(task: Task) -> Recipe:
    """As 'rnn-nade', but what is learned of an interval is learned in all keys at once."""
    head = nets.ChordHead(WIDTH, keys=task.size, chords=CHORDS, dropout=0.1)
    budget = Budget(1000, 32, 5e-3)
    return _learned(task, head, lambda rows: rows.fresh, chords=CHORDS, dropout=0.3, budget=budget)


@recipe(
    "rnn-mixture",
    "a recurrent network that says which of 512 laws of independent notes comes next",
    source="Bishop (1994, 2006)",
    tasks=("music",),
)
def rnn_mixture(task: Task) -> Recipe:
    """A discrete code a step, summed out: what a hidden Markov model has, but after all steps before.

    Its chords are found by expectation maximisation first, as if steps were independent: by gradients alone
    they stay blurred for long.
    """
    head = nets.BernoulliMixtureHead(nets.MLP(WIDTH, PARTS, hidden=()), task.size).to(task.device)
    chords = task.train.x[task.train.inside]
    head.start_at(chords)
    head.fit_em(chords, iterations=STEPS_OF_EM)
    return _learned(task, head, lambda rows: rows.fresh)


def _learned(
    task: Task,
    head: nn.Module,
    rows: Callable[[Rows], Any],
    *,
    chords: int = 0,
    width: int = WIDTH,
    dropout: float = 0.5,
    budget: Budget | None = None,
) -> Recipe:
    history = nets.History(nets.GRU(task.size, width), dropout=dropout)
    known = nets.Recent(history, steps=chords) if chords else history
    model = AutoregressiveSequence(known, head).to(task.device)
    stage = Stage(MaximumLikelihood(model), rows, budget or task.sizes.budget, max_gradient_norm=20.0)
    return Recipe(model, [stage], finish=task.padded, contexts=task.train.lengths)
