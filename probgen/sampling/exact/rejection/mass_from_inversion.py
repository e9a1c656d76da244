"""Where a density on the line has its mass, as inversion finds it: there rejection samplers check hats."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from probgen.sampling.exact.given_density import GivenDensity
from probgen.sampling.exact.rejection.checked_density import Line, rounding


@torch.no_grad()
def surveyed(log_prob: Callable[[Tensor], Tensor], line: Line, points: Sequence[float] | Tensor) -> Tensor:
    """Return increasing places, rows x n, that see every feature with mass; only the first may repeat.

    They are the nodes on which :class:`probgen.sampling.InverseCDF` integrates the density, to 1e-10; what it
    finds and what it does not is said there, and ``points`` are places of narrow features as there.
    """

    def counted(x: Tensor) -> Tensor:
        line.evaluations += x.numel()
        return log_prob(x)

    law = GivenDensity(counted, line.support, points, line.shape, torch.float64, line.device, validate=True)
    x = law.nodes().T.sort(-1).values
    again = torch.nn.functional.pad(x.diff(dim=-1) == 0, (1, 0))
    return torch.where(again, x[:, :1], x).sort(-1).values


def check_concave(line: Line, x: Tensor) -> None:
    """Raise where log_prob lies below a chord between neighbours of increasing places, rows x n."""
    log_prob = line(x)
    before, after = x.diff(dim=-1)[:, :-1], x.diff(dim=-1)[:, 1:]
    chord = (log_prob[:, :-2] * after + log_prob[:, 2:] * before) / (before + after)
    room = rounding(line.eps, log_prob)[:, 1:-1]
    low = (log_prob[:, 1:-1] < chord - room) & (before > 0) & (after > 0)
    if low.any():
        wrong = torch.nn.functional.pad(low, (1, 1))
        ratio = (log_prob[:, 1:-1] - chord)[low][0].exp()
        raise ValueError(
            f"the density should be log-concave but {line.at(x, wrong)} it is {float(ratio):.6g} times what "
            f"its values beside it ask for at least"
        )
