"""Classes in use: closed forms, the two ways to collapse, and what a weight does to one."""

import math

import pytest
import torch
from torch import nn

from probgen.nets import ClassHead
from probgen.objectives import ClassBalance


def judged(logits):
    model = nn.ModuleDict({"classifier": ClassHead(nn.Identity())})
    return ClassBalance(model)(logits)


def test_sharp_and_even_classes_tell_all_that_they_can(device):
    loss, terms = judged(60.0 * torch.eye(4, device=device).repeat(3, 1))
    assert loss.item() == pytest.approx(0, abs=1e-6)
    assert terms["classes"].item() == pytest.approx(4)
    assert terms["information"].item() == pytest.approx(math.log(4))


def test_both_collapses_are_seen(device):
    one = torch.zeros(9, 4, device=device)
    one[:, 2] = 60
    loss, terms = judged(one)
    assert (loss.item(), terms["classes"].item()) == pytest.approx((math.log(4), 1))
    assert terms["information"].item() == pytest.approx(0, abs=1e-6)
    loss, terms = judged(torch.zeros(9, 4, device=device))  # the same shares for all
    assert (loss.item(), terms["classes"].item()) == pytest.approx((0, 4), abs=1e-5)
    assert terms["information"].item() == pytest.approx(0, abs=1e-6)


def test_the_divergence_is_that_of_the_mean_and_has_a_gradient(device):
    logits = torch.randn(50, 3, dtype=torch.float64, device=device, requires_grad=True)
    loss, terms = judged(logits)
    q = logits.softmax(1)
    mean = q.mean(0)
    assert loss.item() == pytest.approx((mean * (3 * mean).log()).sum().item())
    each = (q * (q / mean).log()).sum(1).mean()
    assert terms["information"].item() == pytest.approx(each.item())
    assert not terms["classes"].requires_grad
    loss.backward()
    with torch.no_grad():
        assert judged(logits - logits.grad * 5)[0] < loss


def test_a_class_of_no_probability_is_no_nan(device):
    logits = torch.zeros(5, 3, device=device)
    logits[:, 1] = -1e4
    logits.requires_grad_()
    loss, terms = judged(logits)
    loss.backward()
    assert logits.grad.isfinite().all()
    assert terms["classes"].item() == pytest.approx(2)
