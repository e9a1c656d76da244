"""The composite prior: a standard normal law, what the encoder said of the same datum before, a wide one."""

from __future__ import annotations

import copy
from collections.abc import Sequence

import pyro.distributions as dist
import torch
from torch import Tensor, nn
from torch.distributions import Distribution, Independent, Normal

from probgen.priors.mixture import Mixture


class Remembered(nn.Module):
    r"""p(z | x) = Π_j [w₁ N(z_j; 0, 1) + w₂ N(z_j; m_j(x), s_j²(x)) + w₃ N(z_j; 0, σ²)], m and s of the past.

    The second law is q(z | x) of an encoder that is kept as it was when :meth:`remember` was last called: a
    code then has no reason to leave where the decoder has learned to find it, as long as the encoder alone
    learns. The third is so wide that no code is far. As it is told the datum, it is no prior in the sense of
    a story that begins with z: a bound with it bounds no log p(x), and new data are drawn from the first law.

    Args:
        encoder: x to a normal law of codes with independent coordinates, as ``nets.NormalHead``; copied, in
            evaluation mode and without gradient.
        weights: w, above 0; they are divided by their sum.
        wide: σ.

    Raises:
        ValueError: for other than three weights above 0, and a σ that is not above 0.
        TypeError: at the first call, for an encoder of another law.

    Source: Shenbin, Alekseev, Tutubalina, Malykh and Nikolenko (2020), RecVAE.

    >>> from probgen import nets
    >>> prior = Remembered(nets.NormalHead(nets.MLP(7, 2)))
    >>> prior(torch.zeros(3, 7)).log_prob(torch.zeros(3, 2)).shape
    torch.Size([3])
    """

    weights: Tensor

    def __init__(
        self,
        encoder: nn.Module,
        *,
        weights: Sequence[float] = (0.15, 0.75, 0.1),
        wide: float = 148.0,
    ) -> None:
        super().__init__()
        if len(weights) != 3 or not all(weight > 0 for weight in weights):
            raise ValueError(f"weights should be three above 0 but are {tuple(weights)}")
        if not wide > 0:
            raise ValueError(f"wide should be above 0 but is {wide}")
        self.encoder = copy.deepcopy(encoder).requires_grad_(False).eval()
        self.wide = wide
        self.register_buffer("weights", torch.tensor(weights) / sum(weights), persistent=False)

    @torch.no_grad()
    def remember(self, encoder: nn.Module) -> None:
        """Take the encoder's weights and buffers as they are now."""
        self.encoder.load_state_dict(encoder.state_dict())

    def train(self, mode: bool = True) -> Remembered:
        """Set the mode, but that of the remembered encoder, which stays in evaluation mode."""
        super().train(mode)
        self.encoder.eval()
        return self

    def before(self, x: Tensor) -> Independent:
        """Return q(z | x) of the remembered encoder."""
        law = self.encoder(x)
        if not (isinstance(law, Independent) and isinstance(law.base_dist, Normal)):
            raise TypeError(f"encoder should give normal laws, coordinate by coordinate, but gives {law}")
        return law

    def forward(self, x: Tensor) -> Distribution:
        """Return the mixture for each row of x."""
        past = self.before(x).base_dist
        zero, one = torch.zeros_like(past.loc), torch.ones_like(past.loc)
        laws = [dist.Normal(zero, one), past, dist.Normal(zero, self.wide * one)]
        return dist.Independent(Mixture(laws, self.weights), 1)
