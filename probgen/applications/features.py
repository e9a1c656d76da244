"""Features: what codes learned without labels are worth to few labels, to clusters and to the eye."""

from __future__ import annotations

import functools

import torch

from probgen import evaluation, plots
from probgen.applications.frame.registry import application
from probgen.applications.frame.study import Study
from probgen.applications.parts.features.codes_of_rows import Case, is_table, of_pictures, of_table
from probgen.applications.parts.features.codings import (
    Coding,
    by_components,
    by_model,
    encoder_of,
    written_down,
)
from probgen.applications.parts.features.worth_of_codes import (
    by_clusters,
    by_labels,
    by_rows,
    correlations,
    nearest,
)
from probgen.compare.columns import SHARE, Column
from probgen.core import Coded
from probgen.recipes import Recipe

EACH, CURVE = (1, 10, 100), (1, 2, 5, 10, 20, 50, 100)
"""Labels of each class that a probe is given, in the table and along the curves."""

MEASURES = {
    f"{probe}_{k}": Column(f"{probe}, {k} a class", f"{what}, of {k} labels of each class.", 1.0, SHARE)
    for probe, what in {"linear": "A logistic regression", "neighbours": "The vote of the 5 nearest"}.items()
    for k in EACH
} | {
    "clusters": Column("clusters", "Test rows in the k-means cluster of their class.", 1.0, SHARE),
    "nmi": Column("NMI", "Normalised mutual information of these clusters and the classes.", 1.0, SHARE),
    "ari": Column("ARI", "Adjusted Rand index of these clusters and the classes, 0 by chance.", 1.0),
    "lost": Column("lost", "Share of the variance of test rows that is not made again of their codes.", 0.0),
    "kept": Column("neighbours kept", "Of a row's 10 nearest, those that are so by code.", 1.0, SHARE),
}
OURS = {
    "autoencoder": "A code of which the rows are made again, by the likelihood that suits them.",
    "VAE": "The mean of q(z | x), where codes of all rows together are near a normal law.",
    "β-TCVAE": "A VAE that pays four times for what the coordinates of its code share.",
}
MOVED = {
    "moved VAE": "A VAE whose guide sees pictures moved at random (15°, an eighth of the size), of which it "
    "makes the unmoved ones: it knows that a move changes nothing, which no other method here does."
}


