"""The classical methods for tables: each column on its own, and a Gaussian copula of the columns."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from probgen.compare import Fitted, Method
from probgen.data.normal_scores import from_normal_scores, normal_scores
from probgen.recipes import Task


def columns(task: Task) -> Method:
    """Each column on its own, by the quantiles of its training values."""
    return Method(
        lambda train, seed: _drawn(task, train, lambda z: torch.eye(z.shape[1], dtype=z.dtype), seed),
        "each column on its own, by its training quantiles: what is lost without any dependence",
    )


def copula(task: Task) -> Method:
    """A Gaussian copula: normal scores with their correlations, put back into the training quantiles."""
    return Method(
        lambda train, seed: _drawn(task, train, lambda z: torch.corrcoef(z.T), seed),
        "a Gaussian copula: normal scores of ranks with their correlations, put back into the training "
        "quantiles (categories in the order of their levels); Patki, Wedge and Veeramachaneni (2016)",
    )


def _drawn(task: Task, train: Tensor, correlations: Callable[[Tensor], Tensor], seed: int) -> Fitted:
    """Fit the correlations of normal scores, and draw from them."""
    assert task.table is not None
    codes = task.to_codes(train).cpu().double()
    seen = codes.sort(0).values.T.contiguous()
    generator = torch.Generator().manual_seed(seed)
    pairs = zip(codes.unbind(1), seen, strict=True)
    scores = torch.stack([normal_scores(x, own, generator=generator) for x, own in pairs], 1)
    matrix = correlations(scores)
    values, vectors = torch.linalg.eigh(matrix)  # rounding may leave an eigenvalue below 0
    root = vectors * values.clamp(min=0).sqrt()
    between = [column.kind in ("real", "positive") for column in task.table.columns]

    def sample(n: int, *, seed: int) -> Tensor:
        noise = torch.randn(n, len(seen), dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
        z = noise @ root.T
        drawn = [
            from_normal_scores(part, own, between=smooth)
            for part, own, smooth in zip(z.unbind(1), seen, between, strict=True)
        ]
        return task.from_codes(torch.stack(drawn, 1).to(train))

    return Fitted(sample)
