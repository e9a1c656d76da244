"""What comes after a sequence: draws of the next steps given its past, and their density."""

from __future__ import annotations

import math
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from probgen.core import check_count, evaluating, seed_of, seeded, weights_dtype
from probgen.data import source
from probgen.evaluation.likelihood.importance import batches_in_order
from probgen.evaluation.likelihood.particle_filter import Filtered, filtered_states


@runtime_checkable
class Forecasts(Protocol):
    r"""A model of sequences that can go on from its states.

    ``ahead(x, lengths, z)`` takes states z_t, shape (draws, rows, d), and sequences that hold steps 1 to t,
    their ``lengths``, and at least one more place, (\*draws, rows, T, \*event), and returns draws of z_{t+1}
    and the law of x_{t+1} given them. The states at the end of a past come from ``filtering``, by a particle
    filter, or exactly from a method ``states_after(x, \*context, n=)`` of a model with an exact ``log_prob``.
    """

    def ahead(self, x: Tensor, lengths: Tensor, z: Tensor) -> tuple[Tensor, Any]: ...

    def steps_of(self, x: Tensor, *context: Tensor) -> Tensor: ...


@torch.no_grad()
def forecast(
    model: nn.Module,
    x: Any,
    *context: Any,
    horizon: int,
    n: int = 1000,
    seed: int | None = None,
    generator: torch.Generator | None = None,
) -> Tensor:
    r"""Draw ``n`` paths of the steps after each sequence, x_{T+1}, ..., x_{T+horizon} given x_1, ..., x_T.

    States z_T given the past are those of n particles of a filter, resampled at the end: its draws come to
    the law of z_T as n grows. From there the model's own story goes on. Of an exact model, such as
    ``HiddenMarkov``, they are exact draws.

    Args:
        model: one that can go on, as ``DeepMarkov``, ``VRNN`` and ``HiddenMarkov``; run in evaluation mode.
        x: the past, (rows, T, \*event), or ``data.Ragged``; ``context`` its lengths and, of a model which
            takes them, the steps that were seen.
        horizon: steps ahead.
        n: draws, and particles.
        seed, generator: of the draws, one at most; torch's global state where not given.

    Returns:
        shape (n, rows, horizon, \*event), such as ``crps`` and ``pit`` take for one step.

    Raises:
        TypeError: for a model that cannot go on.
        ValueError: for a past of no step, or one whose density is not finite.
    """
    going = check_forecasts(model)
    horizon, n = check_count("horizon", horizon), check_count("n", n)
    found = []
    with seeded(seed_of(seed, generator)), evaluating(model):
        for batch in _batches(model, x, context, n):
            lengths = _lengths(going, batch)
            z, path = _states(model, batch, n), _with_room(batch[0], horizon)
            for step in range(horizon):
                z, law = going.ahead(path, lengths + step, z)
                drawn = law.sample()
                if path.dim() == batch[0].dim():
                    path = path.expand(n, *path.shape)
                here = torch.arange(path.shape[2], device=path.device) == (lengths + step)[:, None]
                here = here.reshape(*here.shape, *[1] * (path.dim() - 3))
                path = torch.where(here, drawn.unsqueeze(2).to(path), path)
            places = lengths[:, None] + torch.arange(horizon, device=lengths.device)
            places = places.reshape(1, *places.shape, *[1] * (path.dim() - 3))
            found.append(path.gather(2, places.expand(n, -1, -1, *path.shape[3:])))
    return torch.cat(found, 1)


