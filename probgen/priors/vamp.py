"""The VampPrior: a mixture of the guide's own laws, at learned pseudo-inputs."""

from __future__ import annotations

import pyro.distributions as dist
import torch
from torch import Tensor, nn
from torch.distributions import Categorical, Distribution, Independent, Normal

from probgen.core import check_count
from probgen.core.randomness import default_generator
from probgen.priors.normal_mixture import ManyNormals


class Vamp(nn.Module):
    r"""The prior p(z) = 1/K Σ_k q(z | u_k), with pseudo-inputs u_k learned as the weights are.

    The best prior for a bound is the aggregate posterior, the mean of q(z | x) over all data; this is one of
    K laws. The encoder is that of the pair, and learns from both places: ``VAE(encoder, decoder,
    Vamp(encoder, 500, data=x))``.

    Args:
        encoder: x of shape (\*batch, \*event) to q(z | x); without a context. Normal laws with independent
            coordinates, as of ``nets.NormalHead``, are scored by a matrix product, others one by one.
        k: K, the number of pseudo-inputs.
        data: rows, (n, \*event), of which K are drawn for the start.
        shape: of one x, where there are no data to start from: then u ~ N(0.05, 0.01²), as suits pixels
            in [0, 1].
        generator: draws the start; torch's global one by default.

    Raises:
        ValueError: where neither or both of data and shape are given, and for more pseudo-inputs than data.

    Source: Tomczak and Welling (2018), VAE with a VampPrior. There pseudo-inputs are cut to [0, 1], here they
    are free: the encoder takes any numbers.

    >>> from probgen import nets
    >>> encoder = nets.NormalHead(nets.MLP(64, 2))
    >>> Vamp(encoder, 50, shape=(64,))().sample((3,)).shape
    torch.Size([3, 2])
    """

    def __init__(
        self,
        encoder: nn.Module,
        k: int,
        *,
        data: Tensor | None = None,
        shape: tuple[int, ...] | None = None,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        k = check_count("k", k)
        if (data is None) == (shape is None):
            raise ValueError(
                "pseudo-inputs should start from data=, rows to draw them from, or shape=, that of one x, "
                f"but {'neither is' if data is None else 'both are'} given"
            )
        self.encoder = encoder
        if data is None:
            assert shape is not None
            self.inputs = nn.Parameter(torch.empty(k, *shape).normal_(0.05, 0.01, generator=generator))
            return
        if k > len(data):
            raise ValueError(
                f"k should be at most the {len(data)} rows of data that pseudo-inputs start from but is {k}: "
                "take fewer, or say shape= for a start from noise"
            )
        if not data.is_floating_point():
            raise TypeError(f"pseudo-inputs are learned, so data should be real numbers but are {data.dtype}")
        source = default_generator(data.device) if generator is None else generator
        rows = torch.randperm(len(data), generator=source, device=source.device)[:k]
        self.inputs = nn.Parameter(data.detach()[rows.to(data.device)].clone())

    def forward(self, *context: Tensor) -> Distribution:
        """Return the mixture, the same whatever the context."""
        law = self.encoder(self.inputs)
        base = law.base_dist if isinstance(law, Independent) else None
        if isinstance(base, Normal) and base.loc.dim() == 2:
            return ManyNormals(base.loc, base.scale)
        weights = Categorical(logits=self.inputs.new_zeros(len(self.inputs)))
        return dist.MixtureSameFamily(weights, law)
