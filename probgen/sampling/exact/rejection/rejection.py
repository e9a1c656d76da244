"""Rejection sampling: propose from a simple law, accept with probability p(x) / (M q(x))."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.distributions import Distribution, constraints

from probgen.core import check_count, seeded
from probgen.core.density.mapped import is_mapped
from probgen.core.descriptions import described
from probgen.core.randomness import seed_of
from probgen.sampling.exact.rejection.proposal_rounds import AcceptReject, RejectionReport

__all__ = ["Rejection", "RejectionReport", "Trials"]

_SEARCH = 1024


class Trials(NamedTuple):
    r"""Proposals of a rejection law, and what became of them, each (n, \*batch) but ``x``.

    ``x`` are the proposals, (n, \*batch, \*event). ``u`` is uniform, the height under the envelope as a share
    of it; ``ratio`` is p(x) / (M q(x)), and a proposal is ``accepted`` where u < ratio.
    """

    x: Tensor
    u: Tensor
    ratio: Tensor
    accepted: Tensor


class Rejection(AcceptReject):
    r"""The law with density p / Z, drawn by accepting x ~ q with probability p(x) / (M q(x)).

    The user promises log p(x) ≤ log M + log q(x). **Every** proposal is checked against it: a target above
    its envelope raises, with place and excess (a violation within rounding, 64 ulp, is accepted). Draws are
    independent and exact. Z = M · P(accept), so that the share accepted estimates the normaliser.

    With validation on (Pyro's default) each new law first looks for a violation at 1,024 proposals of each
    row, the same ones each time: a violation on a set to which q gives 2 % is missed with probability 1e-9.
    What is missed there is left to the check of every proposal.

    ``log_prob(x)`` of this law is log p(x) − ``log_normaliser``. Say ``log_normaliser=0.0`` where p is
    normalised; leave it out where log Z is not known: draws need none, and ``log_prob`` then raises. A
    normaliser that contradicts the share accepted by more than six standard errors raises too.

    Proposals come, as those of any torch law, from torch's global generator; a ``generator`` given to
    ``sample`` seeds it for the call and leaves it as it was.

    Args:
        log_prob: log p, maybe unnormalised: (\*sample, \*batch, \*event) to (\*sample, \*batch).
        proposal: the law q, one or a batch of them: its draws must cover the target.
        log_bound: log M; broadcast with the batch of the proposal.
        log_normaliser: log ∫ p, where known; broadcast likewise.
        max_rounds: a call stops with an error after so many blocks of max(draws, 2¹⁸) proposals.

    Raises:
        ValueError: at construction, for bounds that cannot hold; then and while drawing, for a violated
            bound or a target that is NaN; while drawing, for too few acceptances.

    See von Neumann (1951), Various techniques used in connection with random digits.

    >>> triangle = Rejection(torch.log, proposal=torch.distributions.Uniform(0.0, 1.0), log_bound=0.0)
    >>> triangle.sample((3,)).shape
    torch.Size([3])
    """

    def __init__(
        self,
        log_prob: Callable[[Tensor], Tensor],
        *,
        proposal: Distribution,
        log_bound: Tensor | float,
        log_normaliser: Tensor | float | None = None,
        max_rounds: int = 1000,
        validate_args: bool | None = None,
    ) -> None:
        bound = torch.as_tensor(log_bound, dtype=torch.float64).detach()
        shape = torch.broadcast_shapes(proposal.batch_shape, bound.shape)
        if not is_mapped(bound) and not bound.isfinite().all():
            raise ValueError(f"log_bound should be finite but got {log_bound}")
        if log_normaliser is not None:
            known = torch.as_tensor(log_normaliser, dtype=torch.float64).detach().to(bound.device)
            shape = torch.broadcast_shapes(shape, known.shape)
            if not is_mapped(known, bound) and not (known <= bound + 1e-6 * (1 + bound.abs())).all():
                raise ValueError(
                    f"log_normaliser should be at most log_bound = {log_bound} but got {log_normaliser}"
                )
        self.proposal = proposal.expand(shape)
        self._log_bound = bound.expand(shape)
        super().__init__(
            log_prob,
            batch_shape=shape,
            event_shape=proposal.event_shape,
            log_normaliser=log_normaliser,
            max_rounds=max_rounds,
            validate_args=validate_args,
        )
        if self._validate_args:
            with torch.no_grad(), seeded(0):
                log_ratio = self._log_ratio(self.proposal.sample((_SEARCH,)))
            self._first_guess = max(float(log_ratio.exp().mean(0).min()), 1e-3)

    def __repr__(self) -> str:
        return described(self, log_prob=self._log_prob, proposal=self.proposal, log_bound=self._log_bound)

    @constraints.dependent_property
    def support(self) -> Any:
        return self.proposal.support

    def _draw(self, n: int, generator: torch.Generator | None) -> Tensor:
        with seeded(seed_of(None, generator)):
            return self._filled(n, self._propose)

    @torch.no_grad()
    def trials(self, n: int, *, generator: torch.Generator | None = None) -> Trials:
        """Propose n times, and say what is accepted: what :meth:`sample` does until it has enough."""
        with seeded(seed_of(None, generator)):
            return self._tried(check_count("n", n))

    def log_envelope(self, x: Tensor) -> Tensor:
        """Return log M + log q(x), which lies nowhere below log p(x)."""
        proposed = self.proposal.log_prob(x)
        return self._log_bound.to(proposed.device) + proposed

    def _tried(self, n: int) -> Trials:
        x = self.proposal.sample((n,))
        ratio = self._log_ratio(x).exp()
        u = torch.rand(n, self._rows, dtype=torch.float64, device=x.device).reshape(ratio.shape)
        return Trials(x, u, ratio, u < ratio)

    def _propose(self, m: int) -> tuple[Tensor, Tensor, Tensor]:
        tried = self._tried(m)
        x = tried.x.reshape(m, self._rows, *self.event_shape)
        return x, tried.accepted.reshape(m, self._rows), self._log_bound.reshape(-1)

    def _log_ratio(self, x: Tensor) -> Tensor:
        """Return log p(x) − log (M q(x)) in float64; raise where it is above 0 or not a number."""
        target, proposed = self._log_prob(x), self.proposal.log_prob(x)
        if target.shape != proposed.shape:
            raise ValueError(
                f"log_prob should return shape {tuple(proposed.shape)} but returned {tuple(target.shape)}"
            )
        hat = self._log_bound.to(proposed.device) + proposed
        eps = torch.finfo(torch.promote_types(target.dtype, proposed.dtype)).eps
        log_ratio = target.to(torch.float64) - hat
        wrong = ~(log_ratio <= 64 * eps * (1 + hat.abs())) | ~hat.isfinite()
        if wrong.any():
            self._refuse(x, target, hat, wrong)
        return log_ratio

    def _refuse(self, x: Tensor, target: Tensor, hat: Tensor, wrong: Tensor) -> None:
        excess = torch.where(wrong, (target - hat).nan_to_num(nan=torch.inf, posinf=torch.inf), -torch.inf)
        place = tuple(int(i) for i in torch.unravel_index(excess.argmax(), excess.shape))
        at = f"at x = {x[place].tolist()}" + (f" in batch row {place[1:]}" if self._own else "")
        if target[place].isnan():
            raise ValueError(f"log_prob should be a number but is nan {at}")
        if not hat[place].isfinite():
            raise ValueError(
                f"proposal should have a finite log_prob at its draws but it is {float(hat[place])} {at}"
            )
        bound = float(self._log_bound[place[1:]])
        raise ValueError(
            f"log_bound should be at least log_prob(x) − proposal.log_prob(x) but {at} the target is "
            f"{float(excess[place].exp()):.6g} times its envelope; log_bound should be at least "
            f"{bound + float(excess[place]):.12g}"
        )
