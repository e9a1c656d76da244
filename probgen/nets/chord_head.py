"""Chords whose notes know the lower ones, and the chords before, by the intervals between them."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import conv1d, silu

from probgen.nets.autoregressive_bernoulli import AutoregressiveBernoulli
from probgen.nets.checks import check_sizes


class ChordHead(nn.Module):
    r"""The keys that sound, each known from the lower ones and from the chords before, by intervals.

    A key i is a local function of the keys i − r, ..., i − 1 of its own chord, of i − r, ..., i + r of those
    before, and of how many lower ones sound, the same for all keys but for a bias; and of the context. What
    is learned of an interval is so learned in all keys at once.

    Args:
        inputs: numbers of the context beside the chords before.
        keys: of a chord.
        chords: how many before it are known.
        channels: hidden units of a key.
        reach: r, in semitones.
        dropout: share of the hidden units that is left out in training.

    It is called with (\*batch, inputs + chords · keys) numbers, as ``nets.Recent`` gives them.

    Raises:
        ValueError: where a size is below 1, or the context has other numbers.

    Source: Larochelle and Murray (2011), The neural autoregressive distribution estimator, for the order;
    Huang and others (2017), Counterpoint by convolution, for intervals by convolution over pitch.

    >>> head = ChordHead(32)
    >>> head(torch.zeros(5, 32 + 2 * 88)).sample().shape
    torch.Size([5, 88])
    """

    lower: Tensor

    def __init__(
        self,
        inputs: int,
        *,
        keys: int = 88,
        chords: int = 2,
        channels: int = 16,
        reach: int = 24,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        check_sizes(inputs=inputs, keys=keys, chords=chords, channels=channels, reach=reach)
        self.inputs, self.outputs, self.chords, self.reach = inputs, keys, chords, reach
        width = 2 * reach + 1
        self.before = nn.Conv1d(chords, channels, width, padding=reach, bias=False)
        self.within = nn.Conv1d(1, channels, width, padding=reach, bias=False)
        self.count = nn.Parameter(torch.zeros(channels, 1))
        self.key = nn.Parameter(torch.zeros(channels, keys))
        self.told_hidden = nn.Linear(inputs, channels)
        self.told_keys = nn.Linear(inputs, keys)
        self.hidden = nn.Conv1d(channels, channels, 1)
        self.last = nn.Conv1d(channels, 1, 1)
        self.dropout = nn.Dropout(dropout)
        self.register_buffer("lower", (torch.arange(width) < reach).float(), persistent=False)

    def forward(self, context: Tensor) -> AutoregressiveBernoulli:
        """Return the law given a context."""
        told = self.told(context)
        return AutoregressiveBernoulli(
            lambda x: self.logits(x, *told),
            context.shape[:-1],
            self.outputs,
            dtype=context.dtype,
            device=context.device,
        )

    def told(self, context: Tensor) -> tuple[Tensor, Tensor]:
        """Return what hidden units (…, channels, keys) and keys (…, keys) know of the context."""
        size = self.inputs + self.chords * self.outputs
        if context.shape[-1] != size:
            raise ValueError(f"ChordHead should get a context of size {size} but got {context.shape[-1]}")
        h, before = context[..., : self.inputs], context[..., self.inputs :]
        past = self.before(before.reshape(-1, self.chords, self.outputs))
        past = past.reshape(*context.shape[:-1], *past.shape[1:])
        return past + self.told_hidden(h).unsqueeze(-1) + self.key, self.told_keys(h)

    def logits(self, x: Tensor, hidden: Tensor, keys: Tensor) -> Tensor:
        """Return the log-odds of each key, given the lower ones and what is told."""
        flat = x.reshape(-1, 1, self.outputs)
        own = conv1d(flat, self.within.weight * self.lower, padding=self.reach)
        own = own + self.count * (flat.cumsum(-1) - flat)
        h = silu(own.reshape(*x.shape[:-1], *own.shape[1:]) + hidden)
        batch = h.shape[:-2]
        h = self.dropout(silu(self.hidden(self.dropout(h.reshape(-1, *h.shape[-2:])))))
        return self.last(h).reshape(*batch, self.outputs) + keys
