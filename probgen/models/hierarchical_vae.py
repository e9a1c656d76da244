r"""The variational autoencoder with two levels of codes.

Generative story: z₂ ~ p(z₂), z₁ | z₂ ~ p(z₁ | z₂), x | z ~ p(x | z₁, z₂), or p(x | z₁) without the skip.
Guide: from above, z₂ ~ q(z₂ | x), z₁ ~ q(z₁ | x, z₂); or from below, z₁ ~ q(z₁ | x), z₂ ~ q(z₂ | z₁).
Loss: minus the ELBO, whose KL is E_q KL(q(z₁) ‖ p(z₁ | z₂)) + KL(q(z₂) ‖ p(z₂)); from below both are Monte
Carlo averages in part. The upper level dies early where the KL counts in full from the start: anneal it,
``SVI(hvae, BetaELBO(0.0))`` with ``schedules={"elbo.beta": schedules.linear(0, 1, steps=...)}``.

Source: Tomczak and Welling (2018), VAE with a VampPrior, for the guide from above and the skip; Burda, Grosse
and Salakhutdinov (2016), Importance weighted autoencoders, for the guide from below.
"""

from __future__ import annotations

from typing import Any, Literal

import pyro
import torch
from torch import Tensor, nn
from torch.distributions import Distribution

from probgen.core import Pair, check_count, seed_of, seeded
from probgen.core.traces import evaluating
from probgen.priors import Given, StandardNormal


class HierarchicalVAE(Pair):
    r"""A pair with the latent sites ``z2`` and ``z1``, the code of a datum and what it leaves open.

    Each argument is a conditional, a module that returns a law; each is given the context last.

    Args:
        decoder: (\*batch, d₁ + d₂), z₁ and z₂ side by side, to p(x | z₁, z₂); without ``skip`` z₁ alone.
        below: z₂ to p(z₁ | z₂), as ``priors.Conditional``, which starts as N(0, I).
        upper: x to q(z₂ | x), from below z₁ to q(z₂ | z₁).
        lower: x and z₂ to q(z₁ | x, z₂), as a head of ``nets.Joined``; from below x to q(z₁ | x).
        prior: p(z₂), a distribution or a module; by default standard normal on ``upper.outputs`` coordinates.
        skip: whether x depends on z₂ directly.
        guide: "from above" or "from below", the order in which the guide draws the codes.

    >>> from probgen import nets, priors
    >>> mlp = nets.MLP
    >>> hvae = HierarchicalVAE(
    ...     nets.BernoulliHead(mlp(4 + 2, 64)),
    ...     priors.Conditional(mlp(2, 4)),
    ...     nets.NormalHead(mlp(64, 2)),
    ...     nets.NormalHead(nets.Joined(mlp(64 + 2, 4))),
    ... )
    >>> hvae.sample(3, seed=0).shape
    torch.Size([3, 64])
    """

    def __init__(
        self,
        decoder: nn.Module,
        below: nn.Module,
        upper: nn.Module,
        lower: nn.Module,
        prior: nn.Module | Distribution | None = None,
        *,
        skip: bool = True,
        guide: Literal["from above", "from below"] = "from above",
    ) -> None:
        super().__init__()
        if guide not in ("from above", "from below"):
            raise ValueError(f"guide should be 'from above' or 'from below' but is {guide!r}")
        if not isinstance(prior, nn.Module):
            size: Any = getattr(upper, "outputs", None)
            if size is None and prior is None:
                raise TypeError(f"prior should be given, as {type(upper).__name__} has no size ``outputs``")
            prior = StandardNormal(size) if prior is None else Given(prior, dim=size)
        self.decoder, self.below, self.prior = decoder, below, prior
        self.upper, self.lower = upper, lower
        self.skip, self.order = skip, guide

    def model(self, x: Tensor | None = None, *context: Tensor, n: int = 1) -> Tensor:
        """Draw z₂ from the prior, z₁ below it, then x."""
        with pyro.plate("data", n if x is None else len(x)):
            z2 = pyro.sample("z2", self.prior(*context))
            z1 = pyro.sample("z1", self.below(z2, *context))
            return pyro.sample("x", self._decoded(z1, z2, *context), obs=x)

    def guide(self, x: Tensor | None = None, *context: Tensor, n: int = 1) -> tuple[Tensor, Tensor]:
        """Draw both codes from x, and return z₁ and z₂."""
        if x is None:
            raise ValueError("the guide needs x, the data whose codes it draws")
        with pyro.plate("data", len(x)):
            if self.order == "from above":
                z2 = pyro.sample("z2", self.upper(x, *context))
                return pyro.sample("z1", self.lower(x, z2, *context)), z2
            z1 = pyro.sample("z1", self.lower(x, *context))
            return z1, pyro.sample("z2", self.upper(z1, *context))

    @torch.no_grad()
    def vary(
        self,
        x: Tensor,
        *context: Tensor,
        draws: int = 8,
        seed: int | None = None,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        r"""Return x that share z₂ with each datum, z₁ drawn anew below it: what the upper level keeps.

        Means of p(x | z₁, z₂), in evaluation mode, shape (draws, n, \*event).
        """
        draws = check_count("draws", draws)
        with seeded(seed_of(seed, generator)), evaluating(self):
            _, z2 = self.guide(x, *context)
            z2 = z2.expand(draws, *z2.shape)
            return self._decoded(self.below(z2, *context).sample(), z2, *context).mean

    def _decoded(self, z1: Tensor, z2: Tensor, *context: Tensor) -> Any:
        return self.decoder(torch.cat([z1, z2], -1) if self.skip else z1, *context)
