"""The law of a path of states, as one site: drawn step by step, scored in one call."""

from __future__ import annotations

from typing import Any

import torch
from pyro.distributions import TorchDistribution
from torch import Tensor
from torch.distributions import constraints, kl_divergence

from probgen.core import Conditional


class Path(TorchDistribution):
    r"""A Markov chain of states z_1, ..., z_T with z_t ~ step(z_{t−1}, c_t), from a given z_0.

    log p(z) = Σ_t log p(z_t | z_{t−1}, c_t), for which ``step`` is called once, on all t together. A prior
    takes the past of a sequence as its context or none, a guide q(z | x) what it has read of x for each step.

    Args:
        step: a conditional from states (\*batch, d), and rows (\*batch, c) of the context, to a law of the
            next state with event shape (d,); at any batch shape.
        start: z_0, shape (\*batch, d).
        context: c, shape (\*batch, T, c), or None.
        steps: T, where there is no context to tell it.
        inside: which steps there are, (\*batch, T), for sequences of unequal length; states outside are 0,
            and have no density.

    Raises:
        ValueError: where T is neither given nor told, told in two ways, or below 1.

    Source: Krishnan, Shalit and Sontag (2017), Structured inference networks for nonlinear state space
    models, for such chains as prior and guide.

    >>> from probgen.nets import MLP, NormalHead
    >>> law = Path(NormalHead(MLP(2, 2)), torch.zeros(8, 2), steps=20)
    >>> law.sample().shape, law.log_prob(torch.zeros(8, 20, 2)).shape
    (torch.Size([8, 20, 2]), torch.Size([8]))
    """

    arg_constraints: dict[str, Any] = {}  # noqa: RUF012 - as torch has it
    support = constraints.independent(constraints.real, 2)
    has_rsample = True

    def __init__(
        self,
        step: Conditional,
        start: Tensor,
        context: Tensor | None = None,
        *,
        steps: int | None = None,
        inside: Tensor | None = None,
        validate_args: bool | None = None,
    ) -> None:
        told = {"context": context, "inside": inside}
        lengths = {name: part.shape[len(start.shape) - 1] for name, part in told.items() if part is not None}
        if steps is not None:
            lengths["steps"] = steps
        if len(set(lengths.values())) != 1 or min(lengths.values()) < 1:
            raise ValueError(
                "a Path should be told one number of steps, at least 1, by context, inside or steps, but was "
                f"told {lengths or 'none'}"
            )
        self.step = step
        self.start = start
        self.context = context
        self.inside = inside
        self.steps = next(iter(lengths.values()))
        super().__init__(
            start.shape[:-1], torch.Size((self.steps, start.shape[-1])), validate_args=validate_args
        )

    def __repr__(self) -> str:
        batch = f", batch_shape={tuple(self.batch_shape)}" if self.batch_shape else ""
        return f"Path({self.steps} steps of {self.event_shape[-1]} coordinates{batch})"

    def expand(self, batch_shape: Any, _instance: Any = None) -> Path:
        """Return the same law on a larger batch."""

        def larger(part: Tensor | None, own: int) -> Tensor | None:
            return None if part is None else part.expand(*batch_shape, *part.shape[part.dim() - own :])

        return Path(
            self.step,
            self.start.expand(*batch_shape, self.start.shape[-1]),
            larger(self.context, 2),
            steps=self.steps,
            inside=larger(self.inside, 1),
            validate_args=False,
        )

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        """Draw paths step by step, by draws of ``step`` that carry a gradient where its law has such."""
        return self._drawn(torch.Size(sample_shape), gradient=True)

    def sample(self, sample_shape: Any = ()) -> Tensor:
        """Draw paths step by step, without gradient."""
        with torch.no_grad():
            return self._drawn(torch.Size(sample_shape), gradient=False)

    def log_prob(self, value: Tensor) -> Tensor:
        """Return Σ_t log p(z_t | z_{t−1}, c_t) over the steps that there are."""
        if self._validate_args:
            self._validate_sample(value)
        return self._over_steps(self._laws(value).log_prob(value), value)

    def kl_along(self, p: Path, value: Tensor) -> Tensor:
        r"""Return Σ_t KL(q(z_t | z_{t−1}) ‖ p(z_t | z_{t−1})) along a path that this law, q, has drawn.

        Its mean over paths is KL(q ‖ p), with less noise than log q − log p has. The steps inside are taken
        to be the same for both.

        Args:
            p: another path of as many steps.
            value: z, shape (\*batch, T, d).

        Raises:
            NotImplementedError: where p is no path, or has other steps inside than this one, or no analytic
                divergence is known of its steps.
        """
        if not isinstance(p, Path) or (p.inside is None) != (self.inside is None) or p.steps != self.steps:
            raise NotImplementedError("the divergence along a path needs two paths of the same steps")
        return self._over_steps(kl_divergence(self._laws(value), p._laws(value)), value)

    def _laws(self, value: Tensor) -> Any:
        """Return the law of every state of a path, given the one before."""
        start = self.start.unsqueeze(-2).expand(*value.shape[:-2], 1, value.shape[-1])
        before = torch.cat([start, value[..., :-1, :]], -2)
        return self.step(before) if self.context is None else self.step(before, self._expanded(before))

    def _over_steps(self, parts: Tensor, value: Tensor) -> Tensor:
        """Return the sum of a number a step, over the steps that there are."""
        if parts.shape != value.shape[:-1]:
            raise ValueError(
                f"step should return a law with event shape ({value.shape[-1]},) for each state but its "
                f"log-probability has shape {tuple(parts.shape)} where {tuple(value.shape[:-1])} is right"
            )
        if self.inside is not None:
            parts = torch.where(self.inside, parts, 0.0)
        return parts.sum(-1)

    def _expanded(self, before: Tensor) -> Tensor:
        assert self.context is not None
        return self.context.expand(*before.shape[:-1], self.context.shape[-1])

    def _drawn(self, sample_shape: torch.Size, *, gradient: bool) -> Tensor:
        state = self.start.expand(*sample_shape, *self.start.shape)
        states = []
        for t in range(self.steps):
            if self.context is None:
                law = self.step(state)
            else:
                row = self.context[..., t, :]
                law = self.step(state, row.expand(*state.shape[:-1], row.shape[-1]))
            state = law.rsample() if gradient else law.sample()
            if self.inside is not None:
                state = torch.where(self.inside[..., t, None], state, 0.0)
            states.append(state)
        return torch.stack(states, -2)
