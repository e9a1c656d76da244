"""Laws side by side: a vector whose parts have laws of their own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from pyro.distributions import TorchDistribution
from torch import Tensor
from torch.distributions import Distribution, Independent, OneHotCategorical
from torch.distributions.constraints import Constraint


class Concatenated(TorchDistribution):
    r"""The law of a vector (a, b, ...) whose parts are independent: p(a) p(b) ...

    Args:
        parts: laws of vectors, event shapes (d_1,), (d_2,), ..., their batch shapes broadcast.

    Raises:
        ValueError: for no parts, and for one that is no law of vectors.

    >>> import pyro.distributions as dist
    >>> code = Concatenated([OneHotCategorical(torch.ones(10)), dist.Uniform(-torch.ones(2), 1).to_event(1)])
    >>> code.event_shape, round(float(code.entropy()), 4)  # log 10 + 2 log 2
    (torch.Size([12]), 3.6889)
    """

    arg_constraints = {}  # noqa: RUF012

    def __init__(self, parts: Sequence[Distribution], *, validate_args: bool | None = None) -> None:
        if not parts:
            raise ValueError("parts should be one law at least but are none")
        for place, part in enumerate(parts, 1):
            if len(part.event_shape) != 1:
                raise ValueError(
                    f"part {place} should be a law of vectors, event shape (d,), but has "
                    f"{tuple(part.event_shape)}: .to_event(1) makes one of independent numbers"
                )
        batch = torch.broadcast_shapes(*(part.batch_shape for part in parts))
        self.parts = tuple(part.expand(batch) for part in parts)
        self.sizes = [part.event_shape[0] for part in parts]
        super().__init__(batch, torch.Size([sum(self.sizes)]), validate_args=validate_args)

    @property
    def has_rsample(self) -> bool:  # type: ignore[override]
        return all(part.has_rsample for part in self.parts)

    @property
    def support(self) -> Constraint:
        return _Parts([part.support for part in self.parts], self.sizes)

    @property
    def mean(self) -> Tensor:
        return torch.cat([part.mean for part in self.parts], -1)

    @property
    def variance(self) -> Tensor:
        return torch.cat([part.variance for part in self.parts], -1)

    def sample(self, sample_shape: Any = torch.Size()) -> Tensor:  # noqa: B008
        return torch.cat([part.sample(sample_shape) for part in self.parts], -1)

    def rsample(self, sample_shape: Any = torch.Size()) -> Tensor:  # noqa: B008
        return torch.cat([part.rsample(sample_shape) for part in self.parts], -1)

    def log_prob(self, value: Tensor) -> Tensor:
        if self._validate_args:
            self._validate_sample(value)
        values = value.split(self.sizes, -1)
        return torch.stack([part.log_prob(own) for part, own in zip(self.parts, values, strict=True)]).sum(0)

    def entropy(self) -> Tensor:
        return torch.stack([part.entropy() for part in self.parts]).sum(0)

    def expand(self, batch_shape: Any, _instance: Any = None) -> Concatenated:
        batch = torch.Size(batch_shape)
        return Concatenated([part.expand(batch) for part in self.parts], validate_args=self._validate_args)


def one_hots(law: Distribution) -> list[tuple[int, int]]:
    """Return where the one-hot parts of a law of vectors begin and how many classes they have.

    >>> one_hots(Concatenated([OneHotCategorical(torch.ones(3)), OneHotCategorical(torch.ones(2))]))
    [(0, 3), (3, 2)]
    """
    if isinstance(law, Independent):
        return one_hots(law.base_dist)
    if isinstance(law, OneHotCategorical):
        return [(0, law.event_shape[0])]
    if not isinstance(law, Concatenated):
        return []
    starts = [sum(law.sizes[:place]) for place in range(len(law.sizes))]
    return [
        (start + at, classes)
        for start, part in zip(starts, law.parts, strict=True)
        for at, classes in one_hots(part)
    ]


class _Parts(Constraint):
    """Vectors whose parts lie each in a support of its own."""

    event_dim = 1

    def __init__(self, supports: Sequence[Any], sizes: Sequence[int]) -> None:
        self.supports, self.sizes = list(supports), list(sizes)
        self.is_discrete = any(support.is_discrete for support in supports)
        super().__init__()

    def check(self, value: Tensor) -> Tensor:
        """Say which vectors lie there."""
        if value.shape[-1:] != (sum(self.sizes),):
            return torch.zeros(value.shape[:-1], dtype=torch.bool, device=value.device)
        parts = zip(self.supports, value.split(self.sizes, -1), strict=True)
        return torch.stack([support.check(own) for support, own in parts]).all(0)
