"""How a missing label or value is written, and which ones are there."""

from __future__ import annotations

import torch
from torch import Tensor


def observed(y: Tensor) -> Tensor:
    r"""Return which labels or values are there: a missing class is −1, a missing real number NaN.

    So they are written everywhere: labels of classes are int64, 0, ..., k − 1, or −1, as
    :class:`~probgen.nets.OneHot` takes them; reals are NaN where they are missing, as in tables. (``fit`` and
    ``log_likelihood`` let NaN pass where a module of the model says ``takes_missing = True``.)

    In a story, labels of which some are missing are one line, and the batch holds both kinds of rows::

        y = pyro.sample("y", law, obs=filled(y), obs_mask=observed(y))

    By Pyro's ``obs_mask`` that is two sites: ``y_observed``, which counts where a label is there, and
    ``y_unobserved``, latent, which counts where it is missing; the value returned is the label, or that of
    the latent site. The guide draws ``y_unobserved``, unmasked, for all rows: the model's mask says where it
    counts. Where it has finitely many values, bounds enumerate it; where the guide leaves it out, the model
    is summed over it.

    Args:
        y: labels or values, of any shape.

    Returns:
        bool, of the shape of y.

    >>> observed(torch.tensor([2, -1, 0])).tolist()
    [True, False, True]
    """
    return ~y.isnan() if y.is_floating_point() else y != -1


def filled(y: Tensor) -> Tensor:
    """Return labels or values with 0 where they are missing, for a law to score them where they do not count.

    >>> filled(torch.tensor([2.5, torch.nan])).tolist()
    [2.5, 0.0]
    """
    return torch.where(observed(y), y, torch.zeros_like(y))
