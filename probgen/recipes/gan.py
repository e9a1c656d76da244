"""The generative adversarial network, and what contests of other papers share with it."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial

import torch
from torch import nn

from probgen import nets
from probgen.data.batches import check_finite
from probgen.models import GAN
from probgen.objectives import Contest
from probgen.recipes.registry import Recipe, Stage, recipe
from probgen.recipes.task import Budget, Task
from probgen.training.schedules import Schedule, linear

GAIN = 1.7
"""Deviation of initial weights times √inputs, by which layers of SiLU keep the variance of what they see."""


@recipe(
    "gan",
    "a contest: a generator against a discriminator that tells its draws from data",
    source="Goodfellow et al. (2014); Mescheder et al. (2018)",
    tasks=("images", "plane"),
    by_default=True,
)
def gan(task: Task) -> Recipe:
    """The game that does not saturate, with the penalty on the slope at the data that makes it converge."""
    model, unit = game(task)
    images = task.kind == "images"
    gamma = (1.0 if images else 0.1) * unit**2
    objective = Contest(model, loss="cross-entropy", r1=gamma, average=0.995).to(task.device)
    # Batches of 150: of 898 digits 128 would leave two for one step in eight.
    steps = 1500 if task.few_images else 2000
    budget = Budget(steps, 150, 2e-3) if images else Budget(6000, 256, 1e-3)
    rates = {"generator": budget.learning_rate, "discriminator": budget.learning_rate}
    stage = Stage(
        objective,
        lambda rows: rows.smooth,
        budget,
        lambda steps: falling(rates, steps),
        objective.adam(rates["generator"], discriminator=rates["discriminator"]),
    )
    return Recipe(model, [stage], finish=task.from_grey)


def game(task: Task, *, bias: bool = True, signs: int = 0) -> tuple[GAN, float]:
    """Return a GAN with nets of the size of a task, and the unit of its data, one standard deviation.

    The discriminator sees data in that unit, and the generator draws in it: a weight of a gradient penalty γ
    for standardised data is γ times the squared unit. Its last layer has no ``bias`` where the loss says
    nothing of a constant, and beside the noise of the plane there are ``signs``, by which draws need no
    bridges from mode to mode. On the plane both nets have ReLU and work in a third of that unit, by which
    they learn narrow modes in a fraction of the steps that smoother activations take.
    """
    units = units_of(task)
    activation: Callable[[], nn.Module]
    hidden: tuple[int, ...]
    if task.kind == "images":  # their generator ends between black and white
        noise, hidden, activation = 32, (256, 256), partial(nn.LeakyReLU, 0.2)
        generator = varied(task, noise, hidden=hidden)
    else:
        noise, hidden, activation = 2 + signs, (128, 128, 128), nn.ReLU
        units = nets.Affine(units.shift, units.factor / 3)
        net = nets.MLP(noise, task.size, hidden=hidden, activation=activation)
        cut = [nets.Signs(noise, signs=signs)] if signs else []
        generator = nn.Sequential(*cut, net, units)
    net = nets.MLP(task.size, 1, hidden=hidden, activation=activation)
    if not bias:
        net.last = nn.Linear(hidden[-1], 1, bias=False)
    discriminator = nn.Sequential(units.inverse(), net)
    return GAN(generator, discriminator, noise=noise).to(task.device), float(units_of(task).factor)


def varied(task: Task, inputs: int, *, hidden: Sequence[int]) -> nn.Module:
    """Return a generator of pictures from standard numbers, whose first draws are about as varied as data.

    By torch's initial weights they are a twentieth as far from each other as digits are: a point, from which
    a contest does not reach the rest of the data again.
    """
    generator = task.generator(inputs, hidden=hidden)
    layers = [layer for layer in generator.modules() if isinstance(layer, nn.Linear)]
    for layer in layers:
        nn.init.normal_(layer.weight, std=GAIN / math.sqrt(layer.in_features))
        nn.init.zeros_(layer.bias)
    with torch.no_grad():  # near the mean picture, none of whose pixels is out of reach
        layers[-1].bias.copy_(task.train.smooth.mean(0).clamp(0.02, 0.98).logit())
    return generator


def units_of(task: Task) -> nets.Affine:
    """Return the origin and the unit, one for all coordinates, in which a task's data are standardised.

    Raises ValueError for data that are not finite, that do not vary, or whose variance has no room in their
    type.
    """
    x = task.train.smooth
    check_finite(x, f"the training data of {task.name!r}")
    variance = x.var(0, correction=min(1, len(x) - 1)).mean()
    if not 0 < float(variance) < math.inf:
        raise ValueError(
            f"a contest needs training data that vary, in a unit whose square has room in {x.dtype}, but the "
            f"variance of {task.name!r} is {float(variance):.3g} over {len(x)} rows"
        )
    return nets.Affine(x.mean(0), variance.sqrt())


def falling(rates: Mapping[str, float], steps: int) -> dict[str, Schedule]:
    """Return schedules of the players' rates, each as :func:`falling_rate` has it."""
    return {f"lr.{player}": falling_rate(rate, steps) for player, rate in rates.items()}


def falling_rate(rate: float, steps: int) -> Schedule:
    """Return a rate that is constant, then falls linearly to 0 in the last quarter."""
    start = 3 * steps // 4
    fall = linear(rate, 0.0, steps=max(1, steps - start))
    return lambda step: fall(max(0, step - start))
