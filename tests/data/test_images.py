"""The digits: their split is frozen."""

import hashlib

import torch
from scipy.stats import chi2_contingency

from probgen import mmd
from probgen.data import digits

SHA256 = "21c09abd68b7bea33568e63336ecae92be4df4c3f0a90f683b6c7a05115a2b31"


def test_the_split_is_frozen():
    images = digits()
    levels = torch.cat([images.train, images.test]) * 16
    content = torch.cat([levels, torch.cat([images.train_labels, images.test_labels])[:, None]], 1)
    assert hashlib.sha256(content.byte().numpy().tobytes()).hexdigest() == SHA256


def test_what_the_digits_are():
    images = digits()
    assert (images.train.shape, images.test.shape) == ((898, 64), (899, 64))
    assert images.train.dtype == torch.float32
    assert images.train_labels.dtype == torch.int64
    assert (images.image_shape, images.levels, images.name, images.version) == ((8, 8), 17, "digits", "1")
    assert torch.equal((images.train * 16).round() / 16, images.train)
    assert images.train.aminmax() == (0, 1)


def test_no_picture_is_in_both_halves_more_often_than_in_the_file():
    images = digits()
    both = torch.cat([images.train, images.test])
    assert len(both.unique(dim=0)) == 1797  # all pictures differ, so none can be in both halves


def test_the_halves_are_as_alike_as_chance_makes_them():
    images = digits()
    counts = torch.stack([images.train_labels.bincount(), images.test_labels.bincount()])
    assert 0.01 < chi2_contingency(counts.numpy()).pvalue < 0.99
    noise = torch.Generator().manual_seed(0)
    test = mmd.mmd_test(images.train, images.test, permutations=199, generator=noise)
    assert 0.01 < test.p_value < 0.99
