"""A rejection sampler as a learned prior: what a network accepts of standard normal proposals."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from pyro.distributions import TorchDistribution
from torch import Tensor, nn
from torch.distributions import Distribution, constraints
from torch.nn.functional import logsigmoid

from probgen.core import check_count
from probgen.nets.laws import of_a_law
from probgen.priors.normal import StandardNormal
from probgen.sampling import Rejection as RejectionSampler
from probgen.sampling import RejectionReport


class Resampled(TorchDistribution):
    r"""The law of what a rejection sampler returns that takes its T-th proposal whatever it is.

    Proposals are of π, each accepted with probability a(z); Z = E_π a(z) is the rate of acceptance. All of
    the first T − 1 are refused with probability α = (1 − Z)^{T−1}, and so

    .. math:: p(z) = π(z) [(1 - α) a(z) / Z + α],

    a mixture: with probability α a draw of π, else one of the law a π / Z, which is
    :class:`probgen.sampling.Rejection`'s. It is drawn so. A draw takes (1 − α) / Z ≤ T − 1 proposals of
    the sampler in the mean.

    Args:
        proposal: π, of event shape (d,), without batch shape.
        log_acceptance: log a ≤ 0: (\*batch, d) to (\*batch).
        log_shares: log Z and log(1 − Z).
        truncation: T ≥ 2.

    Source: Bauer and Mnih (2019), Resampled priors for variational autoencoders.
    """

    arg_constraints = {}  # noqa: RUF012
    has_rsample = False

    def __init__(
        self,
        proposal: Distribution,
        log_acceptance: Callable[[Tensor], Tensor],
        log_shares: tuple[Tensor, Tensor],
        *,
        truncation: int,
        validate_args: bool | None = None,
    ) -> None:
        self.truncation = check_count("truncation", truncation, least=2)
        self.proposal, self.log_acceptance, self.log_shares = proposal, log_acceptance, log_shares
        log_z, log_refused = log_shares
        self.log_forced = (truncation - 1) * log_refused  # log α
        self._log_weight = (-torch.expm1(self.log_forced)).log() - log_z  # log (1 − α)/Z
        self.accepted = RejectionSampler(
            lambda z: proposal.log_prob(z) + log_acceptance(z),
            proposal=proposal,
            log_bound=0.0,  # as a ≤ 1
            validate_args=False,
        )
        super().__init__(torch.Size(), proposal.event_shape, validate_args=validate_args)

    @constraints.dependent_property(is_discrete=False)
    def support(self) -> Any:
        return self.proposal.support

    def __repr__(self) -> str:
        batch = f", batch_shape={tuple(self.batch_shape)}" if self.batch_shape else ""
        return f"Resampled({self.proposal}, truncation={self.truncation}{batch})"

    def expand(self, batch_shape: Sequence[int], _instance: Any = None) -> Resampled:
        new = self._get_checked_instance(Resampled, _instance)
        new.__dict__.update(self.__dict__)
        super(Resampled, new).__init__(torch.Size(batch_shape), self.event_shape, validate_args=False)
        new._validate_args = self._validate_args
        return new

    @torch.no_grad()
    def sample(self, sample_shape: Sequence[int] = ()) -> Tensor:
        """Draw without gradient, from torch's global generator."""
        shape = torch.Size(sample_shape) + self.batch_shape
        z = self.proposal.sample((shape.numel(),))
        accepted = torch.rand(len(z), dtype=torch.float64, device=z.device) >= self.log_forced.double().exp()
        count = int(accepted.sum())
        if count:
            z[accepted] = self.accepted.sample((count,))
        return z.reshape(shape + self.event_shape)

    def log_prob(self, value: Tensor) -> Tensor:
        """Return log π(z) + log[(1 − α) a(z) / Z + α]."""
        if self._validate_args:
            self._validate_sample(value)
        gain = torch.logaddexp(self._log_weight + self.log_acceptance(value), self.log_forced)
        result = self.proposal.log_prob(value) + gain
        return result.expand(torch.broadcast_shapes(result.shape, self.batch_shape))

    def report(self) -> RejectionReport:
        """Return the share that the sampler accepted in draws of this law, and Z, which it should be."""
        z = float(self.log_shares[0].detach().exp())
        return self.accepted.report()._replace(expected_acceptance=z)


