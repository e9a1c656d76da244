"""Deep Markov models: states that go on by themselves, and states above a recurrent network."""

from __future__ import annotations

from torch import nn

from probgen import nets
from probgen.models import DeepMarkov
from probgen.recipes.registry import Recipe, recipe
from probgen.recipes.task import Task
from probgen.recipes.vrnn import WIDTH, annealed


def _after(latent: int, others: int, outputs: int) -> nets.Joined:
    """Return a net of a state and of others that grows no faster than these: else a path can run away."""
    state = nn.Sequential(nn.Linear(latent, latent), nn.Tanh())
    return nets.Joined(nets.MLP(latent + others, outputs, hidden=WIDTH), state, None)


@recipe(
    "dmm",
    "deep Markov model: a path of states, whose guide has read all that is to come",
    source="Krishnan, Shalit and Sontag (2017)",
    tasks=("music",),
)
def dmm(task: Task) -> Recipe:
    """A gated transition; the mean of the guide is what it adds to that of the transition.

    The states are all that it remembers, and are left unused where their KL costs much before they are good
    for anything: its weight rises slowly. Of the first 16 steps of validation chorales 250 steps of training
    left 8.6 nats a step so, with 1.6 nats of KL, and 9.0 with 1.3 where it rises as in 'vrnn'.
    """
    latent = task.sizes.latent
    model = DeepMarkov(
        nets.GatedTransition(latent, hidden=WIDTH),
        nets.BernoulliHead(nets.MLP(latent, task.size, hidden=WIDTH)),
        reader=nets.GRU(task.size, WIDTH, backward=True),
        guide_step=nets.NormalHead(_after(latent, WIDTH, latent)),
        latent=latent,
        residual=True,
    )
    return annealed(model, task, start=0.02, share=0.8)


@recipe(
    "srnn",
    "a path of states above a recurrent network, whose guide has read all that is to come",
    source="Fraccaro and others (2016)",
    tasks=("music",),
)
def srnn(task: Task) -> Recipe:
    """As 'dmm', with a recurrence over x below the states, half of which is left out in training."""
    latent, size = task.sizes.latent, task.size
    model = DeepMarkov(
        nets.NormalHead(_after(latent, WIDTH, latent)),
        nets.BernoulliHead(nets.Joined(nets.MLP(latent + WIDTH, size, hidden=WIDTH))),
        reader=nets.GRU(size + WIDTH, WIDTH, backward=True),
        guide_step=nets.NormalHead(_after(latent, WIDTH, latent)),
        latent=latent,
        history=nets.History(nets.GRU(size, WIDTH), dropout=0.5),
        residual=True,
    )
    return annealed(model, task)
