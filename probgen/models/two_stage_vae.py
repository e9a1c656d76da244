r"""A VAE of the codes of a VAE, which learns what the prior of the first should have been.

Generative story: u ~ N(0, I), z | u ~ p₂(z | u), x | z ~ p₁(x | z).
Losses, one after the other: minus the ELBO of the first VAE, p₁ with the prior N(0, I); then, with the first
as it is, minus the ELBO of the second on *draws* z ~ q₁(z | x), whose law is the aggregate posterior. u has
as many coordinates as z. The two bounds are of other data and do not add up to one of x.

Source: Dai and Wipf (2019), Diagnosing and enhancing VAE models.
"""

from __future__ import annotations

from torch import Tensor
from torch.distributions import Distribution

from probgen.core import GenerativeModel
from probgen.models.vae import VAE


class TwoStageVAE(GenerativeModel):
    r"""Draws codes from the second VAE, and data at these codes from the first.

    Args:
        first: the VAE of x.
        second: the VAE of the codes of the first, in the place of x.

    >>> from probgen import nets
    >>> def vae(size):
    ...     return VAE(nets.NormalHead(nets.MLP(size, 2)), nets.NormalHead(nets.MLP(2, size)))
    >>> TwoStageVAE(vae(64), vae(2)).sample(3, seed=0).shape
    torch.Size([3, 64])
    """

    def __init__(self, first: VAE, second: VAE) -> None:
        super().__init__()
        self.first, self.second = first, second

    def model(self, x: Tensor | None = None, *context: Tensor, n: int = 1) -> Tensor:
        """Draw codes and decode them; a given x only says how many to draw, as no bound on p(x) is known."""
        z = self.second.model(n=n if x is None else len(x))
        return self.first.decoder(z, *context).sample()

    def encode(self, x: Tensor, *context: Tensor) -> Distribution:
        """Return q₁(z | x) for each row of x, in evaluation mode."""
        return self.first.encode(x, *context)

    def decode(self, z: Tensor, *context: Tensor) -> Distribution:
        """Return p₁(x | z) for each code z, in evaluation mode."""
        return self.first.decode(z, *context)
