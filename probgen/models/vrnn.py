r"""The variational recurrent network: a latent variable at each step, given all that came before.

Generative story: h_t reads x_1, ..., x_{t−1}; z_t | h_t ~ p(z_t | h_t), x_t | h_t, z_t ~ p(x_t | h_t, z_t).
Guide: z_t ~ q(z_t | h_t, x_t).
Loss: minus the evidence lower bound of a sequence, ``probgen.SVI(vrnn)``.

The recurrence reads x alone: given x, steps are independent, so that h is one pass of a recurrent network for
model and guide together, and there is no loop over steps in training. In the source it reads z as well.

Source: Chung and others (2015), A recurrent latent variable model for sequential data.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pyro
import pyro.distributions as dist
import torch
from torch import Tensor, nn

from probgen.core import Pair
from probgen.nets import inside, known_after
from probgen.nets.recurrent import lengths_to_draw, steps_read


class VRNN(Pair):
    r"""A model/guide pair of sequences x (n, T, \*event), padded, whose context is their lengths, int64 (n,).

    The sites are ``z``, of event (T, latent), and ``x``, of event (T, \*event); steps outside of a sequence
    have no density and pay no KL. Without lengths all steps are data.

    Args:
        history: from x (n, T, size) and which steps are data (n, T) or None, to what is known before each
            step (n, T, h), such as ``nets.History``; its ``reader.inputs`` is the size of a step.
        prior: h to p(z_t | h), with event shape (latent,).
        encoder: (x_t, h) to q(z_t | x_t, h).
        decoder: (z_t, h) to p(x_t | z_t, h).

    >>> from probgen.nets import GRU, MLP, BernoulliHead, History, Joined, NormalHead
    >>> vrnn = VRNN(
    ...     History(GRU(88, 32)),
    ...     prior=NormalHead(MLP(32, 4)),
    ...     encoder=NormalHead(Joined(MLP(88 + 32, 4))),
    ...     decoder=BernoulliHead(Joined(MLP(4 + 32, 88))),
    ... )
    >>> vrnn.sample(2, torch.tensor([5, 3]), seed=0).shape
    torch.Size([2, 5, 88])
    """

    def __init__(
        self, history: nn.Module, *, prior: nn.Module, encoder: nn.Module, decoder: nn.Module
    ) -> None:
        super().__init__()
        self.history = history
        self.prior = prior
        self.encoder = encoder
        self.decoder = decoder

    def model(self, x: Tensor | None = None, *context: Tensor, n: int = 1) -> Tensor:
        """Draw the codes of all steps, then the steps; without x, step after step."""
        if x is None:
            return self._drawn(n, *context)
        x, steps, h = self._read(x, *context)
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", of_steps(self.prior(h), steps))
            return pyro.sample("x", of_steps(self.decoder(z, h), steps), obs=x)

    def guide(self, x: Tensor | None = None, *context: Tensor, n: int = 1) -> Tensor:
        """Draw the codes of all steps from the encoder."""
        if x is None:
            raise ValueError("the guide needs x, the data whose codes it draws")
        x, steps, h = self._read(x, *context)
        with pyro.plate("data", len(x)):
            return pyro.sample("z", of_steps(self.encoder(x, h), steps))

    def steps_of(self, x: Tensor, *context: Tensor) -> Tensor:
        """Return how many steps each sequence has, shape (n,)."""
        return context[0] if context else x.new_full(x.shape[:1], x.shape[1], dtype=torch.int64)

    def laws_of_steps(self, x: Tensor, *context: Tensor) -> tuple[Tensor | None, Any, Any, Callable]:
        """Return which steps are data, the prior and the guide of their codes, and z to log p(x_t | z_t)."""
        x, steps, h = self._read(x, *context)
        return steps, self.prior(h), self.encoder(x, h), lambda z: self.decoder(z, h).log_prob(x)

    def filtering(self, x: Tensor, *context: Tensor) -> Callable[[int, Tensor | None], Any]:
        """Return the laws of a step for a particle filter; given x, they know nothing of states before."""
        x, _, h = self._read(x, *context)

        def step(t: int, z: Tensor | None) -> Any:
            laws = self.prior(h[:, t]), self.encoder(x[:, t], h[:, t])
            prior, guide = laws if z is None else (law.expand(z.shape[:2]) for law in laws)
            return prior, guide, lambda new: self.decoder(new, h[:, t]).log_prob(x[:, t])

        return step

    def ahead(self, x: Tensor, lengths: Tensor, z: Tensor) -> tuple[Tensor, Any]:
        """Draw the codes after z, (particles, n, d), and return them and the law of the next step of x."""
        h = known_after(self.history, x, lengths).expand(*z.shape[:-1], -1)
        z = self.prior(h).sample()
        return z, self.decoder(z, h)

    def _read(self, x: Tensor, *context: Tensor) -> tuple[Tensor, Tensor | None, Tensor]:
        """Return x, 0 outside of its steps, which steps are data, and what is known before each."""
        x, steps = steps_read(self, x, *context)
        return x, steps, self.shared("history", lambda: self.history(x, steps))

    def _drawn(self, n: int, *context: Tensor) -> Tensor:
        """Draw step after step, reading what is drawn."""
        lengths = lengths_to_draw(*context)
        weight = next(self.parameters())
        steps = inside(lengths.to(weight.device), int(lengths.max()))
        reader: Any = self.history.reader
        x = weight.new_zeros(n, steps.shape[1], reader.inputs)
        for t in range(steps.shape[1]):
            h = self.history(x[:, : t + 1])[:, t]
            z = self.prior(h).sample()
            drawn = self.decoder(z, h).sample()
            x[:, t] = torch.where(steps[:, t, None], drawn, 0.0)
        return x


def of_steps(law: Any, steps: Tensor | None) -> dist.TorchDistribution:
    """Return the law of a sequence from that of each of its steps, without those outside."""
    return law.to_event(1) if steps is None else law.mask(steps).to_event(1)
