"""Agreement of two looks: closed forms, looks that differ, and what a step of it does."""

import math

import pytest
import torch
from torch import nn

from probgen.nets import ClassHead
from probgen.objectives import Agreement


def agreement(net, *, training=True):
    model = nn.ModuleDict({"classifier": ClassHead(net)})
    return Agreement(model).train(training)


def test_of_looks_that_are_equal_it_is_the_sum_of_squares(device):
    logits = torch.randn(7, 3, dtype=torch.float64, device=device)
    loss, terms = agreement(nn.Identity())(logits)
    same = logits.softmax(1).square().sum(1)
    torch.testing.assert_close(loss, -same.log().mean())
    torch.testing.assert_close(terms["same"], same.mean())
    sure, _ = agreement(nn.Identity())(40 * torch.eye(3, device=device))
    assert float(sure) == pytest.approx(0, abs=1e-6)
    unsure, _ = agreement(nn.Identity())(torch.zeros(5, 4, device=device))
    assert float(unsure) == pytest.approx(math.log(4))


class OtherRow(nn.Module):
    """Two looks at rows x: as they are, and with their coordinates in reverse."""

    def forward(self, x):
        first, second = x.tensor_split(2)
        return torch.cat([first, second.flip(1)])


def test_each_row_is_compared_with_its_own_second_look(device):
    logits = torch.randn(6, 3, dtype=torch.float64, device=device)
    loss, terms = agreement(OtherRow())(logits)
    q = logits.softmax(1)
    same = (q * q.flip(1)).sum(1)
    torch.testing.assert_close(loss, -same.log().mean())
    torch.testing.assert_close(terms["same"], same.mean())


def test_looks_are_random_while_it_learns_alone(device):
    x = torch.randn(50, 4, device=device)
    torch.manual_seed(0)
    learning, judged = (agreement(nn.Dropout(0.5), training=training) for training in (True, False))
    assert not torch.equal(learning(x)[0], learning(x)[0])
    assert torch.equal(judged(x)[0], judged(x)[0])
    assert judged.judge({"loss": 0.1, "same": 0.9}) is None


def test_a_step_makes_looks_sure_of_the_class_that_both_think_likely():
    """q' = (.6, .4), q'' = (.6, .4): the gradient of −log Σ q'q'' in the first logit is negative."""
    logits = torch.tensor([[0.6, 0.4]]).log().requires_grad_()
    agreement(nn.Identity())(logits)[0].backward()
    # With s = Σ q², d s/d l_1 = 2 q_1 (q_1 − s), s = .52: −(2 · .6 · .08) / .52.
    assert logits.grad[0].tolist() == pytest.approx([-0.096 / 0.52, 0.096 / 0.52], rel=1e-5)
