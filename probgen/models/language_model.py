r"""The language model: each token given all those before it, and no code.

Graphical model: x_1, ..., x_{t−1} → x_t.
Loss: −log p(x) = −Σ_t log p(x_t | x_1, ..., x_{t−1}), ``MaximumLikelihood(model)``.

Source: Bengio, Ducharme, Vincent and Jauvin (2003), A neural probabilistic language model.
"""

from __future__ import annotations

from typing import Any

import pyro
import torch
from torch import Tensor, nn

from probgen.core import GenerativeModel, evaluating
from probgen.data import PAD
from probgen.nets.checks import check_tokens
from probgen.priors import Sentence


class LanguageModel(GenerativeModel):
    r"""Sequences of tokens (n, T) with a likelihood that is known: what a model with codes is held against.

    Args:
        law: a module that returns the law of a sequence: ``priors.Sentences`` of sequences that end, or
            ``priors.Autoregressive`` of a fixed number of tokens, as windows of a text.

    A context, such as the lengths that ``data.Ragged`` gives, is not needed: tokens carry their own length.

    >>> from probgen import nets, priors
    >>> model = LanguageModel(priors.Sentences(nets.TokenGRU(10, 6)))
    >>> model.sample(3, seed=0).shape
    torch.Size([3, 6])
    """

    def __init__(self, law: nn.Module) -> None:
        super().__init__()
        self.law: Any = law

    def model(self, x: Tensor | None = None, *context: Tensor, n: int = 1) -> Tensor:
        """Draw tokens one after the other."""
        with pyro.plate("data", n if x is None else len(x)):
            law = self.law()
            if x is not None and isinstance(law, Sentence):
                law = law.within(x.shape[-1])
            return pyro.sample("x", law, obs=x)

    def log_prob(self, x: Tensor, *context: Tensor) -> Tensor:
        """Return log p(x) of each sequence, in nats, shape (n,)."""
        return self.law().log_prob(x)

    def steps_of(self, x: Tensor, *context: Tensor) -> Tensor:
        """Return how many tokens each sequence has, with its END, shape (n,)."""
        return (x != PAD).sum(-1)

    @torch.no_grad()
    def stream_log_prob(self, x: Tensor) -> Tensor:
        """Return log p(x_t | all before) of one long text (T,), step by step, shape (T,), in evaluation."""
        check_tokens(x, self.law.net.size)
        with evaluating(self):
            return self.law().token_log_probs(x[None].long())[0]
