"""A causal transformer: what may come after each prefix of a sequence of tokens."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

from probgen.core import check_count
from probgen.nets.checks import check_context, check_tokens


class CausalTransformer(nn.Module):
    r"""Tokens (\*batch, t) to logits (\*batch, t + 1, K) of the token after each prefix, the empty one too.

    Logits at a place depend on the tokens before it alone: self-attention sees no later ones. The sequence
    begins with a learned vector; a context (\*batch, c) is added, mapped linearly, at each place.

    Args:
        size: K, the number of different tokens.
        steps: the longest sequence there is, T; it has t < T of its tokens before the last one.
        context: c, 0 where there is none.
        width: numbers at each place, divided among the heads.
        layers, heads: of self-attention.
        dropout: share of what a layer adds that is left out in training.

    Raises:
        ValueError: for sizes below 1, a width that heads do not divide, a longer sequence, another context,
            and tokens that are not 0, ..., K − 1.

    Source: Vaswani and others (2017), Attention is all you need; Radford and others (2019) for layers that
    normalise first.

    >>> CausalTransformer(10, 6, width=16)(torch.zeros(3, 5, dtype=torch.int64)).shape
    torch.Size([3, 6, 10])
    """

    def __init__(
        self,
        size: int,
        steps: int,
        *,
        context: int = 0,
        width: int = 128,
        layers: int = 2,
        heads: int = 4,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.size, self.steps = check_count("size", size, least=2), check_count("steps", steps)
        self.inputs = check_count("context", context, least=0)
        width, heads = check_count("width", width), check_count("heads", heads)
        if width % heads:
            raise ValueError(f"width should be a multiple of the {heads} heads but is {width}")
        self.tokens = nn.Embedding(size, width)
        self.start = nn.Parameter(torch.randn(width))
        self.places = nn.Parameter(torch.randn(steps, width) / width**0.5)
        self.context = nn.Linear(context, width) if context else None
        self.layers = nn.ModuleList(
            _Layer(width, heads, dropout) for _ in range(check_count("layers", layers))
        )
        self.last = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, size))

    def forward(self, tokens: Tensor, *context: Tensor) -> Tensor:
        """Return the logits."""
        check_tokens(tokens, self.size)
        *batch, length = tokens.shape
        if length >= self.steps:
            raise ValueError(
                f"sequences should have at most {self.steps} tokens, {self.steps - 1} before the last, but "
                f"{length} are given"
            )
        check_context(self, *context)
        start = self.start.expand(*batch, 1, -1)
        h = torch.cat([start, self.tokens(tokens.long())], -2) + self.places[: length + 1]
        if self.context is not None:
            h = h + self.context(context[0]).unsqueeze(-2)
        h = h.reshape(-1, length + 1, h.shape[-1])
        for layer in self.layers:
            h = layer(h)
        return self.last(h).reshape(*batch, length + 1, self.size)


class _Layer(nn.Module):
    """Self-attention over what came before, then a network at each place; both add to their input."""

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        self.before = nn.LayerNorm(width)
        self.attention = nn.Linear(width, 3 * width)
        self.after = nn.Sequential(nn.Linear(width, width), nn.Dropout(dropout))
        self.network = nn.Sequential(
            nn.LayerNorm(width), nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width),
            nn.Dropout(dropout),
        )  # fmt: skip

    def forward(self, h: Tensor) -> Tensor:
        rows, length, width = h.shape
        parts = self.attention(self.before(h)).reshape(rows, length, 3, self.heads, width // self.heads)
        query, key, value = parts.permute(2, 0, 3, 1, 4)
        found = scaled_dot_product_attention(query, key, value, is_causal=True)
        h = h + self.after(found.transpose(1, 2).reshape(rows, length, width))
        return h + self.network(h)
