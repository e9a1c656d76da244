"""Gated recurrent units over tokens: what may come after each prefix, and what a whole sequence says."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.distributions import Distribution

from probgen.core import check_count
from probgen.nets.checks import check_context, check_tokens
from probgen.nets.recurrent import GRU
from probgen.nets.widened import widened

State = tuple[Tensor, ...]
"""What a net remembers of a prefix, tensors (\\*batch, k)."""


class TokenGRU(nn.Module):
    r"""Tokens (\*batch, t) to logits (\*batch, t + 1, K) of the token after each prefix, the empty one too.

    A context (\*batch, c), such as a code, gives the state at the start, tanh(B c), and is added, mapped
    linearly, to the vector of each token. A prefix can be read token by token as well: ``begin`` gives the
    state of the empty one, ``advance`` that with a token more, ``logits`` what may come next.

    Args:
        size: K, the number of different tokens.
        steps: T, the longest sequence that is drawn; longer ones can be scored.
        context: c, 0 where there is none.
        width: numbers in a state of a layer.
        embedding: numbers of a token's vector.
        layers: of recurrent units.
        dropout: share of the numbers that is left out in training, of the last states and between layers.
        word_dropout: share of the tokens that are replaced in training by one learned vector, each drawn
            anew, where they are read; so that a decoder cannot rely on them alone.

    Raises:
        ValueError: for sizes below 1, shares outside of [0, 1), another context, and tokens that are not
            0, ..., K − 1.

    Source: Cho and others (2014); Bowman and others (2016), Generating sentences from a continuous space, for
    a code at each step and word dropout.

    >>> TokenGRU(10, 6, context=2)(torch.zeros(3, 5, dtype=torch.int64), torch.zeros(3, 2)).shape
    torch.Size([3, 6, 10])
    """

    def __init__(
        self,
        size: int,
        steps: int,
        *,
        context: int = 0,
        width: int = 256,
        embedding: int = 64,
        layers: int = 1,
        dropout: float = 0.0,
        word_dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.size, self.steps = check_count("size", size, least=2), check_count("steps", steps)
        self.inputs = check_count("context", context, least=0)
        self.width, self.layers = check_count("width", width), check_count("layers", layers)
        for name, share in (("dropout", dropout), ("word_dropout", word_dropout)):
            if not 0 <= share < 1:
                raise ValueError(f"{name} should be a share in [0, 1) but got {share}")
        self.word_dropout = word_dropout
        self.tokens = nn.Embedding(size, check_count("embedding", embedding))
        self.first = nn.Parameter(torch.randn(embedding))
        self.unknown = nn.Parameter(torch.randn(embedding)) if word_dropout else None
        self.context = nn.Linear(context, embedding) if context else None
        self.start: nn.Module | nn.Parameter = (
            nn.Linear(context, layers * width) if context else nn.Parameter(torch.zeros(layers * width))
        )
        between = dropout if layers > 1 else 0.0
        self.units = nn.GRU(embedding, width, layers, batch_first=True, dropout=between)
        self.dropout = nn.Dropout(dropout)
        self.last = nn.Linear(width, size)

    def forward(self, tokens: Tensor, *context: Tensor) -> Tensor:
        """Return the logits after all prefixes."""
        check_tokens(tokens, self.size)
        *batch, length = tokens.shape
        told, state = self._told(batch, *context)
        vectors = self.tokens(tokens.long())
        if self.unknown is not None and self.training:
            left_out = torch.rand(tokens.shape, device=tokens.device) < self.word_dropout
            vectors = torch.where(left_out.unsqueeze(-1), self.unknown.to(vectors.dtype), vectors)
        first = self.first.to(vectors.dtype).expand(*batch, 1, -1)
        inputs = torch.cat([first, vectors], -2) + told.unsqueeze(-2)
        states, _ = self._read(inputs.reshape(-1, length + 1, inputs.shape[-1]), state)
        return self.last(self.dropout(states)).reshape(*batch, length + 1, self.size)

    def begin(self, *context: Tensor, batch: torch.Size | tuple[int, ...] = ()) -> State:
        """Return the state of the empty prefix, for a context of batch shape ``batch``."""
        told, state = self._told(batch, *context)
        return self._advanced(self.first.expand(*batch, -1), told, state)

    def advance(self, state: State, token: Tensor) -> State:
        r"""Return the state with one token more, ``token`` of shape (\*batch,)."""
        memory, _, told = state
        return self._advanced(self.tokens(token), told, memory)

    def logits(self, state: State) -> Tensor:
        r"""Return the logits of the next token, shape (\*batch, K)."""
        return self.last(self.dropout(state[1]))

    def _advanced(self, vector: Tensor, told: Tensor, memory: Tensor) -> State:
        batch = vector.shape[:-1]
        states, after = self._read((vector + told).reshape(-1, 1, vector.shape[-1]), memory)
        return after.reshape(*batch, -1), states.reshape(*batch, -1), told

    def _told(self, batch: list[int] | tuple[int, ...], *context: Tensor) -> tuple[Tensor, Tensor]:
        """Return what is added to each token's vector, and the memory at the start."""
        check_context(self, *context)
        if self.context is None or not isinstance(self.start, nn.Module):
            assert isinstance(self.start, nn.Parameter)
            return self.first.new_zeros(1).expand(*batch, len(self.first)), self.start.expand(*batch, -1)
        c = context[0].expand(*batch, -1)
        return self.context(c), self.start(c).tanh()

    def _read(self, inputs: Tensor, memory: Tensor) -> tuple[Tensor, Tensor]:
        """Run the units over rows of vectors; the memory of all layers lies side by side."""
        before = memory.reshape(len(inputs), self.layers, self.width).transpose(0, 1).contiguous()
        states, after = self.units(inputs, before.to(inputs.dtype))
        return states, after.transpose(0, 1).reshape(len(inputs), -1)


