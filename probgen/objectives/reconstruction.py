"""Reconstruction: −log p(x | e(x)), the loss of an autoencoder."""

from __future__ import annotations

import torch
from pyro import poutine
from torch import Tensor, nn
from torch.distributions import Distribution

from probgen.core import Objective, Pair, Terms, is_data, sample_sites, sharing, takes_missing
from probgen.objectives.traced_pair import Watch, drawn_sites, log_prob_of


class Reconstruction(Objective):
    r"""The mean of −log p(x | e(x)) over a batch, in nats, by which an autoencoder is learned.

    A batch is (x,), or (seen, x) where the encoder sees something else than what is to be restored, such as
    x with noise (:class:`probgen.data.Corrupted`): then the loss is −log p(x | e(seen)). Under a normal law
    of one scale σ it is the squared error in units of 2σ², and a constant.

    Terms: ``reconstruction``, log p(x | e(seen)), the mean per datum in nats; ``mse``, the mean of
    (x − E[x | e(seen)])² over data and coordinates, unless the decoder's law is of mixed columns, which have
    no unit in common.

    Args:
        model: its modules ``encoder``, from data to codes or to a law of them, and ``decoder``, from codes to
            a law of data, are learned, other parts are not.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.encoder = model.get_submodule("encoder")
        self.decoder = model.get_submodule("decoder")

    def forward(self, *batch: Tensor) -> tuple[Tensor, Terms]:
        """Return the loss per datum and its terms."""
        if len(batch) > 2:
            raise ValueError(f"a batch should be (x,) or (seen, x) but has {len(batch)} parts")
        seen, x = batch[0], batch[-1]
        law = self.decoder(code_of(self.encoder(seen)))
        loss = -law.log_prob(x).mean()
        terms = {"reconstruction": -loss.detach()}
        if not takes_missing(self.decoder):
            terms["mse"] = (law.mean - x).detach().square().mean()
        return loss, terms


class PairReconstruction(Objective):
    r"""The mean of −log p(x | z) over a batch, in nats, at a draw of the guide's codes z, whatever their law.

    Of a bound it is the reconstruction alone, and no law of the codes is asked for its density: so a guide
    may be a point, even between the values of a discrete site, as the class probabilities of
    ``models.AdversarialAutoencoder``. A batch is what model and guide take, (x, \*context).

    Term: ``reconstruction``, log p(x | z), the mean per datum in nats.

    Args:
        pair: the model/guide pair; guide sites should be reparameterised.

    Source: Makhzani and others (2016), Adversarial autoencoders, the reconstruction phase.
    """

    def __init__(self, pair: Pair) -> None:
        super().__init__()
        self.pair = pair

    def forward(self, *batch: Tensor) -> tuple[Tensor, Terms]:
        """Return the loss per datum and its term."""
        with Watch(self.pair, len(batch[0])) as watch, sharing():
            guide = poutine.trace(self.pair.guide).get_trace(*batch)
            for name, site in drawn_sites(sample_sites(guide)).items():
                if not site["fn"].has_rsample:
                    raise ValueError(
                        f"guide site {name!r} should be reparameterised but {type(site['fn']).__name__} has "
                        "no rsample"
                    )
            story = poutine.trace(poutine.replay(self.pair.model, guide)).get_trace(*batch)
        data = [site for site in sample_sites(story).values() if is_data(site)]
        if not data:
            raise ValueError("the model should observe its data: pyro.sample(..., obs=x)")
        loss = -torch.stack([log_prob_of(site).sum() for site in data]).sum() / watch.size
        return loss, {"reconstruction": -loss.detach()}


def code_of(found: Tensor | Distribution) -> Tensor:
    """Return the code that an encoder gives: its tensor, or a draw from its law, with a gradient."""
    return found.rsample() if isinstance(found, Distribution) else found
