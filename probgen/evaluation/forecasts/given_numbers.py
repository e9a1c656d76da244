"""What judges of forecasts are given: finite numbers in float64, and laws that are known in closed form."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.distributions import Distribution, Independent, Normal, StudentT

from probgen.core import sample_of


def numbers_of(values: Any, name: str, shape: tuple[int, ...] | None = None) -> Tensor:
    """Return real, finite numbers as a float64 tensor on the host, of one ``shape`` where it is given."""
    found = sample_of(values, name)
    try:
        found = torch.as_tensor(found).detach().to("cpu", torch.float64)
    except (TypeError, ValueError, RuntimeError):
        raise TypeError(f"{name} should hold numbers but is a {type(values).__name__}") from None
    if not found.numel():
        raise ValueError(f"{name} should hold at least one number but has shape {tuple(found.shape)}")
    if not found.isfinite().all():
        raise ValueError(f"{name} should be finite but {int((~found.isfinite()).sum())} numbers are not")
    if shape is not None and found.shape != shape:
        raise ValueError(f"{name} should have shape {tuple(shape)} but has {tuple(found.shape)}")
    return found


def series_of(values: Any, name: str, *, least: int = 2) -> Tensor:
    """Return numbers in the order of time, shape (T,), at least so many."""
    found = numbers_of(values, name)
    if found.dim() != 1 or len(found) < least:
        raise ValueError(
            f"{name} should have shape (T,) with T at least {least} but has {tuple(found.shape)}"
        )
    return found


def draws_of(values: Any, shape: torch.Size, name: str = "draws") -> Tensor:
    r"""Return at least two draws of what has ``shape``, (m, \*shape)."""
    found = numbers_of(values, name)
    if found.dim() == 0 or found.shape[1:] != shape or len(found) < 2:
        raise ValueError(
            f"{name} should be at least 2 for each number of x, of shape (m, {', '.join(map(str, shape))}), "
            f"but have shape {tuple(found.shape)}"
        )
    return found


def level_of(level: float, name: str = "level") -> float:
    """Return a probability above 0 and below 1."""
    if not 0 < level < 1:
        raise ValueError(f"{name} should be above 0 and below 1 but is {level}")
    return float(level)


class Known:
    """A law of numbers, location + scale times a standard normal or Student-t, in float64."""

    def __init__(self, law: Distribution) -> None:
        from scipy import stats

        while isinstance(law, Independent):
            law = law.base_dist
        if not isinstance(law, Normal | StudentT):
            raise TypeError(
                f"a forecast should be draws, or a Normal or StudentT, but is a {type(law).__name__}: "
                "draw from it, law.sample((1000,))"
            )
        self.location, self.scale = (numbers_of(part, "the law") for part in (law.loc, law.scale))
        self.freedom = numbers_of(law.df, "df").numpy() if isinstance(law, StudentT) else None
        self.standard: Any = stats.norm() if self.freedom is None else stats.t(self.freedom)

    def standardised(self, x: Tensor) -> Tensor:
        """Return (x − location) / scale."""
        return (x - self.location) / self.scale

    def cdf(self, x: Tensor) -> Tensor:
        """Return P(X ≤ x)."""
        return torch.as_tensor(self.standard.cdf(self.standardised(x).numpy()))
