"""A law on the line given by its CDF."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.distributions import constraints
from torch.distributions.constraints import Constraint
from torch.fx.experimental.proxy_tensor import get_proxy_mode

from probgen.sampling import verification
from probgen.sampling.bisection import before, first_reaching
from probgen.sampling.columns import Columns
from probgen.sampling.derivatives import implicit, slope
from probgen.sampling.quantile_table import TABLE_ERROR, QuantileTable, drawn, quantiles, table_for


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

    @property
    def rounding(self) -> float:
        """How far u may be off: the precision in which the CDF computes."""
        with torch.no_grad():
            return torch.finfo(
                self.cdf(torch.zeros(self.shape, dtype=torch.float64, device=self.device)).dtype
            ).eps

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
        if self._validate:
            self._check_continuous(x, (level - u).detach(), density, "a gradient")
        return implicit(x, u - level, density)

    @torch.no_grad()
    def drawn(self, shape: torch.Size, generator: torch.Generator | None) -> Tensor | None:
        """Return draws by table look-up, None where there are too few for a table to pay."""
        n = shape.numel() // max(self._columns.count, 1)
        table = self._table(n)
        return None if table is None else self._columns.into(shape)(drawn(table, n, self._solve, generator))

    def log_spacing(self, u: Tensor) -> Tensor:
        """Return log dF⁻/du = −log F′(x) at x = F⁻(u), with gradients; raise at an atom."""
        x = self.quantile(u)
        density = slope(self.cdf, x, self.name)
        with torch.no_grad():
            self._check_continuous(x, self.cdf(x) - u, density, "entropy")
        return -density.log()

    def _check_continuous(self, x: Tensor, excess: Tensor, density: Tensor, what: str) -> None:
        """Raise where F(x) exceeds u, x = F⁻(u), by more than the next float64 number or a table explains."""
        ulp = x.abs() - before(x.abs())
        atom = excess > 4 * density * ulp + 64 * self.rounding + 2 * TABLE_ERROR
        if atom.any():
            raise ValueError(
                f"{what} needs a continuous law but the cdf jumps at x = {verification.first(x, atom)}"
            )

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
