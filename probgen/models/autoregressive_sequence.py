r"""A recurrent network without codes: each step given all that came before, with an exact likelihood.

Generative story: h_t reads x_1, ..., x_{t−1}; x_t | h_t ~ p(x_t | h_t).
Loss: −log p(x) = −Σ_t log p(x_t | x_1, ..., x_{t−1}), ``probgen.objectives.MaximumLikelihood(model)``.

What the steps may be depends on their law: with independent notes a chord is not known from the past alone,
with ``nets.AutoregressiveBernoulliHead`` each note knows the lower ones.

Source: Boulanger-Lewandowski, Bengio and Vincent (2012), Modeling temporal dependencies in high-dimensional
sequences, for recurrent networks with such laws.
"""

from __future__ import annotations

from typing import Any

import pyro
import torch
from torch import Tensor, nn

from probgen.core import GenerativeModel
from probgen.models.vrnn import of_steps
from probgen.nets import inside
from probgen.nets.recurrent import lengths_to_draw, steps_read


class AutoregressiveSequence(GenerativeModel):
    r"""Sequences x (n, T, \*event), padded, whose context is their lengths, int64 (n,).

    Steps outside of a sequence have no density. Without lengths all steps are data.

    Args:
        history: from x (n, T, size) and which steps are data (n, T) or None, to what is known before each
            step (n, T, h), such as ``nets.History``; its ``reader.inputs`` is the size of a step.
        decoder: h to p(x_t | h).

    >>> from probgen.nets import GRU, AutoregressiveBernoulliHead, History
    >>> model = AutoregressiveSequence(History(GRU(88, 32)), AutoregressiveBernoulliHead(32, 88, hidden=64))
    >>> model.sample(2, torch.tensor([5, 3]), seed=0).shape
    torch.Size([2, 5, 88])
    """

    def __init__(self, history: nn.Module, decoder: nn.Module) -> None:
        super().__init__()
        self.history = history
        self.decoder = decoder

    def model(self, x: Tensor | None = None, *context: Tensor, n: int = 1) -> Tensor:
        """Draw step after step, reading what is drawn; steps outside are 0."""
        if x is None:
            return self._drawn(n, *context)
        with pyro.plate("data", len(x)):
            law, x = self._law(x, *context)
            return pyro.sample("x", law, obs=x)

    def steps_of(self, x: Tensor, *context: Tensor) -> Tensor:
        """Return how many steps each sequence has, shape (n,)."""
        return context[0] if context else x.new_full(x.shape[:1], x.shape[1], dtype=torch.int64)

    def log_prob(self, x: Tensor, *context: Tensor) -> Tensor:
        """Return log p(x) of each sequence, in nats, shape (n,)."""
        law, x = self._law(x, *context)
        return law.log_prob(x)

    def _law(self, x: Tensor, *context: Tensor) -> tuple[Any, Tensor]:
        """Return the law of the steps of sequences, each given those before it, and x, 0 outside of them."""
        x, steps = steps_read(self, x, *context)
        return of_steps(self.decoder(self.history(x, steps)), steps), x

    def _drawn(self, n: int, *context: Tensor) -> Tensor:
        lengths = lengths_to_draw(*context)
        weight = next(self.parameters())
        steps = inside(lengths.to(weight.device), int(lengths.max()))
        reader: Any = self.history.reader
        x = weight.new_zeros(n, steps.shape[1], reader.inputs)
        for t in range(steps.shape[1]):
            drawn = self.decoder(self.history(x[:, : t + 1])[:, t]).sample()
            x[:, t] = torch.where(steps[:, t, None], drawn, 0.0)
        return x
