"""Augmentation: what synthetic pictures add to a few labels, and how many of them have a wrong one."""

from __future__ import annotations

import functools
from collections.abc import Callable

import pandas as pd

from probgen import plots
from probgen.applications.frame.registry import application
from probgen.applications.frame.study import Study
from probgen.applications.parts.augmentation import synthetic_pictures as synthetic
from probgen.applications.parts.augmentation.classifiers import Pictures, SupportVectors
from probgen.applications.parts.augmentation.few_labels import Given, few_labels, labelled_pictures
from probgen.compare.columns import SHARE, Column
from probgen.core import seeded

EACH = (1, 5, 10, 50)
"""Labels of each class."""

MEASURES = {
    f"accuracy_{k}": Column(
        f"accuracy, {k} a class", f"Test pictures told, by {k} labels a class.", 1.0, SHARE
    )
    for k in EACH
} | {
    f"wrong_{k}": Column(
        f"wrong labels, {k} a class",
        "Synthetic pictures whose label a judge of all labels denies.",
        0.0,
        SHARE,
    )
    for k in EACH
}
OURS = {
    "CVAE": "Draws of a VAE that is told the class; it has learned from the few alone.",
    "CGAN": "Draws of a contest that is told the class; it has learned from the few alone.",
    "M2, draws": "Draws of M1+M2, which has learned from the few and from the unlabelled.",
    "M2, labels": "Unlabelled pictures, the surer half of each class, with the class that M1+M2 gives them, "
    "moved as affine moves.",
}
BASELINES = {
    "none": "The few labels alone.",
    "affine": "The few, turned (15°), sheared, scaled and shifted (an eighth of the size) at random.",
    "mixup": "Pairs of the few, mixed, each of which counts for both classes by its share.",
    "pseudo-labels": "Unlabelled pictures, the surer half of each class, with the class that the classifier "
    "of the few gives them.",
    "pseudo-labels, moved": "The same by the classifier of the few and their affine copies, moved as those: "
    "all that M2's labels have but M2.",
}
FLOOR, SHOWN = "real labels", 20


@application(
    "augmentation",
    "What synthetic pictures add to a few labels",
    data="pictures with classes: a folder of them, a class for each of its folders",
    shipped=("mnist", "digits"),
    measures=MEASURES,
)
def augmentation(study: Study) -> None:
    """Draw a few labels in each repeat; add to them synthetic pictures of each method; judge a classifier."""
    given, each = labelled_pictures(study), study.pick(full=EACH, quick=(1, 10), tiny=(1, 5))
    each = tuple(k for k in each if k <= given.least // 2)
    if not each:
        raise ValueError(f"{study.source} should have 2 pictures of each class at least but has fewer")
    for name, about in OURS.items():
        study.ours(name, about)
    for name, about in BASELINES.items():
        study.baseline(name, about)
    study.baseline(FLOOR, "Unlabelled pictures with their true labels, which no method knows.", floor=True)

    @functools.lru_cache(len(each))  # what M2 draws and how it labels is of one training
    def m2(repeat: int, k: int) -> synthetic.M2OfCodes:
        labels, seed = few_labels(study, given, repeat, k).labels, study.seed_of("M2", repeat)
        steps = study.pick(full=600, quick=200, tiny=2)
        return synthetic.M2OfCodes(
            given.first, given.known.x, labels, classes=given.classes, steps=steps, seed=seed
        )

    added = functools.partial(_added, study, given, m2)

    def judged(name: str, repeat: int) -> dict[str, float]:
        found = {}
        for k in each:
            few, more = few_labels(study, given, repeat, k), added(name, repeat, k)
            told = SupportVectors(few.known.and_(more)).told(given.test.x)
            found[f"accuracy_{k}"] = float((told == given.test.labels).double().mean())
            if len(more.x) and more.weights is None:
                found[f"wrong_{k}"] = given.judge.wrong(more)
        return found

    for repeat in range(study.pick(full=10, quick=2, tiny=2)):
        for name in study.methods:
            study.measure(name, repeat, functools.partial(judged, name, repeat))
    frame = pd.DataFrame(study.rows, columns=["codes", "metric", "repeat", "accuracy"])
    frame = frame[frame["metric"].str.startswith("accuracy")].assign(probe="support vector machine")
    frame["labels"] = frame["metric"].str.removeprefix("accuracy_").astype(int) * given.classes
    curves = frame.groupby(["codes", "probe", "labels"], sort=False)["accuracy"].agg(["mean", "sem"])
    curves = curves.reset_index().rename(columns={"mean": "accuracy", "sem": "stderr"})
    study.figure("accuracy", plots.label_curves(curves), "Bars are two standard errors over repeats.")
    k = each[min(2, len(each) - 1)]
    with seeded(study.seed):
        shown = {name: added(name, 0, k).x[: 2 * SHOWN] for name in study.methods if name != "none"}
    study.figure(
        "synthetic pictures",
        plots.image_grid(shown, image_shape=given.shape),
        f"Those that are added to {k} labels of each class, the first ones.",
    )


def _added(
    study: Study,
    given: Given,
    m2: Callable[[int, int], synthetic.M2OfCodes],
    name: str,
    repeat: int,
    k: int,
) -> Pictures:
    """Return the synthetic pictures of a method."""
    few, count = few_labels(study, given, repeat, k), study.pick(full=1000, quick=300, tiny=40)
    seed = study.seed_of(f"{name} {k}", repeat)
    steps = study.pick(full=400, quick=150, tiny=2)
    if name in ("CVAE", "CGAN"):
        return synthetic.drawn(name.lower(), given.task, few.known, count, steps=steps, seed=seed)
    if name == "M2, draws":
        return m2(repeat, k).draws(synthetic.evenly(few.known.labels, count))
    if name == "M2, labels":
        scores = m2(repeat, k).probabilities(few.unknown.x).log()
        return synthetic.labelled(scores, few.unknown.x, count).moved(given.shape)
    if name == "affine":
        return few.known.drawn(count).moved(given.shape)
    if name == "mixup":
        return synthetic.mixed(few.known, count)
    if name == "pseudo-labels, moved":
        scores = SupportVectors(few.known.and_(few.known.drawn(count).moved(given.shape))).scores(
            few.unknown.x
        )
        return synthetic.labelled(scores, few.unknown.x, count).moved(given.shape)
    if name == "pseudo-labels":
        return synthetic.labelled(SupportVectors(few.known).scores(few.unknown.x), few.unknown.x, count)
    return few.unknown.drawn(count if name == FLOOR else 0)
