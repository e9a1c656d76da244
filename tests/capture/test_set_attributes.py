"""Tensors that a loss sets as attributes of its modules are set by its graph, unless it reads them first."""

import os

import pytest
import torch
from torch import Tensor, nn

from probgen import Objective
from probgen.capture.captured_loss import CapturedLoss


class Part(nn.Module):
    """A net that keeps what it computed last."""

    def __init__(self):
        super().__init__()
        self.net = nn.Linear(3, 2)

    def forward(self, x):
        self.hidden = self.net(x)
        return self.hidden


class Logs(Objective):
    """Sets attributes: of its own from the start, and of a part that has none at first."""

    def __init__(self, kl, log):
        super().__init__()
        self.part = Part()
        self.norm = nn.BatchNorm1d(2)
        self.kl, self.log = kl, log

    def forward(self, *batch: Tensor):
        hidden = self.norm(self.part(batch[0] + torch.randn_like(batch[0])))
        kl = hidden.square().sum(1).mean()
        self.log(self, kl)
        return kl + self.part.hidden.mean(), {"kl": kl.detach()}


def as_it_is(o, kl):
    o.kl = kl


def detached(o, kl):
    o.kl = kl.detach()


def several(o, kl):
    o.kl = kl
    o.twice, o.learned, o.mean = 2 * o.kl, o.part.net.bias, o.norm.running_mean


def running(o, kl):
    o.kl = 0.9 * o.kl + 0.1 * kl.detach()


def running_if_any(o, kl):
    o.kl = kl.detach() if o.kl is None else 0.9 * o.kl + 0.1 * kl.detach()


def running_from(o, kl):
    o.mean = 0.9 * getattr(o, "mean", 1.0) + 0.1 * kl.detach()


def running_if_a_tensor(o, kl):
    before = getattr(o, "mean", None)
    o.mean = 0.9 * before + 0.1 * kl.detach() if isinstance(before, Tensor) else kl.detach()


def largest(o, kl):
    o.kl = torch.maximum(kl.detach(), torch.as_tensor(o.kl))


def never_again(o, kl):
    if not isinstance(o.kl, Tensor) or o.kl < 0:
        o.kl = kl.detach()


def moved(objective, mode, steps, device):
    """Take steps; return losses, weights, attributes and the captured loss."""
    objective.to(device)
    loss_of = CapturedLoss(objective, mode)
    optimizer = torch.optim.SGD(objective.parameters(), lr=0.05)
    x = torch.randn(steps, 6, 3, generator=torch.Generator().manual_seed(1)).to(device)
    seen = []
    torch.manual_seed(2)
    for batch in x:
        optimizer.zero_grad()
        loss, _ = loss_of.backward(batch)
        held = [vars(module).get(name) for module, name in places(objective)]
        seen += [loss, *(value.detach().clone() for value in held if isinstance(value, Tensor))]
        optimizer.step()
    return [*seen, *objective.state_dict().values()], loss_of


def places(o):
    return [(o, name) for name in ("kl", "twice", "learned", "mean")] + [(o.part, "hidden")]


def outcomes(kl, log, device, steps=9):
    found = []
    for mode in ("eager", "graph"):
        torch.manual_seed(0)
        found.append(moved(Logs(kl, log), mode, steps, device))
    (expected, _), (values, loss_of) = found
    assert len(values) == len(expected)
    assert all(map(torch.equal, values, expected))
    return loss_of


@pytest.mark.parametrize("kl", [None, 0.0, torch.zeros(())], ids=["None", "number", "tensor"])
@pytest.mark.parametrize("log", [as_it_is, detached, several])
def test_attributes_that_a_loss_sets_are_set_by_its_graph(log, kl, device, caplog):
    loss_of = outcomes(kl, log, device)
    assert loss_of.mode == "graph"
    assert len(loss_of._graphs) == 1
    assert not caplog.records


@pytest.mark.parametrize(
    ("kl", "log", "name"),
    [
        (torch.zeros(()), running, "kl"),
        (None, running_if_any, "kl"),
        (torch.zeros(()), running_from, "mean"),
        (None, running_if_a_tensor, "mean"),
        (0.0, largest, "kl"),
    ],
)
def test_a_loss_that_reads_what_stood_there_runs_eagerly(kl, log, name, device, caplog):
    loss_of = outcomes(kl, log, device)
    assert loss_of.mode == "eager"
    assert f"would not change '{name}' as a call of the loss does" in caplog.text


def test_a_loss_that_sets_an_attribute_once_and_then_looks_at_it_runs_eagerly(device, caplog):
    assert outcomes(None, never_again, device).mode == "eager"
    (sentence,) = [record.message for record in caplog.records if record.name == "probgen"]
    assert "it would hold a number that Python takes from a tensor" in sentence


def test_what_others_put_there_makes_no_new_graph_and_is_set_anew(device):
    objective = Logs(None, as_it_is).to(device)
    loss_of = CapturedLoss(objective, "graph")
    x = torch.randn(6, 3, device=device)
    for _ in range(5):
        loss_of(x)
        objective.kl = "gone"
        del objective.part.hidden
    _, terms = loss_of(x)
    assert torch.equal(objective.kl, terms["kl"])
    assert objective.part.hidden.shape == (6, 2)
    assert len(loss_of._graphs) == 1


def hidden():
    """A number that no walk through the state comes by."""
    return float(os.environ["FACTOR"])


def test_checks_hold_the_attributes_against_the_eager_ones(device, monkeypatch, caplog):
    def log(o, kl):
        o.kl = kl.detach() * hidden()

    monkeypatch.setenv("FACTOR", "1.0")
    objective = Logs(None, log).to(device)
    loss_of = CapturedLoss(objective, "graph")
    x = torch.randn(6, 3, device=device)
    for factor in ("1.0", "2.0"):
        monkeypatch.setenv("FACTOR", factor)
        for _ in range(5):
            _, terms = loss_of(x)
    assert torch.equal(objective.kl, 2 * terms["kl"])
    assert "gives what it leaves in kl" in caplog.text
