"""Laws known by their quantiles alone: chains walk on the normal score z of x = Q(Φ(z)), not on x.

On x each gradient needs F(x), Q inverted by some seventy evaluations, and a second derivative of it. On z
the law is the standard normal one, and x takes one evaluation.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.distributions import Distribution, Independent, Normal, constraints
from torch.distributions.transforms import Transform

_STANDARD = Normal(0.0, 1.0, validate_args=False)


class FromScores(Transform):
    r"""x = Q(Φ(z)), which turns standard normal z into draws of a law.

    Args:
        law: with ``placed``, which gives quantiles in a dtype, and ``cdf``; of numbers that are independent.
    """

    domain = constraints.real
    codomain = constraints.real
    bijective = True

    def __init__(self, law: Distribution) -> None:
        super().__init__()
        self._law = _of_numbers(law)

    def _call(self, x: Tensor) -> Tensor:
        return self._law.placed(torch.special.ndtr(x.to(torch.float64)), x.dtype)

    def _inverse(self, y: Tensor) -> Tensor:
        return torch.special.ndtri(self._law.cdf(y.to(torch.float64))).to(y.dtype)


def from_scores(site: Any) -> FromScores | None:
    """Return the map from normal scores to the values of a site, where its law is best known by it.

    None for other laws, and where the site is scaled or masked: p(x)^s is no power of the score's density.
    """
    masked = site["mask"] is not None and site["mask"] is not True
    if masked or isinstance(site["scale"], Tensor) or site["scale"] != 1:
        return None
    by_scores = getattr(_of_numbers(site["fn"]), "best_by_scores", False)
    return FromScores(site["fn"]) if by_scores else None


def log_prob_of_scores(law: Distribution, z: Tensor) -> Tensor:
    """Return the log-density of the normal scores of a law's values, summed over an event."""
    log_prob = _STANDARD.log_prob(z)
    dims = len(law.event_shape)
    return log_prob.flatten(-dims).sum(-1) if dims else log_prob


def _of_numbers(law: Any) -> Any:
    """Return the law of single numbers that a law of independent ones is made of."""
    while isinstance(law, Independent):
        law = law.base_dist
    return law