class Rejection(nn.Module):
    r"""The prior of a learned rejection sampler, :class:`Resampled`, with π = N(0, I) and a(z) = σ(net(z)).

    What it draws is what it scores: where the codes of data are rare under N(0, I), a learns to refuse. Z has
    no closed form. In training it is averaged over steps, with the gradient of the step's own ``draws``
    proposals; ``fit`` calls :meth:`after_step`, as a loop of your own should. In evaluation it is the mean
    over ``fixed`` proposals, always the same, with a relative error of at most √((1 − Z) / (Z ``fixed``)), as
    many nats of log p(z).

    Args:
        net: z of shape (\*batch, dim) to the logit of acceptance, (\*batch, 1).
        dim: the number of coordinates of z.
        truncation: T, at least 2: the T-th proposal is taken whatever it is.
        draws: proposals of a step by which Z is estimated in training.
        fixed: proposals by which Z is estimated in evaluation.

    Raises:
        ValueError: for counts that are too small, and a net that returns other shapes.

    Source: Bauer and Mnih (2019), Resampled priors for variational autoencoders (LARS).

    >>> from probgen.nets import MLP
    >>> law = Rejection(MLP(2, 1), 2).eval()()
    >>> law.sample((1000,)).shape, 0.3 < law.report().acceptance < 0.7
    (torch.Size([1000, 2]), True)
    """

    summed = ("seen",)
    shares: Tensor
    seen: Tensor
    proposals: Tensor

    def __init__(
        self, net: nn.Module, dim: int, *, truncation: int = 100, draws: int = 1024, fixed: int = 2**15
    ) -> None:
        super().__init__()
        self.net = net
        self.base = StandardNormal(dim)
        self.truncation = check_count("truncation", truncation, least=2)
        self.draws, fixed = check_count("draws", draws), check_count("fixed", fixed)
        self.register_buffer("shares", torch.zeros(2))  # averages of a and 1 − a, with one weight too little
        self.register_buffer("seen", torch.zeros(2), persistent=False)  # sums of both within this step
        noise = torch.randn(fixed, dim, generator=torch.Generator().manual_seed(0))
        self.register_buffer("proposals", noise, persistent=False)

    def forward(self, *context: Tensor) -> Resampled:
        """Return the law, the same whatever the context."""
        proposal = self.base()
        shares = self._averaged(proposal.sample((self.draws,))) if self.training else self._of(self.proposals)
        log_shares = (shares / shares.sum()).log()
        return Resampled(
            proposal,
            lambda z: logsigmoid(self._logit(z)),
            (log_shares[0], log_shares[1]),
            truncation=self.truncation,
        )

    def _of(self, z: Tensor) -> Tensor:
        """Return the means of a and of 1 − a."""
        logit = self._logit(z)
        return torch.stack([logit.sigmoid().mean(), (-logit).sigmoid().mean()])

    @torch.no_grad()
    def after_step(self) -> None:
        """Move the averages over steps by the mean over the step's parts and processes, where it had any."""
        parts = self.seen.sum()  # as a + (1 − a) = 1
        moved = self.shares.lerp(self.seen / parts, 0.01)
        self.shares.copy_(torch.where(parts > 0, moved, self.shares))
        self.seen.zero_()

    def _averaged(self, z: Tensor) -> Tensor:
        """Return averages over steps, which count less by 1 % a step, with the gradient of this step.

        Z is their share of their sum, so that they need no correction for having started at 0.
        """
        now = self._of(z).to(self.shares)
        with torch.no_grad():
            self.seen.add_(now)
            mean = self.shares.lerp(now, 0.01)  # as they will be, where this is all of the step
            mean = mean / mean.sum()
        return mean + now - now.detach()

    def _logit(self, z: Tensor) -> Tensor:
        logit = of_a_law(self.net(z))
        if logit.shape != (*z.shape[:-1], 1):
            raise ValueError(
                f"net should return one logit for each z, shape {(*z.shape[:-1], 1)}, but returned "
                f"{tuple(logit.shape)}"
            )
        return logit.squeeze(-1)
