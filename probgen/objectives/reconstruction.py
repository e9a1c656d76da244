"""Reconstruction: −log p(x | e(x)), the loss of an autoencoder."""

from __future__ import annotations

from torch import Tensor, nn
from torch.distributions import Distribution

from probgen.core import Objective, Terms, takes_missing


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


def code_of(found: Tensor | Distribution) -> Tensor:
    """Return the code that an encoder gives: its tensor, or a draw from its law, with a gradient."""
    return found.rsample() if isinstance(found, Distribution) else found
