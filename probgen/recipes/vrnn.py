"""The variational recurrent network."""

from __future__ import annotations

from torch import Tensor

from probgen import nets, priors
from probgen.core import Pair
from probgen.models import VAE, VRNN
from probgen.objectives import SVI, BetaELBO, StepwiseIWAE
from probgen.recipes.registry import Recipe, Stage, recipe
from probgen.recipes.task import Budget, Rows, Task
from probgen.training import schedules

WIDTH = 200
"""Of the states of a recurrence, and of hidden layers."""

KINDS, STEPS_OF_EM = 256, 15
"""Of chords whose codes a prior weighs, and steps of expectation maximisation in which they are found."""


@recipe(
    "vrnn",
    "variational recurrent network: a code at each step, given all that came before",
    source="Chung and others (2015)",
    tasks=("music",),
    by_default=True,
)
def vrnn(task: Task) -> Recipe:
    """A recurrence over x alone; half of what it remembers is left out in training."""
    return annealed(_pair(task), task)


@recipe(
    "vrnn-iwae",
    "the variational recurrent network, learned by several weighted draws of each step's code",
    source="Chung and others (2015); Burda, Grosse and Salakhutdinov (2016); Maddison and others (2017)",
    tasks=("music",),
)
def vrnn_iwae(task: Task) -> Recipe:
    """As 'vrnn', by the bound of five draws a step; of 1,500 steps the best weights were those of 615.

    In all keys (``data.Transposed``) it had learned less after 800 steps, 7.5 nats a step where it had 6.5.
    """
    pair = _pair(task).to(task.device)
    budget = task.sizes.budget._replace(steps=1500)
    stage = Stage(SVI(pair, StepwiseIWAE(5)), lambda rows: rows.fresh, budget, max_gradient_norm=20.0)
    return Recipe(pair, [stage], finish=task.padded, contexts=task.train.lengths)


@recipe(
    "vrnn-vamp",
    "the variational recurrent network whose prior says which of 256 kinds of codes comes next",
    source="Chung and others (2015); Tomczak and Welling (2018)",
    tasks=("music",),
)
def vrnn_vamp(task: Task) -> Recipe:
    """After a chord one of several may come, which one normal law of the code cannot say.

    The prior is a mixture of the guide's laws at pseudo-chords, which start as those of a mixture that
    expectation maximisation finds; its weights know what came before, the guide a chord alone. First chords
    by themselves are learned, with nothing remembered: that is quick, and codes are in use from the start.
    """
    latent, size = task.sizes.latent, task.size
    chords = task.train.x[task.train.inside]
    kinds = nets.BernoulliMixtureHead(nets.MLP(WIDTH, KINDS, hidden=()), size).to(task.device)
    kinds.start_at(chords)
    kinds.fit_em(chords, iterations=STEPS_OF_EM)
    code = nets.NormalHead(nets.MLP(size, latent, hidden=WIDTH)).to(task.device)
    pair = VRNN(
        nets.History(nets.GRU(size, WIDTH), dropout=0.5),
        prior=priors.Vamp(code, KINDS, data=kinds.templates.sigmoid(), weights=kinds.net),
        encoder=nets.WithoutContext(code),
        decoder=nets.BernoulliHead(nets.Joined(nets.MLP(latent + WIDTH, size, hidden=WIDTH))),
    )
    whole = annealed(pair, task, start=1.0)
    alone = VAE(pair.encoder, pair.decoder, pair.prior)

    def by_themselves(rows: Rows) -> tuple[Tensor, Tensor]:
        x = rows.x[rows.inside]
        return x, x.new_zeros(len(x), WIDTH)

    first = Stage(
        SVI(alone, BetaELBO()),
        by_themselves,
        Budget(800, 256, 3e-3),
        lambda steps: {"elbo.beta": schedules.linear(0.1, 1.0, steps=max(1, steps // 2))},
    )
    return Recipe(pair, [first, *whole.stages], finish=task.padded, contexts=task.train.lengths)


def _pair(task: Task) -> VRNN:
    latent, size = task.sizes.latent, task.size
    return VRNN(
        nets.History(nets.GRU(size, WIDTH), dropout=0.5),
        prior=nets.NormalHead(nets.MLP(WIDTH, latent, hidden=WIDTH)),
        encoder=nets.NormalHead(nets.Joined(nets.MLP(size + WIDTH, latent, hidden=WIDTH))),
        decoder=nets.BernoulliHead(nets.Joined(nets.MLP(latent + WIDTH, size, hidden=WIDTH))),
    )


def annealed(pair: Pair, task: Task, *, start: float = 0.3, share: float = 0.25) -> Recipe:
    """Return a recipe of a pair of sequences, the KL's weight rising from ``start`` to 1 in a share of steps.

    Gradients are cut: along a path of states they, and then the states, can grow from step to step.
    """
    stage = Stage(
        SVI(pair.to(task.device), BetaELBO()),
        lambda rows: rows.fresh,
        task.sizes.budget,
        lambda steps: {"elbo.beta": schedules.linear(start, 1.0, steps=max(1, int(share * steps)))},
        max_gradient_norm=20.0,
    )
    return Recipe(pair, [stage], finish=task.padded, contexts=task.train.lengths)
