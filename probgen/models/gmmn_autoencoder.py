r"""The moment-matching network in the code space of an autoencoder (GMMN+AE).

Generative story: u ~ U(−1, 1)^k, c = g(u), x = E[x | c], the mean of the law that the decoder returns.
Losses, one after the other: first −log p(x | e(x)) of the autoencoder, ``Reconstruction(gmmn)``; then, with
the autoencoder as it is, √MMD² between codes and draws of g, ``MomentMatching(gmmn.codes, kernel)`` fitted
to ``gmmn.encode(x).mean``. Codes have few coordinates, in which distances say more than in pixels.

Source: Li, Swersky and Zemel (2015), Generative moment matching networks, section 4.
"""

from __future__ import annotations

import pyro.distributions as dist
import torch
from torch import Tensor, nn
from torch.distributions import Distribution

from probgen.core import GenerativeModel, evaluating
from probgen.models.gmmn import GMMN


class GMMNAutoencoder(GenerativeModel):
    r"""A network that maps uniform noise to codes, and an autoencoder that maps these to data.

    Args:
        encoder: a network from x, shape (\*batch, \*event), to codes (\*batch, code). Noise in it, such as
            dropout, is on in training only.
        decoder: a conditional from codes to a law of x.
        generator: the network g, from noise of shape (\*batch, noise) to codes.
        noise: k, the number of uniform coordinates.

    >>> from probgen import nets
    >>> gmmn = GMMNAutoencoder(
    ...     nets.MLP(64, 8), nets.NormalHead(nets.MLP(8, 64), scale="shared"), nets.MLP(4, 8), noise=4
    ... )
    >>> gmmn.sample(3, seed=0).shape
    torch.Size([3, 64])
    """

    def __init__(self, encoder: nn.Module, decoder: nn.Module, generator: nn.Module, *, noise: int) -> None:
        super().__init__()
        self.encoder = encoder
        self.decoder = decoder
        self.codes = GMMN(generator, noise=noise)

    def model(self, x: Tensor | None = None, *context: Tensor, n: int = 1) -> Tensor:
        """Draw codes and decode them; a given x only says how many to draw, as there is no likelihood."""
        return self.decoder(self.codes.model(x, *context, n=n)).mean

    @torch.no_grad()
    def encode(self, x: Tensor, *context: Tensor) -> Distribution:
        """Return the code of each row of x as a point, in evaluation mode."""
        with evaluating(self):
            return dist.Delta(self.encoder(x, *context), event_dim=1)

    @torch.no_grad()
    def decode(self, z: Tensor, *context: Tensor) -> Distribution:
        """Return p(x | z) for each code z, in evaluation mode."""
        with evaluating(self):
            return self.decoder(z, *context)
