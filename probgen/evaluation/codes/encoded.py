"""The codes of data, and what is decoded of them, batch by batch: what all that judges codes takes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from probgen.core import Coded, check_count, seed_of, seeded, tensor_of, weights_dtype
from probgen.training.settings import check_dtype, whole_numbers


@torch.no_grad()
def encoded(
    model: Coded,
    x: Any,
    *context: Any,
    draw: bool = False,
    batch_size: int = 1024,
    seed: int | None = None,
    generator: torch.Generator | None = None,
) -> Tensor:
    r"""Return the code of each row of x, the mean of its law or a draw from it, shape (n, coordinates).

    Args:
        model: whatever is ``Coded``; its own ``encode`` runs in evaluation mode.
        x: data, shape (n, \*event); ``context`` what else the encoder is given, each of n rows.
        draw: whether codes are drawn and not means.
        batch_size: rows that are encoded at once.
        seed, generator: of the draws, one at most; seed 0 where not given.

    Raises:
        TypeError: for a model without ``encode`` and ``decode``.
        ValueError: for codes that are not finite, as of laws that have no mean.

    >>> from probgen import models, nets
    >>> vae = models.VAE(nets.NormalHead(nets.MLP(3, 2)), nets.NormalHead(nets.MLP(2, 3)))
    >>> encoded(vae, torch.randn(50, 3)).shape
    torch.Size([50, 2])
    """
    codes = []
    with seeded(seed_of(seed, generator, default=0)):
        for rows in batches_of_rows(model, x, *context, batch_size=batch_size):
            with whole_numbers(rows[0], "x"):
                law = model.encode(*rows)
            codes.append((law.sample() if draw else law.mean).flatten(1))
    if not codes:
        raise ValueError("x should have at least one row but has 0")
    found = torch.cat(codes)
    if not found.isfinite().all():
        row = int((~found.isfinite()).any(1).nonzero()[0])
        what = "" if draw else ", the mean of their law: where it has none take draw=True"
        raise ValueError(f"codes should be finite but that of row {row} of x is not{what}")
    return found


@torch.no_grad()
def reconstructed(model: Coded, x: Any, *context: Any, batch_size: int = 1024) -> Tensor:
    r"""Return what the decoder makes of the code of each row of x, the mean of its law, shape (n, \*event).

    The code is the mean of the encoder's law.

    Args:
        model, x, context, batch_size: as of :func:`encoded`.

    Raises:
        TypeError: for a model without ``encode`` and ``decode``.

    >>> from probgen import models, nets
    >>> vae = models.VAE(nets.NormalHead(nets.MLP(3, 2)), nets.NormalHead(nets.MLP(2, 3)))
    >>> reconstructed(vae, torch.randn(50, 3)).shape
    torch.Size([50, 3])
    """
    parts = []
    for rows in batches_of_rows(model, x, *context, batch_size=batch_size):
        with whole_numbers(rows[0], "x"):
            parts.append(model.decode(model.encode(*rows).mean, *rows[1:]).mean)
    if not parts:
        raise ValueError("x should have at least one row but has 0")
    return torch.cat(parts)


def batches_of_rows(
    model: Coded, x: Any, *context: Any, batch_size: int = 1024
) -> Iterator[tuple[Tensor, ...]]:
    """Yield rows of x and of what else a model is given, after checking that they fit."""
    if not isinstance(model, Coded):
        raise TypeError(f"model should have encode and decode but is {type(model).__name__}")
    batch_size = check_count("batch_size", batch_size)
    dtype = weights_dtype(model) if isinstance(model, torch.nn.Module) else None
    parts = [tensor_of(part, name, dtype=dtype) for part, name in _named(x, context)]
    for part, (_, name) in zip(parts, _named(x, context), strict=True):
        if not isinstance(part, Tensor) or not part.dim() or part.layout is not torch.strided:
            what = f"of shape {tuple(part.shape)}" if isinstance(part, Tensor) else type(part).__name__
            raise TypeError(f"{name} should be a dense tensor or an array of rows but is {what}")
    if isinstance(model, torch.nn.Module):
        check_dtype(model, parts[0], "x")
    rows = len(parts[0])
    for place, part in enumerate(parts[1:], 1):
        if len(part) != rows:
            raise ValueError(f"context {place} should have {rows} rows, as x has, but has {len(part)}")
    for start in range(0, rows, batch_size):
        yield tuple(part[start : start + batch_size] for part in parts)


def _named(x: Any, context: tuple[Any, ...]) -> list[tuple[Any, str]]:
    return [(x, "x"), *((part, f"context {place}") for place, part in enumerate(context, 1))]
