"""Are draws nearer to the training data than new data are? A test by ranks, and the share that is no copy."""

from __future__ import annotations

import math
import warnings
from typing import NamedTuple

import torch
from torch import Tensor

from probgen.core import check_count, seed_of, taking_arrays
from probgen.mmd.pairwise import by_rows, centred, nearest_squared_distances
from probgen.mmd.scaling import Scale, scaled

_ENOUGH = 5000
"""Training points, at most, that the cells are made of."""


class DataCopying(NamedTuple):
    """The z-score of distances to the training data, its p-value, and the z-score of each cell."""

    z: float
    p_value: float
    by_cell: Tensor


@taking_arrays("draws", "train", "held_out")
def data_copying_test(
    draws: Tensor,
    train: Tensor,
    held_out: Tensor,
    *,
    cells: int = 5,
    scale: Scale = "auto",
    seed: int | None = None,
    generator: torch.Generator | None = None,
) -> DataCopying:
    r"""Test whether draws lie nearer to the training points than held-out data do, cell by cell.

    The space is cut into the cells of a k-means clustering of the training data. In a cell π with m draws and
    n held-out points, U counts the pairs in which the draw is farther from its nearest training point (½ for
    ties), and

        Z_π = (U − mn / 2) / √(mn (m + n + 1) / 12),

    the variance corrected for ties. The whole is z = Σ P(π) Z_π / √Σ P(π)², P(π) the share of the held-out
    data in the cell: a standard normal variable where draws and held-out data have one law, however many of
    each there are, given the training data. (The source leaves Σ P(π) in place of the root, so that its score
    is smaller.) Copies have z far below 0; draws that are farther off than new data, of a model that has
    learned too little, have z above 0. Draws that are no copies but smoother than data, such as blurred
    pictures, may lie nearer too. Cells without draws say nothing here: lost modes are for
    :func:`density_coverage`.

    Args:
        draws, train, held_out: samples of shape (\*, \*event), of any sizes; events are flattened.
        cells: clusters of at most 5,000 of the training points.
        scale: as for :func:`precision_recall`, by the three samples together.
        seed, generator: of the clustering, one at most; seed 0 where not given.

    Returns:
        z; the p-value Φ(z), small for copies and near 1 for draws that are too far; and Z_π of the cells that
        hold draws and held-out points at distances that are not all one, shape (at most ``cells``,).

    Raises:
        TypeError, ValueError: for samples that are empty, not finite or not alike, more cells than different
            training points, and where no cell can tell.

    Source: Meehan, Chaudhuri and Dasgupta (2020), A non-parametric test to detect data-copying.

    >>> train, new = torch.randn(2, 200, 2, generator=torch.Generator().manual_seed(0))
    >>> data_copying_test(train[:50], train, new).p_value < 1e-6
    True
    """
    (draws, train, held_out), _ = scaled(scale, draws=draws, train=train, held_out=held_out)
    draws, train, held_out = centred(draws=draws, train=train, held_out=held_out)
    centres = _centres(train, cells, seed_of(seed, generator, default=0))
    cell_of_draw, cell_of_held_out = (
        by_rows(lambda _, block: block.argmin(1), x, centres) for x in (draws, held_out)
    )
    mine, theirs = (nearest_squared_distances(x, train, 1)[:, 0] for x in (draws, held_out))
    scores, weights = [], []
    for cell in range(len(centres)):
        here = theirs[cell_of_held_out == cell]
        score = _rank_score(mine[cell_of_draw == cell], here)
        if score is not None:
            scores.append(score)
            weights.append(len(here) / len(theirs))
    if not scores:
        raise ValueError(
            "draws and held_out should meet in a cell, at different distances to train, but do in none of "
            f"{cells}: take fewer cells"
        )
    by_cell = torch.stack(scores)
    share = by_cell.new_tensor(weights)
    z = float((share * by_cell).sum() / share.square().sum().sqrt())
    return DataCopying(z, 0.5 * math.erfc(-z / math.sqrt(2)), by_cell)


@taking_arrays("draws", "train")
def authenticity(draws: Tensor, train: Tensor, *, scale: Scale = "auto") -> float:
    r"""Return the share of draws farther from their nearest training point than its own neighbour is.

    A draw x whose nearest training point is t is authentic where ‖x − t‖ > min_{t' ≠ t} ‖t − t'‖. Copies have
    0. New data have less than 1: x and t are one another's neighbours with probability 2/3 in one dimension,
    0.6215 in two, 16/27 in three, and towards 1/2 in many, so that their authenticity is 0.33, 0.38, 0.41 and
    towards 0.5. Read it against that of held-out data; above it, draws are farther off than data are.

    Args:
        draws, train: samples of shape (n, \*event) and (m, \*event), m at least 2; events are flattened.
        scale: as for :func:`precision_recall`.

    Raises:
        TypeError, ValueError: for samples that are too small, not finite or not alike.

    Source: Alaa, van Breugel, Saveliev and van der Schaar (2022).

    >>> train = torch.tensor([0.0, 1.0, 3.0])
    >>> authenticity(torch.tensor([0.1, 5.5]), train)
    0.5
    """
    (draws, train), _ = scaled(scale, draws=draws, train=train)
    draws, train = centred(draws=draws, train=train)
    if len(train) < 2:
        raise ValueError("train should hold at least 2 points, so that each has a neighbour, but holds 1")

    def nearest(_: slice, block: Tensor) -> Tensor:
        distance, point = block.min(1)
        return torch.stack([distance, point.to(distance)], 1)

    distance, point = by_rows(nearest, draws, train).T
    points, place = point.long().unique(return_inverse=True)
    radii = nearest_squared_distances(train[points], train, 2)[:, 1]
    return float((distance > radii[place]).double().mean())


def _centres(train: Tensor, cells: int, seed: int) -> Tensor:
    """Return the centres of k-means on some of the training points, shape (cells, d)."""
    from sklearn.cluster import KMeans
    from sklearn.exceptions import ConvergenceWarning

    cells = check_count("cells", cells)
    rows = torch.randperm(len(train), generator=torch.Generator().manual_seed(seed))[:_ENOUGH]
    some = train[rows.to(train.device)].cpu().numpy()
    with warnings.catch_warnings():
        warnings.simplefilter("error", ConvergenceWarning)
        try:
            if cells > len(some):
                raise ConvergenceWarning
            found = KMeans(cells, n_init=1, random_state=seed % 2**32).fit(some)
        except ConvergenceWarning:
            raise ValueError(
                f"cells should be at most the number of different points of train but got {cells}"
            ) from None
    return torch.as_tensor(found.cluster_centers_).to(train)


def _rank_score(mine: Tensor, theirs: Tensor) -> Tensor | None:
    """Return the z-score of U = Σ 1[mine > theirs] + ½ 1[mine = theirs]; None where it cannot vary."""
    m, n = len(mine), len(theirs)
    ordered = theirs.sort().values
    below, upto = torch.searchsorted(ordered, mine), torch.searchsorted(ordered, mine, right=True)
    u = (below + upto).sum().double() / 2
    tied = torch.cat([mine, theirs]).unique(return_counts=True)[1].double()
    total = m + n
    spread = total + 1 - (tied**3 - tied).sum() / max(1, total * (total - 1))
    variance = m * n / 12 * spread
    return (u - m * n / 2) / variance.sqrt() if variance > 0 else None
