"""Adaptive rejection sampling: a hat for log-concave densities that sharpens with what is rejected."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.distributions import constraints
from torch.distributions.constraints import Constraint

from probgen.core import Estimate
from probgen.sampling.exact.rejection.checked_density import Line
from probgen.sampling.exact.rejection.envelope_of_secants import Proposals, hull_on
from probgen.sampling.exact.rejection.mass_from_density import find_bulk
from probgen.sampling.exact.rejection.mass_from_inversion import check_concave, surveyed
from probgen.sampling.exact.rejection.proposal_rounds import AcceptRejectOnLine
from probgen.sampling.uniforms import uniform

_ENOUGH = 64
_NEW = 8


class AdaptiveReport(NamedTuple):
    """What the draws of an adaptive-rejection law have shown; tensors of its batch shape, if it has one.

    The first four fields are those of :class:`probgen.sampling.RejectionReport`; ``acceptance`` is the mean
    over all hats so far. ``evaluations`` counts values of ``log_prob``, the search for the mode included, and
    ``points`` those on which the hat now stands.
    """

    proposals: int
    acceptance: Any
    expected_acceptance: Any
    log_normaliser: Estimate
    evaluations: int
    points: int


class AdaptiveRejection(AcceptRejectOnLine):
    r"""The law with density proportional to exp(log_prob), log-concave, for few draws of each of many laws.

    Secants of log p, prolonged, bound a log-concave density from above, the chords between them from below.
    Both stand on a few points at first; values that must be computed to judge a proposal become points too,
    so that hat and squeeze close in where the draws fall, and after some tens of evaluations few more are
    needed. Draws stay independent and exact. No derivative is used. For many draws of one law
    :class:`TransformedDensityRejection` is faster; this one costs least where ``log_prob`` is dear and each
    law is drawn from once or twice, as in Gibbs sampling: give ``points`` there and no search is made. What a
    generator draws depends on the hat, and so on earlier calls.

    What is not log-concave raises with its place: at construction, with validation on (Pyro's default) and
    without ``points``, on the nodes by which :class:`InverseCDF` integrates the density, wherever its mass
    lies; and while drawing, where one of the values computed lies above the hat or below the squeeze. With
    ``points`` only the latter is looked at: a mode between them that no draw meets may escape. ``log_prob``
    of this law needs ``log_normaliser``; ``report()`` estimates it.

    Args:
        log_prob: the log-density, maybe unnormalised, (\*sample, \*batch) to (\*sample, \*batch).
        support: an interval: ``real``, ``positive``, ``interval(a, b)``, ...
        points: where to start, at least 3 increasing places in the support, (n, \*batch), with the mode
            between the outermost on each side on which the support is infinite; found by search where not
            given.
        batch_shape: shape of the family of laws; broadcast with what ``log_prob`` returns.
        dtype, device: of the draws; those that ``log_prob`` returns where not given.
        log_normaliser: log ∫ p, where known.
        max_rounds: a call stops with an error after so many rounds of proposals.

    See Gilks and Wild (1992), Adaptive Rejection Sampling for Gibbs Sampling; Gilks (1992), Derivative-free
    Adaptive Rejection Sampling for Gibbs Sampling.

    >>> start = torch.tensor([-1.0, 0.0, 1.0])
    >>> law = AdaptiveRejection(lambda x: x - x.exp(), points=start)  # the logarithm of an exponential draw
    >>> law.sample((4,)).shape
    torch.Size([4])
    """

    def __init__(
        self,
        log_prob: Callable[[Tensor], Tensor],
        *,
        support: Constraint = constraints.real,
        points: Tensor | None = None,
        batch_shape: Sequence[int] = (),
        dtype: torch.dtype | None = None,
        device: torch.device | str | None = None,
        log_normaliser: Tensor | float | None = None,
        max_rounds: int = 1000,
        validate_args: bool | None = None,
    ) -> None:
        super().__init__(
            log_prob,
            Line(log_prob, support=support, batch_shape=batch_shape, dtype=dtype, device=device),
            log_normaliser=log_normaliser,
            max_rounds=max_rounds,
            validate_args=validate_args,
        )
        if self._mapped:
            return
        with torch.no_grad():
            low, high, x = self._found() if points is None else self._given(points)
            if points is None and self._validate_args:
                check_concave(self._line, surveyed(log_prob, self._line, ()))
            self._state = {"hull": hull_on(self._line, x, self._line(x), low, high)}

    def report(self) -> AdaptiveReport:
        """Return what the draws so far, of this law and of those expanded from it, have shown."""
        seen = super().report()
        return AdaptiveReport(
            seen.proposals,
            seen.acceptance,
            seen.expected_acceptance,
            seen.log_normaliser,
            self._line.evaluations,
            self._state["hull"].x.shape[-1],
        )

    def _found(self) -> tuple[Tensor, Tensor, Tensor]:
        """Return the ends, and points about the mode."""
        bulk, _, _ = find_bulk(self._line)
        x = [bulk.mode]
        for side, reach, end in ((-1, bulk.left, bulk.low), (1, bulk.right, bulk.high)):
            room = (end - bulk.mode).abs()
            x += [bulk.mode + side * torch.minimum(reach * a, room * b) for a, b in ((0.5, 0.4), (2.0, 0.8))]
        return bulk.low, bulk.high, torch.stack(x, -1).clamp(bulk.first[:, None], bulk.last[:, None])

    def _given(self, points: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        if points.dim() == 0 or len(points) < 3:
            raise ValueError(f"points should have shape (n, *batch), n ≥ 3, but have {tuple(points.shape)}")
        x = points.to(torch.float64).reshape(
            len(points), *[1] * (len(self._own) - points.dim() + 1), *points.shape[1:]
        )
        if not (x.isfinite().all() and self._line.support.check(x).all() and (x.diff(dim=0) > 0).all()):
            raise ValueError(f"points should increase inside the support but are {points.tolist()}")
        x = x.expand(-1, *self._own).reshape(len(points), self._rows).T
        return self._line.low, self._line.high, x

    def _draw(self, n: int, generator: torch.Generator | None) -> Tensor:
        return self._line.rounded(self._filled(n, lambda m: self._propose(m, generator)))

    def _block(self, n: int, missing: Tensor, share: Tensor) -> int:
        """Choose few proposals while the hat is crude, twice as many as there were so far."""
        seen = int(self._seen["proposals"].min())
        return min(int(missing.max()), max(16, 2 * seen), super()._block(n, missing, share))

    def _propose(self, m: int, generator: torch.Generator | None) -> tuple[Tensor, Tensor, Tensor]:
        hull = self._state["hull"]
        u = uniform((3, self._rows, m), device=hull.x.device, generator=generator)
        drawn, log_area = hull.draw(u[0], u[1])
        level = u[2].log() + drawn.log_hat
        accepted = level <= drawn.log_squeeze
        count = int((~accepted).sum(-1).max())
        if count:
            late = accepted.to(torch.uint8).sort(dim=-1, stable=True).indices[:, :count]
            judged = drawn.pick(late)
            log_prob = self._line(judged.x)
            judged.check(self._line, log_prob)
            self._sharpen(judged, log_prob, ~accepted.gather(-1, late))
            accepted.scatter_(-1, late, accepted.gather(-1, late) | (level.gather(-1, late) <= log_prob))
        return drawn.x.T, accepted.T, log_area

    def _sharpen(self, judged: Proposals, log_prob: Tensor, wanted: Tensor) -> None:
        """Put evaluated places among the hat's points: one at most for an interval, off its ends."""
        hull = self._state["hull"]
        if hull.x.shape[-1] >= _ENOUGH:
            return
        judged, log_prob, wanted = judged.pick(_first(judged.x)), log_prob[:, :_NEW], wanted[:, :_NEW]
        near, width = hull.room(judged.x, judged.interval)
        wanted = wanted & (near >= 0.01 * torch.minimum(width, judged.pieces.gap))
        same = judged.interval[:, :, None] == judged.interval[:, None, :]
        wanted = wanted & ~(same & wanted[:, None, :]).tril(-1).any(-1)
        x = torch.cat([hull.x, torch.where(wanted, judged.x, hull.high[:, None])], -1)
        log_prob = torch.cat([hull.log_prob, torch.where(wanted, log_prob, -torch.inf)], -1)
        self._state["hull"] = hull_on(self._line, x, log_prob, hull.low, hull.high)


def _first(x: Tensor) -> Tensor:
    return torch.arange(min(_NEW, x.shape[-1]), device=x.device).expand(len(x), -1)
