"""A VAE of molecules as graphs."""

from __future__ import annotations

from probgen import nets, priors
from probgen.models import VAE
from probgen.objectives import SVI, BetaELBO
from probgen.recipes.registry import Recipe, Stage, recipe
from probgen.recipes.task import Task
from probgen.training import schedules


@recipe(
    "molecule-vae",
    "a VAE of molecules as graphs: atom after atom with its bonds, which keep to valences",
    source="Simonovsky and Komodakis (2018); Liu, Allamanis, Brockschmidt and Gaunt (2018)",
    tasks=("molecules",),
)
def molecule_vae(task: Task) -> Recipe:
    """Convolutions along bonds read a molecule in any order of its atoms; it is written in the canonical one.

    The KL's weight rises from 0.02 to 1 in the first four fifths: atoms that know all before them are soon
    likely without a code.
    """
    latent, matrix = task.sizes.latent, task.bonds
    model = VAE(
        nets.NormalHead(nets.MoleculeReader(len(matrix.kinds), latent)),
        priors.Molecules(latent, valences=matrix.valences, atoms=matrix.atoms, hidden=task.sizes.hidden),
    ).to(task.device)
    stage = Stage(
        SVI(model, BetaELBO()),
        lambda rows: rows.fresh,
        task.sizes.budget,
        lambda steps: {"elbo.beta": schedules.linear(0.02, 1.0, steps=max(1, 4 * steps // 5))},
        max_gradient_norm=20.0,
    )
    return Recipe(model, [stage])
