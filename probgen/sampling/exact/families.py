r"""Gamma, Chi2, Beta, StudentT and VonMises with quantiles, which torch lacks, and with both tails.

Each is Pyro's law of that name with ``icdf``, ``isf``, ``cdf``, ``sf``, ``log_cdf`` and ``log_sf`` for any
shape, batched, with derivatives of any order to every argument and parameter, and with draws by inversion,
so that quasi-random points, truncation and copulas take it. All is found in float64 whatever the law's dtype,
to a relative 1e-12, in tails as far as float64 goes, for shapes of at least 0.01 (the error of a Beta grows
to 1e-7 where a shape is 1e-6). Draws are rounded to the law's dtype inside its open support, quantiles too;
those at float64 u are float64.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import pyro.distributions as dist
import torch
from torch import Tensor
from torch.distributions.utils import broadcast_all

from probgen.core.descriptions import described
from probgen.sampling.exact.laws_from_quantiles import ByInversion
from probgen.sampling.exact.tails import incomplete_integrals as incomplete
from probgen.sampling.exact.tails.tail_operators import log_tails, quantile


class Gamma(ByInversion, dist.Gamma):
    r"""Gamma(concentration a, rate), density ∝ xᵃ⁻¹ exp(−rate x), with quantiles and both tails.

    Args:
        concentration, rate: positive; broadcast.

    See DiDonato and Morris (1986), Computation of the Incomplete Gamma Function Ratios and Their Inverse;
    Figurnov et al. (2018), Implicit Reparameterization Gradients.

    >>> law = Gamma(torch.tensor(0.5), torch.tensor(1.0))
    >>> law.icdf(torch.tensor([1e-10, 0.5])), law.isf(torch.tensor(1e-30))
    (tensor([7.8540e-21, 2.2747e-01]), tensor(66.3999))
    """

    has_rsample = True

    def _family(self) -> incomplete.Gamma:
        return incomplete.Gamma(self.concentration.to(torch.float64))

    def _log_tails(self, x: Tensor) -> tuple[Tensor, Tensor]:
        family = self._family()
        scaled = (x * self.rate.to(torch.float64)).clamp(min=0)
        return log_tails(family, scaled.log() - family.a.detach().log())

    def _quantile(self, log_lower: Tensor, log_upper: Tensor) -> Tensor:
        family = self._family()
        w = quantile(family, log_lower, log_upper)
        return family.a.detach() * w.exp() / self.rate.to(torch.float64)

    def _ends(self) -> tuple[Tensor, Tensor]:
        zero = torch.zeros((), dtype=torch.float64, device=self.rate.device)
        return zero, zero + torch.inf

    def _middle_and_spread(self) -> tuple[Tensor, Tensor]:
        a, rate = self.concentration.to(torch.float64), self.rate.to(torch.float64)
        return a / rate, 0.67 * torch.minimum(a, a.sqrt()) / rate

    @property
    def _dtype(self) -> torch.dtype:
        return torch.promote_types(self.concentration.dtype, self.rate.dtype)


class Chi2(Gamma, dist.Chi2):
    """χ² with ``df`` degrees of freedom: Gamma(df / 2, ½), with quantiles and both tails.

    >>> Chi2(torch.tensor(1.0)).isf(torch.tensor([0.05, 1e-30]))
    tensor([  3.8415, 132.7999])
    """


class Beta(ByInversion, dist.Beta):
    r"""Beta(a, b), density ∝ xᵃ⁻¹ (1 − x)ᵇ⁻¹ on (0, 1), with quantiles and both tails.

    Args:
        concentration1, concentration0: a and b, positive; broadcast.

    See DiDonato and Morris (1992), Significant Digit Computation of the Incomplete Beta Function Ratios.

    >>> law = Beta(torch.tensor(0.5), torch.tensor(0.5))
    >>> law.icdf(torch.tensor([1e-10, 0.5])), law.sf(torch.tensor(0.75))
    (tensor([2.4674e-20, 5.0000e-01]), tensor(0.3333))
    """

    def _family(self) -> incomplete.Beta:
        return incomplete.Beta(self.concentration1.to(torch.float64), self.concentration0.to(torch.float64))

    def __repr__(self) -> str:
        return described(self, concentration1=self.concentration1, concentration0=self.concentration0)

    def _log_tails(self, x: Tensor) -> tuple[Tensor, Tensor]:
        family = self._family()
        x = x.clamp(0, 1)
        return log_tails(family, (x / family.p.detach()).log() - ((1 - x) / family.q.detach()).log())

    def _quantile(self, log_lower: Tensor, log_upper: Tensor) -> Tensor:
        family = self._family()
        w = quantile(family, log_lower, log_upper)
        return incomplete.Beta(family.a.detach(), family.b.detach()).place(w)[0]

    def _ends(self) -> tuple[Tensor, Tensor]:
        zero = torch.zeros((), dtype=torch.float64, device=self.concentration1.device)
        return zero, zero + 1

    def _middle_and_spread(self) -> tuple[Tensor, Tensor]:
        a, b = self.concentration1.to(torch.float64), self.concentration0.to(torch.float64)
        middle = a / (a + b)
        return middle, 0.67 * (middle * (b / (a + b)) / (a + b + 1)).sqrt()

    @property
    def _dtype(self) -> torch.dtype:
        return torch.promote_types(self.concentration1.dtype, self.concentration0.dtype)


class StudentT(ByInversion, dist.StudentT):
    r"""Student's t: loc + scale · T, T with ``df`` degrees of freedom ν, with quantiles and both tails.

    T = √ν sinh(L / 2), where σ(L) has the law Beta(ν/2, ν/2). Derivatives to ν are exact to 1e-16 ν.

    Args:
        df, loc, scale: df and scale positive; broadcast.

    >>> StudentT(torch.tensor(2.0)).icdf(torch.tensor([0.025, 1e-20]))
    tensor([-4.3027e+00, -7.0711e+09])
    """

    def __init__(
        self,
        df: Tensor | float,
        loc: Tensor | float = 0.0,
        scale: Tensor | float = 1.0,
        *,
        validate_args: bool | None = None,
    ) -> None:
        self.df, self.loc, self.scale = broadcast_all(df, loc, scale)
        self._chi2 = dist.Chi2(self.df, validate_args=False)  # torch's own init always validates it
        torch.distributions.Distribution.__init__(self, self.df.shape, validate_args=validate_args)

    def expand(self, batch_shape: Sequence[int], _instance: Any = None) -> StudentT:
        return super().expand(batch_shape, self._get_checked_instance(StudentT, _instance))

    def _family(self) -> incomplete.Beta:
        half = self.df.to(torch.float64) / 2
        return incomplete.Beta(half, half)

    def _log_tails(self, x: Tensor) -> tuple[Tensor, Tensor]:
        z = (x - self.loc.to(torch.float64)) / self.scale.to(torch.float64)
        return log_tails(self._family(), 2 * (z / self.df.to(torch.float64).sqrt()).asinh())

    def _quantile(self, log_lower: Tensor, log_upper: Tensor) -> Tensor:
        w = quantile(self._family(), log_lower, log_upper)
        z = self.df.to(torch.float64).sqrt() * (w / 2).sinh()
        return self.loc.to(torch.float64) + self.scale.to(torch.float64) * z

    def _ends(self) -> tuple[Tensor, Tensor]:
        infinity = torch.full((), torch.inf, dtype=torch.float64, device=self.loc.device)
        return -infinity, infinity

    def _middle_and_spread(self) -> tuple[Tensor, Tensor]:
        return self.loc.to(torch.float64), 0.67 * self.scale.to(torch.float64)

    @property
    def _dtype(self) -> torch.dtype:
        return torch.promote_types(torch.promote_types(self.df.dtype, self.loc.dtype), self.scale.dtype)


class VonMises(ByInversion, dist.VonMises):
    r"""von Mises: an angle about ``loc``, density exp(κ cos(x − loc)) / (2π I₀(κ)), with quantiles.

    Draws and quantiles are in [loc − π, loc + π]. ``log_prob`` and ``cdf`` take any angle; the CDF is counted
    from loc − π, as the SciPy law on one turn. ``log_prob`` is exact in float64, where torch's is to 1e-7.

    Args:
        loc, concentration: radians, and κ > 0; broadcast.

    >>> law = VonMises(torch.tensor(0.0), torch.tensor(4.0))
    >>> law.icdf(torch.tensor([0.05, 0.95]))
    tensor([-0.8867,  0.8867])
    """

    has_rsample = True

    def log_prob(self, value: Tensor) -> Tensor:
        """Return the log-density at an angle."""
        if self._validate_args:
            self._validate_sample(value)
        kappa, half = self.concentration, (value - self.loc) / 2
        return -2 * kappa * half.sin() ** 2 - (2 * math.pi * torch.special.i0e(kappa)).log()

    def _family(self) -> incomplete.VonMises:
        return incomplete.VonMises(self.concentration.to(torch.float64))

    def _log_tails(self, x: Tensor) -> tuple[Tensor, Tensor]:
        turned = x - self.loc.to(torch.float64)
        whole_turns = (turned.detach() / (2 * math.pi)).round() * (2 * math.pi)
        return log_tails(self._family(), turned - whole_turns)

    def _quantile(self, log_lower: Tensor, log_upper: Tensor) -> Tensor:
        return self.loc.to(torch.float64) + quantile(self._family(), log_lower, log_upper)

    def _ends(self) -> tuple[Tensor, Tensor]:
        middle = self.loc.to(torch.float64)
        return middle - math.pi, middle + math.pi

    def _middle_and_spread(self) -> tuple[Tensor, Tensor]:
        kappa = self.concentration.to(torch.float64)
        return self.loc.to(torch.float64), 0.67 / kappa.clamp(min=1.0).sqrt()

    @property
    def _dtype(self) -> torch.dtype:
        return torch.promote_types(self.loc.dtype, self.concentration.dtype)


def with_quantiles(law: torch.distributions.Distribution) -> torch.distributions.Distribution:
    """Return the law of this module that equals torch's or Pyro's; any other law as it is."""
    given = {"validate_args": law._validate_args}
    if isinstance(law, ByInversion):
        return law
    if isinstance(law, torch.distributions.Gamma):  # Chi2 too
        return Gamma(law.concentration, law.rate, **given)
    if isinstance(law, torch.distributions.Beta):
        return Beta(law.concentration1, law.concentration0, **given)
    if isinstance(law, torch.distributions.StudentT):
        return StudentT(law.df, law.loc, law.scale, **given)
    if isinstance(law, torch.distributions.VonMises):
        return VonMises(law.loc, law.concentration, **given)
    return law
