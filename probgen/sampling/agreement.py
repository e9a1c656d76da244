"""How far chains agree, while they run."""

from __future__ import annotations

import torch
from torch import Tensor


class Agreement:
    r"""R-hat of every coordinate so far, √(1 + B / W − 1 / n), from sums alone.

    B is the variance of the chains' means of n draws, W the mean of the chains' variances, (n − 1 in the
    denominator). It is the plain R-hat of Gelman and Rubin (1992), for a quick look: that of
    :meth:`Chains.summary` ranks draws and splits chains.
    """

    def __init__(self) -> None:
        self._count = 0

    def add(self, position: Tensor) -> None:
        r"""Take in one draw of all chains, (chains, \*batch, dim)."""
        if self._count == 0:
            self._centre = position.to(torch.float64).mean(0)
            self._sum = torch.zeros_like(position, dtype=torch.float64)
            self._squares = torch.zeros_like(self._sum)
        apart = position - self._centre
        self._count += 1
        self._sum += apart
        self._squares += apart**2

    def r_hat(self) -> Tensor:
        r"""Return R-hat of every coordinate, (\*batch, dim); NaN for one chain, one draw, or constants."""
        n = self._count
        mean = self._sum / n
        within = ((self._squares / n - mean**2) * n / max(n - 1, 1)).mean(0)
        between = mean.var(0) if len(mean) > 1 else torch.full_like(within, torch.nan)
        return (1 + between / within - 1 / n).sqrt()

    def shown(self) -> dict[str, str]:
        """Return what a progress bar says."""
        found = self.r_hat()
        known = found[~found.isnan()]
        return {"r_hat": f"{float(known.max()):.3f}"} if len(known) else {}
