"""Metropolis–Hastings with any proposal: a conditional law, or one law for all positions."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

import pyro
import torch
from torch import Tensor
from torch.distributions import Distribution

from probgen.core import Density, Transition, drawing_from
from probgen.core.supports import support_of
from probgen.sampling.markov.moves.metropolis import Info, choose, judge, standard_uniform
from probgen.sampling.markov.moves.saved_states import saved

Proposal = Callable[[Any], Distribution | Mapping[str, Distribution]]
"""From values, (\\*chains, \\*batch, \\*event), to the law of the values proposed."""


@saved
class ValueState(NamedTuple):
    r"""Positions, their log-density on the unconstrained scale, and log |det ∂T/∂u| there."""

    position: Tensor
    log_prob: Tensor
    log_volume: Tensor


def metropolis_hastings(density: Density, proposal: Proposal) -> Transition:
    r"""Return the transition y ~ q(· | x), accepted with min(1, π(y) q(x | y) / (π(x) q(y | x))).

    Values and laws are on the constrained scale, that of ``density.log_prob``: a walk on a positive number
    may be ``lambda x: LogNormal(x.log(), 0.3)``. Each chain, and each member of the density's batch, is
    accepted on its own. A value proposed outside the support is refused.

    Args:
        density: the target π, continuous or discrete.
        proposal: from values x, (\*chains, \*batch, \*event), to the law q(· | x), of the density's event
            shape. Where the density has several sites, from a mapping of values by site to a mapping of
            laws, from which sites are drawn independently.

    Raises:
        ValueError: for laws of another event shape or other sites.

    See Hastings (1970), Monte Carlo sampling methods using Markov chains and their applications.

    >>> from torch.distributions import Gamma, LogNormal
    >>> density = Density.from_distribution(Gamma(3.0, 1.0))
    >>> init, step = metropolis_hastings(density, lambda x: LogNormal(x.log(), 0.5))
    >>> state, info = step(init(torch.zeros(4, 1)), torch.Generator().manual_seed(0))
    >>> state.position.shape, info.acceptance.shape
    (torch.Size([4, 1]), torch.Size([4]))
    """
    supports = _by_site(density, density.support)

    def laws_at(values: Mapping[str, Tensor], leading: torch.Size) -> dict[str, Distribution]:
        laws = _by_site(density, proposal(_as_asked(density, values)))
        _check_laws(density, laws)
        return {n: law if law.batch_shape == leading else law.expand(leading) for n, law in laws.items()}

    def evaluate(position: Tensor, values: Mapping[str, Tensor]) -> ValueState:
        log_volume = density.log_volume(position)
        return ValueState(position, density.log_prob(_as_asked(density, values)) + log_volume, log_volume)

    def init(position: Tensor) -> ValueState:
        return evaluate(position, density.constrain(position))

    @pyro.validation_enabled(False)
    def step(state: ValueState, generator: torch.Generator) -> tuple[ValueState, Info]:
        leading = state.log_prob.shape
        present = density.constrain(state.position)
        # Propose x' ~ q(x' | x), for all chains at once.
        forward = laws_at(present, leading)
        with drawing_from(generator):
            drawn = {name: law.sample() for name, law in forward.items()}
        # What is outside of the support counts as density 0; the present value stands in, so that the
        # log-density can be computed.
        inside = _all(support.check(drawn[name]) for name, support in supports.items())
        values = {
            name: torch.where(
                inside.reshape(*leading, *[1] * len(shape)),
                drawn[name].to(present[name].dtype),
                present[name],
            )
            for name, shape in density.shapes.items()
        }
        # log p(x') + log q(x | x') − log p(x) − log q(x' | x): laws of values, so without the volumes of the
        # map to positions.
        proposed = evaluate(density.unconstrain(values).to(state.position.dtype), values)
        log_prob = proposed.log_prob.where(inside, -torch.inf)
        log_ratio = (log_prob - proposed.log_volume) - (state.log_prob - state.log_volume)
        log_ratio += _log_prob(laws_at(values, leading), present, drawn) - _log_prob(forward, values, drawn)
        info = judge(log_ratio, log_prob, standard_uniform(state.log_prob, generator))
        return choose(info.accepted, proposed, state), info

    return Transition(init, step)


def independence(density: Density, proposal: Distribution | Mapping[str, Distribution]) -> Transition:
    r"""Return the transition y ~ q, accepted with min(1, π(y) q(x) / (π(x) q(y))).

    The weight π/q should be bounded, so that q has the heavier tails: else a chain that comes to where it is
    great stays there for long, and for ever where q is 0. With a bound M on π/q, both normalised, the law of
    the chains is within (1 − 1/M)ᵏ of π after k steps, in total variation (Mengersen and Tweedie, 1996).

    Args:
        density: the target π.
        proposal: the law q, on the constrained scale; a mapping of laws where the density has several sites.
            Its batch shape is () or the density's.

    Raises:
        ValueError: for a law of another event shape or other sites.

    See Tierney (1994), Markov chains for exploring posterior distributions.

    >>> from torch.distributions import Gamma, LogNormal
    >>> density = Density.from_distribution(LogNormal(0.0, 0.5))
    >>> init, step = independence(density, Gamma(2.0, 2.0))
    >>> state, info = step(init(torch.zeros(4, 1)), torch.Generator().manual_seed(0))
    >>> bool((info.acceptance > 0.5).any())
    True
    """
    return metropolis_hastings(density, lambda _: proposal)


def _by_site(density: Density, given: Any) -> dict[str, Any]:
    return dict(given) if isinstance(given, Mapping) else dict.fromkeys(density.names, given)


def _as_asked(density: Density, values: Mapping[str, Tensor]) -> Any:
    """Return values as a mapping where the density takes one, else the value of its only site."""
    return values if isinstance(density.support, Mapping) else values[density.names[0]]


def _check_laws(density: Density, laws: Mapping[str, Distribution]) -> None:
    if laws.keys() != density.shapes.keys():
        raise ValueError(f"proposal should have laws of the sites {list(density.names)} but has {list(laws)}")
    for name, law in laws.items():
        if law.event_shape != density.shapes[name]:
            raise ValueError(
                f"proposal of site {name!r} should have event shape {tuple(density.shapes[name])} "
                f"but has {tuple(law.event_shape)}"
            )


def _log_prob(
    laws: Mapping[str, Distribution], values: Mapping[str, Tensor], drawn: Mapping[str, Tensor]
) -> Tensor:
    """Return the joint log-density of independent laws, of values in the types that they draw.

    It is −∞ outside their supports, where some laws give a number.
    """
    values = {name: values[name].to(draw.dtype) for name, draw in drawn.items()}
    inside = _all(support_of(law).check(values[name]) for name, law in laws.items())
    parts = torch.stack([law.log_prob(values[name]) for name, law in laws.items()])
    return parts.sum(0).where(inside, -torch.inf)


def _all(flags: Iterable[Tensor]) -> Tensor:
    return torch.stack(list(flags)).all(0)
