"""A law on the line given by its CDF."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.distributions import constraints
from torch.distributions.constraints import Constraint

from probgen.sampling import verification
from probgen.sampling.bisection import first_reaching
from probgen.sampling.derivatives import implicit, slope


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

    def quantile(self, u: Tensor) -> Tensor:
        with torch.no_grad():
            x = first_reaching(self.cdf, u, self._low, self._high)
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

    def verify(self) -> None:
        """Raise unless the CDF increases from 0 to 1 all over the support."""
        low, high = (end.expand(self.shape) for end in (self._low, self._high))
        verification.check_cdf(self.cdf, verification.spread(low, high))

    def log_prob(self, x: Tensor) -> Tensor:
        return slope(self.cdf, x, self.name).log()
