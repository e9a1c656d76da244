"""Vector quantisation: the loss by which the codes of a VQ-VAE are learned."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from probgen.core import Objective, Terms
from probgen.nets import Codebook


class VQ(Objective):
    r"""The mean of −log p(x | e_{z(x)}) + β ‖h(x) − sg(e_{z(x)})‖² over a batch: a VQ-VAE's first stage.

    h(x) are the vectors of the encoder, e the atoms nearest to them, sg holds a value fixed; the gradient of
    the first term reaches h as the codebook passes it. Atoms that are weights have the codebook term
    ‖sg(h(x)) − e_{z(x)}‖² too, with weight 1; others are moving averages, which move by themselves. A
    ``nets.FiniteScalar`` needs neither term.

    Terms: ``reconstruction``, log p(x | e), in nats; ``commitment``, ‖h − e‖², in squared units of h;
    ``perplexity``, e to the entropy of the codes in a batch: it grows with the batch, and
    :func:`probgen.evaluation.code_usage` tells that of any number of data. Weights are judged by the
    reconstruction.

    Args:
        model: its modules ``encoder``, ``codebook`` and ``decoder`` are learned, its prior is not.
        commitment: β, a buffer.

    Raises:
        ValueError: for a weight below 0.

    Source: van den Oord, Vinyals and Kavukcuoglu (2017), whose β is on the commitment, not on the codebook
    term.
    """

    commitment: Tensor

    def __init__(self, model: nn.Module, *, commitment: float = 0.25) -> None:
        super().__init__()
        self.encoder = model.get_submodule("encoder")
        self.codebook: Any = model.get_submodule("codebook")
        self.decoder = model.get_submodule("decoder")
        if not 0 <= commitment < math.inf:
            raise ValueError(f"commitment should be at least 0 and finite but is {commitment}")
        self.register_buffer("commitment", torch.tensor(float(commitment)))

    def forward(self, *batch: Tensor) -> tuple[Tensor, Terms]:
        """Return the loss per datum and its terms, from x and its context."""
        x, *context = batch
        vectors = self.encoder(x, *context).unflatten(-1, (-1, self.codebook.dim))
        codes, quantised = self.codebook(vectors)
        fit = self.decoder(quantised.flatten(-2), *context).log_prob(x).mean()
        terms = {"reconstruction": fit.detach()}
        loss = -fit
        if isinstance(self.codebook, Codebook):
            atoms = self.codebook.embed(codes)  # before any gradient was passed: theirs is their own
            distance = _per_datum(vectors - atoms.detach())
            terms["commitment"] = distance.detach()
            loss = loss + self.commitment * distance
            if self.codebook.decay is None:
                loss = loss + _per_datum(vectors.detach() - atoms)
        terms["perplexity"] = _perplexity(codes, self.codebook.size).to(fit)
        return loss, terms

    def judge(self, terms: Mapping[str, float]) -> float:
        """Return minus the reconstruction: the units of the commitment are the encoder's own."""
        return -terms["reconstruction"]


def _per_datum(apart: Tensor) -> Tensor:
    """Return the mean over data of squared lengths, (n, T, d) to a number."""
    return apart.square().sum((-2, -1)).mean()


def _perplexity(codes: Tensor, size: int) -> Tensor:
    counts = torch.zeros(size, device=codes.device).index_add_(
        0, codes.flatten(), torch.ones(codes.numel(), device=codes.device)
    )
    shares = counts / codes.numel()
    return (-torch.special.xlogy(shares, shares).sum()).exp()
