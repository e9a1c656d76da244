"""Music moved up and down by semitones at random while a model learns from it."""

from __future__ import annotations

import torch
from torch import Tensor

from probgen.core import check_count
from probgen.data.ragged import Ragged


class Transposed:
    """Pieces of music that are moved to another key at each access: ``Transposed(pieces, semitones=5)``.

    A batch is ``(padded, lengths)``, as of :class:`Ragged`; each piece in it is moved by a whole number of
    semitones, uniform on −k, ..., k, from torch's global generator.

    Args:
        pieces: sequences of steps of keys, 0 or 1, shape (T, keys).
        semitones: k, the largest movement; no piece may so leave the keys.

    >>> pieces = Ragged([torch.eye(3, 88)[:, torch.arange(88) - 40]])
    >>> x, lengths = Transposed(pieces, semitones=5)[torch.tensor([0])]
    >>> x.sum(-1), lengths
    (tensor([[1., 1., 1.]]), tensor([3]))
    """

    def __init__(self, pieces: Ragged, *, semitones: int) -> None:
        self.pieces, self.semitones = pieces, check_count("semitones", semitones)
        x, _ = pieces[torch.arange(len(pieces))]
        if x.dim() != 3 or x.shape[-1] <= 2 * semitones:
            raise ValueError(
                f"pieces should be of shape (T, keys), of more than {2 * semitones} keys, but have "
                f"{tuple(x.shape[1:])}"
            )
        if x[..., :semitones].any() or x[..., x.shape[-1] - semitones :].any():
            raise ValueError(
                f"pieces should leave {semitones} keys free below and above, to be moved by as many, but "
                "some sound there: move them by less"
            )

    def __len__(self) -> int:
        return len(self.pieces)

    def __getitem__(self, index: Tensor) -> tuple[Tensor, Tensor]:
        x, lengths = self.pieces[index]
        by = torch.randint(-self.semitones, self.semitones + 1, (len(x), 1), device=x.device)
        key = (torch.arange(x.shape[-1], device=x.device) - by) % x.shape[-1]
        return x.gather(-1, key[:, None].expand(x.shape)), lengths

    def arranged(self, order: Tensor, batch_size: int, generator: torch.Generator | None) -> Tensor:
        """Return an order in which pieces of like lengths share a batch, as :class:`Ragged` does."""
        return self.pieces.arranged(order, batch_size, generator)
