"""Copulas: laws of several coordinates with any margins, and the dependence of a normal law or of data."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.distributions import Distribution, constraints

from probgen.sampling.by_uniforms import ByUniforms, joint_support
from probgen.sampling.incomplete import Beta
from probgen.sampling.tails import example, normal_log_tails, normal_quantile, tails
from probgen.sampling.two_tails import quantile

_TERMS = 2**22
"""Terms of the density of an empirical copula that are held at once."""


class _WithMargins(ByUniforms):
    """A law whose coordinates have given margins, exact in both tails where they are known."""

    def __init__(
        self, margins: Sequence[Distribution], shape: torch.Size, validate_args: bool | None
    ) -> None:
        if len(margins) < 2:
            raise ValueError(f"a copula should have at least 2 margins but got {len(margins)}")
        self.margins = tuple(margins)
        self._tails = [tails(law) for law in margins]
        self._support = joint_support(margins)
        draws = [example(law) for law in margins]
        self._dtype, self.device = sum(draws[1:], draws[0]).dtype, draws[0].device
        shape = torch.broadcast_shapes(shape, *(law.batch_shape for law in margins))
        super().__init__(shape, torch.Size([len(margins)]), validate_args=validate_args)

    def _spread(self, value: Tensor) -> Tensor:
        if self._validate_args:
            self._validate_sample(value)
        return value.expand(*torch.broadcast_shapes(value.shape[:-1], self.batch_shape), -1)

    def _margin_log_prob(self, value: Tensor) -> Tensor:
        x = value.to(torch.float64).unbind(-1)
        logs = [law.log_prob(one) for law, one in zip(self.margins, x, strict=True)]
        return torch.stack(logs).sum(0)

    def _log_levels(self, value: Tensor) -> tuple[Tensor, Tensor]:
        """Return log F_k(x_k) and log (1 − F_k(x_k))."""
        x = value.to(torch.float64).unbind(-1)
        pairs = [known.of(one) for known, one in zip(self._tails, x, strict=True)]
        lower, upper = (torch.stack(logs, -1) for logs in zip(*pairs, strict=True))
        return lower, upper

    def _placed(self, log_lower: Tensor, log_upper: Tensor) -> Tensor:
        """Return F_k⁻¹ at levels given by both tails."""
        logs = zip(log_lower.unbind(-1), log_upper.unbind(-1), strict=True)
        x = [known.quantile(*both) for known, both in zip(self._tails, logs, strict=True)]
        return torch.stack(x, -1).to(self._dtype)


class GaussianCopula(_WithMargins):
    r"""x_k = F_k⁻¹(Φ(z_k)), z normal with correlation R: any margins, the dependence of a normal law.

    log p(x) = Σ_k log f_k(x_k) + log N(z; 0, R) − Σ_k log N(z_k; 0, 1). Levels are kept as both tails in
    logs, so that draws and densities are exact in far tails.

    Args:
        margins: d ≥ 2 continuous laws on the line.
        correlation: R, shape (\*batch, d, d), positive definite with ones on its diagonal; or
        scale_tril: its Cholesky factor. Exactly one is given.

    Raises:
        ValueError: for a matrix that is not such, or of another size.
        TypeError: for a margin that is discrete or has no CDF.

    See Song (2000), Multivariate Dispersion Models Generated from Gaussian Copula.

    >>> from torch.distributions import Exponential, Normal
    >>> correlation = torch.tensor([[1.0, 0.8], [0.8, 1.0]])
    >>> law = GaussianCopula([Normal(0.0, 1.0), Exponential(1.0)], correlation=correlation)
    >>> law.from_uniform(torch.tensor([0.9, 0.5])), law.log_prob(torch.tensor([1.0, 1.0]))
    (tensor([1.2816, 1.8798]), tensor(-2.1483))
    """

    def __init__(
        self,
        margins: Sequence[Distribution],
        *,
        correlation: Tensor | None = None,
        scale_tril: Tensor | None = None,
        validate_args: bool | None = None,
    ) -> None:
        if (correlation is None) == (scale_tril is None):
            given = "neither" if correlation is None else "both"
            raise ValueError(f"one of correlation and scale_tril should be given but got {given}")
        d = len(margins)
        matrix = correlation if correlation is not None else scale_tril
        assert matrix is not None
        name = "correlation" if correlation is not None else "scale_tril"
        if matrix.shape[-2:] != (d, d):
            raise ValueError(f"{name} should have shape (..., {d}, {d}) but has {tuple(matrix.shape)}")
        self.uniforms = d
        super().__init__(margins, matrix.shape[:-2], validate_args)
        matrix = matrix.to(torch.float64)
        if self._validate_args:
            self._check(matrix, name)
        self.scale_tril = torch.linalg.cholesky(matrix) if name == "correlation" else matrix

    @staticmethod
    def _check(matrix: Tensor, name: str) -> None:
        ones = (matrix.diagonal(dim1=-2, dim2=-1) - 1).abs() if name == "correlation" else None
        if ones is not None and not (ones < 1e-6).all():
            raise ValueError(
                f"correlation should have ones on its diagonal but is off by {float(ones.max()):.3g}"
            )
        good = constraints.positive_definite if name == "correlation" else constraints.lower_cholesky
        if not good.check(matrix).all():
            raise ValueError(
                f"{name} should be {'positive definite' if ones is not None else 'a Cholesky factor'}"
            )
        rows = (matrix.square().sum(-1) - 1).abs()
        if ones is None and not (rows < 1e-6).all():
            raise ValueError(
                f"scale_tril should have rows of length 1 but one is off by {float(rows.max()):.3g}"
            )

    def log_prob(self, value: Tensor) -> Tensor:
        """Return the log-density at x, with gradients to x, the margins' parameters and the correlation."""
        value = self._spread(value)
        z = normal_quantile(*self._log_levels(value))
        own = self._whitened(z)
        log_volume = self.scale_tril.diagonal(dim1=-2, dim2=-1).log().sum(-1)
        dependence = (z.square() - own.square()).sum(-1) / 2 - log_volume
        return (self._margin_log_prob(value) + dependence).to(value.dtype)

    def to_uniform(self, value: Tensor) -> Tensor:
        """Return the independent uniforms, float64, of which x is made."""
        return torch.special.ndtr(self._whitened(normal_quantile(*self._log_levels(self._spread(value)))))

    def from_uniform(self, u: Tensor) -> Tensor:
        """Return x from independent uniforms: the inverse of :meth:`to_uniform`."""
        z = torch.special.ndtri(self._checked_uniforms(u))
        return self._placed(*normal_log_tails((self.scale_tril @ z.unsqueeze(-1)).squeeze(-1)))

    def _whitened(self, z: Tensor) -> Tensor:
        return torch.linalg.solve_triangular(self.scale_tril, z.unsqueeze(-1), upper=False).squeeze(-1)


