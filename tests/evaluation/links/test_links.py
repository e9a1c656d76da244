"""Scores of links on graphs of which they are known, and their judge."""

import networkx
import pytest
import torch

from probgen.data import graph
from probgen.evaluation import adamic_adar, degree_product, katz, link_prediction, low_rank


def test_baselines_are_those_of_networkx():
    x = graph("les-miserables").x
    other = networkx.from_numpy_array(x.numpy())
    pairs = [(0, 5), (3, 70), (10, 11), (40, 76), (20, 61)]
    found = adamic_adar(x)
    for i, j, score in networkx.adamic_adar_index(other, pairs):
        assert float(found[i, j]) == pytest.approx(score)
    assert (found > 0).any()
    found = degree_product(x)
    for i, j, score in networkx.preferential_attachment(other, pairs):
        assert float(found[i, j]) == score


def test_the_nearest_matrix_of_a_rank():
    x = graph("les-miserables").x.double()
    values = torch.linalg.eigvalsh(x).abs().sort(descending=True).values
    error = (x - low_rank(x, 5)).square().sum()
    torch.testing.assert_close(error, values[5:].square().sum())
    torch.testing.assert_close(low_rank(x, 77), x)
    with pytest.raises(ValueError, match="rank should be at most the 77 nodes but is 78"):
        low_rank(x, 78)


def test_walks_are_counted_and_weigh_less_the_longer_they_are():
    x = graph("les-miserables").x.double()
    for share in (0.1, 0.8):
        beta = share / float(torch.linalg.eigvalsh(x).max())
        walks, total = torch.eye(77, dtype=x.dtype), torch.zeros_like(x)
        for _ in range(200):  # by then a walk's weight is below 0.8^200 = 4e-20
            walks = beta * walks @ x
            total += walks
        torch.testing.assert_close(katz(x, share), total)
    assert not katz(torch.zeros(3, 3), 0.5).any()
    with pytest.raises(ValueError, match=r"share should be in \(0, 1\) but is 1"):
        katz(x, 1)


def test_area_and_precision_by_counting():
    scores = torch.tensor([[0.0, 3.0, 1.0, 2.0], [0.0] * 4, [0.0] * 4, [0.0] * 4])
    found = link_prediction(scores, torch.tensor([[0, 1], [0, 2]]), torch.tensor([[0, 3], [1, 2]]))
    assert found.auc == pytest.approx(3 / 4)  # of four comparisons one is lost
    assert found.average_precision == pytest.approx((1 / 1 + 2 / 3) / 2)


def test_what_cannot_be_judged_is_refused():
    scores, pairs = torch.zeros(3, 3), torch.tensor([[0, 1]])
    with pytest.raises(ValueError, match="links and others but there are 1 and 0"):
        link_prediction(scores, pairs, pairs[:0])
    with pytest.raises(ValueError, match="should be finite"):
        link_prediction(scores.fill_(torch.nan), pairs, torch.tensor([[1, 2]]))


@pytest.mark.parametrize(
    "score", [adamic_adar, degree_product, lambda x: katz(x, 0.5), lambda x: low_rank(x, 1)]
)
@pytest.mark.parametrize(
    ("entries", "said"),
    [
        ({(0, 1): 1.0}, r"should be symmetric but x\[0, 1\] and x\[1, 0\] differ"),
        ({(0, 1): torch.nan, (1, 0): torch.nan}, r"should be 0 or 1 but x\[0, 1\] is nan"),
        ({(0, 2): 0.5, (2, 0): 0.5}, r"should be 0 or 1 but x\[0, 2\] is 0.5"),
        ({(2, 2): 1.0}, r"should be linked to itself but x\[2, 2\] is 1"),
    ],
)
def test_what_is_no_graph_has_no_scores(score, entries, said):
    x = torch.zeros(3, 3)
    for place, value in entries.items():
        x[place] = value
    with pytest.raises(ValueError, match=said):
        score(x)
    with pytest.raises(ValueError, match=r"square matrix but has shape \(2, 3\)"):
        score(torch.zeros(2, 3))
