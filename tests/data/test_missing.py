"""Labels of which few are kept, and what are no labels."""

import pytest
import torch

from probgen.data import few_labels, observed


def test_so_many_of_each_class_are_kept(device):
    labels = torch.randint(4, (200,), generator=torch.Generator().manual_seed(0)).to(device)
    labels[:20] = -1
    few = few_labels(labels, each=7, seed=3)
    assert torch.bincount(few[few >= 0]).tolist() == [7, 7, 7, 7]
    assert torch.equal(few[few >= 0], labels[few >= 0])
    assert torch.equal(few, few_labels(labels, each=7, seed=3))
    assert not torch.equal(few, few_labels(labels, each=7, seed=4))
    generator = torch.Generator().manual_seed(3)
    assert torch.equal(few, few_labels(labels, each=7, generator=generator))


def test_every_row_is_as_likely_to_be_kept():
    """Of ten rows two are kept in 2,000 draws: 400 each, five standard deviations at most from it."""
    labels = torch.zeros(10, dtype=torch.int64)
    kept = sum((few_labels(labels, each=2, seed=seed) == 0).int() for seed in range(2000))
    assert (kept - 400).abs().max() < 5 * (2000 * 0.2 * 0.8) ** 0.5


def test_bytes_have_no_missing_label_but_few_of_them_have():
    labels = torch.tensor([0, 255, 0, 255], dtype=torch.uint8)
    assert observed(labels).all()
    few = few_labels(labels, each=1, seed=0)
    assert sorted(few.tolist()) == [-1, -1, 0, 255]


def test_a_class_of_fewer_is_said():
    with pytest.raises(ValueError, match="each should be at most 1, as class 1 has no more, but is 2"):
        few_labels(torch.tensor([0, 0, 1]), each=2, seed=0)
