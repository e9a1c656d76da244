"""A log-density on the line as rejection samplers see it: batched, every value checked."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.distributions import constraints
from torch.distributions.constraints import Constraint

from probgen.core.density.mapped import is_mapped

_INTERVALS = (
    type(constraints.real), constraints.greater_than, constraints.greater_than_eq, constraints.less_than,
    constraints.interval, constraints.half_open_interval,
)  # fmt: skip
_SLACK = 64


class Line:
    r"""A batch of log-densities on intervals, as a function of x, rows x n, float64.

    Args:
        log_prob: elementwise, (\*sample, \*batch) to (\*sample, \*batch).
        support: an interval, whose ends may have the batch's shape.
        batch_shape: shape of the family; broadcast with what ``log_prob`` returns.
        dtype, device: of the draws; those that ``log_prob`` returns where not given.

    ``low`` and ``high`` are the ends, ``first`` and ``last`` the outermost numbers between them. Where it is
    ``mapped``, by ``torch.vmap``, no value can be asked for: the law can be scored but not drawn from.
    """

    def __init__(
        self,
        log_prob: Callable[[Tensor], Tensor],
        *,
        support: Constraint,
        batch_shape: Sequence[int] = (),
        dtype: torch.dtype | None = None,
        device: torch.device | str | None = None,
    ) -> None:
        if not isinstance(support, _INTERVALS):
            raise ValueError(f"support should be an interval of the real line but got {support}")
        low = torch.as_tensor(getattr(support, "lower_bound", -torch.inf), dtype=torch.float64).detach()
        high = torch.as_tensor(getattr(support, "upper_bound", torch.inf), dtype=torch.float64).detach()
        if not is_mapped(low, high) and not (low < high).all():
            raise ValueError(f"support should have its lower end below the upper one but got {support}")
        one_sided = torch.where(low.isfinite(), low + 1, torch.where(high.isfinite(), high - 1, 0.0))
        middle = torch.where(low.isfinite() & high.isfinite(), (low + high) / 2, one_sided)
        inside = middle.to(dtype=dtype or torch.get_default_dtype(), device=device)
        with torch.no_grad():
            probe = log_prob(inside.expand(torch.broadcast_shapes(tuple(batch_shape), inside.shape)))
        self.support, self._log_prob = support, log_prob
        self.shape = torch.broadcast_shapes(tuple(batch_shape), probe.shape)
        self.rows, self.device = self.shape.numel(), probe.device
        self.dtype = probe.dtype if dtype is None else dtype
        self.eps = torch.finfo(torch.float64).eps
        self.evaluations = 0
        self.low, self.high, self._middle = (
            place.to(probe.device).expand(self.shape).flatten() for place in (low, high, middle)
        )
        self.first, self.last = _towards(self.low, torch.inf), _towards(self.high, -torch.inf)
        self.mapped = is_mapped(probe, self.low, self.high)
        self.innermost = None if self.mapped else self._innermost()

    def __call__(self, x: Tensor) -> Tensor:
        """Return log_prob at x in the support, rows x n, in float64; raise where it is NaN or +inf."""
        arranged = x.T.reshape(-1, *self.shape)
        value = self._log_prob(arranged)
        if value.shape != arranged.shape:
            raise ValueError(
                f"log_prob should return shape {tuple(arranged.shape)} but returned {tuple(value.shape)}"
            )
        self.eps = torch.finfo(value.dtype).eps
        self.evaluations += value.numel()
        value = value.to(torch.float64).reshape(-1, self.rows).T
        wrong = ~(value < torch.inf)
        if wrong.any():
            raise ValueError(
                f"log_prob should be a number below +inf but is {float(value[wrong][0])} {self.at(x, wrong)}"
            )
        return value

    def at(self, x: Tensor, wrong: Tensor) -> str:
        """Name the first x, rows x n, at which something is wrong."""
        row, column = (int(i) for i in wrong.nonzero()[0])
        index = (
            tuple(int(i) for i in torch.unravel_index(torch.tensor(row), self.shape)) if self.shape else ()
        )
        return f"at x = {float(x[row, column]):.17g}" + (f" in batch row {index}" if self.shape else "")

    def ends(self) -> tuple[Tensor, Tensor]:
        """Return log_prob at the ends, −inf where an end is open, infinite, or the value is no number."""
        values = []
        for end in (self.low, self.high):
            arranged = end.reshape(self.shape)
            inside = end.isfinite() & self.support.check(arranged).flatten()
            safe = torch.where(inside, end, self._middle).reshape(1, *self.shape)
            value = self._log_prob(safe).to(torch.float64).flatten()
            values.append(torch.where(inside & (value < torch.inf), value, -torch.inf))
        return values[0], values[1]

    def rounded(self, x: Tensor) -> Tensor:
        r"""Round draws (\*sample, rows) to the law's dtype; what would round out of the support stays in."""
        x = x.to(self.dtype)
        if self.innermost is not None:
            x = x.clamp_(*self.innermost)
        return x

    def _innermost(self) -> tuple[Tensor, Tensor] | None:
        """Return the outermost numbers of the law's dtype in the support; one for all rows if all agree."""
        if self.low.isinf().all() and self.high.isinf().all():
            return None
        limits = []
        for end, inward in ((self.low, 1), (self.high, -1)):
            near = end.to(self.dtype)
            inside = self.support.check(near.to(torch.float64).reshape(self.shape)).flatten()
            inside &= (near - end) * inward >= 0
            limit = torch.where(inside | end.isinf(), near, _towards(near, inward * torch.inf))
            limits.append(limit[:1] if (limit == limit[:1]).all() else limit)
        return limits[0], limits[1]


def rounding(eps: float, log_prob: Tensor) -> Tensor:
    """Return by how much rounding may change a log-density; a violation within it is accepted."""
    return log_prob.abs().clamp_(max=1e300).add_(1).mul_(_SLACK * eps)


def _towards(x: Tensor, where: float) -> Tensor:
    return torch.nextafter(x, torch.full_like(x, where))
