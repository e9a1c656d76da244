"""The hidden Markov model beside those of the application ``music``, its states chosen."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from probgen.models import HiddenMarkov
from probgen.recipes import Task


def hidden_markov(task: Task, states: Sequence[int], *, iterations: int, seed: int) -> HiddenMarkov:
    """Return the model by EM of so many states as give the pieces to choose on the highest likelihood."""
    most = int(task.train.inside.sum()) // 4
    assert task.held_out is not None
    lengths, theirs = task.train.lengths, task.held_out.lengths
    assert lengths is not None
    assert theirs is not None
    found = []
    for number in dict.fromkeys(min(own, most) for own in states):
        model = HiddenMarkov(number, task.size).to(task.device)
        model.start_at(task.train.x, lengths, seed=seed)
        model.fit_em(task.train.x, lengths, iterations=iterations)
        with torch.no_grad():
            found.append((float(model.log_prob(task.held_out.x, theirs).sum()), model))
    return max(found, key=lambda pair: pair[0])[1]