class EmpiricalCopula(_WithMargins):
    r"""Any margins, and the dependence of data: the empirical beta copula of their ranks.

    With r_ik the rank of sample i among the n samples of coordinate k, the levels v_k = F_k(x_k) have the
    density (1/n) Σ_i Π_k beta(v_k; r_ik, n + 1 − r_ik). Their margins are exactly uniform, so that the law's
    margins are exactly those given, and the density is positive everywhere.

    Draws have derivatives to the margins' parameters. A draw takes d + 1 uniforms: the first picks a sample.

    Args:
        samples: finite numbers, shape (n, d), n ≥ 2; only their ranks count. Ties are ranked in their order.
        margins: d ≥ 2 continuous laws on the line.

    Raises:
        ValueError: for samples of another shape, or that are not finite.
        TypeError: for a margin that is discrete or has no CDF.

    See Segers, Sibuya and Tsukahara (2017), The Empirical Beta Copula.

    >>> from torch.distributions import Exponential, Normal
    >>> data = torch.arange(20.0).unsqueeze(-1) * torch.tensor([1.0, -1.0])
    >>> law = EmpiricalCopula(data, [Normal(0.0, 1.0), Exponential(1.0)])
    >>> law.from_uniform(torch.tensor([0.999, 0.5, 0.5]))
    tensor([1.8242, 0.0347])
    """

    def __init__(
        self, samples: Tensor, margins: Sequence[Distribution], *, validate_args: bool | None = None
    ) -> None:
        if samples.dim() != 2 or samples.shape[1] != len(margins) or len(samples) < 2:
            raise ValueError(
                f"samples should have shape (n, {len(margins)}), n ≥ 2, but have {tuple(samples.shape)}"
            )
        if not samples.isfinite().all():
            raise ValueError("samples should be finite but hold nan or inf")
        self.uniforms = len(margins) + 1
        super().__init__(margins, torch.Size(), validate_args)
        self.ranks = samples.argsort(dim=0, stable=True).argsort(0) + 1

    def log_prob(self, value: Tensor) -> Tensor:
        """Return the log-density at x, with gradients to x and the margins' parameters, at O(n d) a point."""
        value = self._spread(value)
        n, d = self.ranks.shape
        rank = torch.arange(1, n + 1, dtype=torch.float64, device=self.ranks.device)
        log_constant = -(rank.lgamma() + (n + 1 - rank).lgamma() - torch.lgamma(rank.new_tensor(n + 1.0)))
        lower, upper = (logs.reshape(-1, d) for logs in self._log_levels(value))
        parts = []
        for low, up in zip(lower.split(max(1, _TERMS // n)), upper.split(max(1, _TERMS // n)), strict=True):
            total = torch.zeros((), dtype=torch.float64, device=rank.device)
            for k in range(d):
                kernel = log_constant + (rank - 1) * low[:, k, None] + (n - rank) * up[:, k, None]
                total = total + kernel.index_select(1, self.ranks[:, k] - 1)
            parts.append(total.logsumexp(-1))
        dependence = torch.cat(parts).reshape(value.shape[:-1]) - torch.log(rank.new_tensor(n))
        return (self._margin_log_prob(value) + dependence).to(value.dtype)

    def from_uniform(self, u: Tensor) -> Tensor:
        """Return x from d + 1 independent uniforms."""
        u = self._checked_uniforms(u)
        n = len(self.ranks)
        rank = self.ranks[(u[..., 0] * n).long()].to(torch.float64)
        family = Beta(rank, n + 1 - rank)
        level, rest = family.place(quantile(family, u[..., 1:].log(), (-u[..., 1:]).log1p()))
        return self._placed(level.log(), rest.log())
