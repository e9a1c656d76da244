"""The hierarchical sequence VAE: a code for a whole piece of music."""

from __future__ import annotations

from probgen import nets
from probgen.models import HierarchicalSequenceVAE
from probgen.objectives import SVI, BetaELBO
from probgen.recipes.registry import Recipe, Stage, recipe
from probgen.recipes.task import Task
from probgen.training import schedules

BAR, WIDTH, TOLD, BETA = 16, 200, 64, 0.2
"""Steps of a bar, four of quarter notes; states of the networks, what a bar is told; the KL's weight."""


@recipe(
    "music-vae",
    "a VAE with one code for a whole piece, told to its bars one by one, each of which starts anew",
    source="Roberts, Engel, Raffel, Hawthorne and Eck (2018)",
    tasks=("music",),
)
def music_vae(task: Task) -> Recipe:
    """The KL's weight rises from 0 to 0.2 in the first half, as in the source: codes are asked for."""
    latent, size = task.sizes.latent, task.size
    model = HierarchicalSequenceVAE(
        nets.NormalHead(nets.SequenceReader(size, latent, width=WIDTH // 2)),
        conductor=nets.GRU(latent, TOLD),
        history=nets.History(nets.GRU(size + TOLD, WIDTH), dropout=0.5),
        decoder=nets.BernoulliHead(nets.Joined(nets.MLP(WIDTH + TOLD, size, hidden=WIDTH))),
        bar=BAR,
    ).to(task.device)
    stage = Stage(
        SVI(model, BetaELBO()),
        lambda rows: rows.fresh,
        task.sizes.budget,
        lambda steps: {"elbo.beta": schedules.linear(0.0, BETA, steps=max(1, steps // 2))},
    )
    return Recipe(model, [stage], finish=task.padded, contexts=task.train.lengths)
