"""What moves with the steps of a training: rates, scheduled buffers, whose turn it is, and averages."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau

from probgen.core import Objective
from probgen.training.parameter_groups import learning_rate_of
from probgen.training.processes import Processes
from probgen.training.schedules import Schedule

Plan = Schedule | LRScheduler


class Planned:
    """The schedules of a training, applied to its optimizer and its objective."""

    def __init__(self, plans: Mapping[str, Plan], objective: Objective, optimizer: Optimizer) -> None:
        self._setters: list[tuple[Callable[[float], object], Schedule]] = []
        self._scheduler: LRScheduler | None = None
        for name, plan in plans.items():
            if not isinstance(plan, LRScheduler):
                self._setters.append((_setter(name, objective, optimizer), plan))
                continue
            if name != "lr":
                raise ValueError(f"a torch scheduler should be called 'lr' but is called {name!r}")
            if plan.optimizer is not optimizer:
                raise ValueError(
                    f"the {type(plan).__name__} should be of the optimizer that fit is given "
                    "(optimizer=adam, schedules={'lr': Scheduler(adam)}) but is of another one"
                )
            self._scheduler = plan

    def before_step(self, step: int) -> None:
        """Write the values for the step to come."""
        for set_value, schedule in self._setters:
            set_value(schedule(step))

    def after_step(self) -> None:
        """Let a torch scheduler count the step."""
        if self._scheduler is not None and not isinstance(self._scheduler, ReduceLROnPlateau):
            self._scheduler.step()

    @property
    def waits(self) -> str:
        """The name of a scheduler that waits for weights to be judged, if there is one."""
        return "ReduceLROnPlateau" if isinstance(self._scheduler, ReduceLROnPlateau) else ""

    def after_report(self, judged: float) -> None:
        """Let a scheduler that watches a value see it."""
        if isinstance(self._scheduler, ReduceLROnPlateau):
            self._scheduler.step(judged)

    def state_dict(self) -> dict[str, Any]:
        """Return the state of the torch scheduler; functions of the step have none."""
        return {} if self._scheduler is None else self._scheduler.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take up the state of the torch scheduler."""
        if self._scheduler is not None and state:
            self._scheduler.load_state_dict(state)


class Turns:
    """The turns of an objective, and of the objectives that it is made of, each with a cycle of its own.

    What moves once a step is moved here: the objectives, and all modules in them with an ``after_step``.

    Raises:
        ValueError: for turns that are no names, or sums over processes that are no buffers.
    """

    def __init__(self, objective: Objective) -> None:
        self._parts = [part for part in objective.modules() if isinstance(part, Objective)]
        for part in self._parts:
            if not part.turns or not all(isinstance(turn, str) for turn in part.turns):
                kind = type(part).__name__
                raise ValueError(f"turns of {kind} should be names, one a step of a cycle, not {part.turns}")
        # Each module that moves once a step, inner ones first, with what it sums.
        self._moving: list[tuple[Any, tuple[str, ...]]] = []
        for module in reversed([*objective.modules()]):
            if not callable(getattr(type(module), "after_step", None)):
                continue
            summed = tuple(getattr(module, "summed", ()))
            lacks = [name for name in summed if name not in dict(module.named_buffers())]
            if lacks:
                kind = type(module).__name__
                raise ValueError(f"summed of {kind} should name its buffers but names {lacks[0]!r}")
            self._moving.append((module, summed))

    def before_step(self, step: int) -> None:
        """Say whose move it is."""
        for part in self._parts:
            if len(part.turns) > 1:
                part.turn = part.turns[step % len(part.turns)]

    @torch.no_grad()
    def after_step(self, processes: Processes) -> None:
        """Add up over processes what has been summed over the parts of a batch, and let averages move."""
        for module, summed in self._moving:
            if processes.world > 1:
                for name in summed:
                    buffer = module.get_buffer(name)
                    buffer.copy_(processes.sum(buffer))
            module.after_step()


def _setter(name: str, objective: Objective, optimizer: Optimizer) -> Callable[[float], object]:
    """Return the function that writes a scheduled value where it belongs."""
    if name == "lr" or name.startswith("lr."):
        return learning_rate_of(name.removeprefix("lr").removeprefix("."), optimizer)
    buffers = dict(objective.named_buffers())
    if name not in buffers:
        raise ValueError(
            f"a schedule should name 'lr', 'lr.GROUP' or a buffer of the objective, {list(buffers)}, "
            f"not {name!r}"
        )
    return lambda value: objective.get_buffer(name).fill_(value)  # another one where it was replaced
