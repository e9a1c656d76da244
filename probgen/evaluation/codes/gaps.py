"""Gaps between codes: whether what lies half-way between two codes decodes to data."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from probgen.core import Coded, Estimate, check_count, seed_of, tensor_of
from probgen.evaluation.codes.encoded import batches_of_rows
from probgen.mmd.pairwise import centred, nearest_squared_distances


@torch.no_grad()
def code_gaps(
    model: Coded,
    x: Any,
    data: Any,
    *,
    pairs: int | None = None,
    level: float = 0.05,
    seed: int | None = None,
    generator: torch.Generator | None = None,
) -> Estimate:
    r"""Return the share of points half-way between two codes that decode to something far from all data.

    The codes are the means of the encoder's laws. A decoded point, the mean of the decoder's law, is far
    where the distance to its nearest row of ``data`` is above the 1 − α quantile of such distances of the
    rows of x that are themselves encoded and decoded. So about α of the points are far where those between
    codes are as good as codes; more, where there are gaps; fewer, where points in the middle decode to what
    is commoner than data are.

    Args:
        model: with codes that are real numbers; its own ``encode`` and ``decode`` run in evaluation mode.
        x: rows that are not in ``data``, shape (n, \*event), n at least 2.
        data: rows, shape (m, \*event), by which it is judged what is data.
        pairs: how many pairs of two different rows of x are drawn; n where not given.
        level: α, above 0 and below 1.
        seed, generator: of the pairs, one at most; seed 0 where not given.

    Returns:
        the share and its standard error over pairs.

    Raises:
        TypeError: for a model without ``encode`` and ``decode``, and codes that are no real numbers.
        ValueError: for fewer than two rows, and decoded points of another shape than data.

    Source: Berthelot, Raffel, Roy and Goodfellow (2019), who judge autoencoders by what lies between codes.

    >>> from probgen import models, nets
    >>> vae = models.VAE(nets.NormalHead(nets.MLP(3, 2)), nets.NormalHead(nets.MLP(2, 3)))
    >>> 0 <= code_gaps(vae, torch.randn(50, 3), torch.randn(80, 3)).value <= 1
    True
    """
    if not 0 < level < 1:
        raise ValueError(f"level should be above 0 and below 1 but is {level}")
    codes = torch.cat([model.encode(*rows).mean for rows in batches_of_rows(model, x)])
    if not codes.is_floating_point():
        raise TypeError(
            f"codes should be real numbers but are {codes.dtype}: nothing is half-way between discrete ones"
        )
    if len(codes) < 2:
        raise ValueError(
            f"x should have at least 2 rows, between whose codes points lie, but has {len(codes)}"
        )
    count = len(codes) if pairs is None else check_count("pairs", pairs)
    source = torch.Generator().manual_seed(seed_of(seed, generator, default=0))
    one = torch.randint(len(codes), (count,), generator=source)
    other = (one + torch.randint(1, len(codes), (count,), generator=source)) % len(codes)
    one, other = one.to(codes.device), other.to(codes.device)
    real = tensor_of(data, "data", dtype=codes.dtype)
    ends = _distances(model, codes, real)
    between = _distances(model, (codes[one] + codes[other]) / 2, real)
    far = (between > ends.quantile(1 - level)).double()
    stderr = float(far.std()) / math.sqrt(count) if count > 1 else math.nan
    return Estimate(float(far.mean()), stderr)


def _distances(model: Coded, codes: Tensor, data: Tensor) -> Tensor:
    """Return the distance of what each code decodes to from its nearest row of data, shape (n,)."""
    decoded = torch.cat([model.decode(rows).mean for rows in codes.split(1024)])
    if decoded.shape[1:] != data.shape[1:]:
        raise ValueError(
            f"decoded points should have the event shape of data, {tuple(data.shape[1:])}, but have "
            f"{tuple(decoded.shape[1:])}"
        )
    rows, points = centred(decoded=decoded, data=data.to(decoded))
    return nearest_squared_distances(rows, points, 1)[:, 0].sqrt()
