r"""The denoising variational autoencoder: a VAE whose guide sees its data corrupted.

Generative story: z ~ p(z), x | z ~ p(x | z), that of the VAE.
Guide: x̃ | x ~ c(x̃ | x), the corruption; z | x̃ ~ q(z | x̃). So z | x has the law q̃(z | x) = E_c[q(z | x̃)], a
mixture, richer than q.
Loss: minus E_c[ELBO of q(z | x̃)] = E_c E_q[log p(x, z) − log q(z | x̃)], ``probgen.SVI(pair)``. As each
q(z | x̃) is a guide, and the KL is convex in it,

    E_c[ELBO of q(z | x̃)] ≤ ELBO of q̃ ≤ log p(x).

In evaluation mode the guide sees x itself, as dropout is on in training alone: then bounds, importance
weights and codes are those of q(z | x).

Source: Im, Ahn, Memisevic and Bengio (2017), Denoising criterion for variational auto-encoding framework.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pyro
from torch import Tensor, nn

from probgen.models.vae import VAE

if TYPE_CHECKING:
    from torch.distributions import Distribution

    from probgen.data.corruptions import Corruption


class DenoisingVAE(VAE):
    r"""A VAE whose guide sees corrupted data while it is trained; the model is that of clean data.

    Args:
        encoder, decoder, prior: those of a :class:`probgen.models.VAE`.
        corruption: from rows of x to what the guide sees, such as ``data.GaussianNoise(0.5)``.

    >>> import torch
    >>> from probgen import data, nets
    >>> coder = nets.NormalHead(nets.MLP(64, 2)), nets.BernoulliHead(nets.MLP(2, 64))
    >>> vae = DenoisingVAE(*coder, corruption=data.Masking(0.3))
    >>> vae.sample(3, seed=0).shape
    torch.Size([3, 64])
    """

    def __init__(
        self,
        encoder: nn.Module,
        decoder: nn.Module,
        prior: nn.Module | Distribution | None = None,
        *,
        corruption: Corruption,
    ) -> None:
        super().__init__(encoder, decoder, prior)
        if not callable(corruption):
            raise TypeError(
                "corruption should be a function of data, such as data.Masking(0.5), but is a "
                f"{type(corruption).__name__}"
            )
        self.corruption = corruption

    def guide(self, x: Tensor | None = None, *context: Tensor, n: int = 1) -> Tensor:
        """Draw z from the encoder of corrupted x; of x itself in evaluation mode."""
        if x is None or not self.training:
            return super().guide(x, *context, n=n)
        with pyro.plate("data", len(x)):
            return pyro.sample("z", self.encoder(self.corruption(x), *context))
