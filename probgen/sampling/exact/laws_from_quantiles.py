"""What follows for a law on the line from its quantile function and its two tails in logs."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from probgen.sampling.exact.verification import check_spacing, first
from probgen.sampling.uniforms import uniform


class ByInversion:
    r"""A law on the line, mixed into a Pyro distribution, whose draws are F⁻¹(U).

    A subclass supplies ``_log_tails(x)``, which gives log F(x) and log (1 − F(x)), and its inverse
    ``_quantile(log_lower, log_upper)``, all float64 and each tail to its own relative precision; the ends of
    the interval on which the law lives; its place and width, roughly; and the dtype of its draws.
    """

    has_rsample = True
    batch_shape: torch.Size
    _validate_args: bool

    def _log_tails(self, x: Tensor) -> tuple[Tensor, Tensor]:
        raise NotImplementedError

    def _quantile(self, log_lower: Tensor, log_upper: Tensor) -> Tensor:
        raise NotImplementedError

    def _ends(self) -> tuple[Tensor, Tensor]:
        raise NotImplementedError

    def _middle_and_spread(self) -> tuple[Tensor, Tensor]:
        """Return where the law has its mass, and about how wide half of it is, found at little cost."""
        raise NotImplementedError

    @property
    def _dtype(self) -> torch.dtype:
        raise NotImplementedError

    def sample(self, sample_shape: Sequence[int] = (), *, generator: torch.Generator | None = None) -> Tensor:
        """Draw by inversion, without gradient; ``generator`` is torch's global one where not given."""
        with torch.no_grad():
            return self.rsample(sample_shape, generator=generator)

    def rsample(
        self, sample_shape: Sequence[int] = (), *, generator: torch.Generator | None = None
    ) -> Tensor:
        """Draw by inversion, with first derivatives to the parameters."""
        shape = torch.Size(sample_shape) + self.batch_shape
        if self._validate_args and self._dtype != torch.float64:
            check_spacing(*self._middle_and_spread(), self._dtype, "give parameters of dtype=torch.float64")
        return self.placed(uniform(shape, device=self._ends()[0].device, generator=generator), self._dtype)

    def icdf(self, value: Tensor) -> Tensor:
        """Return the quantile at u in [0, 1], with first derivatives; float64 where u or the law is."""
        return self.placed(value, torch.promote_types(self._dtype, value.dtype))

    def placed(self, value: Tensor, dtype: torch.dtype) -> Tensor:
        """Return the quantile at u in [0, 1] in a dtype, inside the open support."""
        u, inside = self._checked_level(value)
        return self._rounded(self._quantile(inside.log(), (-inside).log1p()), u, 1 - u, dtype)

    def isf(self, value: Tensor) -> Tensor:
        """Return the x with 1 − F(x) = s at s in [0, 1]: far upper quantiles, which 1 − u cannot tell."""
        s, inside = self._checked_level(value)
        dtype = torch.promote_types(self._dtype, value.dtype)
        return self._rounded(self._quantile((-inside).log1p(), inside.log()), 1 - s, s, dtype)

    def cdf(self, value: Tensor) -> Tensor:
        """Return F(x), in the dtype of x."""
        return self._checked_tails(value)[0].exp().to(value.dtype)

    def sf(self, value: Tensor) -> Tensor:
        """Return the survival function 1 − F(x), to its own relative precision, in the dtype of x."""
        return self._checked_tails(value)[1].exp().to(value.dtype)

    def log_cdf(self, value: Tensor) -> Tensor:
        """Return log F(x), in the dtype of x."""
        return self._checked_tails(value)[0].to(value.dtype)

    def log_sf(self, value: Tensor) -> Tensor:
        """Return log (1 − F(x)), in the dtype of x."""
        return self._checked_tails(value)[1].to(value.dtype)

    def _checked_tails(self, value: Tensor) -> tuple[Tensor, Tensor]:
        if self._validate_args:
            self._validate_sample(value)  # type: ignore[attr-defined]
        x = value.to(torch.float64).expand(torch.broadcast_shapes(value.shape, self.batch_shape))
        return self._log_tails(x)

    def _checked_level(self, value: Tensor) -> tuple[Tensor, Tensor]:
        """Return u in float64, and with ½ in the place of the ends."""
        u = value.to(torch.float64)
        if self._validate_args and not ((u >= 0) & (u <= 1)).all():
            raise ValueError(f"u should be in [0, 1] but got {first(u, ~((u >= 0) & (u <= 1)))}")
        u = u.expand(torch.broadcast_shapes(u.shape, self.batch_shape))
        return u, torch.where((u == 0) | (u == 1), 0.5, u)

    def _rounded(self, x: Tensor, u: Tensor, s: Tensor, dtype: torch.dtype) -> Tensor:
        """Round to a dtype, to an end only at u = 0 or s = 0: a tiny positive x does not become 0."""
        low, high = self._ends()
        near = x.to(dtype)
        with torch.no_grad():
            first_inside = next_number(low, near.dtype, torch.inf)
            inner = near.clamp(first_inside, next_number(high, near.dtype, -torch.inf))
            wrong = ~inner.isfinite() & (u > 0) & (s > 0)
        if self._validate_args and wrong.any():
            raise ValueError(
                f"the quantile of {type(self).__name__} should be finite in {near.dtype} but is "
                f"{first(inner, wrong)} at u = {first(u, wrong)}"
            )
        x = torch.where(inner == near, near, inner)
        return torch.where(u == 0, low.to(near.dtype), torch.where(s == 0, high.to(near.dtype), x))


def next_number(end: Tensor, dtype: torch.dtype, towards: float) -> Tensor:
    """Return the number of a dtype that is next to an end of an interval, on its inside."""
    near = end.detach().to(dtype)
    after = torch.nextafter(near, torch.full_like(near, towards))
    outside = near <= end if towards > 0 else near >= end
    return torch.where(outside & near.isfinite(), after, near)
