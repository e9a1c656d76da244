"""Copulas: laws of several coordinates with any margins, and the dependence of a normal law or of data."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.distributions import Distribution, constraints

from probgen.core.density.mapped import is_mapped
from probgen.core.descriptions import described
from probgen.sampling.exact.laws_from_uniforms import ByUniforms, joint_support
from probgen.sampling.exact.tails.both_tails import (
    between_ends,
    check_atoms,
    ends_of,
    example,
    middle_and_spread,
    tails,
)
from probgen.sampling.exact.tails.closed_tails import normal_log_tails, normal_quantile
from probgen.sampling.exact.tails.incomplete_integrals import Beta
from probgen.sampling.exact.tails.tail_operators import quantile
from probgen.sampling.exact.verification import check_spacing, somewhere

_LOG_0 = -1e300
"""What stands for the logarithm of 0: 0 times it is 0."""

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
        if self._validate_args:
            for k, (law, known) in enumerate(zip(margins, self._tails, strict=True)):
                check_atoms(law, known, f"margin {k}")
                way_out = "give the margins parameters of dtype=torch.float64"
                check_spacing(*middle_and_spread(law, known), self._dtype, way_out)

    def __repr__(self) -> str:
        return described(self, *self.margins)

    def _spread(self, value: Tensor) -> Tensor:
        if self._validate_args:
            self._validate_sample(value)
        return value.expand(*torch.broadcast_shapes(value.shape[:-1], self.batch_shape), -1)

    def _inner(self, value: Tensor) -> tuple[Tensor, Tensor | None]:
        """Return x, numbers inside in the place of coordinates beyond an end, and where there were such."""
        if self._validate_args:
            return value, None
        x, beyond = [], []
        for law, one in zip(self.margins, value.unbind(-1), strict=True):
            low, high = ends_of(law, one)
            beyond.append((one < low) | (one > high))
            x.append(torch.where(beyond[-1], somewhere(low, high).to(one.dtype), one))
        return torch.stack(torch.broadcast_tensors(*x), -1), torch.stack(beyond).any(0)

    def _margin_log_prob(self, value: Tensor) -> Tensor:
        x = value.to(torch.float64).unbind(-1)
        logs = [law.log_prob(one) for law, one in zip(self.margins, x, strict=True)]
        return torch.stack(logs, -1)

    def _log_levels(self, value: Tensor) -> tuple[Tensor, Tensor]:
        """Return log F_k(x_k) and log (1 − F_k(x_k)); NaN inside a support where a tail is not known."""
        x = value.to(torch.float64).unbind(-1)
        pairs = []
        for law, known, one in zip(self.margins, self._tails, x, strict=True):
            below, above = known.of(one)
            if not known.endless:
                low, high = ends_of(law, one)
                unknown = (torch.minimum(below, above) == -torch.inf) & (one > low) & (one < high)
                below, above = (torch.where(unknown, torch.nan, log) for log in (below, above))
            pairs.append((below, above))
        lower, upper = (torch.stack(logs, -1) for logs in zip(*pairs, strict=True))
        return lower, upper

    def _joined(self, value: Tensor, margins: Tensor, dependence: Tensor, outside: Tensor | None) -> Tensor:
        """Add the margins' log-densities to that of the copula; −∞ outside, and where that is 0 at a pole."""
        impossible = dependence == -torch.inf
        impossible = impossible if outside is None else impossible | outside
        result = torch.where(impossible, -torch.inf, margins.sum(-1) + dependence)
        if self._validate_args and not is_mapped(result) and result.isnan().any():
            row = result.isnan().nonzero()[0]
            x = value[tuple(row)].tolist()
            kinds = [f"margin {k}, {type(law).__name__}" for k, law in enumerate(self.margins)]
            unknown = (margins + sum(self._log_levels(value))).isnan()[tuple(row)].tolist()
            named = [kind for kind, wrong in zip(kinds, unknown, strict=True) if wrong] or ["the dependence"]
            raise ValueError(
                f"log_prob should be a number but is nan at x = {x}: {' and '.join(named)} does not know its "
                f"density or its tail there; InverseCDF with its log_prob alone knows tails down to 1e-30"
            )
        return result.to(value.dtype)

    def _placed(self, log_lower: Tensor, log_upper: Tensor, least: torch.dtype = torch.bool) -> Tensor:
        """Return F_k⁻¹ at levels given by both tails."""
        logs = zip(log_lower.unbind(-1), log_upper.unbind(-1), strict=True)
        x = [known.quantile(*both) for known, both in zip(self._tails, logs, strict=True)]
        dtype = torch.promote_types(self._dtype, least)
        pairs = zip(x, self.margins, strict=True)
        placed = torch.stack([between_ends(one, law, dtype) for one, law in pairs], -1)
        if self._validate_args and not placed.isfinite().all():
            wrong = tuple((~placed.isfinite()).nonzero()[0])
            raise ValueError(
                f"the quantile of margin {int(wrong[-1])}, {type(self.margins[int(wrong[-1])]).__name__}, "
                f"should be finite in {dtype} but is {float(placed[wrong])}; give its parameters in "
                f"float64, or InverseCDF by its log_prob"
            )
        return placed


