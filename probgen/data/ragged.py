"""Sequences of different lengths, padded batch by batch."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from probgen.core import check_count
from probgen.data.batches import row_not_finite

WINDOW = 50
"""Batches of the order drawn among whose sequences those of like lengths are put together."""


class Ragged:
    r"""Sequences of different lengths; a batch of them is ``(padded, lengths)``.

    ``Ragged(sequences)[index]`` returns the sequences padded with zeros at their ends, shape (B, T, \*event),
    and their lengths, int64 of shape (B,), both on the device of the sequences; ``index`` lies on the CPU.
    T is the longest length in the batch, rounded up to a multiple of ``multiple``, so that few shapes occur.

    Sequences of like lengths share a batch, so that few steps are padding: fifty batches of the order that is
    drawn are sorted by length and cut anew into batches, which come in random order.

    Args:
        sequences: tensors of shape (T_i, \*event), T_i >= 1, alike in event, dtype and device.
        multiple: what T is a multiple of.
        bucketed: whether lengths are sorted so; if not, any sequences share a batch.

    Raises:
        ValueError: where there is no sequence, one is empty, unlike the first or not finite, or ``multiple``
            is below 1.
        TypeError: where a sequence is no tensor.

    >>> padded, lengths = Ragged([torch.ones(2), torch.ones(3)], multiple=4)[torch.tensor([1, 0])]
    >>> padded
    tensor([[1., 1., 1., 0.],
            [1., 1., 0., 0.]])
    >>> lengths
    tensor([3, 2])
    """

    def __init__(self, sequences: Sequence[Tensor], *, multiple: int = 1, bucketed: bool = True) -> None:
        multiple = check_count("multiple", multiple)
        if not len(sequences):
            raise ValueError("sequences should hold at least one sequence but is empty")
        for i, sequence in enumerate(sequences):
            _check(sequence, i, sequences[0])
        self.multiple = multiple
        self.bucketed = bucketed
        self.lengths = torch.tensor([len(sequence) for sequence in sequences])
        self._starts = self.lengths.cumsum(0) - self.lengths
        self._steps = torch.cat(list(sequences))
        if row_not_finite(self._steps) is not None:
            i = next(i for i, sequence in enumerate(sequences) if row_not_finite(sequence) is not None)
            raise ValueError(f"sequences should be finite but sequence {i} holds NaN or infinity")

    def __repr__(self) -> str:
        shortest, longest = int(self.lengths.min()), int(self.lengths.max())
        return f"Ragged({len(self)} sequences of {shortest} to {longest} x {tuple(self._steps.shape[1:])})"

    def __len__(self) -> int:
        return len(self.lengths)

    def __getitem__(self, index: Tensor) -> tuple[Tensor, Tensor]:
        lengths, device = self.lengths[index], self._steps.device
        longest = int(lengths.max()) if len(lengths) else 1
        time = torch.arange(-(-longest // self.multiple) * self.multiple)
        inside = time < lengths[:, None]
        place = torch.where(inside, self._starts[index][:, None] + time, 0)
        padded = self._steps[place.to(device)]
        outside = ~inside.to(device).reshape(*inside.shape, *[1] * (padded.dim() - 2))
        return padded.masked_fill_(outside, 0), lengths.to(device)

    def arranged(self, order: Tensor, batch_size: int, generator: torch.Generator | None) -> Tensor:
        """Return an order in which sequences of like lengths share a batch.

        A last batch that is smaller, and may be left out, holds any sequences, and comes last.
        """
        full = len(order) // batch_size
        if not self.bucketed or full < 2:
            return order
        lengths = self.lengths.to(order.device)
        whole, last = order[: full * batch_size], order[full * batch_size :]
        windows = whole.split(WINDOW * batch_size)
        sorted_rows = torch.cat([rows[lengths[rows].sort(stable=True).indices] for rows in windows])
        places = torch.randperm(full, generator=generator, device=order.device)
        return torch.cat([sorted_rows.view(full, batch_size)[places].flatten(), last])


def _check(sequence: Tensor, i: int, first: Tensor) -> None:
    if not isinstance(sequence, Tensor):
        raise TypeError(f"sequences should be tensors but sequence {i} is a {type(sequence).__name__}")
    if sequence.dim() == 0 or sequence.numel() == 0:
        raise ValueError(
            f"sequences should have at least one step but sequence {i} has shape {tuple(sequence.shape)}"
        )
    found, wanted = (f"{tuple(s.shape[1:])} of {s.dtype} on {s.device}" for s in (sequence, first))
    if found != wanted:
        raise ValueError(f"the steps of sequence {i} should be {wanted}, as the first, but are {found}")
