"""Whether codes are the sources that data come from, but for their order and scale: mean correlation."""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor

from probgen.core import check_count, seed_of
from probgen.core.arrays import sample_of

Method = Literal["pearson", "spearman"]


class MeanCorrelation(NamedTuple):
    """How well codes correspond to sources.

    Attributes:
        value: the mean correlation, in [0, 1].
        each: the absolute correlation of each source with its coordinate of the code, shape (d,).
        coordinates: which coordinate is that of each source, int64, shape (d,).
    """

    value: float
    each: Tensor
    coordinates: Tensor


class ChanceLevel(NamedTuple):
    """What sources that are mixed by chance score: mean and standard deviation over rotations."""

    value: float
    sd: float


def mean_correlation(sources: Any, codes: Any, *, method: Method = "pearson") -> MeanCorrelation:
    r"""Return the mean correlation coefficient (MCC) of codes with the sources that data were made of.

    Each source is given a coordinate of the code of its own, so that the mean of the absolute correlations is
    the largest, max_π (1/d) Σ_i |ρ(s_i, z_π(i))|, by the Hungarian algorithm. It is 1 where codes are the
    sources in another order, scale and sign, and by "spearman", the correlation of ranks, where each is a
    monotone function of one. A coordinate that is the same in all rows has the correlation 0.

    Codes that have found nothing are far from 0: rotations score .90, .83, .73, .59 for d = 2, 3, 5, 10. So
    read it beside :func:`chance_correlation`, of rows that the model has not seen, and of posterior means,
    ``model.encode(x).mean``: draws from the guide lower it by their noise.

    Args:
        sources: shape (n, d), n >= 2.
        codes: shape (n, k) with k >= d.
        method: "pearson" or "spearman".

    Raises:
        ValueError: for other shapes, values that are not finite, and a source that is the same in all rows.

    Source: Hyvärinen and Morioka (2016), Unsupervised feature extraction by time-contrastive learning;
    Khemakhem, Kingma, Monti and Hyvärinen (2020), Variational autoencoders and nonlinear ICA.

    >>> s = torch.randn(100, 2)
    >>> mean_correlation(s, torch.stack([-3 * s[:, 1], s[:, 0] + 1], 1)).coordinates
    tensor([1, 0])
    """
    s, z = _checked(sources, codes, method)
    each, coordinates = _assigned(_correlations(_ranked(s, method), _ranked(z, method)))
    return MeanCorrelation(float(each.mean()), torch.from_numpy(each), torch.from_numpy(coordinates))


def chance_correlation(
    sources: Any,
    *,
    method: Method = "pearson",
    draws: int = 200,
    seed: int | None = None,
    generator: torch.Generator | None = None,
) -> ChanceLevel:
    r"""Return the mean correlation that random rotations of the sources have with them.

    The sources, each in units of its standard deviation, are mixed by an orthogonal matrix, of all of them
    with even chances: what a method finds that knows them up to a rotation alone, as of Gaussian sources.

    Args:
        sources: shape (n, d), those that codes were held against.
        method: that of :func:`mean_correlation`.
        draws: rotations.
        seed, generator: of the rotations, one at most; seed 0 where not given.

    >>> round(chance_correlation(torch.randn(1000, 2), draws=1000).value, 1)
    0.9
    """
    draws = check_count("draws", draws, least=2)
    s, _ = _checked(sources, sources, method)
    s = _unit_length(s)
    gaussian = torch.Generator().manual_seed(seed_of(seed, generator, default=0))
    ranks, found = _ranked(s, method), np.empty(draws)
    for draw in range(draws):
        # Q of a Gaussian matrix is a rotation by the Haar measure, but for signs, which do not count.
        normals = torch.randn(s.shape[1], s.shape[1], generator=gaussian, dtype=torch.float64)
        mixed = s @ torch.linalg.qr(normals).Q.numpy()
        each, _ = _assigned(_correlations(ranks, _ranked(mixed, method)))
        found[draw] = each.mean()
    return ChanceLevel(float(found.mean()), float(found.std(ddof=1)))


def _checked(sources: Any, codes: Any, method: str) -> tuple[np.ndarray, np.ndarray]:
    """Return both as arrays of float64 after checking that they can be held against each other."""
    if method not in ("pearson", "spearman"):
        raise ValueError(f"method should be 'pearson' or 'spearman' but is {method!r}")
    sources, codes = sample_of(sources, "sources"), sample_of(codes, "codes")
    for name, x in (("sources", sources), ("codes", codes)):
        if not isinstance(x, Tensor) or x.is_complex() or x.layout is not torch.strided:
            what = f"{x.layout} of {x.dtype}" if isinstance(x, Tensor) else type(x).__name__
            raise TypeError(f"{name} should be a dense tensor or an array of real numbers but is {what}")
        if x.dim() != 2 or len(x) < 2:
            raise ValueError(f"{name} should have shape (n, d) with n at least 2 but has {tuple(x.shape)}")
        if not x.isfinite().all():
            raise ValueError(f"{name} should be finite but holds NaN or infinity")
    if len(sources) != len(codes) or codes.shape[1] < sources.shape[1]:
        raise ValueError(
            "codes should have a row for each row of sources, and as many coordinates or more, but they have "
            f"shapes {tuple(codes.shape)} and {tuple(sources.shape)}"
        )
    s, z = (x.detach().cpu().double().numpy() for x in (sources, codes))
    for place, same in enumerate((s == s[0]).all(0)):
        if same:
            raise ValueError(f"each source should vary but source {place} is the same in all rows")
    return s, z


def _ranked(x: np.ndarray, method: str) -> np.ndarray:
    from scipy.stats import rankdata

    return rankdata(x, axis=0) if method == "spearman" else x


def _correlations(s: np.ndarray, z: np.ndarray) -> np.ndarray:
    """Return the absolute correlations, (d, k), 0 with a coordinate that does not vary."""
    return np.abs(_unit_length(s).T @ _unit_length(z))


def _unit_length(x: np.ndarray) -> np.ndarray:
    """Return columns of mean 0 and length 1, and those that do not vary as 0, in whatever units they are."""
    centred = np.where((x == x[0]).all(0), 0.0, x - x.mean(0))
    # By the largest number first: its square is 1, where that of 1e200 overflows and that of 1e-200 is 0.
    largest = np.abs(centred).max(0)
    centred = centred / np.where(largest > 0, largest, 1.0)
    length = np.sqrt((centred**2).sum(0))
    return centred / np.where(length > 0, length, 1.0)


def _assigned(correlations: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the correlation of each source with its coordinate, and which that is."""

    from scipy.optimize import linear_sum_assignment

    rows, columns = linear_sum_assignment(correlations, maximize=True)
    return correlations[rows, columns], columns
