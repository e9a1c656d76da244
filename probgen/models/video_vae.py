r"""A variational autoencoder of video: a code at each frame, above a memory of the frames before.

Generative story: h_t reads x_1, ..., x_{t−1} by convolutions; z_t | h_t ~ p(z_t | h_t), x_t | h_t, z_t ~
p(x_t | h_t, z_t), a Bernoulli law of each pixel.
Guide: z_t ~ q(z_t | h_t, x_t).
Loss: minus the evidence lower bound of a film, ``probgen.SVI(video_vae)``.

The graph is that of ``models.VRNN``, with maps in the place of vectors: the memory reads x alone, once for
model and guide.

Source: Denton and Fergus (2018), Stochastic video generation with a learned prior; for the memory, Shi and
others (2015), Convolutional LSTM network.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pyro
import pyro.distributions as dist
import torch
from torch import Tensor, nn

from probgen.core import Pair, check_count, evaluating, seeded
from probgen.nets import ConvLSTM
from probgen.nets.conv_lstm import State, each_picture
from probgen.nets.laws import StrictBernoulli, of_a_law, refuse


class VideoVAE(Pair):
    r"""A model/guide pair of films x (n, T, C, H, W), of pixels 0 or 1.

    The sites are ``z``, of event (T, latent), and ``x``, of event (T, C, H, W). Without prior and encoder
    there is no z: the deterministic twin, whose frames follow from those before but for the pixels' own
    noise; it is trained by the same objective, and its likelihood is exact.

    Args:
        features: frames (N, C, H, W) to maps (N, c, h, w).
        memory: reads these maps, ``memory.inputs`` = c.
        frame: states of the memory, and the code at all places, (N, memory.outputs + latent, h, w), to the
            log-odds of pixels (N, C, H, W).
        prior: states (\*batch, memory.outputs · h · w) to p(z_t | h_t), with event shape (latent,).
        encoder: features of x_t before states, (\*batch, (c + memory.outputs) · h · w), to
            q(z_t | x_t, h_t).
        image_shape: (C, H, W).
        steps: T, of films that are drawn.

    >>> features, frame = nn.Conv2d(1, 8, 4, stride=4), nn.ConvTranspose2d(16, 1, 4, stride=4)
    >>> twin = VideoVAE(features, ConvLSTM(8, 16), frame, image_shape=(1, 32, 32), steps=6)
    >>> twin.sample(2, seed=0).shape, twin.forecast(torch.zeros(2, 10, 1, 32, 32), steps=3).shape
    (torch.Size([2, 6, 1, 32, 32]), torch.Size([1, 2, 3, 1, 32, 32]))
    """

    def __init__(
        self,
        features: nn.Module,
        memory: ConvLSTM,
        frame: nn.Module,
        *,
        prior: nn.Module | None = None,
        encoder: nn.Module | None = None,
        image_shape: Sequence[int],
        steps: int,
    ) -> None:
        super().__init__()
        if (prior is None) != (encoder is None):
            raise ValueError("prior and encoder should both be given, or neither, but one is None")
        self.features, self.memory, self.frame = features, memory, frame
        self.prior, self.encoder = prior, encoder
        self.image_shape, self.steps = tuple(image_shape), check_count("steps", steps)

    def model(self, x: Tensor | None = None, *context: Tensor, n: int = 1) -> Tensor:
        """Draw the codes of all frames, then the frames; without x, frame after frame."""
        if x is None:
            return self._go_on(
                next(self.parameters()).new_zeros(n, *self.image_shape), None, self.steps, drawn=True
            )
        _, h = self._read(x)
        with pyro.plate("data", len(x)):
            z = None if self.prior is None else pyro.sample("z", self.prior(h.flatten(-3)).to_event(1))
            return pyro.sample("x", self._law(h, z).to_event(1), obs=x)

    def guide(self, x: Tensor | None = None, *context: Tensor, n: int = 1) -> Tensor | None:
        """Draw the codes of all frames from the encoder."""
        if x is None:
            raise ValueError("the guide needs x, the data whose codes it draws")
        if self.encoder is None:
            return None
        both = torch.cat(self._read(x), -3).flatten(-3)
        with pyro.plate("data", len(x)):
            return pyro.sample("z", self.encoder(both).to_event(1))

    def steps_of(self, x: Tensor, *context: Tensor) -> Tensor:
        """Return how many frames each film has, shape (n,)."""
        return x.new_full(x.shape[:1], x.shape[1], dtype=torch.int64)

    def filtering(self, x: Tensor, *context: Tensor) -> Callable[[int, Tensor | None], Any]:
        """Return the laws of a frame for a particle filter; the twin's code has no numbers."""
        maps, h = self._read(x)
        nets = ((self.prior, h), (self.encoder, torch.cat([maps, h], -3)))
        none = dist.Normal(x.new_zeros(len(x), 0), 1.0).to_event(1)

        def step(t: int, z: Tensor | None) -> Any:
            laws = [none if net is None else net(told[:, t].flatten(-3)) for net, told in nets]
            prior, guide = (law if z is None else law.expand(z.shape[:2]) for law in laws)
            return prior, guide, lambda new: self._law(h[:, t], new).log_prob(x[:, t])

        return step

    @torch.no_grad()
    def forecast(self, y: Tensor, *, steps: int, draws: int = 1, seed: int = 0) -> Tensor:
        r"""Draw the frames after those of y: their means given the codes drawn, frame after frame.

        Of y, frames seen (n, S, C, H, W), it returns ``draws`` times ``steps`` frames, in [0, 1], shape
        (draws, n, steps, C, H, W). Of each the memory reads the mean, as in the source, and not pixels that
        are drawn: what differs between draws is the codes, and without codes nothing does.
        """
        steps, draws = check_count("steps", steps), check_count("draws", draws)
        self._check(y, "y")
        refuse(y, (y >= 0) & (y <= 1), "pixels of y, frames that are seen, should be in [0, 1]")
        with seeded(seed), evaluating(self):
            _, (h, c) = self.memory(each_picture(self.features, _after_blank(y)[:, :-1]))
            state = (h.expand(draws, *h.shape), c.expand(draws, *c.shape))
            return self._go_on(y[:, -1].expand(draws, *y[:, -1].shape), state, steps, drawn=False)

    def _read(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return features of each frame, and the memory's state before it, which has begun at a blank."""
        self._check(x, "x")
        maps = self.shared("maps", lambda: each_picture(self.features, _after_blank(x)))
        return maps[:, 1:], self.shared("states", lambda: self.memory(maps[:, :-1])[0])

    def _check(self, x: Tensor, name: str) -> None:
        if x.dim() != 5 or not x.shape[1] or x.shape[2:] != self.image_shape:
            sizes = ", ".join(map(str, self.image_shape))
            raise ValueError(f"{name} should be films (n, T, {sizes}), T ≥ 1, but is {tuple(x.shape)}")

    def _go_on(self, last: Tensor, state: State | None, steps: int, *, drawn: bool) -> Tensor:
        r"""Return frames after the last one (\*batch, C, H, W), pixels drawn or means."""
        frames = []
        for _ in range(steps):
            state = self.memory.step(each_picture(self.features, last), state)
            z = None if self.prior is None else self.prior(state[0].flatten(-3)).sample()
            law = self._law(state[0], z)
            last = law.sample() if drawn else law.mean
            frames.append(last)
        return torch.stack(frames, -4)

    def _law(self, h: Tensor, z: Tensor | None) -> Any:
        r"""Return p(x_t | h_t, z_t) of states (\*batch, c, h, w) and codes (\*more, \*batch, latent)."""
        if z is not None:
            code = z[..., None, None].expand(*z.shape, *h.shape[-2:])
            h = torch.cat([h.expand(*z.shape[:-1], *h.shape[-3:]), code], -3)
        return StrictBernoulli(logits=of_a_law(each_picture(self.frame, h))).to_event(3)


def _after_blank(x: Tensor) -> Tensor:
    return torch.cat([torch.zeros_like(x[:, :1]), x], 1)
