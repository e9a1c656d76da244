"""A penalty on the covariance of codes: the disentangled inferred prior."""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor

from probgen.core import Objective, Pair, Terms
from probgen.objectives.total_correlation import guide_by_coordinate


class DIP(Objective):
    r"""How far the covariance C of codes is from the identity: λ_od Σ_{i≠j} C_ij² + λ_d Σ_i (C_ii − 1)².

    Kind "I" takes the covariance of the means, C = Cov_x[μ(x)], kind "II" that of the codes themselves,
    C = Cov_x[μ(x)] + E_x[Σ(x)], each over the batch. It is made to be added to a bound::

        Sum({"svi": SVI(vae), "dip": DIP(vae, "II", off_diagonal=10.0)})

    Terms: ``off_diagonal`` and ``diagonal``, the two sums without their weights.

    Args:
        pair: the model/guide pair, its prior a standard normal.
        kind: "I" or "II".
        off_diagonal: λ_od.
        diagonal: λ_d; by default 10 λ_od of kind I and λ_od of kind II.
        site: the latent site, by default the only one. Its guide has independent coordinates given x.

    Source: Kumar, Sattigeri and Balakrishnan (2018), Variational inference of disentangled latent concepts
    from unlabeled observations; the weights are those of Locatello and others (2019).
    """

    least_rows = 2

    def __init__(
        self,
        pair: Pair,
        kind: Literal["I", "II"] = "II",
        *,
        off_diagonal: float = 10.0,
        diagonal: float | None = None,
        site: str | None = None,
    ) -> None:
        super().__init__()
        if kind not in ("I", "II"):
            raise ValueError(f"kind should be 'I' or 'II' but got {kind!r}")
        diagonal = off_diagonal * (10 if kind == "I" else 1) if diagonal is None else diagonal
        for name, weight in (("off_diagonal", off_diagonal), ("diagonal", diagonal)):
            if not 0 <= weight < math.inf:
                raise ValueError(f"{name} should be at least 0 and finite but got {weight}")
        self.pair = pair
        self.kind = kind
        self.site = site
        self.register_buffer("off_diagonal", torch.tensor(float(off_diagonal)))
        self.register_buffer("diagonal", torch.tensor(float(diagonal)))

    def forward(self, *batch: Tensor) -> tuple[Tensor, Terms]:
        """Return the penalty and its two sums."""
        if len(batch[0]) < 2:
            raise ValueError(f"a batch should have at least 2 data for a covariance but has {len(batch[0])}")
        law = guide_by_coordinate(self.pair, *batch, site=self.site)
        centred = law.mean - law.mean.mean(0)  # torch.cov takes a number from a tensor, which no graph holds
        covariance = centred.T @ centred / len(centred)
        variances = covariance.diagonal()
        off_diagonal = (covariance - variances.diag()).square().sum()
        if self.kind == "II":
            variances = variances + law.variance.mean(0)
        diagonal = (variances - 1).square().sum()
        loss = self.get_buffer("off_diagonal") * off_diagonal + self.get_buffer("diagonal") * diagonal
        return loss, {"off_diagonal": off_diagonal.detach(), "diagonal": diagonal.detach()}
