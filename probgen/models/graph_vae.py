r"""The variational graph autoencoder: nodes have places, and links depend on these.

Generative story: z_i ~ p(z) for each node i; x_ij | z ~ Bernoulli(sigmoid(l(z_i, z_j))) for each pair.
Guide: z | x ~ Π_i q(z_i | x), by a graph convolution of the links that are seen.
Loss: minus the evidence lower bound of a graph, ``probgen.SVI(pair)``. A graph is one datum: all its seen
pairs, and the KL of all its nodes, in nats, with no weight of either.

Source: Kipf and Welling (2016), Variational graph auto-encoders, whose code divides the KL by the number of
nodes once more, and weights links above their absence; Hoff, Raftery and Handcock (2002), Latent space
approaches to social network analysis, for the story.
"""

from __future__ import annotations

from typing import Any

import pyro
import pyro.distributions as dist
import torch
from torch import Tensor, nn

from probgen.core import Pair, evaluating, seeded


class GraphVAE(Pair):
    r"""A model/guide pair of graphs x (B, n, n), symmetric matrices of 0 and 1.

    The context is which pairs are seen, boolean (B, n, n), all where it is not given: the others are no data,
    neither of the guide, which sees 0 there, nor of the likelihood. The sites are ``z``, of event (n, d), and
    ``x``, of event (n, n).

    Args:
        encoder: x (B, n, n) to q(z_i | x), of batch shape (B, n) and event shape (d,), such as
            ``nets.NormalHead(nets.GraphNet(n, d))``.
        decoder: z (\*batch, n, d), and which pairs are seen, to p(x | z), such as ``nets.InnerProduct()``.
        nodes: n.
        latent: d.

    >>> from probgen import nets
    >>> pair = GraphVAE(nets.NormalHead(nets.GraphNet(20, 4)), nets.InnerProduct(), nodes=20, latent=4)
    >>> pair.sample(3, seed=0).shape
    torch.Size([3, 20, 20])
    """

    origin: Tensor

    def __init__(self, encoder: nn.Module, decoder: nn.Module, *, nodes: int, latent: int) -> None:
        super().__init__()
        self.encoder = encoder
        self.decoder = decoder
        self.register_buffer("origin", torch.zeros(nodes, latent), persistent=False)

    def model(self, x: Tensor | None = None, *context: Tensor, n: int = 1) -> Tensor:
        """Draw the places of all nodes, then the links of all pairs; of x those that are seen count."""
        prior = dist.Normal(self.origin, 1.0).to_event(2)
        with pyro.plate("data", n if x is None else len(x)):
            z = pyro.sample("z", prior)
            law = self.decoder(z) if x is None else self.decoder(z, *context)
            return pyro.sample("x", law, obs=x)

    def guide(self, x: Tensor | None = None, *context: Tensor, n: int = 1) -> Tensor:
        """Draw the places of all nodes given the links that are seen."""
        if x is None:
            raise ValueError("the guide needs x, the data whose codes it draws")
        with pyro.plate("data", len(x)):
            return pyro.sample("z", self._places(x, *context))

    @torch.no_grad()
    def encode(self, x: Tensor, *context: Tensor) -> dist.TorchDistribution:
        """Return q(z | x) for each graph, in evaluation mode."""
        with evaluating(self):
            return self._places(x, *context)

    @torch.no_grad()
    def decode(self, z: Tensor, *context: Tensor) -> dist.TorchDistribution:
        """Return p(x | z) for each set of places, in evaluation mode."""
        with evaluating(self):
            return self.decoder(z, *context)

    def link_probabilities(self, x: Tensor, *context: Tensor, draws: int = 100, seed: int = 0) -> Tensor:
        """Return the probability of each link given those that are seen, (B, n, n): a mean over places.

        Args:
            x: graphs, (B, n, n); what they hold at pairs that are not seen has no influence.
            context: which pairs are seen, boolean (B, n, n).
            draws: of places from the guide.
            seed: of the draws.
        """
        law = self.encode(x, *context)
        with seeded(seed):
            found = [self.decode(law.sample()).mean for _ in range(draws)]
        return torch.stack(found).mean(0)

    def _places(self, x: Tensor, *context: Tensor) -> Any:
        """Return the law of the places, which knows the links that are seen."""
        return self.encoder(torch.where(context[0], x, 0.0) if context else x).to_event(1)
