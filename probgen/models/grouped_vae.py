r"""The grouped VAE: members of a group share its style, each has a content of its own.

Generative story, for a group of m members with labels l_j: s ~ N(0, I), the style of all of them;
c_j | l_j ~ p(c | l_j), a content; x_j | s, c_j ~ p(x | s, c_j).
Guide: q(c_j | x_j), and q(s | x) ∝ p(s) Π_j t(s; x_j) over members that are seen: each adds its precision, so
that a style is known from any of them, the better the more there are, and not at all from none.
Loss: minus the evidence lower bound of all members, ``probgen.SVI(pair)``. In training some members, chosen
anew each time, are all that the guide of the style sees: still a bound, and the style is learned of a few.

Source: Bouchacourt, Tomioka and Nowozin (2018), Multi-level variational autoencoder; Hosoya (2019),
Group-based learning of disentangled representations.
"""

from __future__ import annotations

from typing import Any

import pyro
import pyro.distributions as dist
import torch
from torch import Tensor, nn

from probgen.core import Pair


class GroupedVAE(Pair):
    r"""A model/guide pair of groups x (n, m, \*event) whose context is the labels of members, int64 (n, m).

    A second context, bool (n, m), says which members the style may be told from, all where not given.

    Args:
        content_prior: labels to p(c | l), a law with event shape (c,).
        content: x_j to q(c_j | x_j), a normal law.
        style: x_j to what a member tells of the style, a normal law of event shape (s,).
        decoder: (s, c_j) to p(x_j | s, c_j), with event shape \*event.
        least_seen: in training, fewest members that the style is told from; as many as there are, or
            fewer, down to this number, are drawn for each group.

    >>> from torch import nn
    >>> from probgen.nets import MLP, Joined, NormalHead, OneHot
    >>> pair = GroupedVAE(
    ...     content_prior=NormalHead(nn.Sequential(OneHot(5, missing=False), MLP(5, 4))),
    ...     content=NormalHead(MLP(64, 2)),
    ...     style=NormalHead(MLP(64, 3)),
    ...     decoder=NormalHead(Joined(MLP(3 + 2, 64)), scale="shared"),
    ...     style_size=3,
    ... )
    >>> pair.sample(2, torch.arange(5).expand(2, 5), seed=0).shape
    torch.Size([2, 5, 64])
    """

    def __init__(
        self,
        *,
        content_prior: nn.Module,
        content: nn.Module,
        style: nn.Module,
        decoder: nn.Module,
        style_size: int,
        least_seen: int = 1,
    ) -> None:
        super().__init__()
        self.content_prior, self.content, self.style, self.decoder = content_prior, content, style, decoder
        self.least_seen = least_seen
        self.register_buffer("zero", torch.zeros(style_size), persistent=False)

    zero: Tensor

    def model(self, x: Tensor | None = None, *context: Tensor, n: int = 1) -> Tensor:
        """Draw a style for each group, a content for each member, and the members."""
        if not context:
            raise ValueError("the labels of members should be given, whole numbers (n, m)")
        labels = context[0]
        with pyro.plate("data", n if x is None else len(x)):
            s = pyro.sample("s", dist.Normal(self.zero, 1.0).to_event(1))
            c = pyro.sample("c", self.content_prior(labels).to_event(1))
            return pyro.sample("x", self.decoded(s, c).to_event(1), obs=x)

    def guide(self, x: Tensor | None = None, *context: Tensor, n: int = 1) -> Any:
        """Draw the contents from their members and the style from those that are seen."""
        if x is None:
            raise ValueError("the guide needs x, the data whose codes it draws")
        seen = context[1] if len(context) > 1 else self._some(x)
        with pyro.plate("data", len(x)):
            s = pyro.sample("s", self.style_of(x, seen))
            c = pyro.sample("c", self.content(x).to_event(1))
            return s, c

    def style_of(self, x: Tensor, seen: Tensor | None = None) -> Any:
        """Return q(s | members seen): precisions 1 of the prior and those of members add up.

        Args:
            x: groups (n, m, \\*event).
            seen: bool (n, m), all where not given; what lies elsewhere has no influence.
        """
        told = self.style(x).base_dist
        precision = told.scale**-2
        if seen is not None:
            precision = torch.where(seen.unsqueeze(-1), precision, 0.0)
        total = 1 + precision.sum(-2)
        mean = (precision * told.loc).sum(-2) / total
        return dist.Normal(mean, total**-0.5).to_event(1)

    def decoded(self, s: Tensor, c: Tensor) -> Any:
        r"""Return p(x_j | s, c_j) for styles (\*batch, s) and contents (\*batch, m, c)."""
        return self.decoder(s.unsqueeze(-2).expand(*c.shape[:-1], s.shape[-1]), c)

    def _some(self, x: Tensor) -> Tensor | None:
        """Draw which members are seen in training, as many as a uniform number says."""
        if not self.training:
            return None
        n, m = x.shape[:2]
        order = torch.rand(n, m, device=x.device).argsort(-1).argsort(-1)
        most = self.least_seen + torch.rand(n, 1, device=x.device) * (m + 1 - self.least_seen)
        return order < most.floor()
