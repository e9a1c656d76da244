"""The settings that a resumed run must have in common with the run that it goes on with."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import BuiltinFunctionType, FunctionType, MethodType
from typing import Any

import numpy as np
from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import CyclicLR, LRScheduler, OneCycleLR

from probgen.core import Objective
from probgen.data.fingerprint import changed

Settings = dict[str, Any]
"""By what a sentence calls them: numbers, strings, None and lists of these."""

BUFFER = "buffer "
NUMBER_FORMS = ("fused", "foreach", "capturable", "differentiable", "params")
"""Of a parameter group: how its numbers are computed, not which."""
STATE = ("last_epoch", "best", "num_bad_epochs", "cooldown_counter", "T_cur", "T_i")
"""Of a torch scheduler: where it is, not how it goes."""


def settings_of(
    objective: Objective, optimizer: Optimizer, plans: Mapping[str, Any], given: Mapping[str, Any]
) -> Settings:
    """Return the settings of a training as they stand.

    Those are what is ``given``; the optimizer's, of each of its groups; the schedules' names, and the numbers
    of a torch scheduler; the classes of the objective's modules; the numbers in attributes of those from
    probgen and torch; and the objective's buffers of a single floating-point number. A function of the step
    is no number and may be another one: it has its say from the step on at which a run is resumed.
    """
    plans = dict(sorted(plans.items()))
    settings = dict(given)
    settings["optimizer"] = type(optimizer).__name__
    settings["schedules"] = [
        f"{name} ({type(plan).__name__})" if isinstance(plan, LRScheduler) else name
        for name, plan in plans.items()
    ]
    rates = [plan for name, plan in plans.items() if name == "lr" or name.startswith("lr.")]
    scheduled = bool(rates) and not any(isinstance(plan, LRScheduler) for plan in rates)
    moving = any(isinstance(plan, OneCycleLR | CyclicLR) for plan in plans.values())
    leave_out = ("lr", "initial_lr") if scheduled else ("momentum", "betas") if moving else ()
    settings |= _of_groups(optimizer, leave_out=leave_out)
    for plan in plans.values():
        if isinstance(plan, LRScheduler):
            settings |= _of_scheduler(type(plan).__name__, plan.state_dict())
    settings |= _of_modules(objective)
    for name, buffer in objective.named_buffers():
        if name not in plans and buffer.numel() == 1 and buffer.is_floating_point():
            settings[f"{BUFFER}{name!r}"] = float(buffer)
    return settings


def check_same(folder: Path, *, before: Settings, later: Settings, now: Settings) -> None:
    """Raise where a setting differs from that of the run in a folder.

    Args:
        folder: the run folder.
        before, later: the settings of that run as it began, and as it was saved: where a callback or a
            scheduler has moved one, the objects that it was moved in may have been given again.
        now: those of the run that goes on.
    """
    for name in before | now:
        old, new = before.get(name), now.get(name)
        moved = name.startswith(BUFFER) and not _alike(old, later.get(name))  # an average, no setting
        if moved or _alike(old, new) or _alike(later.get(name), new) or (name == "seed" and new is None):
            continue
        raise ValueError(
            f"a resumed run should have the {name} of the run in {folder}, {old}, but got {new}: to train "
            "on with another, load its weights (training.checkpoint.load_weights) and fit them in a new "
            "folder"
        )


def check_same_data(folder: Path, *, before: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    """Raise where data are seen not to be those of the run in a folder, by their fingerprints.

    Args:
        folder: the run folder.
        before, now: by what a sentence calls the data.
    """
    for name, old in before.items():
        found = changed(old, now.get(name) or [])
        if found is not None:
            raise ValueError(
                f"a resumed run should have the {name} of the run in {folder} but got others ({found}): to "
                "train on with these, load its weights (training.checkpoint.load_weights) and fit them in a "
                "new folder"
            )


def _of_groups(optimizer: Optimizer, *, leave_out: tuple[str, ...]) -> Settings:
    settings: Settings = {}
    for i, group in enumerate(optimizer.param_groups):
        which = "optimizer's" if len(optimizer.param_groups) == 1 else f"optimizer's group {i}'s"
        settings[f"{which} number of weights"] = len(group["params"])
        for name, value in group.items():
            if name in (*NUMBER_FORMS, *leave_out) or (name == "lr" and "initial_lr" in group):
                continue
            settings[f"{which} {'lr' if name == 'initial_lr' else name}"] = _plain(value)
    return settings


def _of_scheduler(name: str, state: Mapping[str, Any]) -> Settings:
    settings: Settings = {}
    for key, value in state.items():
        if key == "_schedulers":
            for i, part in enumerate(value):
                settings |= _of_scheduler(f"{name}'s part {i}", part)
        elif not key.startswith("_") and key not in STATE and _is_plain(value):
            settings[f"{name}'s {key}"] = _plain(value)
    return settings


def _of_modules(objective: Objective) -> Settings:
    classes: Settings = {}
    numbers: Settings = {}
    for name, module in objective.named_modules():
        called = repr(name) if name else "objective"
        classes[f"class of {called}"] = type(module).__name__
        if type(module).__module__.startswith(("probgen.", "torch.nn.")):
            numbers |= _of_attributes(f"{name}." if name else "", module)
    return classes | numbers


def _of_attributes(prefix: str, holder: Any, *, deep: bool = True) -> Settings:
    """Return the public attributes that are plain; of one that is an object, its class and its own."""
    settings: Settings = {}
    for key, value in _public(holder):
        if _is_plain(value):
            settings[f"{prefix}{key}"] = _plain(value)
        elif deep and not isinstance(value, type | FunctionType | MethodType | BuiltinFunctionType):
            settings[f"class of {prefix}{key}"] = type(value).__name__
            settings |= _of_attributes(f"{prefix}{key}.", value, deep=False)
    return settings


def _public(holder: Any) -> Iterator[tuple[str, Any]]:
    for key, value in getattr(holder, "__dict__", {}).items():
        if not key.startswith("_") and key not in ("training", "turn") and not isinstance(value, Tensor):
            yield key, value


def _is_plain(value: Any) -> bool:
    if isinstance(value, list | tuple):
        return all(map(_is_plain, value))
    if isinstance(value, Tensor):
        return value.numel() == 1
    return value is None or isinstance(value, bool | int | float | str | np.number)


def _plain(value: Any) -> Any:
    if isinstance(value, list | tuple):
        return [_plain(part) for part in value]
    if isinstance(value, Tensor):
        return float(value)
    if isinstance(value, np.generic):
        return value.item()
    return value if value is None or isinstance(value, bool | int | float | str) else repr(value)


def _alike(first: Any, second: Any) -> bool:
    """Say whether two settings are the same, but for rounding."""
    if isinstance(first, list) and isinstance(second, list):
        return len(first) == len(second) and all(map(_alike, first, second))
    if (
        isinstance(first, float | int)
        and isinstance(second, float | int)
        and bool not in map(type, (first, second))
    ):
        return math.isclose(first, second, rel_tol=1e-6) or (first != first and second != second)
    return type(first) is type(second) and first == second