@application(
    "features",
    "What codes are worth",
    data="pictures; or a CSV, of which a column label, where it has one, holds the classes of rows",
    shipped=("mnist", "digits"),
    measures=MEASURES,
)
def features(study: Study) -> None:
    """Learn codes of the rows without labels in each repeat; judge them by labels, clusters, neighbours."""
    cases = functools.cache(of_table(study) if is_table(study) else of_pictures(study))
    first = cases(0)
    wide = min(32, first.train.shape[1] // 2)
    sizes = dict.fromkeys([first.coordinates, max(wide, first.coordinates)])
    components = {f"{size} principal components": size for size in sizes}
    for name, about in (OURS if is_table(study) else OURS | MOVED).items():
        study.ours(name, f"{about} {first.coordinates} coordinates.")
    if first.classes:
        study.baseline("raw", "The rows themselves: grey levels, or columns in units of standard deviations.")
    for name in components:
        study.baseline(name, "The directions in which the rows vary most.")

    @functools.cache
    def trained(name: str, repeat: int) -> Recipe:
        task, seed = cases(repeat).task, study.seed_of(name, repeat)
        steps = study.pick(full=2000, quick=200, tiny=2)
        make = functools.partial(encoder_of, name, task, first.coordinates)
        return study.train(f"{name}-{repeat}", make, task, seed=seed, steps=steps, method=name)[0]

    @functools.cache
    def coding(name: str, repeat: int) -> Coding:
        case = cases(repeat)
        if name == "raw":
            return Coding(case.train.nan_to_num(0.0), case.test.nan_to_num(0.0))
        if name in components:
            return by_components(case, components[name])
        return by_model(trained(name, repeat), case)

    def judged(name: str, repeat: int) -> dict[str, float]:
        case, codes, seed = cases(repeat), coding(name, repeat), study.seed_of("labels", repeat)
        found = by_rows(case, codes)
        if case.classes:
            draws = study.pick(full=5, quick=3, tiny=1)
            frame = by_labels(case, {name: codes}, each=EACH, draws=draws, seed=seed)
            names = frame["probe"] + "_" + frame["each"].astype(str)
            found |= dict(zip(names, frame["accuracy"], strict=True))
            found |= by_clusters(case, codes, rows=study.pick(full=4000, quick=1000, tiny=200), seed=seed)
        return found

    for repeat in range(study.pick(full=5, quick=2, tiny=2)):
        for name in study.methods:
            study.measure(name, repeat, functools.partial(judged, name, repeat))
    _show(study, first, {name: coding(name, 0) for name in study.methods})
    shown = [name for name in study.methods if name not in study.baselines][-1]
    _show_code(study, first, shown, coding(shown, 0), trained(shown, 0))


def _show(study: Study, case: Case, codes: dict[str, Coding]) -> None:
    """Show curves over numbers of labels and maps of the first repeat, and write down the codes of rows."""
    rows, labels = study.pick(full=2000, quick=400, tiny=60), None
    shown = torch.arange(min(rows, len(case.test)), device=case.test.device)
    if case.classes:
        frame = by_labels(case, codes, each=CURVE, draws=study.pick(full=5, quick=2, tiny=1), seed=study.seed)
        study.table("curves", frame, "Accuracy over the number of labels; codes of the first repeat.")
        caption = "Bars are two standard errors over draws of the labelled rows; codes of the first repeat."
        study.figure("probe curves", plots.label_curves(frame), caption)
        most = torch.bincount(case.test_labels[shown].clamp(min=0)).topk(min(10, len(case.classes))).indices
        shown = shown[torch.isin(case.test_labels[shown], most)]
        labels = [case.classes[label] for label in case.test_labels[shown].tolist()]
    points = {
        name: evaluation.embedding(own.test[shown], method="t-sne", seed=study.seed)
        for name, own in codes.items()
    }
    caption = (
        f"{len(shown)} test rows by t-SNE, which keeps near ones together: how far groups lie apart there, "
        "and how large they are, says nothing."
    )
    study.figure("maps", plots.latent_map(points, labels, axes=("t-SNE 1", "t-SNE 2")), caption)
    for name in study.methods.keys() - study.baselines:
        content = written_down(case, codes[name]).to_csv(index=False, float_format="%.6g").encode()
        study.output(f"codes-{name.replace(' ', '-')}.csv", content, f"the codes of rows by {name}")


def _show_code(study: Study, case: Case, name: str, codes: Coding, recipe: Recipe) -> None:
    """Show what the coordinates of a code say: pictures along each, or its correlations with columns."""
    if case.task.table is not None:
        assert case.task.test.codes is not None
        frame = correlations(codes.test, case.task.table.frame(case.task.test.codes))
        study.table("coordinates", frame, f"Rank correlations of columns with the code of {name}, test rows.")
        return
    shape, model = case.task.image_shape, recipe.model
    assert shape is not None
    assert isinstance(model, Coded)
    figure = plots.traversals(model.decode, torch.zeros_like(codes.test[0]), image_shape=shape)
    study.figure("coordinates", figure, f"What {name} decodes to along each coordinate, the others at 0.")
    asked = torch.arange(min(20, len(case.test)))
    pairs = {"held-out pictures": case.test[asked]}
    for way, (z, of) in {
        "by pixels": (case.train, case.test),
        f"by {name}": (codes.train, codes.test),
    }.items():
        pairs[f"nearest {way}"] = case.train[nearest(of[asked], z, 1)[:, 0]]
    caption = "Held-out pictures, and of the rows that probes learn from the nearest to each."
    study.figure("nearest pictures", plots.image_grid(pairs, image_shape=shape), caption)
