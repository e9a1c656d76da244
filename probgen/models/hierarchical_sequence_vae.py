r"""The hierarchical sequence VAE: one code for a whole piece, and a conductor who tells each bar what to do.

Generative story: z ~ p(z); a conductor turns z into c_1, c_2, ..., one for each bar of S steps; the steps of
a bar are x_t ~ p(x_t | c_b, the steps before in the same bar).
Guide: z | x ~ q(z | x), from all steps of the piece.
Loss: minus the evidence lower bound, ``SVI(model)``.

The decoder forgets at each bar, so that what bars have to do with each other goes through z. That keeps the
code of a long sequence in use.

Source: Roberts, Engel, Raffel, Hawthorne and Eck (2018), A hierarchical latent vector model for learning
long-term structure in music (MusicVAE).
"""

from __future__ import annotations

from typing import Any

import pyro
import torch
from torch import Tensor, nn
from torch.distributions import Distribution
from torch.nn.functional import pad

from probgen.core import Pair, check_count, evaluating
from probgen.models.vrnn import of_steps
from probgen.nets import inside
from probgen.nets.recurrent import lengths_to_draw, steps_read
from probgen.priors import Given, StandardNormal


class HierarchicalSequenceVAE(Pair):
    r"""A model/guide pair of sequences x (n, T, size), padded, whose context is their lengths, int64 (n,).

    The sites are ``z``, of event (latent,), and ``x``, of event (T, size); steps outside of a sequence have
    no density. Without lengths all steps are data. The bars of T steps are ⌈T/S⌉, the last one perhaps short.

    Args:
        encoder: x and which steps are data (n, T), or x alone, to q(z | x), such as
            ``nets.NormalHead(nets.SequenceReader(size, latent))``.
        conductor: from (\*batch, bars, latent), z again and again, to what the bars are told
            (\*batch, bars, c), such as ``nets.GRU(latent, c)``.
        history: from x_t with c_b behind it, (\*batch, S, size + c), to what is known before each step of a
            bar, (\*batch, S, h), such as ``nets.History(nets.GRU(size + c, h))``.
        decoder: (h, c_b) to p(x_t | h, c_b), with event shape (size,).
        prior: p(z), as ``VAE`` has it; the standard normal by default.
        bar: S, the steps of a bar.

    >>> from probgen.nets import GRU, MLP, BernoulliHead, History, Joined, NormalHead, SequenceReader
    >>> model = HierarchicalSequenceVAE(
    ...     NormalHead(SequenceReader(88, 4)),
    ...     conductor=GRU(4, 8),
    ...     history=History(GRU(88 + 8, 16)),
    ...     decoder=BernoulliHead(Joined(MLP(16 + 8, 88))),
    ...     bar=4,
    ... )
    >>> model.sample(2, torch.tensor([6, 3]), seed=0).shape
    torch.Size([2, 6, 88])
    """

    def __init__(
        self,
        encoder: nn.Module,
        *,
        conductor: nn.Module,
        history: nn.Module,
        decoder: nn.Module,
        prior: nn.Module | Distribution | None = None,
        bar: int,
    ) -> None:
        super().__init__()
        if not isinstance(prior, nn.Module):
            size: Any = getattr(encoder, "outputs", None)
            if size is None and prior is None:
                raise TypeError(f"prior should be given, as {type(encoder).__name__} has no size ``outputs``")
            prior = StandardNormal(size) if prior is None else Given(prior, dim=size)
        self.encoder, self.prior = encoder, prior
        self.conductor, self.history, self.decoder = conductor, history, decoder
        self.bar = check_count("bar", bar)

    def model(self, x: Tensor | None = None, *context: Tensor, n: int = 1) -> Tensor:
        """Draw z, tell the bars, and draw the steps of each one after the other."""
        if x is None:
            lengths_to_draw(*context)
        with pyro.plate("data", n if x is None else len(x)):
            z = pyro.sample("z", self.prior())
            if x is None:
                return self.drawn(z, context[0])
            x, _ = steps_read(self, x, *context)
            return pyro.sample("x", self._law(z, x, *context), obs=x)

    def guide(self, x: Tensor | None = None, *context: Tensor, n: int = 1) -> Tensor:
        """Draw z from the encoder."""
        if x is None:
            raise ValueError("the guide needs x, the data whose codes it draws")
        with pyro.plate("data", len(x)):
            return pyro.sample("z", self._code(x, *context))

    def steps_of(self, x: Tensor, *context: Tensor) -> Tensor:
        """Return how many steps each sequence has, shape (n,)."""
        return context[0] if context else x.new_full(x.shape[:1], x.shape[1], dtype=torch.int64)

    @torch.no_grad()
    def encode(self, x: Tensor, *context: Tensor) -> Distribution:
        """Return q(z | x) for each row of x, in evaluation mode."""
        with evaluating(self):
            return self._code(x, *context)

    @torch.no_grad()
    def drawn(self, z: Tensor, lengths: Tensor) -> Tensor:
        """Draw sequences given their codes (n, latent), step after step; steps outside are 0."""
        steps = inside(lengths.to(z.device), int(lengths.max()))
        told = self._told(z, steps.shape[1])
        drawn: list[Tensor] = []
        for t in range(steps.shape[1]):
            bar, place = divmod(t, self.bar)
            c = told[:, t]
            before = torch.stack([*drawn[bar * self.bar :], z.new_zeros(len(z), self._size(c))], 1)
            h = self.history(torch.cat([before, c.unsqueeze(1).expand(-1, place + 1, -1)], -1))[:, place]
            drawn.append(torch.where(steps[:, t, None], self.decoder(h, c).sample(), 0.0))
        return torch.stack(drawn, 1)

    def _code(self, x: Tensor, *context: Tensor) -> Any:
        x, steps = steps_read(self, x, *context)
        return self.encoder(x, *([] if steps is None else [steps]))

    def _law(self, z: Tensor, x: Tensor, *context: Tensor) -> Any:
        """Return the law of the steps of sequences, each given z and those before it in its bar of x."""
        (x, data), length = steps_read(self, x, *context), x.shape[-2]
        told = self._told(z, length)
        steps = x.expand(*z.shape[:-1], *x.shape[-2:])
        over = -length % self.bar
        heard = pad(torch.cat([steps, told], -1), (0, 0, 0, over))
        h = self.history(heard.unflatten(-2, (-1, self.bar))).flatten(-3, -2)[..., :length, :]
        return of_steps(self.decoder(h, told), data)

    def _told(self, z: Tensor, length: int) -> Tensor:
        r"""Return what each step is told by the conductor, c of its bar, (\*batch, length, c)."""
        bars = -(-length // self.bar)
        c = self.conductor(z.unsqueeze(-2).expand(*z.shape[:-1], bars, z.shape[-1]))
        return c.repeat_interleave(self.bar, -2)[..., :length, :]

    def _size(self, c: Tensor) -> int:
        reader: Any = self.history.reader
        return reader.inputs - c.shape[-1]
