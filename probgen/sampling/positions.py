"""Where chains start, and where they go wrong."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from probgen.core import Density
from probgen.sampling.metropolis import State

_TRIES = 100


@torch.no_grad()
def initial_positions(density: Density, chains: int, *, generator: torch.Generator) -> Tensor:
    r"""Draw standard normal positions (chains, \*batch, dim), each anew until its log-density is finite.

    Raises:
        ValueError: where the log-density is NaN, or no finite one is found in 100 tries, with the sites.
    """
    shape = (chains, *density.batch_shape, density.dim)
    position = torch.zeros(shape, dtype=density.dtype, device=density.device)
    missing = torch.ones(shape[:-1], dtype=torch.bool, device=density.device)
    for _ in range(_TRIES):
        fresh = torch.randn(shape, dtype=density.dtype, device=density.device, generator=generator)
        position = torch.where(missing.unsqueeze(-1), fresh, position)
        log_prob = density.unconstrained_log_prob(position)
        if log_prob.isnan().any():
            require_finite(density, State(position, log_prob))
        missing = ~log_prob.isfinite()
        if not missing.any():
            return position
    raise ValueError(
        f"no initial point with a finite log_prob was found in {_TRIES} tries; "
        f"the last one was {_named(density, position, missing)}; give init="
    )


def given_positions(density: Density, init: Tensor | Mapping[str, Tensor], chains: int) -> Tensor:
    r"""Return the positions of given values (chains, \*batch, \*event), or of a mapping of them.

    Raises:
        ValueError: for values of another shape or outside the support, with the site.
    """
    named = dict(init) if isinstance(init, Mapping) else dict.fromkeys(density.names, init)
    if set(named) != set(density.names):
        raise ValueError(f"init should name the sites {list(density.names)} but names {list(named)}")
    supports = (
        density.support if isinstance(density.support, Mapping) else {density.names[0]: density.support}
    )
    for name, value in named.items():
        shape = (chains, *density.batch_shape, *density.shapes[name])
        if value.shape != shape:
            raise ValueError(f"init of site {name!r} should have shape {shape} but has {tuple(value.shape)}")
        if not supports[name].check(value).all():
            raise ValueError(f"init of site {name!r} should be in the support {supports[name]} but is not")
    position = density.unconstrain({name: v.to(density.device, density.dtype) for name, v in named.items()})
    return position


def require_finite(density: Density | None, state: Any) -> None:
    """Raise where a state's log-density, or its gradient, is not finite, with the sites' values there."""
    wrong = ~state.log_prob.isfinite()
    if wrong.any():
        value, where = float(state.log_prob[wrong][0]), _named(density, state.position, wrong)
        raise ValueError(f"log_prob should be finite but is {value} at {where}")
    if "gradient" in state._fields and (wrong := ~state.gradient.isfinite().all(-1)).any():
        value, where = state.gradient[wrong][0].tolist(), _named(density, state.position, wrong)
        raise ValueError(f"the gradient of log_prob should be finite but is {value} at {where}")


def _named(density: Density | None, position: Tensor, wrong: Tensor) -> str:
    place = tuple(wrong.nonzero()[0].tolist())
    values = {"position": position} if density is None else density.constrain(position)
    sites = ", ".join(f"{name} = {value[place].tolist()}" for name, value in values.items())
    return f"{sites} (chain {place[0]}{''.join(f', batch row {i}' for i in place[1:])})"
