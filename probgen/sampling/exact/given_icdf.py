"""A law on the line given by its quantile function."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.distributions.constraints import Constraint

from probgen.sampling.exact.bisection import first_reaching
from probgen.sampling.exact.implicit_derivatives import slope
from probgen.sampling.exact.verification import first, returned


class GivenIcdf:
    """Quantiles by one evaluation; CDF and density by inverting it."""

    name = "icdf"
    unreached = "float64 quantiles do not reach it; give log_prob="

    def __init__(
        self,
        icdf: Callable[[Tensor], Tensor],
        support: Constraint,
        batch_shape: Sequence[int],
        dtype: torch.dtype | None,
        device: torch.device | str | None,
    ) -> None:
        half = torch.full(tuple(batch_shape), 0.5, dtype=dtype, device=device)
        probe = returned("icdf", icdf(half))
        self.shape, self.device = torch.broadcast_shapes(tuple(batch_shape), probe.shape), probe.device
        self.dtype = probe.dtype if dtype is None else dtype
        self._icdf, self._support = icdf, support

    @property
    def rounding(self) -> float:
        """How far u may be off: the precision in which the quantile function computes."""
        return torch.finfo(
            self._icdf(torch.full(self.shape, 0.5, dtype=torch.float64, device=self.device)).dtype
        ).eps

    def quantile(self, u: Tensor) -> Tensor:
        return self._icdf(u)

    def log_spacing(self, u: Tensor) -> Tensor:
        """Return log dF⁻/du, with gradients; raise at an atom."""
        spacing = slope(self._icdf, u, self.name)
        if (spacing == 0).any():
            raise ValueError(
                f"entropy needs a density but the law has an atom at x = {first(self._icdf(u), spacing == 0)}"
            )
        return spacing.log()

    def cdf(self, x: Tensor) -> Tensor:
        return self._level(x)[0]

    def log_prob(self, x: Tensor) -> Tensor:
        _, u, reached = self._level(x)
        result = -slope(self._icdf, u, self.name).log()
        beyond = ~reached & (torch.minimum(u, 1 - u) <= 2.0**-52) & self._support.check(x)
        return torch.where(reached, result, torch.where(beyond, torch.nan, -torch.inf))

    def _level(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Invert the quantile function Q: return F(x), u = F(x) strictly inside (0, 1), and Q(u) = x.

        The first two have gradients; the third is False where x lies in a gap of the law or beyond its
        quantiles.
        """
        with torch.no_grad():
            above = torch.nextafter(x, torch.full_like(x, torch.inf))
            after = first_reaching(self._icdf, above, x.new_zeros(()), x.new_ones(()))
            below = torch.nextafter(after, torch.zeros_like(after))
            inner = below.clamp(min=torch.finfo(torch.float64).tiny)
            rate = slope(self._icdf, inner, self.name).detach()
            room = 1e-3 * torch.minimum(inner, 1 - inner) + inner.clamp(max=2.0**-51)
            reached = ((x - self._icdf(inner)) / rate).abs() <= room
        move = torch.where(reached, (x - self._icdf(inner)) / rate, 0.0)
        shift = move - move.detach()
        return torch.where(after == 1, 1.0, below) + shift, inner + shift, reached
