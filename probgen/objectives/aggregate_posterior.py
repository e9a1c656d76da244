r"""Terms that draw the codes of data to the prior: E_x q(z | x), the aggregate posterior, against p(z).

Each compares one draw of z for every datum of a batch with as many draws from the prior, and is made to be
added to a bound by :class:`probgen.objectives.Sum`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Literal

import torch
from pyro import poutine
from pyro.poutine.messenger import Messenger
from torch import Tensor, nn

from probgen.core import Objective, Pair, Terms, sample_sites
from probgen.mmd import Energy, Kernel, mmd2_loss
from probgen.objectives.adversarial import Loss, adversarial_loss, check_discriminator, check_loss, logits
from probgen.objectives.gradient_penalties import squared_slopes
from probgen.objectives.traced_pair import Watch, drawn_sites


class CodeMMD(Objective):
    r"""MMD² between the codes of a batch and draws from the prior, estimated without bias.

    The gradient goes to the guide and to what the prior can learn by reparameterised draws. The batch should
    hold at least 2 data; a hundred or more make the estimate worth having.

    Args:
        pair: the model/guide pair.
        kernel: of the squared distance. For a standard normal prior on d coordinates the typical distance of
            two draws is √(2d): ``mmd.Gaussian([0.5 * s, s, 2 * s])`` with that s.
        site: the latent site that is compared; by default all of them together.
        estimator: "unbiased", or "biased", which is never negative.

    Source: Tolstikhin, Bousquet, Gelly and Schölkopf (2018), Wasserstein auto-encoders (WAE-MMD); Zhao, Song
    and Ermon (2019), InfoVAE.
    """

    least_rows = 2

    def __init__(
        self,
        pair: Pair,
        kernel: Kernel,
        *,
        site: str | None = None,
        estimator: Literal["unbiased", "biased"] = "unbiased",
    ) -> None:
        super().__init__()
        self.pair = pair
        self.kernel = kernel
        self.site = site
        self.estimator = estimator

    def forward(self, *batch: Tensor) -> tuple[Tensor, Terms]:
        """Return MMD²; it has no other terms."""
        codes, prior = codes_and_prior(self.pair, *batch, site=self.site)
        return mmd2_loss(codes, prior, self.kernel, estimator=self.estimator), {}


class CodeGAN(Objective):
    r"""A game on the codes: a discriminator tells them from draws of the prior, the guide deceives it.

    The loss and its terms are those of :func:`adversarial_loss`: one optimizer trains both players. In a
    :class:`Sum` the weight multiplies the losses of both, of which Adam's steps make nothing for the
    discriminator as long as it is not 0. The losses of a game do not say how good its weights are. In
    evaluation mode the loss, and the term ``energy``, by which weights are judged, is the unbiased squared
    energy distance of the codes from as many draws of the prior, in a ``Sum`` times the weight.

    Args:
        pair: the model/guide pair.
        discriminator: a network from codes, shape (n, d), to one logit each, of being from the prior.
        loss: as :func:`adversarial_loss` takes it.
        site: the latent site that is compared; by default all of them together.
        r1: γ of the penalty γ/2 E‖∇d‖² on the prior's draws, the buffer ``r1``. Without it codes that are
            points often go round the prior, and do not come to it.

    Terms: ``discriminator``, ``generator`` and ``accuracy`` as :func:`adversarial_loss` has them, and ``r1``,
    the mean of ‖∇d‖², where γ is not 0.

    Raises:
        ValueError: for γ that is negative or not finite, batches of one row, and what
            :func:`adversarial_loss` refuses.

    Source: Makhzani and others (2016), Adversarial autoencoders; Tolstikhin and others (2018) (WAE-GAN);
    Mescheder, Geiger and Nowozin (2018) for the penalty.
    """

    least_rows = 2
    is_game = True

    def __init__(
        self,
        pair: Pair,
        discriminator: nn.Module,
        *,
        loss: Loss = "cross-entropy",
        site: str | None = None,
        r1: float = 0.0,
    ) -> None:
        super().__init__()
        check_loss(loss)
        check_discriminator(discriminator)
        if not 0 <= r1 < math.inf:
            raise ValueError(f"r1 should be finite and not negative but got {r1}")
        self.pair = pair
        self.discriminator = discriminator
        self.loss = loss
        self.site = site
        if r1 > 0:
            self.register_buffer("r1", torch.tensor(float(r1)))
        self._penalised = r1 > 0

    def forward(self, *batch: Tensor) -> tuple[Tensor, Terms]:
        """Return the sum of the players' losses, and each; in evaluation mode, the energy distance."""
        if len(batch[0]) < self.least_rows:
            raise ValueError(
                f"a batch should have at least 2 data to be told from the prior but has {len(batch[0])}"
            )
        codes, prior = codes_and_prior(self.pair, *batch, site=self.site)
        if not self.training:
            distance = mmd2_loss(codes.double(), prior.double(), Energy()).to(codes.dtype)
            return distance, {"energy": distance.detach()}
        loss, terms = adversarial_loss(self.discriminator, real=prior, fake=codes, loss=self.loss)
        if self._penalised:
            with torch.enable_grad():
                points = prior.detach().requires_grad_()
                squared = squared_slopes(logits(self.discriminator, points), [points]).mean()
            loss = loss + 0.5 * self.get_buffer("r1") * squared
            terms["r1"] = squared.detach()
        return loss, terms

    def judge(self, terms: Mapping[str, float]) -> float | None:
        """Return the energy distance of held-out codes; None in training, where the discriminator judges."""
        return terms.get("energy")


