"""Reconstruction: −log p(x | e(x)), the loss of an autoencoder."""

from __future__ import annotations

from torch import Tensor, nn

from probgen.core import Objective, Terms


class Reconstruction(Objective):
    """The mean of −log p(x | e(x)) over a batch, by which an autoencoder is learned.

    Terms: ``squared_error``, the mean of ‖x − E[x | e(x)]‖².

    Args:
        model: its modules ``encoder``, from data to codes, and ``decoder``, from codes to a law of data, are
            learned, other parts are not.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.encoder = model.get_submodule("encoder")
        self.decoder = model.get_submodule("decoder")

    def forward(self, *batch: Tensor) -> tuple[Tensor, Terms]:
        """Return the loss per datum and its terms."""
        (x,) = batch
        law = self.decoder(self.encoder(x))
        error = (law.mean - x).detach().flatten(1).square().sum(1).mean()
        return -law.log_prob(x).mean(), {"squared_error": error}
