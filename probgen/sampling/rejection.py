"""Rejection sampling: propose from a simple law, accept with probability p(x) / (M q(x))."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from pyro.distributions import TorchDistribution
from torch import Tensor
from torch.distributions import Distribution, constraints

from probgen.core import Estimate

_BLOCK = 2**18


class RejectionReport(NamedTuple):
    """What a rejection law has seen so far: proposals, the share accepted, and log ∫ exp(log_prob)."""

    proposals: int
    acceptance: float
    log_normaliser: Estimate


class Rejection(TorchDistribution):
    r"""The law with density p / Z, drawn by accepting x ~ q with probability p(x) / (M q(x)).

    The user promises log p(x) ≤ log M + log q(x). **Every** proposal is checked against it: a target above
    its envelope raises, with place and excess (a violation within rounding, 64 ulp, is accepted). Draws are
    independent and exact. Z = M · P(accept), so that the share accepted estimates the normaliser.

    ``log_prob(x)`` of this law is log p(x) − ``log_normaliser``. Say ``log_normaliser=0.0`` where p is
    normalised; leave it out where log Z is not known: draws need none, and ``log_prob`` then raises. A
    normaliser that contradicts the share accepted by more than six standard errors raises too.

    Proposals come, as those of any torch law, from torch's global generator.

    Args:
        log_prob: log p, maybe unnormalised: (\*sample, \*event) to (\*sample).
        proposal: the law q, without batch: its draws must cover the target.
        log_bound: log M.
        log_normaliser: log ∫ p, where known.
        max_rounds: a call stops with an error after so many blocks of max(draws, 2¹⁸) proposals.

    Raises:
        ValueError: at construction, for a proposal with a batch shape or bounds that cannot hold; while
            drawing, for a violated bound, a target that is NaN, or too few acceptances.

    See von Neumann (1951), Various techniques used in connection with random digits.

    >>> triangle = Rejection(torch.log, proposal=torch.distributions.Uniform(0.0, 1.0), log_bound=0.0)
    >>> triangle.sample((3,)).shape
    torch.Size([3])
    """

    arg_constraints = {}  # noqa: RUF012
    has_rsample = False

    def __init__(
        self,
        log_prob: Callable[[Tensor], Tensor],
        *,
        proposal: Distribution,
        log_bound: float,
        log_normaliser: float | None = None,
        max_rounds: int = 1000,
        validate_args: bool | None = None,
    ) -> None:
        if proposal.batch_shape:
            raise ValueError(
                f"proposal should have no batch shape but has {tuple(proposal.batch_shape)}; "
                f"use to_event, or expand the Rejection law"
            )
        if not math.isfinite(log_bound):
            raise ValueError(f"log_bound should be finite but got {log_bound}")
        if log_normaliser is not None and not log_normaliser <= log_bound + 1e-6 * (1 + abs(log_bound)):
            raise ValueError(
                f"log_normaliser should be at most log_bound = {log_bound} but got {log_normaliser}"
            )
        if max_rounds < 1:
            raise ValueError(f"max_rounds should be at least 1 but got {max_rounds}")
        self.proposal = proposal
        self._log_prob, self._log_bound, self._log_normaliser = log_prob, float(log_bound), log_normaliser
        self._max_rounds = max_rounds
        self._seen = {"proposals": 0, "accepted": 0}
        super().__init__(torch.Size(), proposal.event_shape, validate_args=validate_args)

    @constraints.dependent_property
    def support(self) -> Any:
        return self.proposal.support

    def expand(self, batch_shape: Sequence[int], _instance: Any = None) -> Rejection:
        new = self._get_checked_instance(Rejection, _instance)
        new.__dict__.update(self.__dict__)
        shape = torch.empty(self.batch_shape, device="meta").expand(tuple(batch_shape)).shape
        super(Rejection, new).__init__(shape, self.event_shape, validate_args=False)
        new._validate_args = self._validate_args
        return new

    @torch.no_grad()
    def sample(self, sample_shape: Sequence[int] = ()) -> Tensor:
        shape = self._extended_shape(torch.Size(sample_shape))
        wanted = torch.Size(sample_shape).numel() * self.batch_shape.numel()
        kept: list[Tensor] = []
        count = 0
        for _ in range(self._max_rounds):
            if count >= wanted:
                break
            kept.append(self._round(self._block(wanted - count, wanted)))
            count += len(kept[-1])
        if count < wanted:
            raise ValueError(
                f"{self._max_rounds} rounds of proposals gave {count} of {wanted} draws: "
                f"acceptance {self._seen['accepted'] / self._seen['proposals']:.2g}; "
                f"a tighter log_bound or a closer proposal is needed"
            )
        self._check_normaliser()
        draws = torch.cat(kept)[:wanted] if kept else self.proposal.sample((0,))
        return draws.reshape(shape)

    def log_prob(self, value: Tensor) -> Tensor:
        """Return log p(x) − log_normaliser."""
        if self._log_normaliser is None:
            raise ValueError(
                "log_prob needs log_normaliser=, 0.0 where the target is normalised; report() estimates it"
            )
        if self._validate_args:
            self._validate_sample(value)
        event = value.shape[: value.dim() - len(self.event_shape)]
        result = self._log_prob(value) - self._log_normaliser
        return result.expand(torch.broadcast_shapes(event, self.batch_shape))

    def report(self) -> RejectionReport:
        """Return what the draws so far, of this law and of those expanded from it, have shown."""
        proposals, accepted = self._seen["proposals"], self._seen["accepted"]
        if accepted == 0:
            raise ValueError("report() needs draws but none was made yet")
        share = accepted / proposals
        stderr = math.sqrt((1 - share) / accepted)
        return RejectionReport(proposals, share, Estimate(self._log_bound + math.log(share), stderr))

    def _block(self, missing: int, wanted: int) -> int:
        """Choose the number of proposals of a round, enough for what is missing at the share seen so far."""
        share = (self._seen["accepted"] + 1) / (self._seen["proposals"] + 2)
        return min(max(64, int(1.1 * missing / share)), max(_BLOCK, wanted))

    def _round(self, n: int) -> Tensor:
        x = self.proposal.sample((n,))
        target, hat = self._log_prob(x), self._log_bound + self.proposal.log_prob(x)
        if target.shape != (n,):
            raise ValueError(f"log_prob should return shape {(n,)} but returned {tuple(target.shape)}")
        log_ratio = target - hat
        margin = 64 * torch.finfo(log_ratio.dtype).eps * (1 + hat.abs())
        wrong = ~(log_ratio <= margin) | ~hat.isfinite()
        if wrong.any():
            self._refuse(x[wrong][0], target[wrong][0], hat[wrong][0])
        u = torch.rand(n, dtype=torch.float64, device=x.device)
        accepted = x[u < log_ratio.to(torch.float64).exp()]
        self._seen["proposals"] += n
        self._seen["accepted"] += len(accepted)
        return accepted

    def _refuse(self, x: Tensor, target: Tensor, hat: Tensor) -> None:
        if target.isnan():
            raise ValueError(f"log_prob should be a number but is nan at x = {x.tolist()}")
        if not hat.isfinite():
            raise ValueError(f"proposal should have a finite log_prob at its draw {x.tolist()} but has {hat}")
        raise ValueError(
            f"log_bound should be at least log_prob(x) − proposal.log_prob(x) but at x = {x.tolist()} the "
            f"target is {float((target - hat).exp()):.4g} times its envelope; log_bound should be at least "
            f"{float(self._log_bound + target - hat):.6g}"
        )

    def _check_normaliser(self) -> None:
        if self._log_normaliser is None or self._seen["proposals"] == 0:
            return
        expected = min(1.0, math.exp(self._log_normaliser - self._log_bound))
        n = self._seen["proposals"]
        error = math.sqrt(expected * (1 - expected) / n) + 1 / n
        share = self._seen["accepted"] / n
        if abs(share - expected) > 6 * error:
            raise ValueError(
                f"log_normaliser = {self._log_normaliser} means an acceptance of {expected:.4g} but "
                f"{share:.4g} of {n} proposals were accepted"
            )
