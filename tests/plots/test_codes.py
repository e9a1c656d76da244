"""The picture of a codebook's usage shows shares in order, and says what they come to."""

import numpy as np
import pytest
import torch

from probgen import evaluation, plots


def test_shares_stand_in_order_beside_the_uniform_one():
    found = evaluation.code_usage(torch.tensor([2] * 6 + [0] * 3 + [3]), 5)
    (axis,) = plots.code_usage({"codes": found.counts}).axes
    (bars,) = axis.patches
    np.testing.assert_allclose(bars.get_data().values, [0.6, 0.3, 0.1, 0, 0])
    assert set(axis.lines[0].get_ydata()) == {0.2}
    assert axis.texts[0].get_text() == f"perplexity {found.perplexity:.3g} of 5, 2 dead"
    assert axis.get_title("left") == "codes"


@pytest.mark.parametrize(
    ("counts", "sentence"),
    [
        ({}, "counts should have at least 1 entry but has 0"),
        ({"a": np.zeros(3)}, r"counts\['a'\] should be counts of codes.* has shape \(3,\) and sum 0"),
        ({"a": np.ones((2, 2))}, r"counts\['a'\] should be counts of codes, .* has shape \(2, 2\)"),
    ],
)
def test_what_is_no_count_is_said(counts, sentence):
    with pytest.raises(ValueError, match=sentence):
        plots.code_usage(counts)
