"""Which parts of an objective are in training mode during a training."""

from __future__ import annotations

from collections.abc import Iterator
from weakref import WeakSet

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from probgen.core import Objective

_KEPT: WeakSet[nn.Module] = WeakSet()
"""What earlier trainings kept in evaluation mode, in which they leave all of an objective."""


class Modes:
    """The parts of an objective that stay in evaluation mode while the others are trained.

    A part stays in it where it learns nothing and was put there on purpose: where it has weights, all of
    them frozen, or where it has none and what it is a part of is in training mode, or stays too.
    """

    def __init__(self, objective: Objective) -> None:
        self._objective = objective
        for module in objective.modules():
            if module.training:
                _KEPT.discard(module)
        self._kept = list(dict.fromkeys(_kept(objective, put_by_itself=False)))
        _KEPT.update(self._kept)

    def train(self) -> None:
        """Put the objective in training mode, but for what stays in evaluation mode."""
        self._objective.train()
        for module in self._kept:
            if not _learns(module):
                module.eval()

    def batch_normalisation(self, *, training: bool = True) -> str | None:
        """Name a part that normalises by the statistics of its batch, for which one row is too few."""
        kept = set(self._kept) if training else set(self._objective.modules())
        for name, module in self._objective.named_modules():
            if isinstance(module, _BatchNorm) and (module not in kept or module.running_mean is None):
                return name
        return None


def _kept(module: nn.Module, *, put_by_itself: bool) -> Iterator[nn.Module]:
    """Yield the parts that stay in evaluation mode; ``put_by_itself``: not along with the whole."""
    stays = (
        not module.training
        and not _learns(module)
        and (put_by_itself or module in _KEPT or next(module.parameters(), None) is not None)
    )
    if stays:
        yield module
    for part in module.children():
        yield from _kept(part, put_by_itself=stays or module.training)


def _learns(module: nn.Module) -> bool:
    return any(weight.requires_grad for weight in module.parameters())
