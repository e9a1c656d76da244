"""Synthetic pictures: each way by hand, the classifier beside scikit-learn's, the smallest path."""

import numpy as np
import pandas as pd
import pyro.distributions as dist
import pytest
import torch
from sklearn.svm import SVC

from probgen import applications, data
from probgen.applications.parts.augmentation.classifiers import COST, Pictures, SupportVectors
from probgen.applications.parts.augmentation.synthetic_pictures import (
    M2OfCodes,
    _Repeated,
    evenly,
    labelled,
    mixed,
)
from probgen.models import VAE
from probgen.nets import MLP, BernoulliHead, NormalHead
from probgen.recipes.semi_supervised_vae import Codes

KNOWN = Pictures(torch.eye(4), torch.tensor([2, 0, 2, 5]))


class Sides(torch.nn.Module):
    """A guide whose code says which half of a picture of four pixels is brighter, and another number."""

    outputs = 2

    def forward(self, x):
        left = x[..., :2].sum(-1) - x[..., 2:].sum(-1)
        return dist.Normal(torch.stack([left, torch.zeros_like(left)], -1), 0.3).to_event(1)


def test_the_classifier_is_that_of_scikit_learn():
    digits = data.digits()
    x, y, test = digits.train[:200], digits.train_labels[:200], digits.test[:300]
    theirs = SVC(C=COST, gamma="scale").fit(x.double().numpy(), y.numpy())
    ours = SupportVectors(Pictures(x, y))
    told = ours.told(test)
    np.testing.assert_array_equal(told.numpy(), theirs.predict(test.double().numpy()))
    scores = ours.scores(test)
    np.testing.assert_allclose(scores, theirs.decision_function(test.double().numpy()), atol=1e-3)
    two = SupportVectors(Pictures(x[y < 2], 3 * y[y < 2]))
    scores = two.scores(test)
    assert scores.shape == (300, 4)
    assert torch.equal(scores.argmax(1), two.told(test)), "of two classes too, one of which is 3"


def test_pictures_that_count_nothing_are_none():
    digits = data.digits()
    known = Pictures(digits.train[:100], digits.train_labels[:100])
    wrong = Pictures(known.x, (known.labels + 1) % 10, torch.full((100,), 1e-9))
    told = [SupportVectors(own).told(digits.test[:300]) for own in (known, known.and_(wrong))]
    assert (told[0] == told[1]).float().mean() > 0.99


def test_pictures_are_drawn_and_mixed_as_they_say():
    assert evenly(KNOWN.labels, 5).tolist() == [0, 2, 5, 0, 2]
    drawn = KNOWN.drawn(300)
    assert drawn.labels.tolist() == [0, 2, 5] * 100
    places = drawn.x.argmax(1)
    assert torch.equal(KNOWN.labels[places], drawn.labels)
    assert {int(place) for place in places[drawn.labels == 2]} == {0, 2}
    assert KNOWN.drawn(0).x.shape == (0, 4)
    torch.manual_seed(0)
    both = mixed(KNOWN, 50)
    assert both.weights is not None
    torch.testing.assert_close(both.weights[:50] + both.weights[50:], torch.ones(50))
    for half in (slice(0, 50), slice(50, 100)):
        of_own_class = (both.x[half] * (KNOWN.labels[None] == both.labels[half][:, None])).sum(1)
        assert (of_own_class >= both.weights[half] - 1e-6).all(), "at least the share of that class is of it"


def test_the_surer_half_of_each_class_is_given_its_class():
    x = torch.arange(8.0)[:, None]
    scores = torch.tensor([[5.0, 0], [1, 0], [2, 0], [4, 0], [0, 1], [0, 3], [0, 2], [-torch.inf, 9]])
    found = labelled(scores, x, 4)
    assert found.labels.tolist() == [0, 1, 0, 1]
    assert {int(v) for v in found.x[found.labels == 0, 0]} == {0, 3}
    assert {int(v) for v in found.x[found.labels == 1, 0]} == {5, 7}
    assert len(labelled(scores, x, 100).x) == 4, "there are no more than half"
    assert labelled(scores[:4], x[:4], 2).labels.tolist() == [0], (
        "where no picture is of a class, none is given"
    )


def test_one_code_in_four_has_a_label():
    vae = VAE(NormalHead(MLP(4, 2)), BernoulliHead(MLP(2, 4)))
    labels = torch.full((900,), -1)
    labels[[3, 7, 11]] = torch.tensor([0, 1, 2])
    rows = _Repeated(Codes(vae, torch.rand(900, 4)), labels)
    share = (labels[rows.index] >= 0).double().mean()
    assert share == pytest.approx(0.25, abs=0.01)
    assert set(rows.index.tolist()) == set(range(900))
    assert rows[torch.tensor([0, 1])].shape == (2, 2)


def test_m2_of_codes_finds_classes_that_lie_apart_from_one_label_of_each():
    """Two groups of pictures, of which one has its left half white and the other its right half."""
    source = torch.Generator().manual_seed(0)
    truth = torch.arange(400) % 2
    sides = torch.tensor([[0.9, 0.9, 0.1, 0.1], [0.1, 0.1, 0.9, 0.9]])[truth]
    x = (sides + 0.1 * torch.rand(400, 4, generator=source)).clamp(0, 1)
    torch.manual_seed(0)
    first = VAE(Sides(), NormalHead(MLP(2, 4), scale="shared"))
    few = data.few_labels(truth, each=1, seed=0)
    m2 = M2OfCodes(first, x, few, classes=2, steps=150, seed=0)
    assert (m2.probabilities(x).argmax(1) == truth).double().mean() > 0.95
    assert m2.draws(torch.tensor([0, 1, 1])).x.shape == (3, 4)


def test_digits_with_few_labels_gain_by_real_ones_and_all_ways_are_judged(tmp_path):
    folder = applications.apply(
        "augmentation", data="digits", out=tmp_path / "here", size="tiny", progress=False
    )
    frame = pd.read_csv(folder / "metrics.csv")
    found = frame.pivot_table(index="method", columns="metric", values="value")
    assert set(found.index) == {
        "CVAE", "CGAN", "M2, draws", "M2, labels", "none", "affine", "mixup", "pseudo-labels",
        "pseudo-labels, moved", "real labels",
    }  # fmt: skip
    assert found.loc["real labels", "accuracy_1"] > found.loc["none", "accuracy_1"] + 0.05
    assert found.loc["none", "accuracy_5"] > found.loc["none", "accuracy_1"]
    assert np.isnan(found.loc["none", "wrong_1"]), "there is no synthetic picture"
    assert {"accuracy.png", "synthetic-pictures.png"} <= {path.name for path in folder.iterdir()}


def test_what_has_no_classes_is_refused(tmp_path):
    np.save(tmp_path / "own.npy", np.random.default_rng(0).integers(0, 17, (60, 8, 8)))
    with pytest.raises(ValueError, match="should hold pictures of several known classes but does not"):
        applications.apply(
            "augmentation", data=tmp_path / "own.npy", out=tmp_path / "a", size="tiny", progress=False
        )
    pd.DataFrame({"a": [0.5, 1.25] * 25, "b": [0.75, 2.5, 0.1, 7.0, 3.3] * 10}).to_csv(
        tmp_path / "own.csv", index=False
    )
    with pytest.raises(ValueError, match="should hold pictures, in a folder or an array, but holds none"):
        applications.apply(
            "augmentation", data=tmp_path / "own.csv", out=tmp_path / "b", size="tiny", progress=False
        )
