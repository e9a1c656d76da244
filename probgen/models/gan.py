r"""The generative adversarial network.

Generative story: z ~ p(z), x = G(z), a network. There is no likelihood and no guide.
Loss: a contest with a discriminator d, which learns to tell data from draws, while G learns to make draws
that it takes for data, ``objectives.Contest(gan)``. With a context c, both networks are told it: x = G(z, c),
d(x, c).

Source: Goodfellow, Pouget-Abadie, Mirza, Xu, Warde-Farley, Ozair, Courville and Bengio (2014); Mirza and
Osindero (2014), Conditional generative adversarial nets.
"""

from __future__ import annotations

from typing import ClassVar

import pyro
import torch
from torch import Tensor, nn
from torch.distributions import Distribution
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.utils.parametrize import is_parametrized

from probgen.core import GenerativeModel
from probgen.priors import Given, StandardNormal


class GAN(GenerativeModel):
    r"""A network that maps noise to data, and the discriminator that it learns from.

    In evaluation mode it draws by its averaged generator, where a contest has made one
    (``objectives.Contest(gan, average=0.995)``).

    Args:
        generator: the network G, from noise of shape (n, noise), and the context if there is one, to x of
            shape (n, \*event).
        discriminator: the network d, from x, and the context if there is one, to one logit each, (n,) or
            (n, 1): the larger, the more x looks like data.
        noise: the number of standard normal coordinates of z; or the law of z, a distribution or a module
            that returns one.

    >>> from probgen import nets
    >>> GAN(nets.MLP(10, 64), nets.MLP(64, 1), noise=10).sample(3, seed=0).shape
    torch.Size([3, 64])
    """

    averages: ClassVar[dict[str, str]] = {"generator": "averaged"}
    """Networks of which a contest may keep an average, and what that is called."""

    def __init__(
        self, generator: nn.Module, discriminator: nn.Module, *, noise: int | Distribution | nn.Module
    ) -> None:
        super().__init__()
        self.generator = generator
        self.discriminator = discriminator
        if isinstance(noise, Distribution):
            noise = Given(noise)
        self.noise = noise if isinstance(noise, nn.Module) else StandardNormal(noise)
        self.averaged: nn.Module | None = None

    def model(self, x: Tensor | None = None, *context: Tensor, n: int = 1) -> Tensor:
        """Draw noise and map it; a given x only says how many to draw, as there is no likelihood."""
        with pyro.plate("data", n if x is None else len(x)):
            z = pyro.sample("z", self.noise(*context))
        return self.generate(z, *context)

    def generate(self, z: Tensor, *context: Tensor) -> Tensor:
        """Return G(z), in evaluation mode by the averaged generator where there is one."""
        if self.averaged is not None and not self.training:
            return self.averaged(z, *context)
        return with_settled(self.averaged, self.generator(z, *context), z, *context)

    def contestants(self, x: Tensor, *context: Tensor) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
        r"""Return what the discriminator is asked of: real, (x, \*context), and fake, (G(z), \*context)."""
        return (x, *context), (self.model(None, *context, n=len(x)), *context)


def with_settled(averaged: nn.Module | None, x: Tensor, *arguments: Tensor) -> Tensor:
    """Return x; let a network of averaged weights move its running means, if it has some, to what it makes.

    Those of the weights that are averaged are not its own.
    """
    if averaged is None or not any(
        isinstance(part, _NormBase) or is_parametrized(part) for part in averaged.modules()
    ):
        return x
    with torch.no_grad():
        found = averaged(*arguments)
        found = found if isinstance(found, Tensor) else found.mean
    # x itself, by an operation that a captured graph does not take for idle along with what it depends on.
    return torch.where(torch.ones((), dtype=torch.bool, device=x.device), x, found)
