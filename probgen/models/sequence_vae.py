r"""The sequence VAE: one code for a whole sequence of tokens, as for a sentence or a molecule.

Generative story: z ~ p(z), then x_t | x_1, ..., x_{t−1}, z token by token until END.
Guide: z | x ~ q(z | x), from all tokens of the sequence.
Loss: minus the evidence lower bound, ``SVI(model)``; the KL is annealed (``BetaELBO`` and a schedule), free
up to some nats (``FreeBits``), or the guide learns ahead (``LaggingInference``), or else a decoder that can
tell the next token without z leaves it unused.

Source: Bowman, Vilnis, Vinyals, Dai, Józefowicz and Bengio (2016), Generating sentences from a continuous
space.
"""

from __future__ import annotations

import pyro
from torch import Tensor
from torch.distributions import Distribution

from probgen.data import lengths_of
from probgen.models.vae import VAE


class SequenceVAE(VAE):
    r"""A model/guide pair of sequences of tokens (n, T) that end: sites ``z`` (latent,) and ``x``.

    Tokens carry their own length, END inside and PAD after it, so a context, such as the lengths that
    ``data.Ragged`` gives, is not needed and left out. Bounds are reported per token as well, END counted.

    Args:
        encoder: x of shape (\*batch, T) to q(z | x), such as ``nets.NormalHead(nets.TokenReader(...))``.
        decoder: z of shape (\*batch, latent) to p(x | z): ``priors.Sentences`` of a net that takes z as its
            context, ``nets.TokenGRU`` or ``nets.CausalTransformer``.
        prior: p(z), as :class:`VAE` has it; the standard normal by default.

    >>> from probgen import nets, priors
    >>> encoder = nets.NormalHead(nets.TokenReader(10, 4))
    >>> model = SequenceVAE(encoder, priors.Sentences(nets.TokenGRU(10, 6, context=4)))
    >>> model.sample(3, seed=0).shape
    torch.Size([3, 6])
    """

    def model(self, x: Tensor | None = None, *context: Tensor, n: int = 1) -> Tensor:
        """Draw z from the prior, then tokens from the decoder until END."""
        with pyro.plate("data", n if x is None else len(x)):
            law = self.decoder(pyro.sample("z", self.prior()))
            return pyro.sample("x", law if x is None else law.within(x.shape[-1]), obs=x)

    def guide(self, x: Tensor | None = None, *context: Tensor, n: int = 1) -> Tensor:
        """Draw z from the encoder."""
        return super().guide(x, n=n)

    def encode(self, x: Tensor, *context: Tensor) -> Distribution:
        """Return q(z | x) for each row of x, in evaluation mode."""
        return super().encode(x)

    def decode(self, z: Tensor, *context: Tensor) -> Distribution:
        """Return p(x | z) for each code z, in evaluation mode."""
        return super().decode(z)

    def steps_of(self, x: Tensor, *context: Tensor) -> Tensor:
        """Return how many tokens each sequence has, with its END, shape (n,)."""
        return lengths_of(x)
