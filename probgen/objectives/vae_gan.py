r"""The VAE-GAN: reconstruction measured in features of a discriminator, which learns to tell data from draws.

Source: Larsen, Sønderby, Larochelle and Winther (2016), Autoencoding beyond pixels using a learned similarity
metric.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from probgen.core import Objective, Pair, Terms
from probgen.mmd import Energy, mmd2_loss
from probgen.objectives.adversarial import (
    Loss,
    adversarial_loss,
    as_it_stands,
    check_discriminator,
    check_loss,
    logits,
)
from probgen.objectives.aggregate_posterior import code_sites
from probgen.objectives.gradient_penalties import squared_slopes
from probgen.objectives.traced_pair import analytic_kl


class VAEGAN(Objective):
    r"""Three losses in one scalar, each of which reaches its own player alone.

    With z ~ q(z | x), x̃ = G(z), x̂ = G(z'), z' ~ p(z), features f of the discriminator d, and
    L_f = ½ E‖f(x) − f(x̃)‖², which is −log N(f(x); f(x̃), I) less a constant:

    - the encoder minimises KL(q(z | x) ‖ p(z)) + L_f, the KL analytic where it is known;
    - the decoder G minimises γ L_f and the generator's loss of the game;
    - the discriminator minimises its own loss of the game, of data x against x̃ and x̂ in equal parts (the
      paper adds up both parts, and so weighs them twice).

    So the game does not reach the encoder, and L_f, to which features that tell nothing would be best, does
    not reach the discriminator. Terms: ``kl``, ``features`` (L_f), ``discriminator``, ``generator`` and
    ``accuracy`` as :func:`adversarial_loss` has them, and ``r1``, the mean of ‖∇d‖² on data, where its γ is
    not 0. In evaluation mode the loss, and the term ``energy``,
    by which weights are judged, is the unbiased squared energy distance of the batch from as many draws.

    Args:
        pair: with one latent site, a module ``encoder`` and a module ``decoder`` from codes to a law whose
            draws have a gradient, such as a point: ``nets.PointHead(net)``.
        discriminator: a network from data, shape (n, \*event), to one logit each.
        features: a part of it from data to features: of ``nn.Sequential(trunk, nn.Linear(64, 1))`` the trunk.
        gamma: γ, how much reconstruction counts for the decoder beside the game, a buffer.
        r1: the weight γ of the penalty γ/2 E‖∇d(x)‖² on data, the buffer ``r1``, which the discriminator
            minimises too. Without it the discriminator often tells all draws, and the game teaches little.
        loss: of the game; not "relativistic", which needs as many draws as data.

    Raises:
        ValueError: for γ or ``r1`` below 0, features that are no part of the discriminator, batches of one
            row.

    >>> from probgen import models, nets
    >>> vae = models.VAE(nets.NormalHead(nets.MLP(3, 2)), nets.PointHead(nets.MLP(2, 3)))
    >>> trunk = nets.MLP(3, 8)
    >>> _, terms = VAEGAN(vae, nn.Sequential(trunk, nn.Linear(8, 1)), features=trunk)(torch.randn(20, 3))
    >>> list(terms)
    ['kl', 'features', 'discriminator', 'generator', 'accuracy']
    """

    least_rows = 2
    is_game = True

    def __init__(
        self,
        pair: Pair,
        discriminator: nn.Module,
        *,
        features: nn.Module,
        gamma: float = 1.0,
        r1: float = 0.0,
        loss: Loss = "cross-entropy",
    ) -> None:
        super().__init__()
        check_loss(loss)
        check_discriminator(discriminator)
        if not 0 <= gamma < math.inf:
            raise ValueError(f"gamma should be at least 0 and finite but got {gamma}")
        if not 0 <= r1 < math.inf:
            raise ValueError(f"r1 should be finite and not negative but got {r1}")
        if loss == "relativistic":
            raise ValueError("loss should not be 'relativistic': there are two draws for each datum")
        if not any(part is features for part in discriminator.modules()):
            raise ValueError(
                f"features should be a part of the discriminator, but the {type(features).__name__} is none: "
                "nn.Sequential(features, nn.Linear(..., 1)) has them for its first part"
            )
        if not isinstance(getattr(pair, "decoder", None), nn.Module):
            raise ValueError(
                f"the pair should have a module 'decoder' from codes to a law, but {type(pair).__name__} has "
                "none: models.VAE does"
            )
        self.pair = pair
        self.discriminator = discriminator
        self.features = features
        self.loss = loss
        self.register_buffer("gamma", torch.tensor(float(gamma)))
        if r1 > 0:
            self.register_buffer("r1", torch.tensor(float(r1)))
        self._penalised = r1 > 0

    def forward(self, *batch: Tensor) -> tuple[Tensor, Terms]:
        """Return the sum of the players' losses, and its parts; in evaluation mode, the energy distance."""
        x, *context = batch
        if len(x) < self.least_rows:
            raise ValueError(f"a batch should have at least 2 data but has {len(x)}")
        guide_sites, prior_sites = code_sites(self.pair, *batch)
        if len(guide_sites) > 1:
            raise ValueError(f"the pair should have one latent site but has {list(guide_sites)}")
        ((name, guide),) = guide_sites.items()
        decoder = self.pair.get_submodule("decoder")
        z, prior = guide["value"], prior_sites[name]["value"]
        drawn = _draws(decoder(prior.detach(), *context))
        if not self.training:
            distance = mmd2_loss(x.double(), drawn.double(), Energy()).to(drawn.dtype)
            return distance, {"energy": distance.detach()}
        kl = analytic_kl(prior_sites, guide_sites).get(name)
        if kl is None:
            kl = guide["fn"].log_prob(z) - prior_sites[name]["fn"].log_prob(z)
        kl = kl.sum() / len(x)
        # What the decoder learns from has the code as it is, what the encoder learns from has the decoder so.
        of_decoder = _draws(decoder(z.detach(), *context))
        of_encoder = _draws(as_it_stands(decoder, z, *context))
        seen = as_it_stands(self.features, x).detach()
        for_encoder, for_decoder = self._apart(of_encoder, seen), self._apart(of_decoder, seen)
        game, terms = adversarial_loss(
            self.discriminator, real=x, fake=torch.cat([of_decoder, drawn]), loss=self.loss
        )
        if self._penalised:
            with torch.enable_grad():
                points = x.detach().requires_grad_()
                squared = squared_slopes(logits(self.discriminator, points), [points]).mean()
            game = game + 0.5 * self.get_buffer("r1") * squared
            terms["r1"] = squared.detach()
        gamma = self.get_buffer("gamma")
        own = {"kl": kl.detach(), "features": for_encoder.detach()}
        return kl + for_encoder + gamma * for_decoder + game, own | terms

    def judge(self, terms: Mapping[str, float]) -> float | None:
        """Return the energy distance to held-out data; None in training, where the discriminator judges."""
        return terms.get("energy")

    def _apart(self, y: Tensor, seen: Tensor) -> Tensor:
        """Return L_f of pictures y whose data have the features ``seen``."""
        return 0.5 * (as_it_stands(self.features, y) - seen).flatten(1).square().sum(1).mean()


def _draws(law: Any) -> Tensor:
    if not law.has_rsample:
        raise ValueError(
            f"draws of the decoder should have a gradient, but {type(law).__name__} has no rsample: make it "
            "a point, nets.PointHead(net)"
        )
    return law.rsample()
