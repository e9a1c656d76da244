r"""The generative moment-matching network.

Generative story: u ~ U(−1, 1)^k, x = g(u), a network. There is no likelihood and no guide.
Loss: the MMD between a batch of data and as many draws, ``objectives.MomentMatching(gmmn, kernel)``.

Source: Li, Swersky and Zemel (2015), Generative moment matching networks; Dziugaite, Roy and Ghahramani
(2015).
"""

from __future__ import annotations

import pyro
import pyro.distributions as dist
import torch
from torch import Tensor, nn

from probgen.core import GenerativeModel, check_count


class GMMN(GenerativeModel):
    r"""A network that maps uniform noise to data.

    Args:
        generator: the network g, from noise of shape (\*batch, noise), and the context if there is one, to x
            of shape (\*batch, \*event).
        noise: k, the number of uniform coordinates.

    >>> from probgen import nets
    >>> GMMN(nets.MLP(10, 64), noise=10).sample(3, seed=0).shape
    torch.Size([3, 64])
    """

    low: Tensor

    def __init__(self, generator: nn.Module, *, noise: int) -> None:
        super().__init__()
        noise = check_count("noise", noise)
        self.generator = generator
        self.register_buffer("low", -torch.ones(noise), persistent=False)

    def model(self, x: Tensor | None = None, *context: Tensor, n: int = 1) -> Tensor:
        """Draw uniform noise and map it; a given x only says how many to draw, as there is no likelihood."""
        with pyro.plate("data", n if x is None else len(x)):
            u = pyro.sample("u", dist.Uniform(self.low, -self.low).to_event(1))
            return self.generator(u, *context)
