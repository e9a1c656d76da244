"""Whether a conditional decoder makes use of both its inputs, the code and the context."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import torch
from torch import Tensor

from probgen.core import Coded, Estimate, check_count, seed_of, seeded, tensor_of, weights_dtype


class InputUse(NamedTuple):
    """What it costs, in nats per datum, to give the decoder the code or the context of another datum."""

    code: Estimate
    context: Estimate


@torch.no_grad()
def input_use(
    model: Coded,
    x: Any,
    *context: Any,
    draws: int = 10,
    seed: int | None = None,
    generator: torch.Generator | None = None,
) -> InputUse:
    r"""Return the nats that x loses where its code, or its context, is that of another datum.

    With z_i ~ q(z | x_i, c_i) and another row π(i), drawn anew for each draw of z, these are the means of
    log p(x_i | z_i, c_i) − log p(x_i | z_π(i), c_i) and of log p(x_i | z_i, c_i) − log p(x_i | z_i, c_π(i)).
    An input that costs nothing is not used: a code that has collapsed, or a context that the code tells
    already. Rows may share a context, such as a class; then π changes it for the others alone.

    Args:
        model: with ``encode(x, *context)`` and ``decode(z, *context)``.
        x: data, shape (n, \*event), n >= 2; rows that the model has not seen say more.
        context: what both are given beside, each with n rows; all are shuffled together.
        draws: of z, for each row.
        seed, generator: of the draws and shuffles, one at most; seed 0 where not given.

    Returns:
        estimates with standard errors over data, ``code`` and ``context``.

    Raises:
        ValueError: without a context, for fewer than two rows, other numbers of rows in the context, a law of
            x whose rows are not one event each, and x outside the support of the laws by some inputs.
    """
    if not isinstance(model, Coded):
        raise TypeError(f"model should have encode and decode, as a VAE has, but is a {type(model).__name__}")
    draws = check_count("draws", draws)
    if not context:
        raise ValueError("context should be given, what the decoder is told beside the code, but is not")
    dtype = weights_dtype(model) if isinstance(model, torch.nn.Module) else None
    x, context = tensor_of(x, "x", dtype=dtype), tuple(tensor_of(c, "context", dtype=dtype) for c in context)
    if len(x) < 2:
        raise ValueError(f"x should have at least 2 rows, to shuffle, but has {len(x)}")
    for place, part in enumerate(context, 1):
        if len(part) != len(x):
            raise ValueError(f"context {place} should have {len(x)} rows, as x, but has {len(part)}")
    code, told = x.new_zeros(len(x), dtype=torch.float64), x.new_zeros(len(x), dtype=torch.float64)
    with seeded(seed_of(seed, generator, default=0)):
        law = model.encode(x, *context)
        for _ in range(draws):
            z, other = law.sample(), _another(len(x)).to(x.device)
            whole = _log_prob(model, x, z, context)
            code += whole - _log_prob(model, x, z[other], context)
            told += whole - _log_prob(model, x, z, tuple(part[other] for part in context))
    return InputUse(_estimate(code / draws), _estimate(told / draws))


def _log_prob(model: Coded, x: Tensor, z: Tensor, context: tuple[Tensor, ...]) -> Tensor:
    """Return log p(x | z, c) of each row, (n,), in float64."""
    found = model.decode(z, *context).log_prob(x).double()
    if found.shape != (len(x),):
        raise ValueError(
            f"log p(x | z, c) should be one number a row, ({len(x)},), but has shape {tuple(found.shape)}: "
            "let decode return a law whose event is a row of x, as by .to_event(1)"
        )
    if not found.isfinite().all():
        row = int((~found.isfinite()).nonzero()[0])
        raise ValueError(
            f"log p(x | z, c) should be finite but is {float(found[row])} at row {row} of x: by some code or "
            "context x is outside the support of its law, and costs infinitely much"
        )
    return found


def _another(n: int) -> Tensor:
    """Return another row for each of n, drawn evenly from the permutations of one cycle."""
    order = torch.randperm(n)
    return torch.empty_like(order).scatter_(0, order, order.roll(1))


def _estimate(values: Tensor) -> Estimate:
    return Estimate(float(values.mean()), float(values.std() / math.sqrt(len(values))))
