"""Transformed density rejection: an automatic envelope for log-concave and T-concave densities."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.distributions import constraints
from torch.distributions.constraints import Constraint

from probgen.core import Estimate
from probgen.sampling.exact.given_density import GivenDensity
from probgen.sampling.exact.rejection.checked_density import Line
from probgen.sampling.exact.rejection.envelope_of_strips import (
    audit,
    check_between,
    check_convex,
    cut_evenly,
    integration_parts,
)
from probgen.sampling.exact.rejection.envelope_table import HatTable
from probgen.sampling.exact.rejection.mass_from_inversion import surveyed
from probgen.sampling.exact.rejection.proposal_rounds import AcceptRejectOnLine


class TransformedReport(NamedTuple):
    """What is known of a transformed-density-rejection law; tensors of its batch shape, if it has one.

    ``acceptance`` is the share of the proposals accepted so far, NaN before the first draw, and
    ``expected_acceptance`` what theory says: ∫ p over the hat's area. ``squeezed`` is the share of the hat
    under the squeeze, where a draw is accepted without evaluating ``log_prob``. ``log_normaliser`` is
    log ∫ p by quadrature, with its error.
    """

    proposals: int
    acceptance: Any
    expected_acceptance: Any
    squeezed: Any
    cells: int
    log_normaliser: Estimate


class TransformedDensityRejection(AcceptRejectOnLine):
    r"""The law with density proportional to exp(log_prob), T-concave, drawn under a hat found by itself.

    A density p is T₋½-concave where 1 / √p is convex. Every log-concave density is (normal, Gamma with shape
    ≥ 1, Beta with both ≥ 1, logistic, hyperbolic, ...), and so are Cauchy's and Student's with ν ≥ 1. Chords
    of 1 / √p then bound p from both sides. The line is cut into strips of equal hat area, and a uniform
    number gives the strip, the place in it and, below the squeeze, the acceptance: all but one or two draws
    in a hundred cost one uniform number, some look-ups and no evaluation of ``log_prob``. A batch of laws
    shares one table.

    Nothing but the function is needed: the mode and the width are found by search, and no derivative is used,
    so that kinks (Laplace) do no harm. What is not T-concave raises with its place: at construction, where
    ``log_prob`` is compared with its chords on a grid over the whole support and at all ends of strips, and,
    with validation on (Pyro's default), with hat and squeeze at 9 places in every strip and at 2¹⁷ in all;
    and while drawing, where at least one draw in 256 is compared with both. A departure on a stretch to which
    the hat gives less than one part in 10⁵ (10⁴ in a batch of 10 laws) may escape, however high it is: name
    its place by ``points``, beside which the nodes by which :class:`InverseCDF` integrates are compared too.

    ``log_prob(x)`` of this law is normalised, by quadrature over the strips; ``report()`` says how well. It
    has gradients to x and to the parameters that the function closes over, the normaliser's included; the
    strips themselves hold for the parameters as they were at construction. ``sample`` has no gradient.

    Args:
        log_prob: the log-density, maybe unnormalised, (\*sample, \*batch) to (\*sample, \*batch).
        support: an interval: ``real``, ``positive``, ``interval(a, b)``, ...
        points: places inside the support, shape (n) or (n, \*batch_shape), where something narrow may stand.
        batch_shape: shape of the family of laws; broadcast with what ``log_prob`` returns.
        dtype, device: of the draws; those that ``log_prob`` returns where not given.
        ratio: the largest ratio of the hat's area to the squeeze's, above 1.
        max_rounds: a call stops with an error after so many rounds of proposals.

    Raises:
        ValueError: where ``log_prob`` is NaN, +inf or nowhere above −inf, is not T-concave, does not fall
            towards infinity, or needs more than 2¹⁴ strips.

    See Hörmann (1995), A Rejection Technique for Sampling from T-concave Distributions; Leydold, Janka and
    Hörmann (2002), Variants of Transformed Density Rejection and Correlation Induction.

    >>> law = TransformedDensityRejection(lambda x: -(x**4), support=torch.distributions.constraints.real)
    >>> round(law.report().log_normaliser.value, 6)  # log (2 Γ(5/4))
    0.594875
    """

    def __init__(
        self,
        log_prob: Callable[[Tensor], Tensor],
        *,
        support: Constraint = constraints.real,
        points: Sequence[float] | Tensor = (),
        batch_shape: Sequence[int] = (),
        dtype: torch.dtype | None = None,
        device: torch.device | str | None = None,
        ratio: float = 1.02,
        max_rounds: int = 1000,
        validate_args: bool | None = None,
    ) -> None:
        if not ratio > 1:
            raise ValueError(f"ratio should be above 1 but got {ratio}")
        super().__init__(
            log_prob,
            Line(log_prob, support=support, batch_shape=batch_shape, dtype=dtype, device=device),
            log_normaliser=None,
            max_rounds=max_rounds,
            validate_args=validate_args,
        )
        if self._mapped:
            return
        self._strips, index, area, self._top = cut_evenly(self._line, ratio)
        self._table = HatTable(self._line, self._strips, index, area, self._top)
        self._log_hat = (self._table.width * area).log() + self._top
        with torch.enable_grad():
            self._learned = log_prob(self._strips.anchor[:, 1].reshape(self._own)).requires_grad
        self._integral: tuple[Tensor, Tensor] | None = None
        if self._validate_args:
            self._integrated()
            with torch.no_grad():
                audit(self._line, self._strips, self._top)
                if len(points):
                    x = surveyed(log_prob, self._line, points)
                    check_convex(self._line, x, self._line(x), self._top)

    def report(self) -> TransformedReport:
        """Return what is known of the law, and what draws of it and of its expansions have shown."""
        value, error = self._integrated()
        seen = self._seen
        return TransformedReport(
            int(seen["proposals"].sum()),
            self._plain(seen["accepted"] / seen["proposals"]),
            self._plain((value - self._log_hat).exp()),
            self._plain(self._table.sure.mean(-1)),
            self._table.width,
            Estimate(self._plain(value), self._plain(error)),
        )

    def _draw(self, n: int, generator: torch.Generator | None) -> Tensor:
        x, proposals, missing = self._table.draw(n, generator=generator, max_rounds=self._max_rounds)
        self._count(proposals, torch.full_like(proposals, n), self._log_hat)
        if missing:
            self._give_up(n * self._rows - missing, n * self._rows)
        return x

    @torch.no_grad()
    def _integrated(self) -> tuple[Tensor, Tensor]:
        """Return log ∫ p and its error; check p against hat and squeeze at the points."""
        if self._integral is None:
            results = []
            for rule in (0, 1):
                parts = []
                for x, log_weight, strips in integration_parts(self._strips, rule):
                    level = check_between(self._line, x, self._line(x), self._top[:, None], strips)
                    parts.append((log_weight + level).logsumexp(-1))
                results.append(torch.stack(parts).logsumexp(0) + self._top)
            rounded = 8 * self._line.eps * (1 + self._top.abs())
            self._integral = results[1], (results[1] - results[0]).abs() + rounded
        return self._integral

    def _normaliser(self) -> Tensor:
        if self._mapped:
            line = self._line
            return GivenDensity(
                self._log_prob, line.support, (), self._own, line.dtype, line.device, validate=False
            ).log_normaliser()
        if not (self._learned and torch.is_grad_enabled()):
            return self._integrated()[0].reshape(self._own)
        parts = [(x, weight - strips.log_hat(x)) for x, weight, strips in integration_parts(self._strips, 1)]
        x, log_weight = (torch.cat(columns, -1).T for columns in zip(*parts, strict=True))
        value = self._log_prob(x.reshape(-1, *self._own)).reshape(x.shape)
        return (log_weight + value).logsumexp(0).reshape(self._own)

    def _expected(self) -> Tensor:
        return (self._integrated()[0] - self._log_hat).exp().cpu()
