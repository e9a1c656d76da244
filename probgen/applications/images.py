"""Pictures: what five kinds of models draw, beside real pictures and beside copies of the training data."""

from __future__ import annotations

import functools
from dataclasses import replace

import torch
from torch import Tensor

from probgen import plots, recipes
from probgen.applications.frame.registry import application
from probgen.applications.frame.study import Study
from probgen.compare.metrics import COLUMNS, select
from probgen.compare.trial import FLOOR, MEMORISER, Known, outcome, seeds_of
from probgen.compare.units import units_of_data
from probgen.core import Coded
from probgen.recipes import Recipe
from probgen.recipes.compared import features, fitted
from probgen.training import History

RECIPES = ("vae", "hierarchical-vae", "vq-vae", "gan", "gmmn")

MEASURES = (
    "frechet",
    "kernel_distance",
    "precision",
    "recall",
    "density",
    "coverage",
    "nn_ratio",
    "copying_z",
    "authenticity",
    "nll",
)
FEATURES = ("frechet", "kernel_distance")
SHOWN = 10
"""Pictures in a row of a grid, which has as many rows."""


@application(
    "images",
    "Pictures drawn by five kinds of models",
    data="pictures: a folder of them, of one size, a class for each of its folders, or a .npy of grey levels",
    shipped=("mnist", "digits"),
    measures={name: COLUMNS[name] for name in MEASURES},
)
def images(study: Study) -> None:
    """Train each recipe anew in each repeat, judge its draws, and show what is nearest to them."""
    task = recipes.load(study.source, device=study.device)
    if task.image_shape is None:
        raise ValueError(f"images should be pictures but {str(study.source)!r} holds none")
    n, rows = study.pick(full=(2000, len(task.train)), quick=(300, 2000), tiny=(40, 500))
    task = replace(task, train=task.train.part(slice(rows)))
    repeats = study.pick(full=3, quick=2, tiny=2)
    steps = study.pick(full=2000, quick=100, tiny=2)
    reference, train = task.test.complete[:n], task.train.complete
    learned = features(task, study.seed)
    chosen = select([name for name in MEASURES if learned is not None or name not in FEATURES])
    for key, value in task.facts.items():
        study.fact("version" if key == "data" else key, value)
    study.fact("training", f"{steps} steps of each stage; the first {len(train):,} pictures")
    study.fact("judged", f"{n} draws against {len(reference):,} held-out pictures, features: {learned}")
    entries = recipes.entries("images")
    for name in RECIPES:
        study.ours(name, f"{entries[name].what}: {entries[name].source}.")
    study.baseline(MEMORISER, "Training pictures drawn with replacement: the best that copying can do.")
    study.baseline(FLOOR, "Real pictures judged as if they were drawn.", floor=True)

    @functools.cache
    def trained(name: str, repeat: int) -> tuple[Recipe, list[History]]:
        seed = study.seed_of(name, repeat)
        return study.train(
            f"{name}-{repeat}", lambda: recipes.make(name, task), task, seed=seed, steps=steps, method=name
        )

    def judged(name: str, repeat: int) -> dict[str, float]:
        method = None
        if name in RECIPES:
            particles = study.pick(full=100, quick=20, tiny=2)
            recipe, histories = trained(name, repeat)
            method = fitted(recipe, task, histories, seed=study.seed_of(name, repeat), particles=particles)
        found = outcome(
            name,
            method,
            reference,
            train,
            n,
            seeds_of(study.seed, repeat, name),
            units_of_data(None, reference, train),
            (None, None),
            chosen,
            Known(features=learned),
            kept=False,
        )
        study.find(name, found.findings)
        return {measure: value for measure, value in found.values.items() if measure in MEASURES}

    for repeat in range(repeats):
        for name in study.methods:
            study.measure(name, repeat, functools.partial(judged, name, repeat))
    draws = {name: trained(name, 0)[0].sample(SHOWN**2, seed=study.seed) for name in RECIPES}
    _show(study, task, draws, trained("vae", 0)[0])


def _show(study: Study, task: recipes.Task, draws: dict[str, Tensor], vae: Recipe) -> None:
    """Draw grids, interpolations between codes, and the training pictures nearest to draws."""
    shape = task.image_shape
    assert shape is not None
    real, train = task.test.complete, task.train.complete
    study.figure(
        "samples",
        plots.image_grid({"real, held out": real[: SHOWN**2]} | draws, image_shape=shape),
        "Real pictures that no method has seen, and the first draws of each method, none picked out.",
    )
    pairs = {}
    for name, x in {"real, held out": real, **draws}.items():
        pairs[name] = x[: 2 * SHOWN]
        pairs[f"nearest to {name}"] = train[torch.cdist(x[: 2 * SHOWN], train).argmin(1)]
    study.figure(
        "nearest training pictures",
        plots.image_grid(pairs, image_shape=shape),
        "The first draws, and beside them the training picture nearest to each: equal pictures are copies. "
        "The first pair shows how near real pictures come.",
    )
    model = vae.model
    assert isinstance(model, Coded)
    codes = model.encode(vae.prepare(real[:8])).mean
    study.figure(
        "interpolations",
        plots.interpolations(lambda z: model.decode(z).mean, codes[:4], codes[4:], image_shape=shape),
        "Of the VAE: ways between the codes of two held-out pictures, straight and on the sphere.",
    )
