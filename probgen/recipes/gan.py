"""The generative adversarial network, and what contests of other papers share with it."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import partial

from torch import nn

from probgen import nets
from probgen.models import GAN
from probgen.objectives import Contest
from probgen.recipes.registry import Recipe, Stage, recipe
from probgen.recipes.task import Budget, Task
from probgen.training.schedules import Schedule, linear


@recipe(
    "gan",
    "a contest: a generator against a discriminator that tells its draws from data",
    source="Goodfellow et al. (2014); Mescheder et al. (2018)",
    tasks=("images", "plane"),
)
def gan(task: Task) -> Recipe:
    """The game that does not saturate, with the penalty on the slope at the data that makes it converge."""
    model, unit = game(task)
    objective = Contest(model, loss="cross-entropy", r1=0.1 * unit**2, average=0.995).to(task.device)
    rates = {"generator": 1e-3, "discriminator": 1e-3}
    budget = Budget(6000, 128 if task.kind == "images" else 256, rates["generator"])
    stage = Stage(
        objective,
        lambda rows: rows.smooth,
        budget,
        lambda steps: falling(rates, steps),
        objective.adam(rates["generator"], discriminator=rates["discriminator"]),
    )
    return Recipe(model, [stage], finish=task.from_grey)


def game(task: Task, *, bias: bool = True) -> tuple[GAN, float]:
    """Return a GAN with nets of the size of a task, and the unit of its data, one standard deviation.

    The discriminator sees data in that unit, and the generator draws in it: a weight of a gradient penalty γ
    for standardised data is γ times the squared unit. Its last layer has no ``bias`` where the loss says
    nothing of a constant. On the plane both nets have ReLU and work in a third of that unit, by which they
    learn narrow modes in a fraction of the steps that smoother activations take.
    """
    units = units_of(task)
    activation: Callable[[], nn.Module]
    hidden: tuple[int, ...]
    if task.kind == "images":  # their generator ends between black and white
        noise, hidden, activation = 32, (256, 256), partial(nn.LeakyReLU, 0.2)
        generator = task.generator(noise, hidden=hidden)
    else:
        noise, hidden, activation = 2, (128, 128, 128), nn.ReLU
        units = nets.Affine(units.shift, units.factor / 3)
        generator = nn.Sequential(nets.MLP(noise, task.size, hidden=hidden, activation=activation), units)
    net = nets.MLP(task.size, 1, hidden=hidden, activation=activation)
    if not bias:
        net.last = nn.Linear(hidden[-1], 1, bias=False)
    discriminator = nn.Sequential(units.inverse(), net)
    return GAN(generator, discriminator, noise=noise).to(task.device), float(units_of(task).factor)


def units_of(task: Task) -> nets.Affine:
    """Return the origin and the unit, one for all coordinates, in which a task's data are standardised.

    Raises ValueError for data that do not vary, or whose variance has no room in their type.
    """
    x = task.train.smooth
    variance = x.var(0, correction=min(1, len(x) - 1)).mean()
    if not 0 < float(variance) < math.inf:
        raise ValueError(
            f"a contest needs training data that vary, in a unit whose square has room in {x.dtype}, but the "
            f"variance of {task.name!r} is {float(variance):.3g} over {len(x)} rows"
        )
    return nets.Affine(x.mean(0), variance.sqrt())


def falling(rates: Mapping[str, float], steps: int) -> dict[str, Schedule]:
    """Return schedules of the players' rates: constant, then linearly to 0 in the last quarter."""
    start = 3 * steps // 4

    def of(rate: float) -> Schedule:
        fall = linear(rate, 0.0, steps=max(1, steps - start))
        return lambda step: fall(max(0, step - start))

    return {f"lr.{player}": of(rate) for player, rate in rates.items()}
