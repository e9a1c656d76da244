r"""Penalties on the codes of an autoencoder, which keep it from copying: sparsity and contraction.

Each is a part of a :class:`probgen.objectives.Sum` beside ``Reconstruction``. Where a batch is (seen, x) they
are of the codes of what is seen.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from probgen.core import Objective, Terms, check_count
from probgen.nets import MLP, PointHead
from probgen.objectives.reconstruction import code_of


class AbsoluteCodes(Objective):
    r"""The sum of the absolute coordinates of a code, Σ_j |e_j(x)|, the mean over a batch (L1).

    It can be made small by small codes and large weights of the decoder, so these should have a weight decay.

    Args:
        model: its module ``encoder`` is penalised.

    Source: Ranzato, Poultney, Chopra and LeCun (2007), Efficient learning of sparse representations.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.encoder = model.get_submodule("encoder")

    def forward(self, *batch: Tensor) -> tuple[Tensor, Terms]:
        """Return the penalty; it has no other terms."""
        return code_of(self.encoder(batch[0])).abs().flatten(1).sum(1).mean(), {}


class TargetActivation(Objective):
    r"""How far the mean activation of each coordinate is from a target: Σ_j KL(ρ ‖ ρ̂_j), between Bernoullis.

    ρ̂_j is the mean of e_j(x) ∈ (0, 1) over the batch, so that the penalty is one of the batch, which should
    hold some ten times 1/ρ data. Term: ``activation``, the mean of the ρ̂_j.

    Args:
        model: its module ``encoder`` is ``nets.PointHead(net, sigmoid=True)``.
        target: ρ, such as 0.05.

    Raises:
        ValueError: for a target that is not between 0 and 1, or codes that need not be.

    Source: Ng (2011), Sparse autoencoder (CS294A lecture notes).
    """

    def __init__(self, model: nn.Module, *, target: float) -> None:
        super().__init__()
        self.encoder = model.get_submodule("encoder")
        if not 0 < target < 1:
            raise ValueError(f"target should be a mean activation above 0 and below 1 but got {target}")
        if not getattr(self.encoder, "sigmoid", False):
            raise ValueError(
                "a target activation needs codes between 0 and 1: let the encoder be "
                "nets.PointHead(net, sigmoid=True), or take AbsoluteCodes"
            )
        self.target = target

    def forward(self, *batch: Tensor) -> tuple[Tensor, Terms]:
        """Return the penalty and its term."""
        rho, mean = self.target, code_of(self.encoder(batch[0])).flatten(1).mean(0)
        entropy = rho * math.log(rho) + (1 - rho) * math.log1p(-rho)
        cross = rho * mean.log() + (1 - rho) * torch.log1p(-mean)
        return (entropy - cross).sum(), {"activation": mean.detach().mean()}


class Contraction(Objective):
    r"""How much the code moves with its input: ‖J‖², Σ_jk (∂e_j(x)/∂x_k)², the mean over a batch.

    Of one layer, e(x) = s(Wx + b) with a sigmoid s, it is Σ_j (h_j(1 − h_j))² ‖W_j‖², and ‖W‖² without one.
    Of any other encoder it is estimated without bias as ‖vᵀJ‖², with signs v drawn at random (Hutchinson's
    estimator of tr JJᵀ), one product with the Jacobian a draw. The encoder should treat each row by itself,
    so it should have no batch normalisation.

    Args:
        model: its module ``encoder`` is penalised.
        draws: signs v for each datum, where it is estimated.

    Source: Rifai, Vincent, Muller, Glorot and Bengio (2011), Contractive auto-encoders; Hutchinson (1990).
    """

    def __init__(self, model: nn.Module, *, draws: int = 1) -> None:
        super().__init__()
        self.encoder = model.get_submodule("encoder")
        self.draws = check_count("draws", draws)
        for name, part in self.encoder.named_modules():
            if isinstance(part, nn.modules.batchnorm._BatchNorm):
                raise ValueError(
                    f"the slope of a code needs an encoder that treats each row by itself, but {name!r} is a "
                    f"{type(part).__name__}: leave it out, or take nn.LayerNorm"
                )

    def forward(self, *batch: Tensor) -> tuple[Tensor, Terms]:
        """Return the penalty; it has no other terms."""
        x, layer = batch[0], _one_layer(self.encoder)
        return (self._estimate(x) if layer is None else self._exact(x, layer)).mean(), {}

    def _exact(self, x: Tensor, layer: nn.Linear) -> Tensor:
        """Return ‖J‖² of each row for one layer."""
        squares = layer.weight.square().sum(1)
        if not self.encoder.sigmoid:
            return squares.sum().expand(len(x))
        h = code_of(self.encoder(x))
        return (h * (1 - h)).square() @ squares

    def _estimate(self, x: Tensor) -> Tensor:
        """Return the estimate of ‖J‖² of each row; it has a gradient also while validation has none."""
        tracked = torch.is_grad_enabled()
        with torch.enable_grad():
            x = x.detach().requires_grad_()
            code = code_of(self.encoder(x)).flatten(1)
            total = torch.zeros((), dtype=code.dtype, device=code.device)
            for _ in range(self.draws):
                signs = torch.randint_like(code, 2) * 2 - 1
                (slope,) = torch.autograd.grad(code, x, signs, create_graph=tracked, retain_graph=True)
                total = total + slope.flatten(1).square().sum(1)
        return total / self.draws


def _one_layer(encoder: nn.Module) -> nn.Linear | None:
    """Return the layer of an encoder that is one, with a sigmoid or without; None for any other."""
    if not isinstance(encoder, PointHead):
        return None
    net = encoder.net.last if isinstance(encoder.net, MLP) and not len(encoder.net.body) else encoder.net
    return net if isinstance(net, nn.Linear) else None
