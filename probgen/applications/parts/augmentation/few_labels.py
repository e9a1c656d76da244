"""Pictures of which few keep their label, a judge that knows all labels, and a VAE that knows none."""

from __future__ import annotations

import functools
from typing import NamedTuple

from torch import Tensor

from probgen import data
from probgen.applications.frame.study import Study
from probgen.applications.parts.augmentation.classifiers import COST, Judge, Pictures, trained_judge
from probgen.applications.parts.features.codes_of_rows import pictures_of
from probgen.applications.parts.features.codings import encoder_of
from probgen.models import VAE
from probgen.recipes import Task


class Given(NamedTuple):
    """All pictures with the labels that are to be hidden, those to test on, the judge, and M1."""

    task: Task
    known: Pictures
    test: Pictures
    classes: int
    shape: tuple[int, int]
    judge: Judge
    first: VAE

    @property
    def least(self) -> int:
        """How many pictures the rarest class has."""
        return int(self.known.labels.unique(return_counts=True)[1].min())


class Few(NamedTuple):
    """The pictures that have a label, those that have none, and labels, −1 where there is none."""

    known: Pictures
    unknown: Pictures
    labels: Tensor


def labelled_pictures(study: Study) -> Given:
    """Return all that a study is given, the judge and M1 trained."""
    case = pictures_of(study)
    if not case.classes:
        raise ValueError(f"{study.source} should hold pictures of several known classes but does not")
    shape, some, asked = case.task.image_shape, case.labels >= 0, case.test_labels >= 0
    assert shape is not None
    known = Pictures(case.train[some], case.labels[some])
    test = Pictures(case.test[asked], case.test_labels[asked])
    judge = trained_judge(study, case.task, len(case.classes))
    seed, steps = study.seed_of("M1", 0), study.pick(full=3000, quick=300, tiny=2)
    make = functools.partial(encoder_of, "moved VAE", case.task, case.coordinates)
    first = study.train("M1", make, case.task, seed=seed, steps=steps, method="M2, draws")[0].model
    assert isinstance(first, VAE)
    study.fact("repeats are", "draws of the labels, the same for all methods")
    study.fact(
        "unlabelled", f"{len(known.x):,} pictures, their other labels hidden, for M2 and pseudo-labels"
    )
    study.fact("M1", f"a VAE whose guide sees moved pictures, of {len(case.task.train):,} without labels")
    study.fact("classifier", f"a support vector machine with a Gaussian kernel, C = {COST:g}, of grey levels")
    study.fact("test", f"{len(test.x):,} pictures; the judge denies the labels of {judge.wrong(test):.1%}")
    return Given(case.task, known, test, len(case.classes), shape, judge, first)


def few_labels(study: Study, given: Given, repeat: int, k: int) -> Few:
    """Return the pictures of a repeat of which k of each class keep their label."""
    labels = data.few_labels(given.known.labels, each=k, seed=study.seed_of("labels", repeat))
    known, unknown = (
        Pictures(given.known.x[own], given.known.labels[own]) for own in (labels >= 0, labels < 0)
    )
    return Few(known, unknown, labels)
