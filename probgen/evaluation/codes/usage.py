"""How a codebook is used: how often each code occurs, how many never do."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from probgen.core import check_count, tensor_of


class CodeUsage(NamedTuple):
    """How often each of K codes occurs, (K), int64; their perplexity; and how many never occur."""

    counts: Tensor
    perplexity: float
    dead: int


def code_usage(codes: Any, size: int) -> CodeUsage:
    r"""Count codes, such as those of all data, an epoch: ``code_usage(encoded(model, x), model.size)``.

    The perplexity exp(−Σ_k p_k log p_k) of the shares p_k is K where all codes are used alike, and 1 where
    one code is all. It grows with the number of codes that are looked at: that of a batch is no more than the
    codes in the batch, and a mean over batches is not that of an epoch.

    Args:
        codes: a tensor or an array of any shape, whole numbers 0, ..., K − 1.
        size: K.

    Raises:
        TypeError, ValueError: for codes that are no whole numbers below K, or none at all.

    >>> code_usage(torch.tensor([[0, 1], [1, 0]]), 3)
    CodeUsage(counts=tensor([2, 2, 0]), perplexity=2.0, dead=1)
    """
    size, codes = check_count("size", size), tensor_of(codes, "codes")
    if not isinstance(codes, Tensor):
        raise TypeError(f"codes should be a tensor or an array but are a {type(codes).__name__}")
    if codes.is_floating_point() or codes.is_complex() or codes.dtype == torch.bool:
        raise TypeError(f"codes should be whole numbers but are {codes.dtype}")
    if not codes.numel():
        raise ValueError("codes should be at least one but are none")
    low, high = int(codes.min()), int(codes.max())
    if low < 0 or high >= size:
        raise ValueError(f"codes should be 0 to {size - 1} but are {low} to {high}")
    counts = torch.bincount(codes.flatten().long(), minlength=size)
    shares = counts.double() / codes.numel()
    perplexity = float((-torch.special.xlogy(shares, shares).sum()).exp())
    return CodeUsage(counts, perplexity, int((counts == 0).sum()))
