"""What a user may hang into a training."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from probgen.core import Objective
from probgen.training.history import History


class Callback:
    """Called by :func:`probgen.fit` as the training goes; override the methods that you need.

    With several processes every one calls its own. What a callback draws does not change the training:
    torch's random state is put back after each call.

    >>> class StopBelow(Callback):
    ...     def __init__(self, loss):
    ...         self.loss = loss
    ...
    ...     def on_report(self, objective, history):
    ...         return history.values()[-1] < self.loss
    """

    def on_fit_start(self, objective: Objective, history: History) -> None:
        """Called before the first step, after a resume."""

    def on_step_end(self, objective: Objective, history: History) -> bool | None:
        """Called after each optimizer step; return True to end the training."""

    def on_report(self, objective: Objective, history: History) -> bool | None:
        """Called after each report, validation included; return True to end the training."""

    def on_epoch_end(self, objective: Objective, history: History) -> bool | None:
        """Called after the last step of each epoch; return True to end the training."""

    def on_fit_end(self, objective: Objective, history: History) -> None:
        """Called when the training has ended, saved, in evaluation mode and with its final weights."""


class Listeners:
    """The callbacks of a training, told of each event; ``asked``: whether one wants the end."""

    def __init__(self, callbacks: Sequence[Callback], objective: Objective, history: History) -> None:
        for callback in callbacks:
            if not isinstance(callback, Callback):
                raise TypeError(
                    f"callbacks should be training.Callback objects but hold a {type(callback).__name__}"
                )
        self.asked = False
        self._callbacks, self._objective, self._history = callbacks, objective, history

    def tell(self, event: str) -> bool:
        """Call the callbacks' method of that name, and return ``asked``."""
        if self._callbacks:
            modes = {module: module.training for module in self._objective.modules()}
            devices = {p.device.index for p in self._objective.parameters() if p.device.type == "cuda"}
            with torch.random.fork_rng(devices=sorted(devices)):
                for callback in self._callbacks:
                    self.asked |= getattr(callback, event)(self._objective, self._history) is True
            for module, mode in modes.items():
                module.training = mode
        return self.asked
