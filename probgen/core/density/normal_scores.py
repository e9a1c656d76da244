"""Laws known by their quantiles alone: chains walk on the normal score z of x = Q(Φ(z)), not on x.

On x each gradient needs F(x), Q inverted by some seventy evaluations, and a second derivative of it. On z
the law is the standard normal one, and x takes one evaluation.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor
from torch.distributions import Distribution, Independent, Normal, constraints
from torch.distributions.transforms import Transform

_STANDARD = Normal(0.0, 1.0, validate_args=False)


class FromScores(Transform):
    r"""x = Q(Φ(z)), which turns standard normal z into draws of a law.

    Args:
        law: of independent numbers, with ``at_normal_scores`` and ``normal_scores``, which map z to x and x
            to z; or else with ``placed``, which gives quantiles in a dtype, and ``cdf``.
    """

    domain = constraints.real
    codomain = constraints.real
    bijective = True

    def __init__(self, law: Distribution) -> None:
        super().__init__()
        self._law = _of_numbers(law)

    def _call(self, x: Tensor) -> Tensor:
        if hasattr(self._law, "at_normal_scores"):
            return self._law.at_normal_scores(x)
        u = torch.special.erfc(-math.sqrt(0.5) * x.to(torch.float64)) / 2  # Φ(z), to all digits of a low tail
        return self._law.placed(u, x.dtype)

    def _inverse(self, y: Tensor) -> Tensor:
        if hasattr(self._law, "normal_scores"):
            return self._law.normal_scores(y)
        return torch.special.ndtri(self._law.cdf(y.to(torch.float64))).to(y.dtype)


def from_scores(site: Any, *, after_discrete: bool) -> FromScores | None:
    """Return the map from normal scores to the values of a site, where its law is best known by it.

    None for other laws, and where the site is scaled or masked, as p(x)^s is no power of the score's density,
    or comes after a discrete site that is summed out, on which its quantiles may hang.

    Raises:
        ValueError: for a law with atoms where x cannot be found by its score: chains would not be there.
    """
    law = _of_numbers(site["fn"])
    if not getattr(law, "best_by_scores", False):
        return None
    masked = site["mask"] is not None and site["mask"] is not True
    if after_discrete or masked or isinstance(site["scale"], Tensor) or site["scale"] != 1:
        refuse_atoms(site["fn"], f"site {site['name']!r}, scaled, masked or after a discrete site,")
        return None
    return FromScores(site["fn"])


def refuse_atoms(law: Distribution, what: str) -> None:
    """Raise for a law with atoms, at which chains that walk on its values never are."""
    if getattr(_of_numbers(law), "has_atoms", False):
        raise ValueError(
            f"{what} should have a density everywhere but its law, {type(_of_numbers(law)).__name__}, has an "
            f"atom, which chains find in a plain site of Density.from_model alone; or give it a narrow spike"
        )


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
