r"""The sequence VAE whose code also tells numbers of the datum, such as the properties of a molecule.

Generative story: z ~ p(z), x | z token by token until END, y | z ~ p(y | z), the property head.
Guide: z | x ~ q(z | x), which does not see y: so a datum of unknown properties has a code, and they are
predicted from it.
Loss: minus the evidence lower bound of both, log p(x, y) ≥ E_q[log p(x | z) + log p(y | z)] − KL, or of x
alone where y is not given.

Source: Gómez-Bombarelli, Wei, Duvenaud and others (2018), Automatic chemical design using a data-driven
continuous representation of molecules.
"""

from __future__ import annotations

import pyro
import torch
from torch import Tensor, nn
from torch.distributions import Distribution

from probgen.core import evaluating
from probgen.models.sequence_vae import SequenceVAE


class PropertyVAE(SequenceVAE):
    r"""A model/guide pair of sequences of tokens that end, x (n, T), and their properties, y (n, k).

    Sites are ``z``, ``x`` and, where y is given, ``y``. A batch is (x,), (x, lengths), (x, y) or
    (x, lengths, y), y of real numbers; lengths are not needed. ``sample`` returns x.

    Args:
        encoder, decoder, prior: as :class:`SequenceVAE` has them.
        head: z to p(y | z), such as ``nets.NormalHead(nets.MLP(latent, k), scale="shared")``.

    >>> from probgen import nets, priors
    >>> encoder = nets.NormalHead(nets.TokenReader(10, 4))
    >>> decoder = priors.Sentences(nets.TokenGRU(10, 6, context=4))
    >>> model = PropertyVAE(encoder, decoder, head=nets.NormalHead(nets.MLP(4, 2), scale="shared"))
    >>> model.predict(model.encode(model.sample(3, seed=0)).mean).mean.shape
    torch.Size([3, 2])
    """

    def __init__(
        self,
        encoder: nn.Module,
        decoder: nn.Module,
        prior: nn.Module | Distribution | None = None,
        *,
        head: nn.Module,
    ) -> None:
        super().__init__(encoder, decoder, prior)
        self.head = head

    def model(self, x: Tensor | None = None, *context: Tensor, n: int = 1) -> Tensor:
        """Draw z from the prior, then tokens from the decoder and properties from the head."""
        told = [part for part in context if part.is_floating_point()]
        if x is not None and told and (told[0].dim() != 2 or len(told[0]) != len(x)):
            raise ValueError(
                f"y should be properties, a row for each of {len(x)} sequences, but has shape "
                f"{tuple(told[0].shape)}"
            )
        with pyro.plate("data", n if x is None else len(x)):
            z = pyro.sample("z", self.prior())
            if told:
                pyro.sample("y", self.head(z), obs=told[0])
            law = self.decoder(z)
            return pyro.sample("x", law if x is None else law.within(x.shape[-1]), obs=x)

    @torch.no_grad()
    def predict(self, z: Tensor) -> Distribution:
        r"""Return p(y | z) of codes (\*batch, latent), in evaluation mode."""
        with evaluating(self):
            return self.head(z)
