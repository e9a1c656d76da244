r"""The conditional moment-matching network: draws of x for a given context c.

Generative story: u ~ U(−1, 1)^k, x = g(u, c): :class:`probgen.models.GMMN` with a generator that takes both.
Loss, for data (x_i, c_i) and two fresh draws y_i, z_i at each context,
L = Σ_ij M_ij [k(y_i, z_j) − k(x_i, y_j) − k(x_i, z_j)], with the weights M = K / n², K_ij = κ(c_i, c_j), of
the joint law of x and c, or M = (K + nλI)⁻¹ K (K + nλI)⁻¹ of the conditional embedding.

With μ_i and ν_i the embeddings of the laws of data and draws at c_i, and up to terms without the model,
E L = Σ_ij M_ij ⟨μ_i − ν_i, μ_j − ν_j⟩. Published losses have k(y_i, y_i) in the place of k(y_i, z_i), which
rewards draws that do not vary: the more, the narrower κ. A second draw removes that bias. On the diagonal the
loss is then a proper score, E k(y, z) − 2 E k(x, y), so that κ may be as narrow as one likes.

Source: Ren, Zhu, Li and Luo (2016), Conditional generative moment-matching networks; Gneiting and Raftery
(2007), Strictly proper scoring rules, for the score.
"""

from __future__ import annotations

import torch
from torch import Tensor

from probgen.core import GenerativeModel, Objective, Terms
from probgen.mmd import Kernel
from probgen.mmd.algebra import as_pair_kernel, check_positive
from probgen.mmd.pairwise import squared_distances


class ConditionalMomentMatching(Objective):
    r"""The distance of a model's conditional laws from those of data, without bias in its gradient.

    A batch is x, shape (n, \*event), and one or more contexts of n rows, which are compared by their numbers
    side by side. Memory is O(n²). The value is lower the better, but not 0 at its best.

    Args:
        model: draws x given the context, as ``GMMN`` with a generator of noise and context.
        kernel: k, on x.
        context_kernel: κ, on contexts. Its bandwidth says how far a datum teaches its neighbours.
        ridge: λ; by default the weights are those of the joint law.

    Raises:
        ValueError: for a batch without context, and for a ridge that is not positive and finite.

    >>> from probgen import mmd
    >>> from probgen.models import GMMN
    >>> model = GMMN(lambda u, c: u + c, noise=1)
    >>> objective = ConditionalMomentMatching(model, mmd.Energy(), mmd.Gaussian(0.5))
    >>> loss, _ = objective(torch.randn(20, 1), torch.randn(20, 1))
    >>> loss.shape
    torch.Size([])
    """

    least_rows = 2

    def __init__(
        self, model: GenerativeModel, kernel: Kernel, context_kernel: Kernel, *, ridge: float | None = None
    ) -> None:
        super().__init__()
        if ridge is not None:
            check_positive("ridge", ridge)
        self.model = model
        self.kernel = kernel
        self.context_kernel = context_kernel
        self.ridge = ridge

    def forward(self, *batch: Tensor) -> tuple[Tensor, Terms]:
        """Return the loss; it has no other terms."""
        x, *context = batch
        if not context:
            raise ValueError("the batch should be x and its context but has no context")
        weights = self._weights(torch.cat([part.detach().flatten(1) for part in context], 1))
        kernel = as_pair_kernel(self.kernel)
        draws = (self.model.model(None, *context, n=len(x)) for _ in range(2))
        data, y, z = kernel.features((x, *draws), torch.promote_types(x.dtype, torch.float32))
        across = kernel.values(y, z, squared_distances)
        to_data = kernel.values(data, y, squared_distances) + kernel.values(data, z, squared_distances)
        return (weights * (across - to_data)).sum(dtype=torch.float64).to(across.dtype), {}

    def _weights(self, contexts: Tensor) -> Tensor:
        """Return M, shape (n, n), in float64."""
        n = len(contexts)
        kernel = as_pair_kernel(self.context_kernel)
        (features,) = kernel.features((contexts,), torch.float64)
        gram = kernel.values(features, features, squared_distances).double()
        if self.ridge is None:
            return gram / n**2
        ridged = gram + n * self.ridge * torch.eye(n, dtype=gram.dtype, device=gram.device)
        once = torch.linalg.solve(ridged, gram)
        return torch.linalg.solve(ridged, once.mT)
