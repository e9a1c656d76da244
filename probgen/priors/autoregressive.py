"""Autoregressive laws of sequences of tokens: scored in one call, drawn token by token."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Self

import torch
from pyro.distributions import TorchDistribution
from torch import Tensor, nn
from torch.distributions import Categorical, constraints

from probgen.core import check_count, evaluating
from probgen.nets.checks import check_known
from probgen.nets.laws import of_a_law


class TokenSequence(TorchDistribution):
    r"""The law of T tokens, p(x) = Π_t p(x_t | x_1, ..., x_{t−1}, c), each of 0, ..., K − 1.

    ``log_prob`` calls the net once, on all prefixes; a draw calls it T times.

    Args:
        net: tokens (\*batch, t), and the context, to logits (\*batch, t + 1, K) of the token after each
            prefix, the empty one first; at any batch shape: ``nets.CausalTransformer``.
        steps: T.
        size: K.
        context: c, shape (\*batch, c), or more of such; none for a law that has no context.
        evaluation: run the net in evaluation mode, whatever mode it is in when the law is asked.

    >>> from probgen.nets import CausalTransformer
    >>> law = TokenSequence(CausalTransformer(10, 6), steps=6, size=10)
    >>> law.sample((4,)).shape, law.log_prob(torch.zeros(4, 6, dtype=torch.int64)).shape
    (torch.Size([4, 6]), torch.Size([4]))
    """

    arg_constraints: dict[str, Any] = {}  # noqa: RUF012 - as torch has it
    has_rsample = False

    def __init__(
        self,
        net: Callable[..., Tensor],
        *context: Tensor,
        steps: int,
        size: int,
        batch_shape: Sequence[int] | None = None,
        evaluation: bool = False,
        validate_args: bool | None = None,
    ) -> None:
        self.net, self.context, self.evaluation = net, context, evaluation
        self.steps, self.size = check_count("steps", steps), check_count("size", size, least=2)
        own = torch.broadcast_shapes(*(part.shape[:-1] for part in context))
        shape = own if batch_shape is None else torch.Size(batch_shape)
        super().__init__(shape, torch.Size((steps,)), validate_args=validate_args)

    @constraints.dependent_property(is_discrete=True, event_dim=1)
    def support(self) -> Any:
        return constraints.independent(constraints.integer_interval(0, self.size - 1), 1)

    def __repr__(self) -> str:
        batch = f", batch_shape={tuple(self.batch_shape)}" if self.batch_shape else ""
        return f"{type(self).__name__}({self.steps} steps of {self.size} tokens{batch})"

    def expand(self, batch_shape: Any, _instance: Any = None) -> Self:
        """Return the same law on a larger batch."""
        new = type(self)(
            self.net,
            *self.context,
            steps=self.steps,
            size=self.size,
            batch_shape=batch_shape,
            evaluation=self.evaluation,
            validate_args=False,
        )
        new._validate_args = self._validate_args
        return new

    @torch.no_grad()
    def sample(self, sample_shape: Any = ()) -> Tensor:
        """Draw sequences token by token, int64, without gradient."""
        shape = torch.Size(sample_shape) + self.batch_shape
        (device,) = {part.device for part in self.context} or {self._device()}
        tokens = torch.empty(*shape, 0, dtype=torch.int64, device=device)
        for _ in range(self.steps):
            logits = self._logits(tokens)[..., -1, :]
            token = Categorical(logits=logits, validate_args=False).sample()
            tokens = torch.cat([tokens, token[..., None]], -1)
        return tokens

    def log_prob(self, value: Tensor) -> Tensor:
        """Return Σ_t log p(x_t | x_1, ..., x_{t−1}, c)."""
        if self._validate_args:
            self._validate_sample(value)
        value = value.expand(torch.broadcast_shapes(value.shape, self.batch_shape + self.event_shape)).long()
        return self.token_log_probs(value).sum(-1)

    def token_log_probs(self, value: Tensor) -> Tensor:
        r"""Return log p(x_t | x_1, ..., x_{t−1}, c) of each token, (\*batch, t), of any number of tokens."""
        log_probs = self._logits(value[..., :-1]).log_softmax(-1)
        return log_probs.gather(-1, value[..., None]).squeeze(-1)

    def _logits(self, tokens: Tensor) -> Tensor:
        batch, length = tokens.shape[:-1], tokens.shape[-1]
        context = (part.expand(*batch, part.shape[-1]) for part in self.context)
        with self._mode():
            logits = of_a_law(self.net(tokens, *context))
        expected = (*batch, length + 1, self.size)
        if logits.shape != expected:
            raise ValueError(
                f"net should return logits of {self.size} tokens after each prefix, shape {expected}, but "
                f"returned {tuple(logits.shape)}"
            )
        return logits

    def _validate_sample(self, value: Tensor) -> None:
        check_known(value, self.size)
        super()._validate_sample(value)

    def _mode(self) -> AbstractContextManager[object]:
        if self.evaluation and isinstance(self.net, nn.Module) and self.net.training:
            return evaluating(self.net)
        return nullcontext()

    def _device(self) -> torch.device:
        parameters = self.net.parameters() if isinstance(self.net, nn.Module) else iter(())
        return next((weight.device for weight in parameters), torch.device("cpu"))


class Autoregressive(nn.Module):
    r"""A learned law of tokens, each given those before it: a prior of codes, a decoder of sentences.

    Called with a context (\*batch, c), or none, it returns a :class:`TokenSequence` of that batch shape. One
    that is made in evaluation mode stays in it, as that of a ``decode`` does.

    Args:
        net: with sizes ``size`` and ``steps``, from tokens to logits, as :class:`TokenSequence` asks it:
            ``nets.CausalTransformer``.

    Raises:
        TypeError: for a net without these sizes.

    Source: van den Oord, Vinyals and Kavukcuoglu (2017), who learn such a prior of codes after the codes.

    >>> from probgen.nets import CausalTransformer
    >>> Autoregressive(CausalTransformer(size=10, steps=6))().sample((4,)).shape
    torch.Size([4, 6])
    """

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        for name in ("size", "steps"):
            if not isinstance(getattr(net, name, None), int):
                raise TypeError(
                    f"net should tell its {name}, a whole number, but {type(net).__name__} has none: take "
                    "nets.CausalTransformer, or set it"
                )
        self.net = net

    def forward(self, *context: Tensor) -> TokenSequence:
        """Return the law of sequences."""
        net: Any = self.net
        return TokenSequence(net, *context, steps=net.steps, size=net.size, evaluation=not self.training)
