r"""The ladder VAE: L levels of codes, drawn from the top down by model and guide alike.

Generative story, from l = L to 1: z_l ~ p(z_l | s_{l+1}), s_l = s_{l+1} + f_l(z_l, s_{l+1}), from a learned
s_{L+1}; then x ~ p(x | s_1). All levels reach x by the sum s_1.
Guide: h_1 = e_1(x), h_l = e_l(h_{l−1}); then, along the same way down, z_l ~ N(m + s δ, (s γ)²), with m and s
of p(z_l | s_{l+1}), and δ and γ of h_l and s_{l+1}: what the datum says beyond the prior.
Loss: minus the ELBO, the KL of each level analytic. Levels die early where the KL counts in full from the
start: anneal it, ``BetaELBO``, or leave some free, ``FreeBits(0.5, per="site")``.

Source: Sønderby and others (2016), Ladder variational autoencoders; Vahdat and Kautz (2020), NVAE, for the
guide relative to the prior.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pyro
import pyro.distributions as dist
import torch
from torch import Tensor, nn

from probgen.core import Pair, check_count
from probgen.nets import MLP, Joined, NormalHead
from probgen.priors import Conditional


class LadderVAE(Pair):
    r"""A pair with the latent sites ``zL``, ..., ``z1``.

    Args:
        decoder: s_1, (\*batch, width), to p(x | s_1).
        up: the nets e_1, ..., e_L, each to (\*batch, width); e_1 takes x.
        latent: coordinates of z_1, ..., z_L.
        width: of s and h.

    Raises:
        ValueError: for other numbers of nets than of codes, and none.

    >>> from probgen import nets
    >>> up = [nets.MLP(64, 32), nets.MLP(32, 32)]
    >>> LadderVAE(nets.BernoulliHead(nets.MLP(32, 64)), up, latent=(8, 4), width=32).sample(3, seed=0).shape
    torch.Size([3, 64])
    """

    def __init__(
        self, decoder: nn.Module, up: Sequence[nn.Module], *, latent: Sequence[int], width: int
    ) -> None:
        super().__init__()
        if len(up) != len(latent) or not latent:
            raise ValueError(
                f"up and latent should have an entry for each level but have {len(up)} and {len(latent)}"
            )
        width = check_count("width", width)
        sizes = [check_count("latent", size) for size in latent]
        self.decoder, self.up = decoder, nn.ModuleList(up)
        self.start = nn.Parameter(torch.zeros(width))
        self.priors = nn.ModuleList(Conditional(MLP(width, size, hidden=width)) for size in sizes)
        self.residuals = nn.ModuleList(
            NormalHead(Joined(MLP(2 * width, size, hidden=width))) for size in sizes
        )
        self.down = nn.ModuleList(MLP(size + width, width, hidden=width) for size in sizes)

    def model(self, x: Tensor | None = None, *context: Tensor, n: int = 1) -> Tensor:
        """Draw the codes from the top down, then x."""
        rows = n if x is None else len(x)
        with pyro.plate("data", rows):
            state = self._descended(rows, lambda level, state: self.priors[level](state))
            return pyro.sample("x", self.decoder(state), obs=x)

    def guide(self, x: Tensor | None = None, *context: Tensor, n: int = 1) -> None:
        """Draw the codes from the top down, each from a law beside the prior's."""
        if x is None:
            raise ValueError("the guide needs x, the data whose codes it draws")
        seen = [x]
        for net in self.up:
            seen.append(net(seen[-1]))

        def beside(level: int, state: Tensor) -> dist.Distribution:
            prior = self.priors[level](state).base_dist
            change = self.residuals[level](seen[level + 1], state).base_dist
            return dist.Normal(prior.loc + prior.scale * change.loc, prior.scale * change.scale).to_event(1)

        with pyro.plate("data", len(x)):
            self._descended(len(x), beside)

    def _descended(self, rows: int, law: Callable[[int, Tensor], Any]) -> Tensor:
        """Draw each level from the law that it has given the state above; return the state below all."""
        state = self.start.expand(rows, -1)
        for level in reversed(range(len(self.down))):
            z = pyro.sample(f"z{level + 1}", law(level, state))
            state = state.expand(*z.shape[:-1], -1)
            state = state + self.down[level](torch.cat([z, state], -1))
        return state
