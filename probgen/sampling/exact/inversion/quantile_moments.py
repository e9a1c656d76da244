"""Mean, variance and entropy of laws that are given by their CDF or quantile function."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor

from probgen.sampling.exact.batch_columns import Columns
from probgen.sampling.exact.inversion.quantile_integrals import UNRESOLVED, Integral, Integrand, integral
from probgen.sampling.exact.verification import first

_ROUNDING = 4.0  # units in the last place that a quantile may be off


class Law(Protocol):
    """Laws on the line, a batch of them, by their quantiles; ``rounding`` is how far u may be off."""

    name: str
    shape: torch.Size
    device: torch.device

    @property
    def rounding(self) -> float: ...

    def quantile(self, u: Tensor) -> Tensor: ...

    def log_spacing(self, u: Tensor) -> Tensor:
        """Return log dF⁻/du = −log f(F⁻(u)); raise at an atom."""
        ...


def mean(law: Law) -> Tensor:
    """Return E X, with gradients; NaN where E |X| is infinite."""
    found, centre = _moment(law, 1, "mean")
    return found + centre


def variance(law: Law) -> Tensor:
    """Return Var X, with gradients; NaN where E X² is infinite."""
    square, _ = _moment(law, 2, "variance")
    return square - _moment(law, 1, "variance")[0].square()


def entropy(law: Law) -> Tensor:
    """Return ∫₀¹ log (dF⁻/du) du, with gradients."""
    columns = Columns(law.shape)

    def log_spacing(u: Tensor) -> tuple[Tensor, Tensor]:
        value = columns.called(law.log_spacing, u)
        if not value.isfinite().all():
            raise ValueError(
                f"entropy needs a density that is neither 0 nor inf where the law is, but the {law.name} has "
                f"log density {first(-value, ~value.isfinite())} at u = {first(u, ~value.isfinite())}"
            )
        return value, _ROUNDING * law.rounding * (1 + value.detach().abs())

    return _trusted(law, log_spacing, "entropy", unit=1.0)


def _moment(law: Law, power: int, name: str) -> tuple[Tensor, Tensor]:
    """Return E (X − c)^power, and the medians c."""
    columns = Columns(law.shape)
    middle = torch.full((1, columns.count), 0.5, dtype=torch.float64, device=law.device)
    with torch.no_grad():
        centre = columns.called(law.quantile, middle)

    def away(u: Tensor) -> tuple[Tensor, Tensor]:
        x = columns.called(law.quantile, u).to(torch.float64)
        if not x.isfinite().all():
            raise ValueError(
                f"the quantile should be finite but {law.name} gives {first(x, ~x.isfinite())} at "
                f"u = {first(u, ~x.isfinite()):.17g}"
            )
        distance = x - centre
        own = _ROUNDING * torch.finfo(torch.float64).eps * x.detach().abs()
        return distance**power, own if power == 1 else 2 * own * distance.detach().abs()

    return _trusted(law, away, name), centre.reshape(law.shape)


def _trusted(law: Law, function: Integrand, name: str, *, unit: float = 0.0) -> Tensor:
    """Return an integral in the law's shape, NaN where there is none; raise where it is not known."""
    like = torch.zeros(law.shape.numel(), dtype=torch.float64, device=law.device)
    found = integral(function, like, unit=unit, rounding=law.rounding)
    _check(law, found, name)
    return torch.where(found.endless, torch.nan, found.value).reshape(law.shape)


def _check(law: Law, found: Integral, name: str) -> None:
    wrong = ~found.endless & ~(found.error <= 1)
    if wrong.any():
        raise ValueError(
            f"the {name} should be found to {UNRESOLVED:.0e} but from the {law.name} it is known only to "
            f"{first(found.error, wrong) * UNRESOLVED:.1g} of the absolute moment, since float64 does not "
            f"reach far enough towards u = 0 or 1; give log_prob= beside it"
        )
    jumps = ~found.jump.isnan()
    if found.value.requires_grad and jumps.any():
        raise ValueError(
            f"the {name} has a gradient only where quantiles are continuous, but the {law.name} jumps at "
            f"u = {first(found.jump, jumps):.6g}; torch.no_grad() gives the value"
        )
