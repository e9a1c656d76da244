r"""The autoencoder: a code e(x) and a law of data given the code.

Story: z ~ p(z), where a law of codes is known, x | z ~ p(x | z), the law that the decoder returns.
Code: a point, z = e(x). Loss: −log p(x | e(x)), ``objectives.Reconstruction(autoencoder)``, alone or in a
``Sum`` with penalties on the codes; −log p(x | e(seen)) where something else is seen, as in denoising.

A code of fewer coordinates than the data has to choose what to keep: a linear autoencoder with squared error
keeps the first principal components. One of as many coordinates or more can copy its input, and learns
nothing of the data unless noise or a penalty keeps it from copying.

Source: Rumelhart, Hinton and Williams (1986); Baldi and Hornik (1989) for the linear one; Ghosh, Sajjadi,
Vergari, Black and Schölkopf (2020), From variational to deterministic autoencoders, for a density on the
codes afterwards.
"""

from __future__ import annotations

import pyro
import torch
from torch import Tensor, nn
from torch.distributions import Distribution

from probgen.core import GenerativeModel, evaluating
from probgen.priors import GaussianMixture, Given


class Autoencoder(GenerativeModel):
    r"""An encoder whose code is a point, and a decoder.

    It draws where it has a law of codes: a prior that it is given, or a mixture by :meth:`fit_codes`.

    Args:
        encoder: x of shape (\*batch, \*event) to a point (\*batch, code): ``nets.PointHead(net)``.
        decoder: codes to p(x | z), with the event shape of x.
        prior: p(z), a distribution or a module that returns one.

    >>> from probgen import nets
    >>> model = Autoencoder(nets.PointHead(nets.MLP(64, 2)), nets.BernoulliHead(nets.MLP(2, 64)))
    >>> model.encode(torch.zeros(5, 64)).mean.shape
    torch.Size([5, 2])
    """

    def __init__(
        self, encoder: nn.Module, decoder: nn.Module, prior: nn.Module | Distribution | None = None
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self.decoder = decoder
        self.prior = Given(prior) if isinstance(prior, Distribution) else prior

    def model(self, x: Tensor | None = None, *context: Tensor, n: int = 1) -> Tensor:
        """Draw codes from their law, then x from the decoder."""
        if self.prior is None:
            raise ValueError(
                "an autoencoder draws only by a law of its codes, and this one has none: call "
                "fit_codes(x) once it is trained, or give it a prior"
            )
        with pyro.plate("data", n if x is None else len(x)):
            z = pyro.sample("z", self.prior(*context))
            return pyro.sample("x", self.decoder(z, *context), obs=x)

    def fit_codes(
        self,
        x: Tensor,
        *,
        components: int = 10,
        seed: int | None = None,
        generator: torch.Generator | None = None,
    ) -> None:
        """Give the model a law of its codes: a Gaussian mixture fitted by EM to those of x, as its prior.

        See :meth:`probgen.priors.GaussianMixture.fit`.
        """
        codes = self.encode(x).mean
        self.prior = GaussianMixture(codes.shape[-1], components).to(codes)
        self.prior.fit(codes, seed=seed, generator=generator)

    @torch.no_grad()
    def encode(self, x: Tensor, *context: Tensor) -> Distribution:
        """Return the code of each row of x as a point, in evaluation mode."""
        with evaluating(self):
            found = self.encoder(x, *context)
        if not isinstance(found, Distribution):
            raise TypeError(
                f"encoder should return a law of codes but returned a {type(found).__name__}: make it "
                "nets.PointHead(net)"
            )
        return found

    @torch.no_grad()
    def decode(self, z: Tensor, *context: Tensor) -> Distribution:
        """Return p(x | z) for each code z, in evaluation mode."""
        with evaluating(self):
            return self.decoder(z, *context)