class SequenceReader(nn.Module):
    r"""Padded sequences (\*batch, T, inputs) to numbers (\*batch, outputs).

    Gated recurrent units read each sequence forward and backward within its length; of their states the
    largest over all its steps is taken, coordinate by coordinate, and mapped linearly. What lies in padded
    steps has no influence.

    Args:
        inputs: numbers in a step.
        outputs: of the net; a head makes of it as many as its law needs.
        width: numbers in a state, in each direction.

    Source: Long, Cao and Cheung (2019), Preventing posterior collapse in sequence VAEs with pooling.

    >>> SequenceReader(88, 4)(torch.zeros(3, 5, 88)).shape
    torch.Size([3, 4])
    """

    def __init__(self, inputs: int, outputs: int, *, width: int = 128) -> None:
        super().__init__()
        self.outputs = check_count("outputs", outputs)
        self.forwards, self.backwards = GRU(inputs, width), GRU(inputs, width, backward=True)
        self.last = nn.Linear(2 * width, outputs)

    def widen(self, factor: int) -> None:
        """Replace the last layer by a fresh one that gives ``factor`` blocks of ``outputs`` numbers."""
        self.last = widened(self.last, self.outputs, factor)

    def forward(self, x: Tensor, inside: Tensor | None = None) -> Tensor:
        r"""Return the numbers; ``inside`` (\*batch, T) says which steps are data, from the first one on.

        Raises ValueError for a sequence without a step.
        """
        if not x.shape[-2]:
            raise ValueError(f"sequences should have at least one step but have shape {tuple(x.shape)}")
        if inside is not None and Distribution._validate_args and not bool(inside.any(-1).all()):
            row = int((~inside.any(-1)).flatten().int().argmax())
            raise ValueError(
                f"sequences should have at least one step before their padding but row {row} has none"
            )
        states = torch.cat([self.forwards(x, inside), self.backwards(x, inside)], -1)
        if inside is not None:
            states = torch.where(inside.unsqueeze(-1), states, torch.finfo(states.dtype).min)
        return self.last(states.amax(-2))


class TokenReader(SequenceReader):
    r"""Sequences of tokens with PAD at their ends, (\*batch, T), to numbers (\*batch, outputs).

    Each token is a learned vector; a :class:`SequenceReader` reads these within the length of the sequence.

    Args:
        size: the number of different tokens.
        outputs, width: as a :class:`SequenceReader` has them.
        embedding: numbers of a token's vector.
        pad: the token of padding.

    >>> TokenReader(10, 4)(torch.ones(3, 5, dtype=torch.int64)).shape
    torch.Size([3, 4])
    """

    def __init__(
        self, size: int, outputs: int, *, width: int = 128, embedding: int = 64, pad: int = 0
    ) -> None:
        super().__init__(embedding, outputs, width=width)
        self.tokens, self.pad = nn.Embedding(check_count("size", size, least=2), embedding), pad

    def forward(self, x: Tensor, inside: Tensor | None = None) -> Tensor:
        """Return the numbers; ValueError for a token that is not known, and for a row that is all padding."""
        check_tokens(x, self.tokens.num_embeddings)
        return super().forward(self.tokens(x.long()), x != self.pad if inside is None else inside)
