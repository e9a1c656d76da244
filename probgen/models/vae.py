r"""The variational autoencoder.

Generative story: z ~ p(z), x | z ~ p(x | z), the law that the decoder returns.
Guide: z | x ~ q(z | x), the law that the encoder returns.
Loss: minus the evidence lower bound, ``probgen.SVI(vae)``: reconstruction plus KL to the prior.

Source: Kingma and Welling (2014), Auto-encoding variational Bayes; Rezende, Mohamed and Wierstra (2014).
"""

from __future__ import annotations

from typing import Any

import pyro
import torch
from torch import Tensor, nn
from torch.distributions import Distribution

from probgen.core import Pair, evaluating
from probgen.priors import Given, StandardNormal


class VAE(Pair):
    r"""A model/guide pair with one latent site, ``z``, and one observed site, ``x``.

    Each argument is a *conditional*, a module that returns a distribution; all share one plate of data.

    Args:
        encoder: x of shape (\*batch, \*event) to q(z | x), with event shape (latent,).
        decoder: z of shape (\*batch, latent) to p(x | z), with the event shape of x.
        prior: p(z), a distribution or a module that returns one; by default the standard normal on the
            encoder's ``outputs`` coordinates. A law of one number stands for all coordinates.

    >>> from probgen import nets
    >>> vae = VAE(encoder=nets.NormalHead(nets.MLP(64, 2)), decoder=nets.BernoulliHead(nets.MLP(2, 64)))
    >>> vae.sample(3, seed=0).shape
    torch.Size([3, 64])
    """

    def __init__(
        self, encoder: nn.Module, decoder: nn.Module, prior: nn.Module | Distribution | None = None
    ) -> None:
        super().__init__()
        if not isinstance(prior, nn.Module):
            size: Any = getattr(encoder, "outputs", None)
            if size is None and prior is None:
                raise TypeError(f"prior should be given, as {type(encoder).__name__} has no size ``outputs``")
            prior = StandardNormal(size) if prior is None else Given(prior, dim=size)
        self.encoder = encoder
        self.decoder = decoder
        self.prior = prior

    def model(self, x: Tensor | None = None, *context: Tensor, n: int = 1) -> Tensor:
        """Draw z from the prior, then x from the decoder."""
        with pyro.plate("data", n if x is None else len(x)):
            z = pyro.sample("z", self.prior(*context))
            return pyro.sample("x", self.decoder(z, *context), obs=x)

    def guide(self, x: Tensor | None = None, *context: Tensor, n: int = 1) -> Tensor:
        """Draw z from the encoder."""
        if x is None:
            raise ValueError("the guide needs x, the data whose codes it draws")
        with pyro.plate("data", len(x)):
            return pyro.sample("z", self.encoder(x, *context))

    @torch.no_grad()
    def encode(self, x: Tensor, *context: Tensor) -> Distribution:
        """Return q(z | x) for each row of x, in evaluation mode."""
        with evaluating(self):
            return self.encoder(x, *context)

    @torch.no_grad()
    def decode(self, z: Tensor, *context: Tensor) -> Distribution:
        """Return p(x | z) for each code z, in evaluation mode."""
        with evaluating(self):
            return self.decoder(z, *context)