def codes_and_prior(pair: Pair, *batch: Tensor, site: str | None = None) -> tuple[Tensor, Tensor]:
    """Return a code for each datum and as many draws from the prior, each of shape (n, coordinates)."""
    guide_sites, prior_sites = code_sites(pair, *batch, site=site)
    rows = len(batch[0])
    return _rows(guide_sites, rows), _rows(prior_sites, rows)


def code_sites(pair: Pair, *batch: Tensor, site: str | None = None) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the latent sites of the guide given a batch, and the model's own, drawn from the prior.

    The model is run without data, only until its latent sites are drawn.
    """
    x, *context = batch
    rows = len(x)
    with Watch(pair, rows):
        guide_sites = drawn_sites(sample_sites(poutine.trace(pair.guide).get_trace(*batch)))
        names = [name for name, found in guide_sites.items() if not found["infer"].get("is_auxiliary")]
        if site is not None and site not in names:
            raise ValueError(f"site should be a latent site, one of {names}, but is {site!r}")
        names = names if site is None else [site]
        for name in names:
            law = guide_sites[name]["fn"]
            if not law.has_rsample:
                raise ValueError(
                    f"guide site {name!r} should be reparameterised but {type(law).__name__} has no rsample"
                )
        drawing = _Drawing(names)
        try:
            with drawing:
                pair.model(None, *context, n=rows)
        except _Drawn:
            pass
    missing = [name for name in names if name not in drawing.sites]
    if missing or not names:
        raise ValueError(f"the model should draw the latent sites of the guide, {names}, but lacks {missing}")
    return {name: guide_sites[name] for name in names}, {name: drawing.sites[name] for name in names}


class _Drawn(Exception):
    """Ends the run of a model once its latent sites are drawn: no data are needed."""


class _Drawing(Messenger):
    """Keeps the named sites as they are drawn, until there is none left."""

    def __init__(self, names: list[str]) -> None:
        super().__init__()
        self.names = names
        self.sites: dict[str, Any] = {}

    def _pyro_post_sample(self, msg: Any) -> None:
        if msg["name"] in self.names:
            self.sites[msg["name"]] = msg
            if len(self.sites) == len(self.names):
                raise _Drawn


def _rows(sites: Mapping[str, Any], rows: int) -> Tensor:
    for name, found in sites.items():
        shape = tuple(found["fn"].batch_shape)
        if shape != (rows,):
            raise ValueError(f"site {name!r} should have one law per datum, ({rows},), but has {shape}")
    return torch.cat([found["value"].reshape(rows, -1) for found in sites.values()], -1)
