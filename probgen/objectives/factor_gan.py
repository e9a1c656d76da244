"""FactorVAE's game: a discriminator learns the total correlation of the codes, which the guide lowers."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from probgen.core import Objective, Pair, Terms
from probgen.mmd import Energy, mmd2_loss
from probgen.objectives.adversarial import accuracy, check_discriminator, discriminator_loss, logits
from probgen.objectives.aggregate_posterior import codes_and_prior


class FactorGAN(Objective):
    r"""The total correlation of the codes as a discriminator sees it, E d(z), and its own loss.

    The discriminator tells codes z, of the first half of a batch, from codes ẑ of the second half whose
    coordinates are each permuted among the data: draws of the product of the marginals, q̄. It minimises
    E log(1 + e^−d(z)) + E log(1 + e^d(ẑ)), and is best at d = log q(z) − log q̄(z), whose mean over codes is
    the total correlation KL(q ‖ q̄). The guide minimises E d(z) over the whole batch, with d as it stands. The
    discriminator's loss sees detached codes, and never reaches the encoder.

    It is made to be added to a bound: FactorVAE is
    ``Sum({"svi": SVI(vae), "tc": FactorGAN(vae, discriminator)}, {"tc": gamma})``, trained by one optimizer.
    The weight multiplies the losses of both players, of which Adam's steps make nothing for the
    discriminator. :class:`TotalCorrelation` has no second player, but needs the density of the guide.

    Terms: ``total_correlation``, the estimate E d(z) in nats, below the truth as long as the discriminator
    has not learned it; ``discriminator``, its loss; ``accuracy``, the share of its right answers. These do
    not say how good weights are. In evaluation mode the loss, and the term ``energy``, by which weights are
    judged, is the unbiased squared energy distance of z from ẑ, 0 in the mean for independent coordinates.

    Args:
        pair: the model/guide pair.
        discriminator: a network from codes, shape (n, d), to one logit each, shape (n,) or (n, 1).
        site: the latent site, by default all of them together; of at least two coordinates.

    Raises:
        ValueError: for a discriminator of another output, batches of less than four rows, sites that are not
            reparameterised, codes of one coordinate.

    Source: Kim and Mnih (2018), Disentangling by factorising. The second half of a batch stands for their
    second batch; their bound and total correlation are of the first.

    >>> from probgen import models, nets
    >>> vae = models.VAE(nets.NormalHead(nets.MLP(3, 2)), nets.NormalHead(nets.MLP(2, 3)))
    >>> _, terms = FactorGAN(vae, nets.MLP(2, 1))(torch.randn(20, 3))
    >>> list(terms)
    ['total_correlation', 'discriminator', 'accuracy']
    """

    least_rows = 4
    is_game = True

    def __init__(self, pair: Pair, discriminator: nn.Module, *, site: str | None = None) -> None:
        super().__init__()
        check_discriminator(discriminator)
        self.pair = pair
        self.discriminator = discriminator
        self.site = site

    def forward(self, *batch: Tensor) -> tuple[Tensor, Terms]:
        """Return E d(z) and the discriminator's loss, added up; in evaluation mode, the energy distance."""
        rows = len(batch[0])
        if rows < self.least_rows:
            raise ValueError(f"a batch should have at least 4 data, two for each half, but has {rows}")
        codes, _ = codes_and_prior(self.pair, *batch, site=self.site)
        if codes.shape[1] < 2:
            raise ValueError("a total correlation needs a code of at least 2 coordinates but it has 1")
        total_correlation = logits(self.discriminator, codes, as_it_is=True).mean()
        together, others = codes.detach().split([rows // 2, rows - rows // 2])
        apart = permuted(others)
        if not self.training:
            distance = mmd2_loss(together.double(), apart.double(), Energy()).to(codes.dtype)
            terms = {"energy": distance.detach(), "total_correlation": total_correlation.detach()}
            return distance, terms
        on_codes, on_permuted = logits(self.discriminator, together), logits(self.discriminator, apart)
        of_discriminator = discriminator_loss(on_codes, on_permuted, loss="cross-entropy")
        return total_correlation + of_discriminator, {
            "total_correlation": total_correlation.detach(),
            "discriminator": of_discriminator.detach(),
            "accuracy": accuracy(on_codes, on_permuted, loss="cross-entropy"),
        }

    def judge(self, terms: Mapping[str, float]) -> float | None:
        """Return the energy distance on held-out data; None in training, where the discriminator judges."""
        return terms.get("energy")


def permuted(codes: Tensor) -> Tensor:
    """Return codes, shape (n, d), each coordinate in an order of its own: every order is as likely."""
    # In float32 at least: of 16 bits many numbers would be ties, which stay in their order.
    levels = torch.rand_like(codes, dtype=torch.promote_types(codes.dtype, torch.float32))
    return codes.gather(0, levels.argsort(0))
