r"""A semi-supervised VAE of the codes of a VAE.

Generative story: y ~ p(y), z₂ ~ p(z₂), z₁ | y, z₂ ~ p₂(z₁ | y, z₂), x | z₁ ~ p₁(x | z₁).
Losses, one after the other: minus the ELBO of the first VAE, M1, p₁ with the prior N(0, I); then, with the
first as it is, minus the ELBO of the second, M2, and its classification, on *draws* z₁ ~ q₁(z₁ | x). The two
bounds are of other data and do not add up to one of x.

Source: Kingma, Rezende, Mohamed and Welling (2014), Semi-supervised learning with deep generative models.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.distributions import Distribution

from probgen.core import GenerativeModel
from probgen.models.semi_supervised_vae import SemiSupervisedVAE
from probgen.models.vae import VAE


class StackedSemiSupervisedVAE(GenerativeModel):
    r"""Draws codes of a class from the second VAE, and data at these codes from the first.

    Args:
        first: the VAE of x, M1.
        second: the semi-supervised VAE of the codes of the first, in the place of x, M2.

    >>> from probgen import nets
    >>> def told(net):
    ...     return nets.Joined(net, None, nets.OneHot(3))
    >>> first = VAE(nets.NormalHead(nets.MLP(64, 5)), nets.BernoulliHead(nets.MLP(5, 64)))
    >>> second = SemiSupervisedVAE(
    ...     nets.ClassHead(nets.MLP(5, 3)),
    ...     nets.NormalHead(told(nets.MLP(5 + 3, 2))),
    ...     nets.NormalHead(told(nets.MLP(2 + 3, 5))),
    ... )
    >>> model = StackedSemiSupervisedVAE(first, second)
    >>> model.sample(2, torch.tensor([0, 2]), seed=0).shape, model.classify(torch.zeros(4, 64)).probs.shape
    (torch.Size([2, 64]), torch.Size([4, 3]))
    """

    def __init__(self, first: VAE, second: SemiSupervisedVAE) -> None:
        super().__init__()
        self.first, self.second = first, second

    def model(self, x: Tensor | None = None, *labels: Tensor, n: int = 1) -> Tensor:
        """Draw codes and decode them; a given x only says how many to draw, as no bound on p(x) is known."""
        z = self.second.model(None, *labels, n=n if x is None else len(x))
        return self.first.decoder(z).sample()

    @torch.no_grad()
    def classify(self, x: Tensor) -> Distribution:
        """Return q₂(y | z₁) at the mean code z₁ of each row of x, in evaluation mode."""
        return self.second.classify(self.first.encode(x).mean)

    def encode(self, x: Tensor, *labels: Tensor) -> Distribution:
        """Return q₁(z₁ | x) for each row of x, in evaluation mode; it does not depend on labels."""
        return self.first.encode(x)

    def decode(self, z: Tensor, *labels: Tensor) -> Distribution:
        """Return p₁(x | z₁) for each code z₁, in evaluation mode; it does not depend on labels."""
        return self.first.decode(z)
