"""Likelihoods of pixels in bits per dimension."""

from __future__ import annotations

import math
from typing import TypeVar

from torch import Tensor

from probgen.core import Estimate, check_count

Nats = TypeVar("Nats", float, Tensor, Estimate)


def bits_per_dimension(log_likelihood: Nats, dimensions: int, *, dequantised: int | None = None) -> Nats:
    r"""Return −log₂ p(x) / D of a log p(x) in nats per datum, the fewer the better.

    Of a law of discrete levels, as of ``nets.CategoricalHead``, that is all. A density p of values that were
    spread over [0, 1] by uniform noise, y = (level + u) / L as by :func:`probgen.data.dequantise`, bounds the
    probability of the levels: log P(x) ≥ E log p(y) − D log L, which adds log₂ L bits to each dimension, 8
    for L = 256.

    Args:
        log_likelihood: nats per datum: a number, a tensor, or an estimate with its standard error.
        dimensions: D, the numbers of a datum, of a picture height x width x channels.
        dequantised: L, where log p(x) is the density of values that were scaled to [0, 1]; 256 for 8 bits.

    Raises:
        ValueError: for fewer than one dimension, or fewer than 2 levels.

    See Theis, van den Oord and Bethge (2016), A note on the evaluation of generative models.

    >>> bits_per_dimension(0.0, 784, dequantised=256)
    8.0
    """
    unit = check_count("dimensions", dimensions) * math.log(2)
    levels = 1 if dequantised is None else check_count("dequantised", dequantised, least=2)
    if isinstance(log_likelihood, Estimate):
        return Estimate(math.log2(levels) - log_likelihood.value / unit, log_likelihood.stderr / unit)
    return math.log2(levels) - log_likelihood / unit
