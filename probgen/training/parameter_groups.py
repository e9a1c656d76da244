"""Groups of an optimizer's parameters, which may have names: their learning rates, their clipping."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from torch import Tensor, nn
from torch.optim import Optimizer


def names_of(optimizer: Optimizer) -> list[str]:
    """Return the names of the groups that have one.

    Raises:
        ValueError: for a name that is given twice.
    """
    names = [group["name"] for group in optimizer.param_groups if "name" in group]
    twice = [name for name in names if names.count(name) > 1]
    if twice:
        raise ValueError(f"groups of parameters should have different names but two are called {twice[0]!r}")
    return names


def learning_rate_of(name: str, optimizer: Optimizer) -> Callable[[float], None]:
    """Return what sets the learning rate of the group of that name, or of all groups for an empty name."""
    names = names_of(optimizer)
    if name and name not in names:
        raise ValueError(
            f"a schedule 'lr.NAME' should name a group of the optimizer's parameters, {names}, not {name!r}: "
            "torch.optim.Adam([{'params': ..., 'name': NAME}, ...])"
        )

    def set_rate(value: float) -> None:
        for group in optimizer.param_groups:  # others once a state has been loaded
            if not name or group.get("name") == name:
                group["lr"] = pythons(value)

    return set_rate


def pythons(value: Any) -> Any:
    """Return a number of NumPy's as Python's, in which a resumed training has it; all else as it is."""
    return value.item() if isinstance(value, np.generic) else value


def clipped(optimizer: Optimizer, most: float) -> dict[str, Tensor]:
    """Scale gradients down to a norm, and return the norms before, as terms.

    Groups with names, those of players, are clipped each by itself, and all others together. A group that has
    no gradient waits and has no term.
    """
    together: list[nn.Parameter] = []
    by_name: dict[str, list[nn.Parameter]] = {}
    for group in optimizer.param_groups:
        own = by_name.setdefault(f"gradient_norm/{group['name']}", []) if "name" in group else together
        own.extend(group["params"])
    groups = {"gradient_norm": together} | by_name
    return {
        name: nn.utils.clip_grad_norm_(parameters, most).detach()
        for name, parameters in groups.items()
        if any(parameter.grad is not None for parameter in parameters)
    }
