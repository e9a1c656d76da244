"""Likelihood of held-out data under a Parzen window on draws, for models that have no likelihood."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from probgen.core import taking_arrays
from probgen.mmd.pairwise import by_rows, centred, log_mean_exp

_CANDIDATES = 24
"""Bandwidths compared in one pass over the pairs; a second pass refines the best."""


class ParzenWindow(NamedTuple):
    """The mean log-likelihood of a Parzen window in nats per datum, its standard error, and the bandwidth."""

    value: float
    stderr: float
    bandwidth: float


@taking_arrays("draws", "x", "validation")
def parzen_log_likelihood(
    draws: Tensor, x: Tensor, *, validation: Tensor, bandwidths: Sequence[float] | None = None
) -> ParzenWindow:
    r"""Return the mean of log p_σ(x) over data, p_σ the Gaussian Parzen window on a model's draws.

    log p_σ(x) = log (1/m) Σ_j exp(−‖x − y_j‖² / 2σ²) − (d/2) log 2πσ². The bandwidth σ, a standard deviation
    in the units of the data, is the one under which the validation data are most likely. The standard error
    is over the rows of x: it does not say how the value would differ with other draws.

    Read it with care: p_σ is the model's law blurred by σ. With few draws in many dimensions it lies far
    below the likelihood, and centres of clusters can score above real data: show it beside both, and beside
    copies of training data.

    Args:
        draws: the model's, shape (m, \*event); 10,000 in the papers.
        x: test data, shape (n, \*event).
        validation: data on which σ is chosen, in neither x nor what the model has learned from.
        bandwidths: the σ to choose from, as some papers have them. By default σ is found to within a few
            percent between bounds that hold every local maximum: the root of the mean squared distance, per
            coordinate, of the validation points to their nearest draw, and to all draws.

    Raises:
        TypeError, ValueError: for samples that are empty, not finite or not alike, bandwidths that are not
            positive, and validation data that are all among the draws: no bandwidth is then too small.

    Source: Breuleux, Bengio and Vincent (2011), Quickly generating representative samples from an
    RBM-derived process; Goodfellow and others (2014) for the protocol; Theis, van den Oord and Bethge (2016),
    A note on the evaluation of generative models, for what is wrong with it.

    >>> draws = torch.tensor([[-1.0], [1.0]])
    >>> parzen_log_likelihood(draws, torch.zeros(1, 1), validation=torch.zeros(1, 1), bandwidths=[0.5, 1.0])
    ParzenWindow(value=-1.41..., stderr=nan, bandwidth=1.0)
    """
    points, data, held_out = centred(draws=draws, x=x, validation=validation)
    if bandwidths is None:
        least, most = _bounds(points, held_out)
        if least == 0:
            raise ValueError(
                "validation should hold points that are not among the draws: on draws alone the smallest "
                "bandwidth is always the best"
            )
        step = (most / least) ** (1 / (_CANDIDATES - 1))
        coarse = _best(points, held_out, [least * step**i for i in range(_CANDIDATES)])
        fine = step ** (2 / (_CANDIDATES + 1))
        bandwidth = _best(points, held_out, [coarse / step * fine**i for i in range(1, _CANDIDATES + 1)])
    else:
        widths = [float(width) for width in bandwidths]
        if not widths or not all(0 < width < math.inf for width in widths):
            raise ValueError(f"bandwidths should be positive, finite and at least one but are {widths}")
        if not all(1e-100 <= width <= 1e100 for width in widths):
            raise ValueError(
                f"bandwidths should be between 1e-100 and 1e100, so that their squares have digits, but are "
                f"{widths}: write the data in other units"
            )
        bandwidth = _best(points, held_out, widths)
    values = _log_window(points, data, [bandwidth])[:, 0]
    stderr = float(values.std() / math.sqrt(len(values))) if len(values) > 1 else math.nan
    return ParzenWindow(float(values.mean()), stderr, bandwidth)


def _log_window(draws: Tensor, x: Tensor, bandwidths: Sequence[float]) -> Tensor:
    """Return log p_σ(x_i) for each bandwidth σ, shape (n, bandwidths)."""
    widths = torch.tensor(bandwidths, dtype=torch.float64, device=x.device)
    heart = log_mean_exp(x, draws, [-0.5 / width**2 for width in bandwidths])
    return heart - x.shape[1] * (widths.log() + 0.5 * math.log(2 * math.pi))


def _best(draws: Tensor, x: Tensor, bandwidths: Sequence[float]) -> float:
    return float(bandwidths[int(_log_window(draws, x, bandwidths).mean(0).argmax())])


def _bounds(draws: Tensor, x: Tensor) -> tuple[float, float]:
    """Return bandwidths below and above every local maximum of the mean of log p_σ(x).

    At one, σ² d is the mean over x_i of its squared distances to the draws, weighted by the window.
    """
    ends = by_rows(lambda _, block: torch.stack([block.amin(1), block.mean(1)], 1), x, draws)
    least, most = (ends.mean(0) / x.shape[1]).sqrt().tolist()
    return least, most
