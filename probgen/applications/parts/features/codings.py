"""Codes of rows: by an autoencoder, by VAEs, by principal components."""

from __future__ import annotations

from typing import NamedTuple

import pandas as pd
from torch import Tensor

from probgen import evaluation, models, nets
from probgen.applications.parts.features.codes_of_rows import LABEL, Case
from probgen.core import GenerativeModel, Objective
from probgen.evaluation.codes.transfer import principal_axes
from probgen.objectives import SVI, Reconstruction, Sum, TotalCorrelation
from probgen.recipes import Recipe, Stage, Task
from probgen.recipes.compared import Codes

RATE = 2e-3
"""The learning rate at the start."""

BETA = 4.0
"""The weight of the total correlation in β-TCVAE."""

MOVES = {"rotation": 15.0, "shear": 0.25, "scale": 0.12, "shift": 0.08}
"""How far a picture may be moved and keep its code: degrees, a slope, shares of its size."""


def encoder_of(method: str, task: Task, coordinates: int) -> Recipe:
    """Return a method of ours put together for a task, with a code of so many coordinates."""
    point = method == "autoencoder"
    encoder = task.encoder(coordinates, nets.PointHead if point else nets.NormalHead)
    decoder = task.decoder(coordinates)
    if method == "moved VAE":
        assert task.image_shape is not None
        seen = nets.MLP(task.size, coordinates, hidden=task.sizes.hidden)
        encoder = nets.NormalHead(nets.Joined(seen, nets.RandomAffine(task.image_shape, **MOVES)))
        encoder = encoder.to(task.device)
    if point:
        autoencoder = models.Autoencoder(encoder, decoder)
        return _in_one_stage(autoencoder, Reconstruction(autoencoder), task)
    vae = models.VAE(encoder, decoder)
    objective: Objective = SVI(vae)
    if method == "β-TCVAE":
        objective = Sum({"svi": objective, "tc": TotalCorrelation(vae)}, {"tc": BETA - 1}).to(task.device)
    return _in_one_stage(vae, objective, task)


def _in_one_stage(model: GenerativeModel, objective: Objective, task: Task) -> Recipe:
    budget = task.sizes.budget._replace(learning_rate=RATE)
    stage = Stage(objective, lambda rows: rows.fresh, budget)
    return Recipe(model, [stage], finish=task.from_codes, prepare=task.to_codes)


class Coding(NamedTuple):
    """Codes of the rows to judge by, and what is made of those of the test rows again, if anything is."""

    train: Tensor
    test: Tensor
    restored: Tensor | None = None


def by_model(recipe: Recipe, case: Case) -> Coding:
    """Return the mean codes of a trained recipe, and what it decodes from them."""
    codes = Codes(recipe, case.task)
    train, test = (evaluation.encoded(codes, x) for x in (case.train, case.test))
    return Coding(train, test, evaluation.reconstructed(codes, case.test))


def by_components(case: Case, size: int) -> Coding:
    """Return principal components of the rows to learn from, at most 20,000 of them, and their plane."""
    fitted, train, test = (
        x.nan_to_num(0.0).double() for x in (case.task.train.smooth[:20_000], case.train, case.test)
    )
    centre, axes = principal_axes(fitted, min(size, len(fitted), fitted.shape[1]))
    codes = (test - centre) @ axes
    return Coding((train - centre) @ axes, codes, centre + codes @ axes.T)


def written_down(case: Case, codes: Coding) -> pd.DataFrame:
    """Return codes as a table: the part that a row is in, its line in the file, its class, its code."""
    parts = []
    for place, (part, z, labels) in enumerate(
        [("train", codes.train, case.labels), ("test", codes.test, case.test_labels)]
    ):
        frame = pd.DataFrame(z.cpu().numpy(), columns=[f"z{i}" for i in range(1, z.shape[1] + 1)])
        frame.insert(0, "part", part)
        where = range(len(z)) if case.lines is None else case.lines[place].tolist()
        frame.insert(1, "row" if case.lines is None else "line", where)
        if case.classes:
            names = [case.classes[label] if label >= 0 else "" for label in labels.tolist()]
            frame.insert(2, LABEL, names)
        parts.append(frame)
    return pd.concat(parts)
