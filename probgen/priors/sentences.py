"""Laws of sequences of tokens that end: END inside, PAD after it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.distributions import Categorical

from probgen.data import END, PAD
from probgen.nets.checks import check_known
from probgen.nets.laws import of_a_law
from probgen.priors.autoregressive import Autoregressive, TokenSequence

State = tuple[Tensor, ...]


class Sentence(TokenSequence):
    r"""The law of a sequence that ends, p(x) = Π_{t ≤ |x|} p(x_t | x_1, ..., x_{t−1}, c), |x| with its END.

    Tokens are 0, ..., K − 1, of which PAD = 0 has no probability before END = 1, and all of it after. So x
    carries its own length, and padding that is added or cut off changes nothing: a value may have fewer steps
    than T, or more (of a Pyro site, see :meth:`within`). A sequence that has not ended after T steps is what
    is known of it, its first T tokens; with these the masses of all sequences of T steps sum to 1.

    A draw reads token by token where the net can, as ``nets.TokenGRU`` does (``begin``, ``advance`` and
    ``logits``), and else all of the prefix again.

    Args:
        net: as :class:`TokenSequence` has it.
        steps: T.
        size: K, END and PAD counted.
        context: c, shape (\*batch, c), or more of such; none for a law that has no context.

    >>> from probgen.nets import TokenGRU
    >>> law = Sentence(TokenGRU(10, 6), steps=6, size=10)
    >>> law.sample((4,)).shape, law.log_prob(torch.tensor([[5, END], [END, PAD]])).shape
    (torch.Size([4, 6]), torch.Size([2]))
    """

    def within(self, steps: int) -> Sentence:
        """Return the law of the same sequences in so many steps, of which more or fewer are padding."""
        sizes: dict[str, Any] = {"size": self.size, "batch_shape": self.batch_shape}
        new = Sentence(self.net, *self.context, steps=steps, evaluation=self.evaluation, **sizes)
        new._validate_args = self._validate_args
        return new

    @torch.no_grad()
    def sample(self, sample_shape: Any = ()) -> Tensor:
        """Draw sequences token by token, int64, without gradient, up to the longest of them or T steps."""
        shape = torch.Size(sample_shape) + self.batch_shape
        return self.drawn(lambda logits: Categorical(logits=logits, validate_args=False).sample(), shape)

    def drawn(self, choose: Callable[[Tensor], Tensor], shape: Sequence[int]) -> Tensor:
        r"""Return sequences (\*shape, T) whose tokens are chosen one by one, from logits (\*shape, K)."""
        state = self.begin(shape)
        tokens = torch.full((*shape, self.steps), PAD, device=state[0].device)
        ended = torch.zeros(tuple(shape), dtype=torch.bool, device=state[0].device)
        for t in range(self.steps):
            token = torch.where(ended, PAD, choose(self.next_logits(state)))
            tokens[..., t] = token
            ended = ended | (token == END)
            if t + 1 == self.steps or bool(ended.all()):
                break
            state = self.advance(state, token)
        return tokens

    def log_prob(self, value: Tensor) -> Tensor:
        """Return log p(x); −inf for what is no sequence, such as a token after END."""
        if self._validate_args:
            self._validate_sample(value)
        value = value.expand(torch.broadcast_shapes(value.shape, (*self.batch_shape, 1))).long()
        return self.token_log_probs(value).sum(-1)

    def token_log_probs(self, value: Tensor) -> Tensor:
        r"""Return log p(x_t | x_1, ..., x_{t−1}, c) of each token, (\*batch, t), 0 for padding."""
        logits = without_pad(self._logits(value[..., :-1]))
        log_probs = logits.log_softmax(-1).gather(-1, value[..., None]).squeeze(-1)
        ended = (value == END).cumsum(-1) - (value == END).long() > 0  # an END lies before
        padding = torch.where(value == PAD, 0.0, -torch.inf).to(log_probs)
        return torch.where(ended, padding, log_probs)

    def begin(self, shape: Sequence[int]) -> State:
        """Return what is remembered of the empty prefix, for sequences of a batch shape."""
        shape = tuple(shape)
        context = tuple(part.expand(*shape, part.shape[-1]) for part in self.context)
        if hasattr(self.net, "advance"):
            with self._mode():
                return self.net.begin(*context, batch=shape)  # type: ignore[attr-defined]
        (device,) = {part.device for part in context} or {self._device()}
        return (torch.empty(*shape, 0, dtype=torch.int64, device=device), *context)

    def advance(self, state: State, token: Tensor) -> State:
        r"""Return what is remembered with a token more, ``token`` of shape (\*shape,)."""
        if hasattr(self.net, "advance"):
            with self._mode():
                return self.net.advance(state, token)
        return (torch.cat([state[0], token.unsqueeze(-1)], -1), *state[1:])

    def next_logits(self, state: State) -> Tensor:
        r"""Return the logits of the next token, (\*shape, K), −inf at PAD."""
        if hasattr(self.net, "advance"):
            with self._mode():
                return without_pad(of_a_law(self.net.logits(state)))  # type: ignore[attr-defined]
        tokens, *context = state
        with self._mode():
            return without_pad(of_a_law(self.net(tokens, *context))[..., -1, :])

    def _validate_sample(self, value: Tensor) -> None:
        if value.dim() < 1 or value.shape[-1] < 1:
            raise ValueError(f"x should have at least one step but has shape {tuple(value.shape)}")
        check_known(value, self.size)


class Sentences(Autoregressive):
    r"""A learned law of sequences that end: a language model, or with a code the decoder of sentences.

    Called with a context (\*batch, c), or none, it returns a :class:`Sentence` of that batch shape.

    Args:
        net: with sizes ``size`` and ``steps``, from tokens to logits: ``nets.TokenGRU``,
            ``nets.CausalTransformer``.

    >>> from probgen.nets import TokenGRU
    >>> Sentences(TokenGRU(10, 6, context=2))(torch.zeros(3, 2)).sample().shape
    torch.Size([3, 6])
    """

    def forward(self, *context: Tensor) -> Sentence:
        """Return the law of sequences."""
        net: Any = self.net
        return Sentence(net, *context, steps=net.steps, size=net.size, evaluation=not self.training)


def without_pad(logits: Tensor) -> Tensor:
    """Return logits with no probability of PAD."""
    at_pad = torch.arange(logits.shape[-1], device=logits.device) == PAD
    return torch.where(at_pad, -torch.inf, logits)
