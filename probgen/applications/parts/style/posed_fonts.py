"""A bilinear law of fonts that are moved as a whole: poses are drawn, the posterior of styles is exact."""

from __future__ import annotations

import torch
from torch import Tensor

from probgen.applications.parts.style.completion import moved_by, movements

COMPONENTS = 80
"""Of styles: directions in which fonts vary most."""

POWER = 0.3
"""Of the likelihood, as the errors of neighbouring pixels go together and tell less than as many do alone."""


class PosedFonts:
    r"""x_l = T_θ(m_l + W_l s) + ε with a style s ~ N(0, I) and a pose θ for each font, ε ~ N(0, noise).

    W is that of the singular value decomposition of the fonts' letters. Poses are drawn from their law, that
    of :func:`~probgen.applications.parts.style.completion.movements`, the first being none; given one of them
    the posterior of s is normal, and its evidence, to a power, is the weight of the pose: importance sampling
    with the prior for proposal, the styles integrated out.

    Args:
        train: fonts (N, letters, size · size).
        size: pixels across.
        poses: how many are drawn.
        seed: of them.

    Source: Tenenbaum and Freeman (2000), Separating style and content with bilinear models; Frey and Jojic
    (2003), Transformation-invariant clustering using the EM algorithm.
    """

    def __init__(self, train: Tensor, size: int, *, poses: int, seed: int) -> None:
        mean = train.mean(0)
        apart = (train - mean) / len(train) ** 0.5
        # W Wᵀ = AᵀA of the fonts A less their mean; UᵀA, U the largest eigenvectors of A Aᵀ, has nearly all.
        values, vectors = torch.linalg.eigh(apart.flatten(1) @ apart.flatten(1).T)
        largest = vectors[:, values.argsort(descending=True)[:COMPONENTS]]
        base = torch.cat([mean[None], (largest.T @ apart.flatten(1)).reshape(-1, *mean.shape)])
        turns = movements(poses, torch.Generator().manual_seed(seed)).to(train)
        turns[0] = torch.eye(2, 3)
        self._bases = [moved_by(base, turn.expand(len(base), 2, 3), size) for turn in turns]

    def completed(self, x: Tensor, given: Tensor, *, noise: float) -> Tensor:
        """Return the posterior mean of all letters of fonts x, (n, letters, pixels), given some of them."""
        weights, styles = [], []
        for mean, *matrix in self._bases:
            known = torch.stack(matrix)[:, given].flatten(1)
            told = (x[:, given] - mean[given]).flatten(1)
            # With M = WᵀW + noise I the posterior mean of s is M⁻¹ Wᵀ x, and the log-evidence, up to what all
            # poses share, −½ (|x|² − xᵀ W M⁻¹ Wᵀ x) / noise − ½ log |M|.
            factor = torch.linalg.cholesky(known @ known.T + noise * torch.eye(len(known)).to(x))
            inner = known @ told.T
            style = torch.cholesky_solve(inner, factor)
            square = (told.square().sum(1) - (inner * style).sum(0)) / noise
            weights.append(-POWER * (square / 2 + factor.diagonal().log().sum()))
            styles.append(style.T)
        shares = torch.stack(weights).softmax(0)
        found = torch.zeros_like(x)
        for share, style, (mean, *matrix) in zip(shares, styles, self._bases, strict=True):
            letters = mean + (style @ torch.stack(matrix).flatten(1)).reshape(x.shape)
            found += share[:, None, None] * letters
        return found
