r"""A VAE whose code is turned to independent components, after it has learned.

Generative story: s_j ~ p_j(s_j), each by itself, z = c + A s, x | z ~ p(x | z), the decoder of the VAE.
Guide: s = W (z − c), W = A⁻¹, with z ~ q(z | x), the encoder of the VAE; also normal.
Losses, one after the other: minus the ELBO of the VAE; then FastICA on its posterior means, which gives c and
W; then, by maximum likelihood on draws of the guide, the widths of the p_j, smoothed laws of the components.

A VAE with the prior N(0, I) knows its code only up to a rotation, as far as its guide and decoder can turn
with it. Components are as independent as a linear map makes them; they are found where at most one of them
is normal, and are a rotation by chance where all are. The story is a pair again: bounds and likelihoods are
those of its own prior.

Source: Hyvärinen and Oja (2000), Independent component analysis: algorithms and applications, for FastICA;
Kingma and Welling (2014) for the VAE.
"""

from __future__ import annotations

import logging
import warnings
from typing import Any

import pyro
import pyro.distributions as dist
import torch
from torch import Tensor
from torch.distributions import Distribution

from probgen.core import Pair, evaluating, seed_of
from probgen.models.vae import VAE
from probgen.priors import SmoothedMarginals

logger = logging.getLogger("probgen")

ROWS = 5000
"""Most rows that FastICA looks at, chosen at random."""

ITERATIONS = 1000
"""Of FastICA, at most."""


class ICAVAE(Pair):
    r"""A pair with the latent site ``s``, the components of a VAE's code; :meth:`fit_components` finds them.

    Args:
        vae: with a guide that is normal in each coordinate, ``nets.NormalHead``.
        rows: of the sample from whose smoothed values components are drawn.

    >>> from probgen import nets
    >>> vae = VAE(nets.NormalHead(nets.MLP(64, 2)), nets.BernoulliHead(nets.MLP(2, 64)))
    >>> model = ICAVAE(vae, rows=100)
    >>> model.fit_components(torch.rand(200, 64))
    >>> model.sample(3, seed=0).shape, model.encode(torch.rand(5, 64)).mean.shape
    (torch.Size([3, 64]), torch.Size([5, 2]))
    """

    centre: Tensor
    unmixing: Tensor

    def __init__(self, vae: VAE, *, rows: int = 1000) -> None:
        super().__init__()
        size: Any = vae.encoder.outputs
        like = next(vae.parameters())
        self.vae = vae
        self.prior = SmoothedMarginals(torch.randn(rows, size).to(like))
        self.register_buffer("centre", torch.zeros(size).to(like))
        self.register_buffer("unmixing", torch.eye(size).to(like))

    def model(self, x: Tensor | None = None, *context: Tensor, n: int = 1) -> Tensor:
        """Draw components, each by itself, then x from the decoder of their mixture."""
        with pyro.plate("data", n if x is None else len(x)):
            s = pyro.sample("s", self.prior())
            return pyro.sample("x", self.vae.decoder(self._mixed(s), *context), obs=x)

    def guide(self, x: Tensor | None = None, *context: Tensor, n: int = 1) -> Tensor:
        """Draw the components of a code from the encoder."""
        if x is None:
            raise ValueError("the guide needs x, the data whose codes it draws")
        with pyro.plate("data", len(x)):
            return pyro.sample("s", self._unmixed(self.vae.encoder(x, *context)))

    @torch.no_grad()
    def fit_components(
        self,
        x: Tensor,
        *context: Tensor,
        seed: int | None = None,
        generator: torch.Generator | None = None,
    ) -> None:
        """Find the components of the posterior means of x by scikit-learn's FastICA, on 5,000 rows at most.

        The log says where it has not converged: components then have no meaning of their own.

        Raises:
            ValueError: for fewer rows of x than the sample has, and a coordinate of codes that does not vary
                by itself.
        """
        from sklearn.decomposition import FastICA
        from sklearn.exceptions import ConvergenceWarning

        seed = seed_of(seed, generator, default=0)
        z = self.vae.encode(x, *context).mean.double()
        if len(z) < len(self.prior.x):
            raise ValueError(
                f"x should have at least {len(self.prior.x)} rows, as the sample has, but has {len(z)}"
            )
        if not (z.std(0) > 0).all():
            place = int(z.std(0).argmin())
            raise ValueError(
                f"each coordinate of the code should vary but coordinate {place} is the same in all rows"
            )
        spread = torch.linalg.svdvals((z - z.mean(0)) / z.std(0))
        if spread[-1] <= 10 * torch.finfo(self.centre.dtype).eps * spread[0]:
            raise ValueError("each coordinate of the code should vary by itself but one follows from others")
        some = torch.randperm(len(z), generator=torch.Generator().manual_seed(seed))[:ROWS]
        found = FastICA(max_iter=ITERATIONS, random_state=seed % 2**32)
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always", ConvergenceWarning)
            found.fit(z[some.to(z.device)].cpu().numpy())
        if any(issubclass(warning.category, ConvergenceWarning) for warning in said):
            logger.warning("FastICA has not converged: components of the code have no meaning of their own")
        self.centre.copy_(torch.from_numpy(found.mean_))
        self.unmixing.copy_(torch.from_numpy(found.components_))
        components = (z - self.centre) @ self.unmixing.T.double()
        self.prior.fit(components[some[: len(self.prior.x)].to(z.device)].to(self.centre))

    @torch.no_grad()
    def encode(self, x: Tensor, *context: Tensor) -> Distribution:
        """Return q(s | x) for each row of x, in evaluation mode."""
        with evaluating(self):
            return self._unmixed(self.vae.encoder(x, *context))

    @torch.no_grad()
    def decode(self, s: Tensor, *context: Tensor) -> Distribution:
        """Return p(x | s) for components s of each code, in evaluation mode."""
        with evaluating(self):
            return self.vae.decoder(self._mixed(s), *context)

    def _mixed(self, s: Tensor) -> Tensor:
        """Return z = c + W⁻¹ s."""
        return self.centre + s @ torch.linalg.inv(self.unmixing).T

    def _unmixed(self, law: Distribution) -> dist.TorchDistribution:
        """Return the law of s = W (z − c), from a factor of its covariance W diag(σ²) Wᵀ by QR."""
        if not isinstance(getattr(law, "base_dist", None), torch.distributions.Normal):
            raise TypeError(f"the encoder should be normal in each coordinate but is a {type(law).__name__}")
        mean = (law.mean - self.centre) @ self.unmixing.T
        r = torch.linalg.qr((self.unmixing * law.stddev.unsqueeze(-2)).mT).R
        positive = r * r.diagonal(dim1=-2, dim2=-1).sign().unsqueeze(-1)
        return dist.MultivariateNormal(mean, scale_tril=positive.mT)