class GaussianCopula(_WithMargins):
    r"""x_k = F_k⁻¹(Φ(z_k)), z normal with correlation R: any margins, the dependence of a normal law.

    log p(x) = Σ_k log f_k(x_k) + log N(z; 0, R) − Σ_k log N(z_k; 0, 1). Levels are kept as both tails in
    logs, so that draws and densities are exact in far tails; of a margin that is known by its CDF alone they
    are to a relative 1e-16 / (1 − F(x)), and where F(x) rounds to 1 the density raises (NaN where validation
    is off). Draws are rounded to numbers between the ends of the margins' supports. At an end itself the
    density has no limit, or the limit 0, where the coordinate depends on others, and counts as 0.

    Args:
        margins: d ≥ 2 continuous laws on the line.
        correlation: R, shape (\*batch, d, d), positive definite with ones on its diagonal; or
        scale_tril: its Cholesky factor. Exactly one is given.

    Raises:
        ValueError: for a matrix that is not such, or of another size, and for a margin that has an atom (of
            5e-4 of its mass or more, with validation on).
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
        correlated = (self.scale_tril @ self.scale_tril.mT).detach().abs() > 0
        self._alone = correlated.sum(-1) == 1

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
        value, outside = self._inner(self._spread(value))
        z = normal_quantile(*self._log_levels(value))
        at_end = z.isinf()
        z = torch.where(at_end, 0.0, z)
        own = self._whitened(z)
        log_volume = self.scale_tril.diagonal(dim1=-2, dim2=-1).log().sum(-1)
        dependence = (z.square() - own.square()).sum(-1) / 2 - log_volume
        no_limit = (at_end & ~self._alone).any(-1)
        dependence = torch.where(no_limit, -torch.inf, dependence)
        return self._joined(value, self._margin_log_prob(value), dependence, outside)

    def to_uniform(self, value: Tensor) -> Tensor:
        """Return the independent uniforms, float64, of which x is made."""
        return torch.special.ndtr(self._whitened(normal_quantile(*self._log_levels(self._spread(value)))))

    def _from_uniform(self, u: Tensor, least: torch.dtype) -> Tensor:
        """Return x from independent uniforms: the inverse of :meth:`to_uniform`."""
        z = torch.special.ndtri(u)
        return self._placed(*normal_log_tails((self.scale_tril @ z.unsqueeze(-1)).squeeze(-1)), least)

    def _whitened(self, z: Tensor) -> Tensor:
        return torch.linalg.solve_triangular(self.scale_tril, z.unsqueeze(-1), upper=False).squeeze(-1)


class EmpiricalCopula(_WithMargins):
    r"""Any margins, and the dependence of data: the empirical beta copula of their ranks.

    With r_ik the rank of sample i among the n samples of coordinate k, the levels v_k = F_k(x_k) have the
    density (1/n) Σ_i Π_k beta(v_k; r_ik, n + 1 − r_ik). Their margins are exactly uniform, so that the law's
    margins are exactly those given, and the density is positive everywhere. Samples that are tied in a
    coordinate share their ranks: each has the mean of the tie's beta densities there, independently of its
    other coordinates, as in the checkerboard copula. A tie adds no dependence, and the order of the samples
    means nothing.

    Draws have derivatives to the margins' parameters. A draw takes d + 1 uniforms: the first picks a sample.

    Args:
        samples: finite numbers, shape (n, d), n ≥ 2; only their ranks count.
        margins: d ≥ 2 continuous laws on the line.

    Raises:
        ValueError: for samples of another shape, or that are not finite, and for a margin that has an atom
            (of 5e-4 of its mass or more, with validation on).
        TypeError: for samples that are no dense tensor of real numbers, and for a margin that is discrete or
            has no CDF.

    Attributes:
        ranks: the least rank of each sample's tie, from 1 on, n x d.
        ties: how many samples, itself among them, each is tied with, n x d.

    See Segers, Sibuya and Tsukahara (2017), The Empirical Beta Copula; Genest, Nešlehová and Rémillard
    (2014), On the Empirical Multilinear Copula Process for Count Data.

    >>> from torch.distributions import Exponential, Normal
    >>> data = torch.arange(20.0).unsqueeze(-1) * torch.tensor([1.0, -1.0])
    >>> law = EmpiricalCopula(data, [Normal(0.0, 1.0), Exponential(1.0)])
    >>> law.from_uniform(torch.tensor([0.999, 0.5, 0.5]))
    tensor([1.8242, 0.0347])
    """

    def __init__(
        self, samples: Tensor, margins: Sequence[Distribution], *, validate_args: bool | None = None
    ) -> None:
        _check_real(samples)
        if samples.dim() != 2 or samples.shape[1] != len(margins) or len(samples) < 2:
            raise ValueError(
                f"samples should have shape (n, {len(margins)}), n ≥ 2, but have {tuple(samples.shape)}"
            )
        columns = _comparable(samples).T.contiguous()
        if not columns.isfinite().all():
            raise ValueError("samples should be finite but hold nan or inf")
        self.uniforms = len(margins) + 1
        super().__init__(margins, torch.Size(), validate_args)
        ordered = columns.sort(-1).values
        below = torch.searchsorted(ordered, columns)
        self.ties = (torch.searchsorted(ordered, columns, right=True) - below).T.contiguous()
        self.ranks = (below + 1).T.contiguous()
        self._groups = [_Ties.of(ranks) for ranks in self.ranks.unbind(-1)]

    def log_prob(self, value: Tensor) -> Tensor:
        """Return the log-density at x, with gradients to x and the margins' parameters, at O(n d) a point."""
        value, outside = self._inner(self._spread(value))
        n, d = self.ranks.shape
        rank = torch.arange(1, n + 1, dtype=torch.float64, device=self.ranks.device)
        log_constant = -(rank.lgamma() + (n + 1 - rank).lgamma() - torch.lgamma(rank.new_tensor(n + 1.0)))
        lower, upper = (logs.reshape(-1, d).clamp(min=_LOG_0) for logs in self._log_levels(value))
        parts = []
        for low, up in zip(lower.split(max(1, _TERMS // n)), upper.split(max(1, _TERMS // n)), strict=True):
            total = torch.zeros((), dtype=torch.float64, device=rank.device)
            for k in range(d):
                kernel = log_constant + (rank - 1) * low[:, k, None] + (n - rank) * up[:, k, None]
                total = total + self._groups[k].of_samples(kernel, low[:, k])
            parts.append(total.logsumexp(-1))
        dependence = torch.cat(parts).reshape(value.shape[:-1]) - torch.log(rank.new_tensor(n))
        dependence = torch.where(dependence < _LOG_0 / 2, -torch.inf, dependence)
        return self._joined(value, self._margin_log_prob(value), dependence, outside)

    def _from_uniform(self, u: Tensor, least: torch.dtype) -> Tensor:
        """Return x from d + 1 independent uniforms."""
        n = len(self.ranks)
        sample = (u[..., 0] * n).long()
        # In a tie of t samples a uniform number says which of t ranks it is, and what is left of it where.
        ties = self.ties[sample].to(torch.float64)
        spread = ties * u[..., 1:]
        step = spread.floor().minimum(ties - 1)
        within = (spread - step).clamp(2.0**-53, 1 - 2.0**-53)
        rank = self.ranks[sample] + step
        family = Beta(rank, n + 1 - rank)
        level, rest = family.place(quantile(family, within.log(), (-within).log1p()))
        return self._placed(level.log(), rest.log(), least)


class _Ties(NamedTuple):
    """The ties of samples in one coordinate, from the lowest on; ranks are counted from 0."""

    of_sample: Tensor  # (n), which tie each sample is in
    of_rank: Tensor  # (n), which tie each rank is in
    first: Tensor  # (ties), the outermost ranks
    last: Tensor

    @classmethod
    def of(cls, ranks: Tensor) -> _Ties:
        """Return the ties of samples whose least ranks are given, counted from 1."""
        first, of_sample, size = ranks.sub(1).unique(return_inverse=True, return_counts=True)
        of_rank = torch.arange(len(first), device=ranks.device).repeat_interleave(size)
        return cls(of_sample, of_rank, first, first + size - 1)

    def of_samples(self, kernel: Tensor, log_level: Tensor) -> Tensor:
        """Return the log of each sample's density from those of the ranks, (points, n), at log v (points)."""
        n = kernel.shape[1]
        if len(self.first) == n:
            return kernel.index_select(1, self.of_sample)
        # A rank's density at v is that of n − 1 trials with r − 1 hits: largest at r − 1 = ⌊n v⌋.
        likeliest = (n * log_level.detach().exp()).floor().nan_to_num(0.0).long()[:, None]
        top = kernel.detach().gather(1, likeliest.maximum(self.first).minimum(self.last))
        shares = (kernel - top.index_select(1, self.of_rank)).exp()
        sums = torch.zeros_like(top).index_add(1, self.of_rank, shares)
        return (top + sums.log() - (self.last - self.first + 1).to(kernel.dtype).log()).index_select(
            1, self.of_sample
        )


def _check_real(samples: Tensor) -> None:
    if not isinstance(samples, Tensor):
        raise TypeError(
            f"samples should be a tensor but are a {type(samples).__name__}: take torch.as_tensor"
        )
    if samples.is_complex() or samples.layout != torch.strided:
        kind = samples.dtype if samples.is_complex() else samples.layout
        raise TypeError(f"samples should be real numbers in a dense tensor but are {kind}")


def _comparable(samples: Tensor) -> Tensor:
    """Return samples in a dtype that can be searched, their order kept."""
    if samples.is_floating_point():
        return samples if samples.dtype == torch.float64 else samples.to(torch.float32)
    if samples.dtype == torch.uint64:
        return samples.view(torch.int64) ^ torch.iinfo(torch.int64).min
    return samples.to(torch.int64)
