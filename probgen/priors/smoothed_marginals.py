"""Independent coordinates, each with the smoothed law of a sample, whose widths are learned."""

from __future__ import annotations

import pyro.distributions as dist
import torch
from torch import Tensor, nn

from probgen.core import check_count
from probgen.sampling.exact.discrete import Empirical


class SmoothedMarginals(nn.Module):
    r"""The prior Π_j (1/n) Σ_i N(z_j; x_ij, h_j²): each coordinate from a sample, with noise.

    So what coordinates share in the sample is left out: a law of independent components. The widths h are
    learned by ``objectives.MaximumLikelihood`` from other draws than the sample, such as those of a guide
    whose means are the sample: on itself they would go to 0.

    Args:
        sample: x, shape (n, dim), n >= 2, which :meth:`fit` replaces by one of the same shape; it is saved
            with the weights.

    >>> SmoothedMarginals(torch.randn(100, 2))().event_shape
    torch.Size([2])
    """

    x: Tensor

    def __init__(self, sample: Tensor) -> None:
        super().__init__()
        if sample.dim() != 2:
            raise ValueError(f"sample should have shape (n, dim) but has shape {tuple(sample.shape)}")
        check_count("the number of rows of sample", len(sample), least=2)
        self.register_buffer("x", torch.empty_like(sample))
        self.log_width = nn.Parameter(sample.new_zeros(sample.shape[1]))
        self.fit(sample)

    def forward(self, *context: Tensor) -> dist.TorchDistribution:
        """Return the law, with event shape (dim,), the same whatever the context."""
        return Empirical(self.x).smoothed(bandwidth=self.log_width.exp()).to_event(1)

    @torch.no_grad()
    def fit(self, sample: Tensor) -> None:
        """Take a sample, and Silverman's widths for it.

        Raises ValueError for another shape than that of the one before, and where a coordinate does not vary.
        """
        if sample.shape != self.x.shape:
            raise ValueError(
                f"sample should have shape {tuple(self.x.shape)} but has shape {tuple(sample.shape)}"
            )
        if not (sample != sample[0]).any(0).all():
            place = int((sample == sample[0]).all(0).nonzero()[0])
            raise ValueError(
                f"each coordinate of the sample should vary but coordinate {place} is the same in all rows"
            )
        self.x.copy_(sample)
        self.log_width.copy_(Empirical(self.x).smoothed().bandwidth.log())
