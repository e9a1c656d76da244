r"""Draws of Markov chains in blocks: random signs stand for permutations, as points are not exchangeable.

A block of many autocorrelation times is nearly independent of the others, and a whole chain is so exactly.
Block i of x is paired with block i of y: d_i is the difference of their shares in the samples' mean
embeddings, so that MMD² = ‖Σ d_i‖². Where the laws agree, d_i has mean zero and, as a sum over many draws,
nearly a symmetric law, so that each sign can be drawn anew.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from probgen.mmd.pairwise import check_finite, symmetric_product
from probgen.mmd.pooled import Pooled, checked_share

_FEWEST, _MOST = 8, 100  # blocks: with fewer there are too few signs, and more gain no power
_CHAINS = 20  # so many are not cut
_TIMES = 10  # autocorrelation times in a block


def autocorrelation_time(draws: Tensor) -> float:
    r"""Return the largest integrated autocorrelation time, 1 + 2 Σ_h ρ(h), of what is seen of chains.

    That is of each coordinate and of the squared distance from the mean. The sum goes on to five times its
    own value and is taken where it is largest. Deviations are from the mean of all chains, so that chains
    which do not agree have long times.

    Args:
        draws: shape (chains, draws, d).

    Source: Sokal (1997), section 3.

    >>> draws = torch.randn(4, 1000, 1, generator=torch.Generator().manual_seed(0))
    >>> 0.8 < autocorrelation_time(draws) < 1.25
    True
    """
    centred, of_rounding = _in_own_units(draws.double())
    if of_rounding.all():
        return 1.0
    centred = centred[..., ~of_rounding]
    seen, of_rounding = _in_own_units(torch.cat([centred, centred.square().sum(2, keepdim=True)], 2))
    seen = seen[..., ~of_rounding]
    length = seen.shape[1]
    power = torch.fft.rfft(seen, n=2 * length, dim=1).abs().square().mean(0)
    covariance = torch.fft.irfft(power, n=2 * length, dim=0)[:length]
    times = (2 * (covariance / covariance[0]).cumsum(0) - 1).cummax(0).values
    lags = torch.arange(length, device=draws.device)[:, None]
    return float(times.masked_fill(lags > 5 * times, 1.0).max())


def _in_own_units(numbers: Tensor) -> tuple[Tensor, Tensor]:
    """Return numbers less their mean, over their largest deviation, and which columns vary by rounding."""
    apart = numbers - numbers.mean((0, 1))
    largest = apart.abs().amax((0, 1))
    of_rounding = largest <= 1e-12 * numbers.abs().amax((0, 1))
    return apart / torch.where(of_rounding, 1, largest), of_rounding


def block_shares(
    x: Tensor,
    y: Tensor,
    weights_x: Tensor | None,
    weights_y: Tensor | None,
    generator: torch.Generator | None,
) -> Tensor:
    r"""Return the shares of all draws in the differences d_i of blocks.

    Args:
        x: shape (chains, draws, \*event).
        y: the same, or independent points of shape (m, \*event).
        weights_x, weights_y: of the draws, shapes (chains, draws) or (m,), or None.
        generator: of the grouping of independent points.

    Returns:
        shape (n + m, blocks): over the blocks they sum to 1 / n, or the weight, for each draw of x and to
        minus this for those of y; each column sums to 0.
    """
    for name, sample in (("x", x), ("y", y)):
        if not isinstance(sample, Tensor):
            raise TypeError(f"{name} should be a tensor but is a {type(sample).__name__}")
    if y.dim() not in (x.dim(), x.dim() - 1):
        raise ValueError(
            "with method 'block' x should have shape (chains, draws, *event), and y this or (m, *event), "
            f"but they have shapes {tuple(x.shape)} and {tuple(y.shape)}"
        )
    check_finite(x=x)
    check_finite(y=y)
    units_x = blocks_of_chains("x", x)
    if y.dim() == x.dim():
        units_y = blocks_of_chains("y", y)
    else:
        units_y = torch.randperm(len(y), generator=generator, device=y.device)
    count_x, count_y = int(units_x.max()) + 1, int(units_y.max()) + 1
    count = min(count_x, count_y, _MOST)
    if count < _FEWEST:
        raise ValueError(f"x and y should fill at least {_FEWEST} blocks each but one fills {count}")
    shares = []
    for name, units, found, weights, draws, sign in (
        ("weights_x", units_x, count_x, weights_x, x, 1),
        ("weights_y", units_y, count_y, weights_y, y, -1),
    ):
        if weights is not None and draws.dim() == x.dim():
            if weights.shape != draws.shape[:2]:
                raise ValueError(
                    f"{name} should have shape {tuple(draws.shape[:2])}, one for each draw, "
                    f"but has {tuple(weights.shape)}"
                )
            weights = weights.flatten()
        share = sign * checked_share(name, weights, units)
        groups = units * count // found
        shares.append(share.new_zeros(len(units), count).scatter_(1, groups[:, None], share[:, None]))
    together = torch.cat(shares)
    return together - together.sum(0) / len(together)  # less the pooled mean embedding, by its net weight


def signed_statistics(
    pooled: Pooled, shares: Tensor, draws: int, generator: torch.Generator | None
) -> Tensor:
    """Return Σ_{i≠j} s_i s_j ⟨d_i, d_j⟩ B / (B − 1), for B signs s that are all 1 and for random ones.

    The first is an unbiased estimate of MMD² where the blocks are independent and equally long.

    Returns:
        shape (kernels, 1 + draws).
    """
    count = shares.shape[1]
    return signed_forms(pooled.block, shares, draws, generator) * (count / (count - 1))


def signed_forms(
    block: Callable[[slice, slice], Tensor], shares: Tensor, draws: int, generator: torch.Generator | None
) -> Tensor:
    """Return Σ_{i≠j} s_i s_j (Aᵀ K A)_ij, A the shares of points in blocks, for :func:`random_signs`.

    Returns:
        shape (kernels, 1 + draws).
    """
    gram = shares.T @ symmetric_product(block, shares, diagonal=True)
    gram.diagonal(dim1=-2, dim2=-1).zero_()
    signs = random_signs(shares.shape[1], draws, shares, generator)
    return ((gram @ signs) * signs).sum(-2)


def random_signs(count: int, draws: int, like: Tensor, generator: torch.Generator | None) -> Tensor:
    """Return signs as a tensor like another, shape (count, 1 + draws), those of the first column all 1."""
    random = torch.randint(0, 2, (count, draws), generator=generator, device=like.device)
    return torch.cat([torch.ones_like(random[:, :1]), 2 * random - 1], 1).to(like.dtype)


def membership(units: Tensor, like: Tensor) -> Tensor:
    """Return which block each draw is in, 1 there and 0 elsewhere; neighbouring units are joined to 100."""
    found = int(units.max()) + 1
    count = min(found, _MOST)
    groups = units * count // found
    return like.new_zeros(len(units), count).scatter_(1, groups[:, None], 1.0)


def blocks_of_chains(name: str, chains: Tensor) -> Tensor:
    """Return the number of the block of each draw, shape (chains · draws,)."""
    if chains.dim() < 2:
        raise ValueError(
            f"{name} should have shape (chains, draws, *event) with method 'block' "
            f"but has shape {tuple(chains.shape)}"
        )
    count, length = chains.shape[:2]
    cuts = 1
    if count < _CHAINS:
        time = autocorrelation_time(chains.flatten(2) if chains.dim() > 2 else chains[..., None])
        cuts = min(int(length / (_TIMES * time)), -(-_MOST // count))
        if cuts * count < _FEWEST:
            raise ValueError(
                f"{name} should hold at least {_FEWEST} blocks of {_TIMES} autocorrelation times, or "
                f"{_CHAINS} chains, but has {count} x {length} draws with an autocorrelation time of "
                f"{time:.3g}: draw more"
            )
    within = torch.arange(length, device=chains.device) * cuts // length
    first = torch.arange(count, device=chains.device) * cuts
    return (first[:, None] + within).flatten()
