"""A law on the line given by its CDF."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.distributions import constraints
from torch.distributions.constraints import Constraint
from torch.fx.experimental.proxy_tensor import get_proxy_mode

from probgen.sampling import verification
from probgen.sampling.bisection import first_reaching
from probgen.sampling.columns import Columns
from probgen.sampling.derivatives import implicit, slope
from probgen.sampling.quantile_table import QuantileTable, drawn, quantiles, table_for


class GivenCdf:
    """Quantiles by bisection to the last bit, with implicit gradients; density by autograd."""

    name = "cdf"
    unreached = "the cdf decreases there"

    def __init__(
        self,
        cdf: Callable[[Tensor], Tensor],
        density: Callable[[Tensor], Tensor] | None,
        support: Constraint,
        batch_shape: Sequence[int],
        dtype: torch.dtype | None,
        device: torch.device | str | None,
        *,
        validate: bool,
    ) -> None:
        low, high = verification.bounds(support)
        if not isinstance(support, constraints.greater_than):  # the lower end may be an atom
            low = torch.nextafter(low, torch.full_like(low, -torch.inf))
        inside = verification.somewhere(low, high).to(dtype=dtype or torch.get_default_dtype(), device=device)
        probe = cdf(inside.expand(torch.broadcast_shapes(tuple(batch_shape), inside.shape)))
        self.shape, self.device = torch.broadcast_shapes(tuple(batch_shape), probe.shape), probe.device
        self.dtype = probe.dtype if dtype is None else dtype
        self._low, self._high = low.to(self.device), high.to(self.device)
        self.cdf, self._log_density, self._validate = cdf, density, validate
        self._columns = Columns(self.shape)

    def quantile(self, u: Tensor) -> Tensor:
        with torch.no_grad():
            columns, restore = self._columns.of(u)
            table = self._table(len(columns))
            if table is None:
                x = first_reaching(self.cdf, u, self._low, self._high)
            else:
                x = restore(quantiles(table, columns - columns.round(), self._solve))
        if not torch.is_grad_enabled():
            return x
        level = self.cdf(x)
        if not (level.requires_grad or u.requires_grad):
            return x
        if self._log_density is not None:
            density = self._log_density(x).detach().exp()
        else:
            density = slope(self.cdf, x.detach(), self.name).detach()
        if self._validate and not (density > 0).all():
            flat = ~(density > 0)
            raise ValueError(
                f"rsample needs a positive density but the cdf has slope "
                f"{verification.first(density, flat)} at x = {verification.first(x, flat)}"
            )
        return implicit(x, u - level, density)

    @torch.no_grad()
    def drawn(self, shape: torch.Size, generator: torch.Generator | None) -> Tensor | None:
        """Return draws by table look-up, None where there are too few for a table to pay."""
        n = shape.numel() // max(self._columns.count, 1)
        table = self._table(n)
        return None if table is None else self._columns.into(shape)(drawn(table, n, self._solve, generator))

    def _solve(self, z: Tensor) -> Tensor:
        """Return quantiles at columns of signed tail probabilities by bisection."""
        u = torch.where(z > 0, z, 1 + z)
        return self._columns.called(lambda u: first_reaching(self.cdf, u, self._low, self._high), u)

    def _table(self, n: int) -> QuantileTable | None:
        """Return a table of quantiles, if it pays; made afresh, since the CDF may have changed."""
        if get_proxy_mode() is not None:
            return None
        return table_for(n, self._columns.count, self._solve, self.device, {})

    def verify(self) -> None:
        """Raise unless the CDF increases from 0 to 1 all over the support."""
        low, high = (end.expand(self.shape) for end in (self._low, self._high))
        verification.check_cdf(self.cdf, verification.spread(low, high))

    def log_prob(self, x: Tensor) -> Tensor:
        return slope(self.cdf, x, self.name).log()
