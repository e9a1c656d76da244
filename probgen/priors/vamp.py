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

    With ``weights`` it is p(z | h) = Σ_k w_k(h) q(z | u_k): what is known says which of K codes comes next,
    as the chords before a chord do in a ``VRNN``.

    Args:
        encoder: x of shape (\*batch, \*event) to q(z | x); without a context. Normal laws with independent
            coordinates, as of ``nets.NormalHead``, are scored by a matrix product, others one by one.
        k: K, the number of pseudo-inputs.
        data: rows, (n, \*event), of which K are drawn for the start.
        shape: of one x, where there are no data to start from: then u ~ N(0.05, 0.01²), as suits pixels
            in [0, 1].
        weights: a net from a context h to log w_k(h) up to a constant, K numbers; equal weights, whatever the
            context, where not given.
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
        weights: nn.Module | None = None,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        k = check_count("k", k)
        if (data is None) == (shape is None):
            raise ValueError(
                "pseudo-inputs should start from data=, rows to draw them from, or shape=, that of one x, "
                f"but {'neither is' if data is None else 'both are'} given"
            )
        self.encoder, self.weights = encoder, weights
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
        """Return the mixture, the same whatever the context where there are no ``weights``."""
        law = self.encoder(self.inputs)
        logits = self.inputs.new_zeros(len(self.inputs)) if self.weights is None else self._weights(*context)
        base = law.base_dist if isinstance(law, Independent) else None
        if isinstance(base, Normal) and base.loc.dim() == 2:
            return ManyNormals(base.loc, base.scale, logits)
        return dist.MixtureSameFamily(Categorical(logits=logits), law.expand(logits.shape))

    def _weights(self, *context: Tensor) -> Tensor:
        assert self.weights is not None
        logits = self.weights(*context)
        if logits.shape[-1] != len(self.inputs):
            raise ValueError(
                f"weights should give {len(self.inputs)} numbers, one for each pseudo-input, but give "
                f"{logits.shape[-1]}"
            )
        return logits
