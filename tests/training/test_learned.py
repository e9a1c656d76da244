"""Parameters that come after the start are named, never left unlearned without a word."""

import pytest
import torch
from torch import Tensor, nn

from probgen import Objective
from probgen.training import Callback, fit


class Shift(Objective):
    """(x − v − w)², with a v that a test makes, freezes or replaces."""

    def __init__(self, v=None):
        super().__init__()
        self.w = nn.Parameter(torch.zeros(()))
        self.net = nn.Module()
        self.net.v = v

    def forward(self, *batch: Tensor):
        v = 0 if self.net.v is None else self.net.v
        return (batch[0] - v - self.w).square().sum(1).mean(), {}


class Do(Callback):
    def __init__(self, act, at=3):
        self.act, self.at = act, at

    def on_step_end(self, objective, history):
        if history.step == self.at:
            self.act(objective)


def train(objective, **options):
    x = torch.randn(64, 2, generator=torch.Generator().manual_seed(0)) + torch.tensor([3.0, -3.0])
    return x, fit(objective, x, **({"epochs": 9, "batch_size": 32, "progress": False} | options))


@pytest.mark.parametrize("mode", ["eager", "graph"])
def test_a_parameter_made_in_the_first_forward_is_named(mode):
    class Late(Shift):
        def forward(self, *batch):
            if self.net.v is None:
                self.net.v = nn.Parameter(torch.zeros(2))
            return super().forward(*batch)

    late = Late()
    with pytest.raises(ValueError, match=r"the parameter 'net.v' was made after the training began, so that"):
        train(late, compile=mode)
    assert float(late.w.detach()) == 0  # before a step was taken
    sgd = lambda parameters: torch.optim.SGD(parameters, lr=0.1)  # noqa: E731
    x, _ = train(
        late, compile=mode, epochs=60, batch_size=64, optimizer=sgd
    )  # now it is there from the start
    torch.testing.assert_close((late.net.v + late.w).detach(), x.mean(0), atol=1e-3, rtol=0)


def unfreeze(objective):
    objective.net.v.requires_grad_(True)


def test_a_parameter_that_is_unfrozen_later_is_named_or_learned():
    def frozen():
        return Shift(nn.Parameter(torch.zeros(2), requires_grad=False))

    with pytest.raises(
        ValueError, match=r"'net.v' was frozen when the training began, .* give an optimizer that"
    ):
        train(frozen(), callbacks=[Do(unfreeze)])
    held = frozen()
    sgd = torch.optim.SGD(held.parameters(), lr=0.1)
    x, _ = train(held, callbacks=[Do(unfreeze)], optimizer=sgd, epochs=60, batch_size=64)
    torch.testing.assert_close((held.net.v + held.w).detach(), x.mean(0), atol=1e-3, rtol=0)


def test_a_parameter_that_is_replaced_or_added_is_named():
    def replace(objective):
        objective.net.v = nn.Parameter(torch.ones(2))

    def add(objective):
        objective.head = nn.Linear(2, 2)

    with pytest.raises(
        ValueError, match=r"'net.v' should stay the one that the optimizer holds but was repl"
    ):
        train(Shift(nn.Parameter(torch.zeros(2))), callbacks=[Do(replace)])
    with pytest.raises(ValueError, match=r"'head.weight' was made after the training began"):
        train(Shift(), callbacks=[Do(add)])
    with pytest.raises(ValueError, match=r"'net.v' was frozen when the training began"):
        train(Shift(nn.Parameter(torch.zeros(2), requires_grad=False)), callbacks=[Do(replace)])


def test_what_is_left_to_itself_on_purpose_is_left():
    shift = Shift(nn.Parameter(torch.zeros(2)))
    train(shift, optimizer=torch.optim.SGD([shift.w], lr=0.1))  # v could learn and should not
    assert shift.net.v.tolist() == [0, 0]

    def write(objective):
        objective.net.v.data = torch.ones(2)
        objective.buffer = nn.Parameter(torch.ones(3), requires_grad=False)

    train(Shift(nn.Parameter(torch.zeros(2))), callbacks=[Do(write)])


def test_an_optimizer_of_weights_that_were_replaced_is_refused():
    shift = Shift(nn.Parameter(torch.zeros(2)))
    sgd = torch.optim.SGD(shift.parameters(), lr=0.1)
    shift.net.v = nn.Parameter(torch.zeros(2))
    with pytest.raises(
        ValueError, match=r"holds 1 that are not, while it does not hold 'net.v': make it aft"
    ):
        train(shift, optimizer=sgd)


@pytest.mark.parametrize("layer", [nn.LazyLinear(2), nn.LazyBatchNorm1d(affine=False)])
def test_lazy_modules_are_called_once_before(layer):
    class Net(Shift):
        def __init__(self):
            super().__init__()
            self.layer = layer

        def forward(self, *batch):
            return super().forward(self.layer(batch[0]))

    net = Net()
    name = type(layer).__name__
    with pytest.raises(ValueError, match=rf"'layer\.\w+' of a {name} has no shape before a first call: call"):
        train(net)
    net(torch.randn(8, 2))
    train(net, epochs=1)


class Outside(Objective):
    """A loss that uses a net which is hidden from it in a list."""

    def __init__(self, net):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(()))
        self.nets = [net]

    def forward(self, *batch):
        return (self.scale * self.nets[0](batch[0])).square().mean(), {}


def test_a_parameter_that_is_not_the_objectives_is_told(caplog):
    torch.manual_seed(0)
    options = {"steps": 3, "batch_size": 10, "progress": False, "compile": "eager", "seed": 0}
    fit(Outside(nn.Linear(3, 4)), torch.randn(40, 3), **options)
    told = "a gradient for a parameter of shape (4,) that is none of Outside's, so that it is not learned"
    assert told in caplog.text or told.replace("(4,)", "(4, 3)") in caplog.text
    caplog.clear()
    fit(Outside(nn.Linear(3, 4).requires_grad_(False)), torch.randn(40, 3), **options)
    assert "not learned" not in caplog.text
