"""A law on the line given by its CDF."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.distributions import constraints
from torch.distributions.constraints import Constraint
from torch.fx.experimental.proxy_tensor import get_proxy_mode

from probgen.core.density.mapped import is_mapped, needs_gradient
from probgen.sampling.exact import verification
from probgen.sampling.exact.batch_columns import Columns
from probgen.sampling.exact.bisection import before, first_reaching
from probgen.sampling.exact.implicit_derivatives import implicit, slope
from probgen.sampling.exact.tables.quantile_table import (
    TABLE_ERROR,
    QuantileTable,
    drawn,
    quantiles,
    table_for,
)

_LARGEST = torch.finfo(torch.float64).max


class GivenCdf:
    """Quantiles by bisection to the last bit, with implicit gradients; density by autograd.

    The law's CDF is the one given, stretched to go from 0 to 1 where it misses them by rounding.
    """

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
        first = low
        if not isinstance(support, constraints.greater_than):  # the lower end may be an atom
            low = torch.nextafter(low, torch.full_like(low, -torch.inf))
        inside = verification.somewhere(low, high).to(dtype=dtype or torch.get_default_dtype(), device=device)
        inside = inside.expand(torch.broadcast_shapes(tuple(batch_shape), inside.shape))
        probe = verification.returned("cdf", cdf(inside))
        self.shape, self.device = torch.broadcast_shapes(tuple(batch_shape), probe.shape), probe.device
        self.dtype = probe.dtype if dtype is None else dtype
        self._first, self._low, self._high = (end.to(self.device) for end in (first, low, high))
        self._given, self._log_density, self._support, self._validate = cdf, density, support, validate
        self._columns = Columns(self.shape)

    @property
    def rounding(self) -> float:
        """How far u may be off: the precision in which the CDF computes."""
        with torch.no_grad():
            return torch.finfo(
                self._given(torch.zeros(self.shape, dtype=torch.float64, device=self.device)).dtype
            ).eps

    def quantile(self, u: Tensor) -> Tensor:
        with torch.no_grad():
            columns, restore = self._columns.of(u)
            table = self._table(len(columns))
            if table is None:
                x = self._reached(u)
            else:
                x = restore(quantiles(table, columns - columns.round(), self._solve))
            inside = (u > 0) & (u < 1)
            x = self._ended(x, u)
        if not torch.is_grad_enabled():
            return x
        somewhere = verification.somewhere(self._first, self._high)
        return torch.where(inside, self._attached(torch.where(inside, x, somewhere), u, inside), x)

    def _ended(self, x: Tensor, u: Tensor) -> Tensor:
        """Put the ends of the support at u = 0 and 1, but where an atom is the last of the law."""
        x = torch.where(u <= 0, self._first, x)
        if get_proxy_mode() is None and not is_mapped(u) and not (u >= 1).any():
            return x
        atom = 1 - self.cdf(before(x)) > verification.ENDS
        return torch.where((u >= 1) & ~atom, self._high, x)

    def _attached(self, x: Tensor, u: Tensor, inside: Tensor) -> Tensor:
        """Return quantiles x at u with their gradients, where u is inside (0, 1)."""
        level = self.cdf(x)
        if not needs_gradient(level, u):
            return x
        if self._log_density is not None:
            density = self._log_density(x).detach().exp()
        else:
            density = slope(self.cdf, x.detach(), self.name).detach()
        density, excess = torch.where(inside, density, 1.0), torch.where(inside, u - level, 0.0)
        if self._validate and not (density > 0).all():
            flat = ~(density > 0)
            raise ValueError(
                f"rsample needs a positive density but the cdf has slope "
                f"{verification.first(density, flat)} at x = {verification.first(x, flat)}"
            )
        if self._validate:
            self._check_continuous(x, -excess.detach(), density, "a gradient")
        return implicit(x, excess, density)

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
        """Return quantiles at columns of signed tail probabilities by bisection; all are checked."""
        u = torch.where(z > 0, z, 1 + z)
        x = self._columns.called(self._reached, u)
        if self._validate:
            values = x.reshape(-1, *self.shape)
            verification.check_draws(u.reshape(values.shape), values, self._support, self.name)
        return x

    def _reached(self, u: Tensor) -> Tensor:
        """Return the least x at which the law's CDF reaches u in (0, 1); infinite where none is found."""
        below, above = self._range()
        level = torch.where(u < 1, below + u * (above - below), above)
        x = first_reaching(self._given, level, self._low, self._high)
        return torch.where(self._low.isinf() & (x == -_LARGEST), -torch.inf, x)

    @torch.no_grad()
    def _range(self) -> tuple[Tensor, Tensor]:
        """Return where the CDF that was given begins and ends, in the law's shape: near 0 and near 1.

        Below a finite lower end it is 0: at the end there may be an atom.
        """
        first, last = (end.expand(self.shape) for end in (self._first, self._high))
        endless = first.isinf()
        first = torch.where(endless, first, last)
        places = torch.stack([first, first.clamp(min=-_LARGEST), last, last.clamp(max=_LARGEST)])
        level = self._given(places).to(torch.float64)
        below, above = torch.where(level[::2].isnan(), level[1::2], level[::2])
        below = torch.where(endless & ~below.isnan(), below, 0.0)
        return below, torch.where(above.isnan(), 1.0, above)

    def _table(self, n: int) -> QuantileTable | None:
        """Return a table of quantiles, if it pays; made afresh, since the CDF may have changed."""
        if get_proxy_mode() is not None:
            return None
        return table_for(n, self._columns.count, self._solve, self.device, {})

    def verify(self) -> None:
        """Raise unless the CDF increases from 0 to 1 all over the support."""
        low, high = (end.expand(self.shape) for end in (self._low, self._high))
        verification.check_cdf(self._given, verification.spread(low, high))
        below, above = self._range()
        wrong = (below.abs() > verification.ENDS) | ((above - 1).abs() > verification.ENDS)
        if wrong.any():
            raise ValueError(
                f"cdf should go from 0 to 1, to {verification.ENDS:.0e}, but goes from "
                f"{verification.first(below, wrong):.9g} to {verification.first(above, wrong):.9g} over "
                f"{self._support}; subtract where it begins, and divide by its whole rise"
            )

    def cdf(self, x: Tensor) -> Tensor:
        """Return the law's CDF in float64."""
        below, above = self._range()
        return (self._given(x).to(torch.float64) - below) / (above - below)

    def log_prob(self, x: Tensor) -> Tensor:
        below, above = self._range()
        rise = slope(lambda x: self._given(x).to(torch.float64), x, self.name)
        return rise.log() - (above - below).log()
