r"""The hidden Markov model, with an exact likelihood.

Graphical model: states s_1 → s_2 → ..., each one of K; x_t | s_t ~ p(x_t | s_t), independent Bernoulli
coordinates or a token.
Loss: −log p(x), the states summed out by the forward algorithm, ``MaximumLikelihood(hmm)``; or the steps of
expectation maximisation, :meth:`HiddenMarkov.fit_em`.

Source: Rabiner (1989), A tutorial on hidden Markov models; Baum and others (1970).
"""

from __future__ import annotations

from typing import Any

import pyro
import pyro.distributions as dist
import torch
from torch import Tensor, nn
from torch.nn.functional import logsigmoid, one_hot

from probgen.core import GenerativeModel, check_count, seeded
from probgen.nets import inside, told_steps
from probgen.nets.checks import check_tokens
from probgen.nets.laws import refuse
from probgen.nets.recurrent import lengths_to_draw
from probgen.objectives.forward_algorithm import emitted_counts, forward_algorithm


class HiddenMarkov(GenerativeModel):
    r"""Sequences of unequal length, padded, of 0/1 vectors (n, T, size) or tokens (n, T), from K states.

    Args:
        states: K, the number of hidden states.
        size: numbers in a step or, of tokens, how many different ones there are.
        emission: "bernoulli" or "categorical".

    The context is the sequences' lengths, int64 (n,); without it all steps are data. A second, bool (n, T),
    says which steps were seen: others are summed out, whatever is written there. States are summed in
    float64, so one should have at least e^−700 of the mass of the likeliest.

    >>> hmm = HiddenMarkov(8, 88)
    >>> hmm.sample(2, torch.tensor([5, 3]), seed=0).shape, hmm.log_prob(torch.zeros(2, 5, 88)).shape
    (torch.Size([2, 5, 88]), torch.Size([2]))
    """

    def __init__(self, states: int, size: int, *, emission: str = "bernoulli") -> None:
        super().__init__()
        if emission not in ("bernoulli", "categorical"):
            raise ValueError(f"emission should be 'bernoulli' or 'categorical' but got {emission!r}")
        check_count("states", states), check_count("size", size)
        self.tokens = emission == "categorical"
        self.start = nn.Parameter(torch.zeros(states))  # log-odds, as all three
        self.transition = nn.Parameter(torch.randn(states, states))
        self.emission = nn.Parameter(torch.randn(states, size))

    def model(self, x: Tensor | None = None, *context: Tensor, n: int = 1) -> Tensor:
        """Draw states one after the other, then what each emits; steps outside are 0."""
        if x is not None:
            with pyro.plate("data", len(x)):
                pyro.factor("x", self.log_prob(x, *context[:2]))
            return x
        lengths = lengths_to_draw(*context)
        states = [dist.Categorical(logits=self.start.expand(n, -1)).sample()]
        for _ in range(int(lengths.max()) - 1):
            states.append(dist.Categorical(logits=self.transition[states[-1]]).sample())
        x = self._law(torch.stack(states, 1)).sample()
        steps = inside(lengths.to(x.device), x.shape[1])
        return torch.where(steps if self.tokens else steps.unsqueeze(-1), x, 0)

    def steps_of(self, x: Tensor, *context: Tensor) -> Tensor:
        """Return how many steps each sequence has, shape (n,)."""
        return context[0] if context else x.new_full(x.shape[:1], x.shape[1], dtype=torch.int64)

    def log_prob(self, x: Tensor, *lengths: Tensor) -> Tensor:
        """Return log p(x) = log Σ_s p(x, s) of each sequence, in nats, shape (n,); −inf off 0 and 1."""
        found = forward_algorithm(*self._parts(x, *lengths), self.steps_of(x, *lengths)).logsumexp(-1)
        seen = told_steps(x, *lengths)[0]
        off = ((seen != 0) & (seen != 1)).flatten(1).any(1) & (not self.tokens)
        return torch.where(off, -torch.inf, found)

    def states_after(self, x: Tensor, *context: Tensor, n: int) -> Tensor:
        """Draw the state of the last step given all steps, shape (n, rows), of the law that it has."""
        last = forward_algorithm(*self._parts(x, *context), self.steps_of(x, *context))
        return dist.Categorical(logits=last).sample((n,))

    def ahead(self, x: Tensor, lengths: Tensor, z: Tensor) -> tuple[Tensor, dist.TorchDistribution]:
        """Draw the states after z, and return them and the law of what they emit."""
        z = dist.Categorical(logits=self.transition[z]).sample()
        return z, self._law(z) if self.tokens else self._law(z).to_event(1)

    @torch.no_grad()
    def start_at(self, x: Tensor, *lengths: Tensor, seed: int | None = None) -> None:
        """Let each state emit a third one step of the data, drawn at random, and two thirds all, for EM."""
        rows, mean = self._rows(x, *lengths)
        with seeded(seed):
            some = rows[torch.randint(len(rows), self.start.shape, device=x.device)]
        emission = ((one_hot(some, len(mean)) if self.tokens else some).double() + 2 * mean) / 3
        self.emission.copy_(emission.log() if self.tokens else emission.logit())
        self.start.zero_(), self.transition.zero_()

    def fit_em(self, x: Tensor, *lengths: Tensor, iterations: int, pseudo_count: float = 2.0) -> list[float]:
        """Take steps of expectation maximisation, and return log p(x) of all data before each of them.

        A step never lowers log p(x) + c Σ_state E_m[log p(x_t | state)], where m is the law of all steps (of
        each coordinate, for vectors): each state has c > 0 steps more, its ``pseudo_count``, like all.
        """
        if not pseudo_count > 0:
            raise ValueError(f"pseudo_count should be above 0 but got {pseudo_count}")
        (_, mean), steps, found = self._rows(x, *lengths), self.steps_of(x, *lengths), []
        known, _, shown = told_steps(x, *lengths)
        for _ in range(check_count("iterations", iterations)):
            # E: the expected counts are the gradient of log p(x) by the logarithms of the probabilities.
            with torch.no_grad():
                parts = self._parts(x, *lengths)
            first, after, seen = (part.double().requires_grad_() for part in parts)
            evidence = forward_algorithm(first, after, seen, steps).logsumexp(-1).sum()
            start, transition, emitted = torch.autograd.grad(evidence, (first, after, seen))
            emitted = emitted if shown is None else torch.where(shown.unsqueeze(-1), emitted, 0.0)
            found.append(float(evidence.detach()))
            # M: probabilities are the shares of the counts; a state that none enters keeps its old ones.
            weight, counts = emitted.sum((0, 1)), emitted_counts(emitted, known, self.emission.shape[1])
            emission = (counts + pseudo_count * mean) / (weight + pseudo_count).unsqueeze(-1)
            left = transition.sum(-1, keepdim=True)
            with torch.no_grad():
                self.start.copy_((start / start.sum()).log())
                self.transition.copy_(torch.where(left > 0, (transition / left).log(), self.transition))
                self.emission.copy_(emission.log() if self.tokens else emission.logit())
        return found

    def _rows(self, x: Tensor, *lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Return all steps, and their law, in which nothing has probability 0 or 1."""
        self._check(x)
        rows = x[told_steps(x, self.steps_of(x, *lengths), *lengths[1:])[2]]
        if self.tokens:
            check_tokens(rows, self.emission.shape[1])
        else:
            refuse(rows, (rows == 0) | (rows == 1), "a Bernoulli needs values 0 or 1")
        total = (rows.bincount(minlength=self.emission.shape[1]) if self.tokens else rows.sum(0)).double()
        return rows, (total + 0.5) / (len(rows) + (0.5 * len(total) if self.tokens else 1.0))

    def _check(self, x: Tensor) -> None:
        if x.dim() != (2 if self.tokens else 3) or not (self.tokens or x.shape[-1] == self.emission.shape[1]):
            wanted = "(n, T)" if self.tokens else f"(n, T, {self.emission.shape[1]})"
            raise ValueError(f"x should have shape {wanted} but has {tuple(x.shape)}")

    def _law(self, states: Tensor) -> Any:
        return (dist.Categorical if self.tokens else dist.Bernoulli)(logits=self.emission[states])

    def _parts(self, x: Tensor, *context: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return log p(s_1), log p(s_t | s_{t−1}) and log p(x_t | s_t), (n, T, K), 0 where x_t is missing."""
        self._check(x)
        x, _, shown = told_steps(x, *context)
        if self.tokens:
            check_tokens(x, self.emission.shape[1])
        odds = self.emission
        emitted = odds.log_softmax(-1).T[x.long()] if self.tokens else x @ odds.T + logsigmoid(-odds).sum(-1)
        emitted = emitted if shown is None else torch.where(shown.unsqueeze(-1), emitted, 0.0)
        return self.start.log_softmax(-1), self.transition.log_softmax(-1), emitted
