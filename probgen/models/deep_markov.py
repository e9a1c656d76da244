r"""The deep Markov model: a nonlinear state-space model.

Generative story: z_t | z_{t−1} ~ p(z_t | z_{t−1}), from a learned z_0; x_t | z_t ~ p(x_t | z_t).
Guide: z_t | z_{t−1} ~ q(z_t | z_{t−1}, h_t), where h_t has read x_t, ..., x_T: the shape of the posterior.
Loss: minus the evidence lower bound of a sequence, ``probgen.SVI(pair)``, the KL analytic at each step along
the path that the guide has drawn.

Source: Krishnan, Shalit and Sontag (2017), Structured inference networks for nonlinear state space models;
Fraccaro and others (2016), Sequential neural models with stochastic layers, for residual means.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pyro
import pyro.distributions as dist
import torch
from torch import Tensor, nn

from probgen.core import Pair
from probgen.nets import inside
from probgen.priors import Path


class DeepMarkov(Pair):
    r"""A model/guide pair of sequences x (n, T, \*event), padded, whose context is their lengths, int64 (n,).

    The sites are the path ``z``, of event (T, latent), and ``x``, of event (T, \*event); steps outside of a
    sequence have no density and pay no KL. Without lengths all steps are data.

    Args:
        transition: z to the law of the next, with event shape (latent,), such as ``nets.GatedTransition``.
        emission: z to p(x_t | z_t).
        reader: from x (n, T, size) and which steps are data (n, T) or None, to what the guide knows at each
            step (n, T, h): ``nets.GRU(size, h, backward=True)``, or any other that reads as far.
        guide_step: (z_{t−1}, h_t) to q(z_t | z_{t−1}, h_t).
        latent: numbers in a state.
        residual: whether the mean of ``guide_step``, then a normal law, is what it adds to the mean of the
            transition.

    >>> from probgen.nets import GRU, MLP, BernoulliHead, GatedTransition, Joined, NormalHead
    >>> pair = DeepMarkov(
    ...     GatedTransition(4),
    ...     BernoulliHead(MLP(4, 88)),
    ...     reader=GRU(88, 32, backward=True),
    ...     guide_step=NormalHead(Joined(MLP(4 + 32, 4))),
    ...     latent=4,
    ... )
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
        residual: bool = False,
    ) -> None:
        super().__init__()
        self.transition = transition
        self.emission = emission
        self.reader = reader
        self.guide_step = guide_step
        self.start = nn.Parameter(torch.zeros(latent))
        self.guide_start = nn.Parameter(torch.zeros(latent))
        self.residual = residual

    def model(self, x: Tensor | None = None, *context: Tensor, n: int = 1) -> Tensor:
        """Draw the path of states, then what each emits; steps outside are 0."""
        rows = n if x is None else len(x)
        steps = self._inside(x, *context)
        with pyro.plate("data", rows):
            z = pyro.sample("z", self._path(self.transition, self.start, rows, steps, x))
            law: Any = self.emission(z)
            law = law.to_event(1) if steps is None else law.mask(steps).to_event(1)
            drawn = pyro.sample("x", law, obs=x)
        if x is not None or steps is None:
            return drawn
        return torch.where(steps.reshape(*steps.shape, *[1] * (drawn.dim() - 2)), drawn, 0)

    def guide(self, x: Tensor | None = None, *context: Tensor, n: int = 1) -> Tensor:
        """Draw the path of states from what the reader says of x."""
        if x is None:
            raise ValueError("the guide needs x, the data whose codes it draws")
        steps = self._inside(x, *context)
        read = self.reader(x, steps)
        with pyro.plate("data", len(x)):
            return pyro.sample("z", self._path(self._guided, self.guide_start, len(x), steps, x, read))

    def steps_of(self, x: Tensor, *context: Tensor) -> Tensor:
        """Return how many steps each sequence has, shape (n,)."""
        return context[0] if context else x.new_full(x.shape[:1], x.shape[1], dtype=torch.int64)

    def filtering(self, x: Tensor, *context: Tensor) -> Callable[[int, Tensor | None], Any]:
        """Return the laws of a step, of states before it, for a particle filter."""
        read = self.reader(x, self._inside(x, *context))

        def step(t: int, z: Tensor | None) -> Any:
            before = (self.start, self.guide_start) if z is None else (z, z)
            prior, guide = (part.expand(*(read[:, t] if z is None else z).shape[:-1], -1) for part in before)
            now = read[:, t].expand(*guide.shape[:-1], -1)
            return (
                self.transition(prior),
                self._guided(guide, now),
                lambda new: self.emission(new).log_prob(x[:, t]),
            )

        return step

    def _guided(self, z: Tensor, read: Tensor) -> dist.Distribution:
        """Return q(z_t | z_{t−1}, h_t)."""
        law: Any = self.guide_step(z, read)
        if not self.residual:
            return law
        own = law.base_dist
        return dist.Normal(self.transition(z).mean + own.loc, own.scale).to_event(1)

    def _path(
        self,
        step: Any,
        start: Tensor,
        rows: int,
        steps: Tensor | None,
        x: Tensor | None,
        read: Tensor | None = None,
    ) -> Path:
        """Return the law of a path for each sequence."""
        length = None if x is None else x.shape[1]
        return Path(step, start.expand(rows, -1), read, steps=length, inside=steps)

    def _inside(self, x: Tensor | None, *context: Tensor) -> Tensor | None:
        """Return which steps are data."""
        if x is not None:
            return inside(context[0], x.shape[1]) if context else None
        if not context:
            raise ValueError("the lengths of the sequences to be drawn should be given, whole numbers (n,)")
        return inside(context[0].to(self.start.device), int(context[0].max()))