@torch.no_grad()
def forecast_log_prob(
    model: nn.Module,
    came: Any,
    x: Any,
    *context: Any,
    n: int = 1000,
    seed: int | None = None,
    generator: torch.Generator | None = None,
) -> Tensor:
    r"""Return log p(x_{T+1} | x_1, ..., x_T) of the step that came after each sequence, nats, shape (rows,).

    Of an exact model, such as ``HiddenMarkov``, it is log p(x_1, ..., x_{T+1}) − log p(x_1, ..., x_T). Of
    others it is the logarithm of the mean of p(x_{T+1} | z_{T+1}) over n states that go on from draws of z_T
    given the past; in expectation that is below the truth, by about half the relative variance of that mean.
    It is the log score of a forecast, the higher the better.

    Args:
        model, x, context, n, seed, generator: as of :func:`forecast`.
        came: x_{T+1}, shape (rows, \*event).
    """
    going = check_forecasts(model)
    n = check_count("n", n)
    wanted = torch.as_tensor(came)
    found, rows = [], 0
    with seeded(seed_of(seed, generator)), evaluating(model):
        for batch in _batches(model, x, context, n):
            own = wanted[rows : rows + len(batch[0])].to(batch[0])
            _check_came(wanted, own, batch[0])
            rows += len(own)
            lengths = _lengths(going, batch)
            if hasattr(model, "states_after"):
                after = _past(model, _longer(batch, own, lengths), finite=False)
                found.append(after - _past(model, batch))
                continue
            _, law = going.ahead(_with_room(batch[0], 1), lengths, _states(model, batch, n))
            found.append(law.log_prob(own).logsumexp(0) - math.log(n))
    if rows != len(wanted):
        raise ValueError(f"came should have a row for each of the {rows} sequences but has {len(wanted)}")
    return torch.cat(found)


def check_forecasts(model: Any) -> Forecasts:
    """Return a model that can go on from its states; raise where it cannot."""
    if not isinstance(model, Forecasts) or not (
        hasattr(model, "states_after") or isinstance(model, Filtered)
    ):
        raise TypeError(
            f"model should go on from its states, by methods 'ahead' and 'filtering', which "
            f"{type(model).__name__} has not"
        )
    return model


def _batches(model: Any, x: Any, context: tuple[Any, ...], n: int) -> Any:
    data = source((x, *context) if context else x, name="x", dtype=weights_dtype(model))
    return batches_in_order(model, data, -(-n // 100))


def _lengths(model: Forecasts, batch: tuple[Tensor, ...]) -> Tensor:
    """Return how many steps each past has; raise where it has none, or more than there are."""
    lengths, steps = model.steps_of(*batch), batch[0].shape[1]
    if not bool(((lengths >= 1) & (lengths <= steps)).all()):
        raise ValueError(
            f"lengths of pasts should be 1 to the {steps} steps of x but go from {int(lengths.min())} to "
            f"{int(lengths.max())}"
        )
    return lengths


def _states(model: Any, batch: tuple[Tensor, ...], n: int) -> Tensor:
    """Draw the states at the end of each past given it."""
    if hasattr(model, "states_after"):
        _past(model, batch)
        return model.states_after(*batch, n=n)
    z, evidence = filtered_states(model, batch, n)
    _check_finite(evidence)
    return z


def _past(model: Any, batch: tuple[Tensor, ...], finite: bool = True) -> Tensor:
    """Return log p(x_1, ..., x_T) of an exact model; raise where it should be finite and is not."""
    evidence: Tensor = model.log_prob(*batch)
    if finite:
        _check_finite(evidence)
    return evidence


def _check_finite(evidence: Tensor) -> None:
    if not torch.isfinite(evidence).all():
        wrong = float(evidence[~torch.isfinite(evidence)][0])
        raise ValueError(
            f"log p(x) of a past should be finite but is {wrong}: what the model rules out has no forecast"
        )


def _check_came(came: Tensor, own: Tensor, x: Tensor) -> None:
    if own.shape != (len(x), *x.shape[2:]):
        raise ValueError(
            f"came should have a row for each sequence of x, of shape {tuple(x.shape[2:])}, but has shape "
            f"{tuple(came.shape)}"
        )


def _longer(batch: tuple[Tensor, ...], came: Tensor, lengths: Tensor) -> tuple[Tensor, ...]:
    """Return pasts with the step that came, seen, behind each."""
    x, rows = _with_room(batch[0], 1), torch.arange(len(came), device=came.device)
    x[rows, lengths] = came
    if len(batch) < 3:
        return x, lengths + 1
    seen = torch.cat([batch[2], batch[2].new_zeros(len(came), 1)], 1)
    seen[rows, lengths] = True
    return x, lengths + 1, seen


def _with_room(x: Tensor, steps: int) -> Tensor:
    """Return sequences with so many places more, 0."""
    return torch.cat([x, x.new_zeros(len(x), steps, *x.shape[2:])], 1)
