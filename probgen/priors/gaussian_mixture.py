"""A mixture of a few normal laws with full covariances, which is learned by EM, by gradient, or by both."""

from __future__ import annotations

import pyro.distributions as dist
import torch
from torch import Tensor, nn

from probgen.core import check_count, seed_of

ROWS = 5000
"""Most rows that EM looks at, chosen at random."""

FLOOR = 1e-6
"""What EM adds to the variances of a component, in units of the variance of its coordinate in the data."""


class GaussianMixture(nn.Module):
    r"""Σ_k w_k N(μ_k, L_k L_kᵀ), with weights, means and full covariances that are parameters.

    It describes codes that were learned before and stay as they are, in whatever directions they vary: a few
    laws, found by EM. :class:`NormalMixture` is for a prior that is learned beside its encoder: hundreds of
    laws with diagonal covariances, at the cost of a matrix product. Before it has learned, the components
    are normal laws of covariance I around draws from N(0, I). After EM the steps of a gradient are in the
    units that each component has in each direction, however small the codes are.

    Args:
        dim: the number of coordinates.
        components: the number K of normal laws.

    >>> GaussianMixture(2, 3)().event_shape
    torch.Size([2])
    """

    means: Tensor
    roots: Tensor

    def __init__(self, dim: int, components: int) -> None:
        super().__init__()
        dim, components = check_count("dim", dim), check_count("components", components)
        self.logits = nn.Parameter(torch.zeros(components))
        # μ = m + R s and L = R F, where EM sets m and R: so s and F are learned in its units.
        self.register_buffer("means", torch.randn(components, dim))
        self.register_buffer("roots", torch.eye(dim).repeat(components, 1, 1))
        self.shifts = nn.Parameter(torch.zeros(components, dim))
        self.factors = nn.Parameter(torch.zeros(components, dim, dim))
        """F, with logarithms on the diagonal; what stands above it counts nothing."""

    def forward(self, *context: Tensor) -> dist.MixtureSameFamily:
        """Return the law, with event shape (dim,), the same whatever the context."""
        diagonal = self.factors.diagonal(dim1=-2, dim2=-1).exp()
        tril = self.factors.tril(-1) + diagonal.diag_embed()
        locs = self.means + (self.roots @ self.shifts[..., None]).squeeze(-1)
        laws = dist.MultivariateNormal(locs, scale_tril=self.roots @ tril)
        return dist.MixtureSameFamily(dist.Categorical(logits=self.logits), laws)

    @torch.no_grad()
    def fit(self, x: Tensor, *, seed: int | None = None, generator: torch.Generator | None = None) -> None:
        """Take the weights, means and covariances that EM finds from k-means, with scikit-learn.

        It looks at 5,000 rows at most, each coordinate in units of its standard deviation.

        Raises:
            ValueError: for another shape than (n, dim), fewer rows than twice the components, values that are
                not finite, or a coordinate that is the same in all rows.
        """
        from sklearn.mixture import GaussianMixture as ByEM

        components, dim = self.means.shape
        if x.dim() != 2 or x.shape[1] != dim:
            raise ValueError(f"x should have shape (n, {dim}) but has shape {tuple(x.shape)}")
        if len(x) < 2 * components:
            raise ValueError(
                f"x should have at least 2 rows for each of {components} components but has {len(x)}: "
                "take fewer components"
            )
        if not x.isfinite().all():
            raise ValueError("x should be finite but holds NaN or infinity")
        # Some rows, in units of the standard deviation of each coordinate.
        seed = seed_of(seed, generator, default=0)
        generator = torch.Generator().manual_seed(seed)
        rows = x.detach().cpu().double()[torch.randperm(len(x), generator=generator)[:ROWS]]
        centre, unit = rows.mean(0), rows.std(0)
        if not (unit > 0).all():
            raise ValueError(
                f"each coordinate of x should vary but coordinate {int(unit.argmin())} is the same in all "
                "rows: leave it out, or take a smaller code"
            )
        # EM from k-means; then back to the units of x.
        found = ByEM(components, reg_covar=FLOOR, random_state=seed % 2**32)
        found.fit(((rows - centre) / unit).numpy())
        weights, means, covariances = map(
            torch.from_numpy, (found.weights_, found.means_, found.covariances_)
        )
        tril = unit[:, None] * torch.linalg.cholesky(covariances)
        self.logits.copy_(weights.log())
        self.means.copy_(centre + unit * means)
        self.roots.copy_(tril)
        self.shifts.zero_()
        self.factors.zero_()
