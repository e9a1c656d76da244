"""Proper scores of forecasts of numbers, the lower the better: CRPS, energy score, pinball loss."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor
from torch.distributions import Distribution

from probgen.evaluation.forecasts.given_numbers import Known, draws_of, level_of, numbers_of

ELEMENTS = 20_000_000
"""Distances that are computed at once."""


def crps(forecast: Any, x: Any) -> Tensor:
    r"""Return the continuous ranked probability score of a forecast of each number x, in the unit of x.

    CRPS(F, x) = ∫ (F(y) − 1[x ≤ y])² dy = E|X − x| − E|X − X′| / 2, of independent X, X′ ~ F. Of m draws it
    is the fair estimate, Σ_i |X_i − x| / m − Σ_{i<j} |X_i − X_j| / (m (m − 1)), whose mean over draws is the
    score of their law, so that forecasts with other numbers of draws compare. It may be below 0.

    Args:
        forecast: draws, shape (m, \*shape), m ≥ 2; or a ``Normal`` or ``StudentT`` of shape \*shape, whose
            score is known in closed form.
        x: what came, any shape.

    Returns:
        the shape of x, float64.

    Raises:
        ValueError: where shapes do not fit, something is not finite, or a Student-t has no mean.

    Source: Gneiting and Raftery (2007), Strictly proper scoring rules; Ferro (2014), Fair scores for
    ensemble forecasts; Jordan, Krüger and Lerch (2019) for the Student-t.

    >>> float(crps([[0.0], [1.0], [2.0]], [1.0]))
    0.0
    >>> round(float(crps(torch.distributions.Normal(0.0, 1.0), 0.0)), 4)
    0.2337
    """
    seen = numbers_of(x, "x")
    if isinstance(forecast, Distribution):
        return _known(Known(forecast), seen)
    draws = draws_of(forecast, seen.shape)
    count = len(draws)
    ranks = torch.arange(1 - count, count, 2, dtype=draws.dtype).reshape(count, *[1] * seen.dim())
    among = (ranks * draws.sort(0).values).sum(0) / (count * (count - 1))
    return (draws - seen).abs().mean(0) - among


def energy_score(draws: Any, x: Any) -> Tensor:
    r"""Return the energy score of draws of each vector x, E‖X − x‖ − E‖X − X′‖ / 2, the CRPS of vectors.

    It is the fair estimate, as of :func:`crps`. Distances are Euclidean: columns of other units should be
    brought to one.

    Args:
        draws: shape (m, n, d), m ≥ 2.
        x: shape (n, d).

    Returns:
        shape (n,), float64.

    Source: Gneiting and Raftery (2007), Strictly proper scoring rules.

    >>> energy_score([[[0.0, 0.0]], [[3.0, 4.0]]], [[0.0, 0.0]])
    tensor([0.], dtype=torch.float64)
    """
    seen = numbers_of(x, "x")
    if seen.dim() != 2:
        raise ValueError(f"x should have shape (n, d) but has {tuple(seen.shape)}: of numbers use crps")
    rows = draws_of(draws, seen.shape).transpose(0, 1)
    count = rows.shape[1]
    found = []
    for own, came in zip(rows.split(max(1, ELEMENTS // count**2)), seen.split(
        max(1, ELEMENTS // count**2)
    ), strict=True):  # fmt: skip
        among = torch.cdist(own, own, compute_mode="donot_use_mm_for_euclid_dist").sum((1, 2))
        away = (own - came.unsqueeze(1)).norm(dim=-1).mean(1)
        found.append(away - among / (2 * count * (count - 1)))
    return torch.cat(found)


def pinball(quantile: Any, x: Any, level: float) -> Tensor:
    r"""Return the loss of a forecast q of the quantile at ``level`` τ: (τ − 1[x < q]) (x − q).

    Its expectation is least at the quantile; the CRPS is twice its integral over τ.

    Args:
        quantile, x: of one shape.
        level: τ, above 0 and below 1.

    Source: Koenker and Bassett (1978), Regression quantiles.

    >>> pinball([1.0, 1.0], [3.0, 0.0], 0.9)
    tensor([1.8000, 0.1000], dtype=torch.float64)
    """
    seen = numbers_of(x, "x")
    said = numbers_of(quantile, "quantile", tuple(seen.shape))
    return (level_of(level) - (seen < said).to(seen)) * (seen - said)


def _known(law: Known, x: Tensor) -> Tensor:
    """Return the CRPS of a normal or a Student-t."""

    from scipy.special import betaln

    z = law.standardised(x)
    twice = 2 * law.cdf(x) - 1
    density = torch.as_tensor(law.standard.pdf(z.numpy()))
    if law.freedom is None:
        return law.scale * (z * twice + 2 * density - 1 / math.sqrt(math.pi))
    if not (law.freedom > 1).all():
        raise ValueError(f"a StudentT should have df above 1, for a mean, but one is {law.freedom.min()}")
    more = torch.as_tensor(law.freedom)
    spread = torch.as_tensor(betaln(0.5, law.freedom - 0.5) - 2 * betaln(0.5, law.freedom / 2)).exp()
    return law.scale * (
        z * twice + 2 * density * (more + z**2) / (more - 1) - 2 * more.sqrt() / (more - 1) * spread
    )
