r"""The deep Markov model: a nonlinear state-space model; with a deterministic layer below, the SRNN.

Generative story: z_t | z_{t−1} ~ p(z_t | z_{t−1}), from a learned z_0; x_t | z_t ~ p(x_t | z_t).
Guide: z_t | z_{t−1} ~ q(z_t | z_{t−1}, r_t), where r_t has read x_t, ..., x_T: the shape of the posterior.
With a ``history`` h_t, which reads x_1, ..., x_{t−1}, all three are given h_t.
Loss: minus the evidence lower bound, ``probgen.SVI(pair)``, the KL analytic at each step of the path drawn.

Source: Krishnan, Shalit and Sontag (2017), Structured inference networks for nonlinear state space models;
Fraccaro and others (2016), Sequential neural models with stochastic layers, for history and residuals.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import pyro
import pyro.distributions as dist
import torch
from torch import Tensor, nn

from probgen.core import Pair
from probgen.models.vrnn import of_steps
from probgen.nets import known_after, told_steps
from probgen.nets.recurrent import lengths_to_draw
from probgen.priors import Path


class DeepMarkov(Pair):
    r"""A model/guide pair of sequences x (n, T, \*event), padded, whose context is their lengths, int64 (n,).

    The sites are the path ``z``, of event (T, latent), and ``x``, of event (T, \*event); steps outside of a
    sequence have no density and pay no KL. Without lengths all steps are data. A second context, bool (n, T),
    says which steps were seen: others pay no likelihood, whatever is written there, and their states go on.

    Args:
        transition: z to the law of the next, with event shape (latent,), such as ``nets.GatedTransition``;
            with a history (z_{t−1}, h_t).
        emission: z to p(x_t | z_t); with a history (z_t, h_t).
        reader: from x (n, T, size) and which steps are data (n, T) or None, and which were seen where some
            were not, to what the guide knows at each (n, T, r), ``nets.GRU(size, r, backward=True)``; with a
            history from (x_t, h_t) side by side.
        guide_step: (z_{t−1}, r_t) to q(z_t | z_{t−1}, r_t).
        latent: numbers in a state.
        history: from x and which steps are data to what is known before each (n, T, h): ``nets.History``.
        residual: whether the mean of ``guide_step``, a normal law, is what it adds to the transition's.

    >>> from probgen.nets import GRU, MLP, BernoulliHead, GatedTransition, Joined, NormalHead
    >>> inference = {"reader": GRU(88, 32, backward=True), "guide_step": NormalHead(Joined(MLP(4 + 32, 4)))}
    >>> pair = DeepMarkov(GatedTransition(4), BernoulliHead(MLP(4, 88)), **inference, latent=4)
    >>> pair.sample(2, torch.tensor([5, 3]), seed=0).shape
    torch.Size([2, 5, 88])
    """

    def __init__(
        self,
        transition: nn.Module,
        emission: nn.Module,
        *,
        reader: nn.Module,
        guide_step: nn.Module,
        latent: int,
        history: nn.Module | None = None,
        residual: bool = False,
    ) -> None:
        super().__init__()
        self.transition, self.emission, self.history = transition, emission, history
        self.reader, self.guide_step, self.residual = reader, guide_step, residual
        self.start, self.guide_start = (nn.Parameter(torch.zeros(latent)) for _ in range(2))

    def model(self, x: Tensor | None = None, *context: Tensor, n: int = 1) -> Tensor:
        """Draw the path of states, then what each emits; steps outside are 0."""
        if x is None:
            return self._drawn(n, *context)
        x, steps, seen, h = self._read(x, *context)
        start = self.start.expand(len(x), -1)
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", Path(self.transition, start, *h, steps=x.shape[1], inside=steps))
            return pyro.sample("x", of_steps(self.emission(z, *h), seen), obs=x)

    def guide(self, x: Tensor | None = None, *context: Tensor, n: int = 1) -> Tensor:
        """Draw the path of states from what the reader says of x."""
        if x is None:
            raise ValueError("the guide needs x, the data whose codes it draws")
        x, steps, seen, h = self._read(x, *context)
        start, known = self.guide_start.expand(len(x), -1), self._known(x, steps, seen, h)
        with pyro.plate("data", len(x)):
            return pyro.sample("z", Path(self._guided, start, known, inside=steps))

    def steps_of(self, x: Tensor, *context: Tensor) -> Tensor:
        """Return how many steps each sequence has, shape (n,)."""
        return context[0] if context else x.new_full(x.shape[:1], x.shape[1], dtype=torch.int64)

    def filtering(self, x: Tensor, *context: Tensor) -> Callable[[int, Tensor | None], Any]:
        """Return the laws of a step, of states before it, for a particle filter."""
        x, steps, seen, h = self._read(x, *context)
        known = self._known(x, steps, seen, h)

        def step(t: int, z: Tensor | None) -> Any:
            shape = (len(x),) if z is None else z.shape[:2]
            prior, guide = (self.start, self.guide_start) if z is None else (z, z)
            paid = True if seen is None else seen[:, t]
            return (
                self.transition(prior.expand(*shape, -1), *(part[:, t].expand(*shape, -1) for part in h)),
                self._guided(guide.expand(*shape, -1), known[:, t].expand(*shape, -1)),
                lambda new: self.emission(new, *(part[:, t] for part in h)).mask(paid).log_prob(x[:, t]),
            )

        return step

    def ahead(self, x: Any, lengths: Tensor, z: Tensor) -> tuple[Tensor, Any]:
        """Draw the states after z, (particles, n, d), and return them and the law of the next step of x."""
        history = self.history
        now = [] if history is None else [known_after(history, x, lengths).expand(*z.shape[:-1], -1)]
        z = self.transition(z, *now).sample()
        return z, self.emission(z, *now)

    def _read(self, x: Tensor, *context: Tensor) -> tuple[Tensor, Any, Any, list[Tensor]]:
        """Return x, which steps are data, which were seen, and the history, [] where there is none."""
        (x, steps, seen), history = told_steps(x, *context), self.history
        if history is not None and seen is not steps:
            raise ValueError("a history reads x itself: where steps are missing, DeepMarkov should have none")
        return x, steps, seen, [] if history is None else [self.shared("h", lambda: history(x, steps))]

    def _known(self, x: Tensor, steps: Any, seen: Any, h: list[Tensor]) -> Tensor:
        """Return what the guide knows at each step: r_t, behind h_t where there is a history."""
        read = self.reader(torch.cat([x, *h], -1) if h else x, steps, *([] if seen is steps else [seen]))
        return torch.cat([*h, read], -1) if h else read

    def _guided(self, *context: Tensor) -> Any:
        """Return q(z_t | z_{t−1}, h_t, r_t)."""
        z, known = context
        size: Any = 0 if self.history is None else self.history.outputs
        law = self.guide_step(z, known[..., size:])
        if not self.residual:
            return law
        before = self.transition(z, *([known[..., :size]] if size else [])).mean
        return dist.Normal(before + law.base_dist.loc, law.base_dist.scale).to_event(1)

    def _drawn(self, n: int, *context: Tensor) -> Tensor:
        lengths, history, x = lengths_to_draw(*context).to(self.start.device), cast(Any, self.history), None
        z, drawn = self.start.expand(n, -1), list[Tensor]()
        for t in range(int(lengths.max())):
            if history is not None:  # of what is drawn and one step more, which it does not read yet
                x = torch.stack([*drawn, self.start.new_zeros(n, history.reader.inputs)], 1)
            z, law = self.ahead(x, lengths.new_full((n,), t), z)
            step = law.sample()
            drawn.append(torch.where((t < lengths).reshape(n, *[1] * (step.dim() - 1)), step, 0))
        return torch.stack(drawn, 1)
