"""What rejection laws share: rounds of proposals, counts, and the normaliser that these estimate."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from pyro.distributions import TorchDistribution
from torch import Tensor
from torch.distributions import constraints
from torch.distributions.constraints import Constraint
from torch.fx.experimental.proxy_tensor import get_proxy_mode

from probgen.core import Estimate, check_count
from probgen.core.descriptions import described
from probgen.sampling.exact.rejection.checked_density import Line

_BLOCK = 2**18


class RejectionReport(NamedTuple):
    """What the draws of a rejection law have shown so far; tensors of the law's batch shape, if it has one.

    ``acceptance`` is the share accepted, ``expected_acceptance`` what theory says: ∫ p over the envelope's
    integral, NaN where the normaliser is not known. ``log_normaliser`` is log ∫ p, from the share accepted.
    """

    proposals: int
    acceptance: Any
    expected_acceptance: Any
    log_normaliser: Estimate


class AcceptReject(TorchDistribution, ABC):
    r"""A law with the density p / Z, drawn by accepting proposals from under an envelope of p.

    Args:
        log_prob: log p: (\*sample, \*batch, \*event) to (\*sample, \*batch).
        batch_shape: the law's own; ``expand`` adds independent copies.
        event_shape: shape of one draw.
        log_normaliser: log Z, where known.
        max_rounds: a call stops with an error after so many blocks of proposals.
    """

    arg_constraints = {}  # noqa: RUF012
    has_rsample = False
    _first_guess = 0.5  # of the share accepted
    _mapped = False  # by torch.vmap: the law can be scored but not drawn from

    def __init__(
        self,
        log_prob: Callable[[Tensor], Tensor],
        *,
        batch_shape: torch.Size,
        event_shape: torch.Size,
        log_normaliser: Tensor | float | None,
        max_rounds: int,
        validate_args: bool | None,
    ) -> None:
        max_rounds = check_count("max_rounds", max_rounds)
        self._log_prob, self._log_normaliser, self._max_rounds = log_prob, log_normaliser, max_rounds
        self._own, self._rows = batch_shape, batch_shape.numel()
        zeros = torch.zeros(self._rows, dtype=torch.float64)
        self._seen = {"proposals": zeros, "accepted": zeros, "log_trials": zeros - torch.inf}
        super().__init__(batch_shape, event_shape, validate_args=validate_args)

    def expand(self, batch_shape: Sequence[int], _instance: Any = None) -> Any:
        new = self._get_checked_instance(type(self), _instance)
        new.__dict__.update(self.__dict__)
        shape = torch.empty(self.batch_shape, device="meta").expand(tuple(batch_shape)).shape
        super(AcceptReject, new).__init__(shape, self.event_shape, validate_args=False)
        new._validate_args = self._validate_args
        return new

    @torch.no_grad()
    def sample(self, sample_shape: Sequence[int] = (), *, generator: torch.Generator | None = None) -> Tensor:
        if get_proxy_mode() is not None:
            raise RuntimeError("draws by rejection cannot be captured as a graph: their number is random")
        if self._mapped:
            raise RuntimeError("draws by rejection cannot be mapped by torch.vmap: their number is random")
        shape = self._extended_shape(torch.Size(sample_shape))
        copies = [1] * (len(self.batch_shape) - len(self._own)) + list(self._own)
        copies = [wide // max(own, 1) for wide, own in zip(self.batch_shape, copies, strict=True)]
        n = torch.Size(sample_shape).numel() * math.prod(copies)
        draws = self._draw(n if self._rows else 0, generator)
        if n * self._rows:
            self._check_normaliser()
        return _interleaved(draws, torch.Size(sample_shape), copies, self._own, self.event_shape).reshape(
            shape
        )

    def log_prob(self, value: Tensor) -> Tensor:
        """Return log p(x) − log Z."""
        log_normaliser = self._normaliser()
        if self._validate_args:
            self._validate_sample(value)
        shape = value.shape[: value.dim() - len(self.event_shape)]
        result = self._log_prob(value)
        result = result - torch.as_tensor(log_normaliser).to(result)
        return result.expand(torch.broadcast_shapes(shape, self.batch_shape))

    def report(self) -> Any:
        """Return what the draws so far, of this law and of those expanded from it, have shown."""
        proposals, accepted = self._seen["proposals"], self._seen["accepted"]
        if not (accepted > 0).all():
            raise ValueError("report() needs draws of every law of the batch but has none yet")
        share = accepted / proposals
        log_normaliser = accepted.log() - self._seen["log_trials"]
        stderr = ((1 - share) / accepted + proposals**-2).sqrt()  # not 0 where all were accepted
        estimate = Estimate(self._plain(log_normaliser), self._plain(stderr))
        return RejectionReport(
            int(proposals.sum()), self._plain(share), self._plain(self._expected()), estimate
        )

    @abstractmethod
    def _draw(self, n: int, generator: torch.Generator | None) -> Tensor:
        r"""Return n draws of each law: (n, rows, \*event)."""

    def _normaliser(self) -> Any:
        if self._log_normaliser is None:
            raise ValueError(
                "log_prob needs log_normaliser=, 0.0 where the target is normalised; report() estimates it"
            )
        return self._log_normaliser

    def _filled(
        self,
        n: int,
        propose: Callable[[int], tuple[Tensor, Tensor, Tensor]],
    ) -> Tensor:
        r"""Propose until each law has n draws.

        ``propose(m)`` returns m proposals of each law, (m, rows, \*event), which of them are accepted,
        (m, rows), and the logarithms of the envelopes' integrals, (rows).
        """
        draws: Tensor | None = None
        filled = torch.zeros(self._rows, dtype=torch.int64)
        proposed = 0
        for _ in range(self._max_rounds):
            if draws is not None and bool((filled >= n).all()):
                break
            # As many proposals as the missing draws need at the share that was accepted so far.
            share = (filled + 1.0) / (proposed + 1.0 / self._first_guess)
            missing = n - filled.clamp(max=n)
            x, accepted, log_envelope = propose(self._block(n, missing, share))
            if draws is None:
                draws = x.new_empty(n, *x.shape[1:])
            if self._rows == 1:
                found = x[accepted][: int(missing)]
                draws[int(filled) : int(filled) + len(found), 0] = found
            else:
                # The r-th proposal of a law that is accepted is its r-th draw.
                rank = accepted.cumsum(0).add_(filled.to(x.device) - 1)
                trial, row = (accepted & (rank < n)).nonzero(as_tuple=True)
                draws[rank[trial, row], row] = x[trial, row]
            counts = accepted.sum(0).cpu()
            proposed += len(x)
            filled = filled + counts
            self._count(torch.full_like(filled, len(x)), counts, log_envelope)
        if draws is None or not (filled >= n).all():
            self._give_up(int(filled.min()), n)
        assert draws is not None
        return draws

    def _block(self, n: int, missing: Tensor, share: Tensor) -> int:
        """Choose the number of proposals of a round: enough for what is missing at the call's share so far.

        The choice depends on nothing that was drawn before the call, so that a generator fixes the draws.
        """
        wanted = float((missing / share).max())
        return max(1, min(max(64, int(1.1 * wanted)), max(_BLOCK // self._rows, n)))

    def _count(self, proposals: Tensor, accepted: Tensor, log_envelope: Tensor) -> None:
        seen, log_trials = self._seen, proposals.log().to(torch.float64) - log_envelope.cpu()
        seen["proposals"] = seen["proposals"] + proposals
        seen["accepted"] = seen["accepted"] + accepted
        seen["log_trials"] = torch.logaddexp(seen["log_trials"], log_trials)

    def _give_up(self, count: int, wanted: int) -> None:
        share = float((self._seen["accepted"] / self._seen["proposals"]).min())
        raise ValueError(
            f"{self._max_rounds} rounds of proposals gave {count} of {wanted} draws: acceptance {share:.2g}; "
            f"a closer envelope is needed"
        )

    def _expected(self) -> Tensor:
        """Return the probability of acceptance that the normaliser means, averaged over the proposals."""
        if self._log_normaliser is None:
            return torch.full((self._rows,), torch.nan, dtype=torch.float64)
        log_z = torch.as_tensor(self._log_normaliser, dtype=torch.float64).detach().cpu().expand(self._own)
        return (log_z.reshape(-1) + self._seen["log_trials"]).exp() / self._seen["proposals"]

    def _check_normaliser(self) -> None:
        n, share = self._seen["proposals"], self._seen["accepted"] / self._seen["proposals"]
        expected = self._expected()
        error = (expected.clamp(max=1) * (1 - expected.clamp(max=1)) / n).sqrt() + 1 / n
        wrong = (share - expected).abs() > 6 * error
        if wrong.any():
            raise ValueError(
                f"log_normaliser = {self._log_normaliser} means an acceptance of "
                f"{float(expected[wrong][0]):.4g} but {float(share[wrong][0]):.4g} of {int(n[wrong][0])} "
                f"proposals were accepted"
            )

    def _plain(self, values: Tensor) -> Any:
        return values.cpu().reshape(self._own) if self._own else float(values)


class AcceptRejectOnLine(AcceptReject):
    """A law on an interval, whose proposals are found from its log-density; ``line`` is the same, checked."""

    def __init__(
        self,
        log_prob: Callable[[Tensor], Tensor],
        line: Line,
        *,
        log_normaliser: Tensor | float | None,
        max_rounds: int,
        validate_args: bool | None,
    ) -> None:
        self._line, self._mapped = line, line.mapped
        super().__init__(
            log_prob,
            batch_shape=line.shape,
            event_shape=torch.Size(),
            log_normaliser=log_normaliser,
            max_rounds=max_rounds,
            validate_args=validate_args,
        )

    def __repr__(self) -> str:
        return described(self, log_prob=self._log_prob, support=self.support)

    @constraints.dependent_property(is_discrete=False, event_dim=0)
    def support(self) -> Constraint:
        return self._line.support


def _interleaved(
    draws: Tensor, sample: torch.Size, copies: Sequence[int], own: torch.Size, event: torch.Size
) -> Tensor:
    r"""Arrange (n, rows, \*event), n = sample x copies, so that the copies of a dimension lie beside it."""
    own = torch.Size([1] * (len(copies) - len(own)) + list(own))
    draws = draws.reshape((*sample, *copies, *own, *event))
    first, d = len(sample), len(copies)
    order = [i for k in range(d) for i in (first + k, first + d + k)]
    return draws.permute((*range(first), *order, *range(first + 2 * d, draws.dim())))
