"""Stochastic variational inference in which the guide takes steps of its own before each common one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pyro.infer
from torch import Tensor, nn
from torch.func import functional_call

from probgen.core import Pair, Terms, check_count
from probgen.objectives.elbo import Bound
from probgen.objectives.svi import SVI

GUIDE, BOTH = "guide", "both"


class LaggingInference(SVI):
    r"""SVI by turns: k steps of the guide alone, then one of model and guide.

    Early in a training the guide lags behind the model's posterior, and a strong decoder learns to do without
    the code. With steps of its own the guide keeps up. The loss is the same in all turns; in those of the
    guide the weights of the model stand still. Once the code is in use plain :class:`SVI` goes on, as a
    second stage.

    Args:
        pair, elbo: as :class:`SVI` has them.
        guide: names of the pair's modules that learn in all turns.
        steps: k, steps of the guide for each common one, 1 or more.

    Raises:
        ValueError: for a name that the pair has no module of, or one without weights.

    Source: He, Spokoyny, Neubig and Berg-Kirkpatrick (2019), Lagging inference networks and posterior
    collapse in variational autoencoders.

    >>> from probgen import models, nets
    >>> vae = models.VAE(nets.NormalHead(nets.MLP(3, 2)), nets.NormalHead(nets.MLP(2, 3)))
    >>> LaggingInference(vae, steps=3).turns
    ('guide', 'guide', 'guide', 'both')
    """

    def __init__(
        self,
        pair: Pair,
        elbo: Bound | pyro.infer.ELBO | None = None,
        *,
        guide: Sequence[str] = ("encoder",),
        steps: int,
    ) -> None:
        super().__init__(pair, elbo)
        self.turns = (GUIDE,) * check_count("steps", steps) + (BOTH,)
        self._guide = tuple(f"pair.{name}." for name in guide)
        names = [name for name, _ in self.named_parameters()]
        for own, name in zip(self._guide, guide, strict=True):
            if not any(weight.startswith(own) for weight in names):
                raise ValueError(
                    f"guide should name modules of {type(pair).__name__} that have weights but names {name!r}"
                )

    def forward(self, *batch: Tensor) -> tuple[Tensor, Terms]:
        """Return minus the bound, per datum, and its terms; in a turn of the guide the model stands still."""
        if not self.training or self.turn != GUIDE:
            return super().forward(*batch)
        still = {
            f"bound.{name}": weight.detach()
            for name, weight in self.named_parameters()
            if not name.startswith(self._guide)
        }
        return functional_call(_Forward(self), still, batch)


class _Forward(nn.Module):
    """The bound of an objective, whose weights can be put in the place of others by their names."""

    def __init__(self, bound: SVI) -> None:
        super().__init__()
        self.bound = bound

    def forward(self, *batch: Any) -> tuple[Tensor, Terms]:
        return SVI.forward(self.bound, *batch)
