"""Vectors of 0 and 1 whose coordinates depend on those before them: scored at once, drawn one by one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any, cast

import pyro.distributions as dist
import torch
from torch import Tensor, nn
from torch.distributions import constraints
from torch.nn.functional import linear, softplus

from probgen.nets.checks import check_sizes
from probgen.nets.laws import refuse


class AutoregressiveBernoulli(dist.TorchDistribution):
    r"""The law of d coordinates of 0 and 1, p(x) = Π_i p(x_i | x_1, ..., x_{i−1}).

    ``log_prob`` calls the net once; a draw calls it d times.

    Args:
        logits: from x (\*batch, d) to the log-odds of each coordinate, of which the i-th knows x_1, ...,
            x_{i−1} alone.
        batch_shape: of the law.
        size: d.
        dtype, device: of draws.
    """

    arg_constraints: dict[str, Any] = {}  # noqa: RUF012 - as torch has it
    support = constraints.independent(constraints.boolean, 1)
    has_rsample = False

    def __init__(
        self,
        logits: Callable[[Tensor], Tensor],
        batch_shape: Sequence[int],
        size: int,
        *,
        dtype: torch.dtype,
        device: torch.device,
        validate_args: bool | None = None,
    ) -> None:
        self.logits, self.size, self.dtype, self.device = logits, size, dtype, device
        super().__init__(torch.Size(batch_shape), torch.Size((size,)), validate_args=validate_args)

    def expand(self, batch_shape: Any, _instance: Any = None) -> AutoregressiveBernoulli:
        """Return the same law on a larger batch."""
        new = AutoregressiveBernoulli(
            self.logits, batch_shape, self.size, dtype=self.dtype, device=self.device, validate_args=False
        )
        new._validate_args = self._validate_args
        return new

    @torch.no_grad()
    def sample(self, sample_shape: Any = ()) -> Tensor:
        """Draw coordinate after coordinate, without gradient."""
        shape = torch.Size(sample_shape) + self.batch_shape + self.event_shape
        x = torch.zeros(shape, dtype=self.dtype, device=self.device)
        for i in range(self.size):
            x[..., i] = torch.bernoulli(self.logits(x)[..., i].sigmoid())
        return x

    def log_prob(self, value: Tensor) -> Tensor:
        """Return Σ_i log p(x_i | x_1, ..., x_{i−1})."""
        if self._validate_args:
            self._validate_sample(value)
        logits = self.logits(
            value.expand(torch.broadcast_shapes(value.shape, self.batch_shape + value.shape[-1:]))
        )
        return (value * logits - softplus(logits)).sum(-1)

    def _validate_sample(self, value: Tensor) -> None:
        refuse(
            value, (value == 0) | (value == 1), "a Bernoulli needs values 0 or 1", "round them, or draw them"
        )
        super()._validate_sample(value)


class AutoregressiveBernoulliHead(nn.Module):
    r"""Coordinates of 0 and 1 of which each knows those before it: the notes of a chord, from the lowest up.

    A masked network gives all log-odds in one pass: units of the hidden layers are spread over the
    coordinates, and a unit of coordinate i knows x_1, ..., x_{i−1} and the context, as the i-th log-odds do.

    Args:
        inputs: numbers of the context, of all its parts side by side.
        size: d, the number of coordinates.
        hidden: widths of the hidden layers, a number where there is one.
        dropout: share of the hidden units that is left out in training.

    Raises:
        ValueError: where a size is below 1, or the context is not of ``inputs`` numbers.

    Source: Larochelle and Murray (2011), The neural autoregressive distribution estimator; Germain, Gregor,
    Murray and Larochelle (2015), MADE, for the masks.

    >>> head = AutoregressiveBernoulliHead(32, 88, hidden=256)
    >>> law = head(torch.zeros(5, 32))
    >>> law.sample().shape, law.log_prob(torch.zeros(5, 88)).shape
    (torch.Size([5, 88]), torch.Size([5]))
    """

    mask_skip: Tensor

    def __init__(
        self, inputs: int, size: int, *, hidden: int | Sequence[int] = 512, dropout: float = 0.0
    ) -> None:
        super().__init__()
        hidden = (hidden,) if isinstance(hidden, int) else tuple(hidden)
        check_sizes(inputs=inputs, size=size, hidden=min(hidden, default=1))
        self.inputs, self.outputs = inputs, size
        widths = [size, *hidden, size]
        # A unit of degree m knows the first m coordinates; those of the last layer are 0, 1, ..., d − 1.
        degrees = [torch.arange(width) * size // width for width in widths]
        degrees[0] = torch.arange(1, size + 1)
        self.layers = nn.ModuleList(nn.Linear(before, after) for before, after in pairwise(widths))
        self.context = nn.Linear(inputs, sum(widths[1:]), bias=False)
        self.skip = nn.Linear(size, size, bias=False) if hidden else None
        self.dropout = nn.Dropout(dropout)
        for number, (before, after) in enumerate(pairwise(degrees)):
            mask = (before <= after[:, None]).to(self.context.weight.dtype)
            self.register_buffer(f"mask_{number}", mask, persistent=False)
        self.register_buffer("mask_skip", torch.ones(size, size).tril(-1), persistent=False)
        self._widths = widths[1:]

    def forward(self, *context: Tensor) -> AutoregressiveBernoulli:
        """Return the law given a context (\\*batch, inputs), or several parts of one."""
        told = self.told(*context)
        shape, like = told[0].shape[:-1], told[0]
        return AutoregressiveBernoulli(
            lambda x: self.logits(x, told), shape, self.outputs, dtype=like.dtype, device=like.device
        )

    def told(self, *context: Tensor) -> tuple[Tensor, ...]:
        """Return what each layer is told of the context."""
        batch = torch.broadcast_shapes(*(part.shape[:-1] for part in context))
        whole = torch.cat([part.expand(*batch, part.shape[-1]) for part in context], -1)
        if whole.shape[-1] != self.inputs:
            raise ValueError(
                f"{type(self).__name__} should get a context of size {self.inputs} but got {whole.shape[-1]}"
            )
        return self.context(whole).split(self._widths, -1)

    def logits(self, x: Tensor, told: Sequence[Tensor]) -> Tensor:
        """Return the log-odds of each coordinate, given those before it and what is told."""
        h, layers = x, cast("list[nn.Linear]", list(self.layers))
        for number, layer in enumerate(layers):
            mask = getattr(self, f"mask_{number}")
            h = linear(h, layer.weight * mask, layer.bias) + told[number]
            if number < len(self.layers) - 1:
                h = self.dropout(torch.nn.functional.silu(h))
        return h if self.skip is None else h + linear(x, self.skip.weight * self.mask_skip)
