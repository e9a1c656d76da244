"""How a missing label or value is written, and which ones are there."""

from __future__ import annotations

import torch
from torch import Tensor

from probgen.core import check_count
from probgen.core.randomness import source_of
from probgen.data.batches import Indexable, rows_at


def observed(y: Tensor) -> Tensor:
    r"""Return which labels or values are there: a missing class is −1, a missing real number NaN.

    So they are written everywhere: labels of classes are int64, 0, ..., k − 1, or −1, as
    :class:`~probgen.nets.OneHot` takes them; reals are NaN where they are missing, as in tables. (``fit`` and
    ``log_likelihood`` let NaN pass where a module of the model says ``takes_missing = True``.)

    In a story, labels of which some are missing are one line, and the batch holds both kinds of rows::

        y = pyro.sample("y", law, obs=filled(y), obs_mask=observed(y))

    By Pyro's ``obs_mask`` that is two sites: ``y_observed``, which counts where a label is there, and
    ``y_unobserved``, latent, which counts where it is missing; the value returned is the label, or that of
    the latent site. The guide draws ``y_unobserved``, unmasked, for all rows: the model's mask says where it
    counts. Where it has finitely many values, bounds enumerate it; where the guide leaves it out, the model
    is summed over it.

    Args:
        y: labels or values, of any shape.

    Returns:
        bool, of the shape of y.

    >>> observed(torch.tensor([2, -1, 0])).tolist()
    [True, False, True]
    """
    return ~y.isnan() if y.is_floating_point() else y.long() != -1  # of bytes no 255 is meant by it


def filled(y: Tensor) -> Tensor:
    """Return labels or values with 0 where they are missing, for a law to score them where they do not count.

    >>> filled(torch.tensor([2.5, torch.nan])).tolist()
    [2.5, 0.0]
    """
    return torch.where(observed(y), y, torch.zeros_like(y))


def few_labels(
    labels: Tensor, *, each: int, seed: int | None = None, generator: torch.Generator | None = None
) -> Tensor:
    """Return labels of which only some are there, ``each`` of every class, drawn at random, and −1 elsewhere.

    Args:
        labels: shape (n,), int64; those that are missing stay so.
        each: labels of a class.
        seed, generator: of the draw.

    Raises:
        ValueError: for a class of fewer labels.

    >>> few_labels(torch.tensor([0, 0, 0, 1]), each=1, seed=0).sort().values.tolist()
    [-1, -1, 0, 1]
    """
    each = check_count("each", each)
    labels = labels.long()
    known = labels[observed(labels)]
    source = source_of(generator, seed, "cpu")
    few = torch.full_like(labels, -1)
    for label, count in zip(*known.unique(return_counts=True), strict=True):
        if count < each:
            raise ValueError(f"each should be at most {count}, as class {label} has no more, but is {each}")
        rows = (labels == label).nonzero()[:, 0]
        few[rows[torch.randperm(len(rows), generator=source)[:each].to(rows.device)]] = label
    return few


def check_labels(y: Tensor, rows: int) -> None:
    """Raise unless y are whole numbers of shape (rows,), whatever their values.

    >>> check_labels(torch.tensor([2.0, torch.nan]), 2)
    Traceback (most recent call last):
    ...
    TypeError: labels should be integers, -1 where missing, but are torch.float32
    """
    if y.is_floating_point() or y.is_complex():
        raise TypeError(f"labels should be integers, -1 where missing, but are {y.dtype}")
    if y.shape != (rows,):
        raise ValueError(f"labels should have shape ({rows},), one a row, but have {tuple(y.shape)}")


class PartlyHidden:
    r"""Data beside what of them is known, NaN where it is hidden.

    ``PartlyHidden(x, hidden)[index]`` is (x[index], x[index] with NaN in the hidden coordinates): x and the
    context of a model that completes what it is shown, whose decoder is a ``nets.Completing``.

    Args:
        x: a tensor of shape (n, d), or another indexable of one, such as ``Binarised(grey)``.
        hidden: which coordinates are hidden, bool, shape (d,).

    >>> x, known = PartlyHidden(torch.ones(5, 3), torch.tensor([False, True, True]))[torch.tensor([0])]
    >>> known
    tensor([[1., nan, nan]])
    """

    def __init__(self, x: Indexable, hidden: Tensor) -> None:
        if hidden.dtype != torch.bool or hidden.dim() != 1:
            raise ValueError(
                f"hidden should be bool of shape (d,), a coordinate each, but is {hidden.dtype} of shape "
                f"{tuple(hidden.shape)}"
            )
        if hidden.all() or not hidden.any():
            share = "all" if hidden.all() else "none"
            raise ValueError(f"hidden should be some coordinates and not others but is {share} of them")
        self.x, self.hidden = x, hidden
        self.device = getattr(x, "device", torch.device("cpu"))

    def __len__(self) -> int:
        return len(self.x)

    def __getitem__(self, index: Tensor) -> tuple[Tensor, Tensor]:
        x = rows_at(self.x, index)
        if not isinstance(x, Tensor):
            raise TypeError(f"x should give one tensor for a tensor of indices but gave a {type(x).__name__}")
        return x, self.known(x)

    def known(self, x: Tensor) -> Tensor:
        """Return data with NaN in the hidden coordinates."""
        if x.shape[-1:] != self.hidden.shape:
            raise ValueError(
                f"x should have {len(self.hidden)} coordinates, as hidden has, but has shape {tuple(x.shape)}"
            )
        return torch.where(self.hidden.to(x.device), torch.nan, x)
