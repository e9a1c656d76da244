r"""The bidirectional GAN (BiGAN, ALI): a generator and an encoder that learn from one discriminator.

Generative story: z ~ p(z), x = G(z). Encoder: z ~ q(z | x), a law, or a point E(x).
Loss: a contest about pairs, ``objectives.Contest(bigan)``: the discriminator tells (x, E(x)), x from the
data, from (G(z), z), and both networks learn to make their pairs look like the other's. Where nothing can
tell them apart, E inverts G on the support of the data.

Source: Donahue, Krähenbühl and Darrell (2017), Adversarial feature learning; Dumoulin, Belghazi, Poole,
Lamb, Arjovsky, Mastropietro and Courville (2017), Adversarially learned inference.
"""

from __future__ import annotations

from typing import Any, ClassVar

import pyro
import pyro.distributions as dist
import torch
from torch import Tensor, nn
from torch.distributions import Distribution

from probgen.core import evaluating
from probgen.models.gan import GAN, with_settled


class BiGAN(GAN):
    r"""A GAN with an encoder, which the discriminator judges beside the generator.

    Args:
        encoder: from x, and the context if there is one, to a law of z that is drawn from by
            reparameterisation: ``nets.NormalHead(net)``, or ``nets.PointHead(net)`` for a point.
        generator: as :class:`GAN` takes it.
        discriminator: from x and z, and the context if there is one, to one logit each:
            ``nets.Joined(nets.MLP(64 + 10, 1))``.
        noise: as :class:`GAN` takes it.

    >>> from probgen import nets
    >>> bigan = BiGAN(
    ...     nets.PointHead(nets.MLP(64, 10)), nets.MLP(10, 64), nets.Joined(nets.MLP(64 + 10, 1)), noise=10
    ... )
    >>> bigan.encode(torch.zeros(5, 64)).mean.shape
    torch.Size([5, 10])
    """

    averages: ClassVar[dict[str, str]] = {"generator": "averaged", "encoder": "averaged_encoder"}

    def __init__(
        self,
        encoder: nn.Module,
        generator: nn.Module,
        discriminator: nn.Module,
        *,
        noise: int | Distribution | nn.Module,
    ) -> None:
        super().__init__(generator, discriminator, noise=noise)
        self.encoder = encoder
        self.averaged_encoder: nn.Module | None = None

    def contestants(self, x: Tensor, *context: Tensor) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
        r"""Return pairs of data and codes: real, (x, E(x), \*context), and fake, (G(z), z, \*context)."""
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", self.noise(*context))
            code = pyro.sample("code", self._law(self.encoder, x, *context))
        code = with_settled(self.averaged_encoder, code, x, *context)
        return (x, code, *context), (self.generate(z, *context), z, *context)

    @torch.no_grad()
    def encode(self, x: Tensor, *context: Tensor) -> Distribution:
        """Return q(z | x) for each row of x, in evaluation mode."""
        with evaluating(self):
            return self._law(self.averaged_encoder or self.encoder, x, *context)

    @torch.no_grad()
    def decode(self, z: Tensor, *context: Tensor) -> Distribution:
        """Return G(z) for each code z, a point, in evaluation mode."""
        with evaluating(self):
            x = self.generate(z, *context)
        return dist.Delta(x, event_dim=x.dim() - 1)

    def _law(self, encoder: nn.Module, x: Tensor, *context: Tensor) -> Any:
        found = encoder(x, *context)
        if not isinstance(found, Distribution) or not found.has_rsample:
            raise TypeError(
                "encoder should return a law of codes that is drawn by reparameterisation, but returned a "
                f"{type(found).__name__}: make it nets.PointHead(net) or nets.NormalHead(net)"
            )
        return found
