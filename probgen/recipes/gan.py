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
    """The game that does not saturate, with the penalty on the slope that makes it converge.

    On pictures a weaker one, at draws as well as at data: what is left of the game then tells fine patterns.
    """
    model, unit = game(task)
    if task.kind == "images":
        gamma, budget = 0.01 * unit**2, Budget(2000, 150, 2e-3)  # 128 leave a batch of 2 of 898 digits
        objective = Contest(model, loss="cross-entropy", r1=gamma, r2=gamma, average=0.99)
    else:
        budget = Budget(6000, 256, 1e-3)
        objective = Contest(model, loss="cross-entropy", r1=0.1 * unit**2, average=0.995)
    objective = objective.to(task.device)
    rates = dict.fromkeys(("generator", "discriminator"), budget.learning_rate)
    stage = Stage(
        objective,
        lambda rows: rows.smooth,
        budget,
        lambda steps: falling(rates, steps),
        objective.adam(budget.learning_rate),
    )
    return Recipe(model, [stage], finish=task.from_grey)


def game(task: Task, *, bias: bool = True, sharp: bool = False) -> tuple[GAN, float]:
    """Return a GAN with nets of the size of a task, and the unit of its data, one standard deviation.

    The discriminator sees data in that unit, and the generator draws in it: a weight of a gradient penalty γ
    for standardised data is γ times the squared unit. Its last layer has no ``bias`` where the loss says
    nothing of a constant. ``sharp``, of the plane: both nets have ReLU and work in a third of that unit, by
    which they learn narrow modes sooner.

    Pictures of both sides are moved by a pixel or none before they are judged, so that the discriminator does
    not learn a few of them by heart, and noise goes into draws on straight ways too, so that they vary in all
    directions from the start: few games find a direction that draws do not have.
    """
    units = units_of(task)
    activation: Callable[[], nn.Module] = partial(nn.LeakyReLU, 0.2)
    if task.kind == "images":
        assert task.image_shape is not None
        noise, hidden = 64, [256, 256]
        direct = nets.Shortcut(nets.MLP(noise, task.size, hidden=hidden))
        generator: nn.Module = nn.Sequential(direct, nn.Sigmoid())  # these end between black and white
        seen: nn.Module = nn.Sequential(nets.RandomShift(task.image_shape), units.inverse())
    else:
        noise, hidden = 2, [128, 128, 128]
        inner, net = units, task.generator(noise, hidden=hidden)
        if sharp:
            inner, activation = nets.Affine(units.shift, units.factor / 3), nn.ReLU
            net = nets.MLP(noise, task.size, hidden=hidden, activation=nn.ReLU)
        generator, seen = nn.Sequential(net, inner), inner.inverse()
    judge = nets.MLP(task.size, 1, hidden=hidden, activation=activation)
    if not bias:
        judge.last = nn.Linear(hidden[-1], 1, bias=False)
    return GAN(generator, nn.Sequential(seen, judge), noise=noise).to(task.device), float(units.factor)


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
