"""How codes are used: counts and perplexity by hand, and why that of batches is not that of an epoch."""

import math

import pytest
import torch

from probgen import evaluation


def test_perplexity_is_that_of_the_shares():
    codes = torch.tensor([0] * 6 + [2] * 3 + [3]).reshape(5, 2)
    found = evaluation.code_usage(codes, 5)
    assert found.counts.tolist() == [6, 0, 3, 1, 0]
    shares = [0.6, 0.3, 0.1]
    assert found.perplexity == pytest.approx(math.exp(-sum(p * math.log(p) for p in shares)))
    assert found.dead == 2


def test_codes_that_batches_take_in_turn_are_all_used_in_an_epoch():
    codes = torch.arange(12).reshape(6, 2)
    assert evaluation.code_usage(codes, 12).perplexity == pytest.approx(12)
    assert evaluation.code_usage(codes, 12).dead == 0
    assert all(evaluation.code_usage(batch, 12).perplexity < 2.1 for batch in codes)


@pytest.mark.parametrize(
    ("codes", "kind", "sentence"),
    [
        (torch.zeros(3), TypeError, r"codes should be whole numbers but are torch\.float32"),
        (torch.tensor([0, 4]), ValueError, "codes should be 0 to 3 but are 0 to 4"),
        (torch.tensor([-1, 2]), ValueError, "codes should be 0 to 3 but are -1 to 2"),
        (torch.zeros(0, dtype=torch.int64), ValueError, "codes should be at least one but are none"),
    ],
)
def test_what_is_no_code_is_said(codes, kind, sentence):
    with pytest.raises(kind, match=sentence):
        evaluation.code_usage(codes, 4)
