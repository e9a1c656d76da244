"""Whether a code is a point or a law: how much of the spread of codes is that of the law of one."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch

from probgen.core import Coded
from probgen.evaluation.codes.encoded import batches_of_rows


class CodeSpread(NamedTuple):
    """The share of the variance of codes that lies in the law of one code, and the active coordinates."""

    own: float
    active: int


@torch.no_grad()
def code_spread(model: Coded, x: Any, *, threshold: float = 0.01) -> CodeSpread:
    r"""Return how much of the variance of codes is that of the law of each code, and the active coordinates.

    With z ~ q(z | x), x a row drawn from the data, Var z_j = E_x Var(z_j | x) + Var_x E(z_j | x). The share
    is Σ_j E_x Var(z_j | x) / Σ_j Var z_j: 0 where codes are points, as an autoencoder's are, and 1 where they
    say nothing of x, as after a posterior collapse. A coordinate is active where x explains more than the
    threshold of its variance: unlike :func:`active_units`, whose threshold is in squared units of z, this
    depends on no unit and needs no guide.

    Args:
        model: whatever is ``Coded``, whose laws of codes have means and variances.
        x: rows, shape (n, \*event), n at least 2.
        threshold: of the explained share, from 0 to 1.

    Raises:
        TypeError: for a model without ``encode`` and ``decode``.
        ValueError: for fewer than two rows, and codes that are one point for all of them.

    >>> from probgen import models, nets
    >>> vae = models.VAE(nets.NormalHead(nets.MLP(3, 2)), nets.NormalHead(nets.MLP(2, 3)))
    >>> 0 < code_spread(vae, torch.randn(50, 3)).own < 1
    True
    """
    if not 0 <= threshold <= 1:
        raise ValueError(f"threshold should be from 0 to 1 but is {threshold}")
    laws = [model.encode(*rows) for rows in batches_of_rows(model, x)]
    means, variances = (
        torch.cat([part.double().flatten(1) for part in parts])
        for parts in ([law.mean for law in laws], [law.variance for law in laws])
    )
    if len(means) < 2:
        raise ValueError(f"x should have at least 2 rows, over which codes vary, but has {len(means)}")
    between, own = means.var(0), variances.mean(0)
    whole = between + own
    if not (whole.isfinite().all() and whole.sum() > 0):
        raise ValueError(
            f"codes should have a variance that is finite and above 0 but have {float(whole.sum()):.3g}"
        )
    return CodeSpread(float(own.sum() / whole.sum()), int((between > threshold * whole).sum()))
