"""The exemplar prior: a mixture of normal laws at the codes of training data."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from probgen.core import check_count
from probgen.nets.laws import log_scale
from probgen.priors.normal_mixture import ManyNormals


class Exemplar(nn.Module):
    r"""The prior p(z) = 1/N Σ_n N(z; m(x_n), σ² I), m(x) the mean of the encoder, at N data x_n.

    The encoder is that of the pair and learns from both places; σ is learned and one for all, so that the
    prior is a kernel density of codes. ``VAE(encoder, decoder, Exemplar(encoder, x))`` draws by drawing a
    datum, then a code near its own.

    **In training mode** the mixture is that of ``subset`` data drawn afresh at each call, without
    replacement: its density has the mean p(z), and its logarithm is a lower bound in expectation, as is the
    ELBO that it is part of. **In evaluation mode** it is that of all N data and exact: a matrix product in
    which nearest neighbours would save nothing, since finding them takes the same distances.

    **Leave-one-out**: a datum that is learned from should not be told by itself, or the prior shrinks to the
    training codes. With ``index``, a row of the data for each z, that one is left out of its mixture; −1,
    which is no row, leaves out none, as for new data and for draws. A pair hands its context to all of its
    conditionals, so that encoder and decoder are wrapped in :class:`probgen.nets.WithoutContext`, and the
    data are (x, index).

    Args:
        encoder: x of shape (n, \*event) to a law of codes with a mean.
        data: the exemplars x_n, (N, \*event), at least 2; kept as a buffer that no checkpoint holds.
        subset: how many are drawn in training, at least 2; all of them where there are no more.

    Raises:
        ValueError: for fewer than two data, a smaller subset, and an index that is not a whole number a row,
            or no row of the data.

    Source: Norouzi, Fleet and Norouzi (2020), Exemplar VAE.

    >>> from probgen import nets
    >>> prior = Exemplar(nets.NormalHead(nets.MLP(64, 2)), torch.rand(500, 64)).eval()
    >>> prior().sample((3,)).shape, prior(torch.tensor([4, -1])).log_prob(torch.zeros(2, 2)).shape
    (torch.Size([3, 2]), torch.Size([2]))
    """

    data: Tensor
    places: Tensor

    def __init__(self, encoder: nn.Module, data: Tensor, *, subset: int = 1000) -> None:
        super().__init__()
        if len(data) < 2:
            raise ValueError(f"data should be at least 2, that one may be left out, but are {len(data)}")
        self.encoder = encoder
        self.subset = min(check_count("subset", subset, least=2), len(data))
        self.log_scale = nn.Parameter(torch.zeros((), dtype=data.dtype, device=data.device))
        self.register_buffer("data", data.detach(), persistent=False)
        self.register_buffer("places", torch.arange(-1, len(data), device=data.device), persistent=False)

    def forward(self, index: Tensor | None = None) -> ManyNormals:
        """Return the mixture; with an index of each row, (n,), one law a row, that datum left out."""
        some = None
        if self.training and self.subset < len(self.data):
            some = torch.randperm(len(self.data), device=self.data.device)[: self.subset]
        loc = self.encoder(self.data if some is None else self.data[some]).mean
        scale = log_scale(self.log_scale).exp().expand_as(loc)
        if index is None:
            return ManyNormals(loc, scale)
        own = torch.arange(len(loc), device=loc.device) if some is None else some
        left_out = own == self._checked(index).unsqueeze(-1)
        return ManyNormals(loc, scale, loc.new_zeros(left_out.shape).masked_fill(left_out, -torch.inf))

    def _checked(self, index: Tensor) -> Tensor:
        if index.is_floating_point() or index.dim() != 1:
            raise ValueError(
                f"index should be whole numbers, one for each row, but is {index.dtype} of shape "
                f"{tuple(index.shape)}"
            )
        try:
            return self.places.index_select(0, index.long() + 1)
        except IndexError:
            bad = index[(index < -1) | (index >= len(self.data))]
            raise ValueError(
                f"index should be 0 to {len(self.data) - 1}, a row of the data, or -1 for none, but holds "
                f"{int(bad[0])}"
            ) from None
