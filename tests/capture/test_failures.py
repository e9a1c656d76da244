"""Wherever capture fails, in the making or in the running, the training is the eager one to the bit."""

import logging

import pytest
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from probgen import Objective
from probgen.capture import captured_loss as capture
from probgen.capture import replay
from probgen.capture.captured_loss import CapturedLoss


def said(caplog):
    """What probgen logged, among what torch says of its own traces."""
    return [record.message for record in caplog.records if record.name == "probgen"]


class Net(Objective):
    """The mean square of what a function makes of a net and the batch."""

    def __init__(self, net, formula=lambda net, x: net(x)):
        super().__init__()
        self.net, self.formula = net, formula

    def forward(self, *batch: Tensor):
        return self.formula(self.net, batch[0]).square().mean(), {}


def trained(make, x, mode, device):
    """Take a step on each batch; return losses, state, random state and the captured loss."""
    torch.manual_seed(0)
    objective = make().to(device)
    loss_of = CapturedLoss(objective, mode)
    optimizer = torch.optim.SGD(objective.parameters(), lr=0.05)
    losses = []
    for batch in x.to(device):
        optimizer.zero_grad()
        losses.append(loss_of.backward(batch)[0])
        optimizer.step()
    loss_of.check()
    noise = torch.cuda.get_rng_state(device) if device.type == "cuda" else torch.get_rng_state()
    return [torch.stack(losses), *objective.state_dict().values(), noise], loss_of


def check_equal(make, x, device, *, mode):
    """Hold the captured training against the eager one."""
    expected, _ = trained(make, x, "eager", device)
    found, loss_of = trained(make, x, "compile" if mode == "compile" else "graph", device)
    for value, other in zip(found, expected, strict=True):
        assert torch.equal(value, other)
    assert loss_of.mode == ("eager" if mode == "eager" else "graph")


RECURRENT = {
    "lstm": lambda: nn.LSTM(2, 3),
    "deep lstm, both ways, dropout": lambda: nn.LSTM(
        2, 3, 2, dropout=0.4, bidirectional=True, batch_first=True
    ),
    "lstm without biases": lambda: nn.LSTM(2, 3, bias=False),
    "gru": lambda: nn.GRU(2, 3, 2, dropout=0.4, bidirectional=True),
    "rnn": lambda: nn.RNN(2, 3, 2, dropout=0.4),
}


@pytest.mark.parametrize("name", RECURRENT)
def test_recurrent_nets_are_captured_to_the_same_bits(name, device, caplog):
    x = torch.randn(5, 4, 3, 2, generator=torch.Generator().manual_seed(1))
    check_equal(lambda: Net(RECURRENT[name](), lambda net, x: net(x)[0]), x, device, mode="graph")
    assert not said(caplog)


def fills_marked(net, x):
    y = net(x).clone()
    y[x > 0] = x[x > 0]
    return y


SHAPES = {
    "mask": lambda net, x: net(x)[x > 0],
    "masked rows": lambda net, x: net(x[x[:, 0] > 0]),
    "masked_select": lambda net, x: net(x).masked_select(x > 0),
    "nonzero": lambda net, x: net(x)[(x[:, 0] > 0).nonzero().squeeze(1)],
    "where": lambda net, x: net(x)[torch.where(x[:, 0] > 0)[0]],
    "unique": lambda net, x: net(x) * len(x.round().unique()),
    "unique_consecutive": lambda net, x: net(x) * len(x[:, 0].sign().unique_consecutive()),
    "repeat_interleave": lambda net, x: net(x).repeat_interleave(1 + (x[:, 0] > 0), 0),
    "count alone": lambda net, x: net(x) * len(x[x > 0]),
    "filled where marked": fills_marked,
    "numpy": lambda net, x: net(x) * float(x.detach().cpu().numpy().max()),
    "tolist": lambda net, x: net(x) * x[0].tolist()[0],
}


@pytest.mark.parametrize("name", SHAPES)
def test_what_depends_on_the_datas_values_is_refused_at_once(name, device, caplog):
    """Also where two batches in turn have the same counts: here all have at first."""
    x = torch.randn(1, 12, 4, generator=torch.Generator().manual_seed(1)).repeat(6, 1, 1)
    x[3:] = x[3:].flip(1) - 0.3
    check_equal(lambda: Net(nn.Linear(4, 4), SHAPES[name]), x, device, mode="eager")
    (sentence,) = said(caplog)
    assert "could not be made" in sentence


def blanks_marked(net, x):
    y = net(x).clone()
    y[x > 0] = 0.0
    return y


@pytest.mark.parametrize("formula", [blanks_marked, lambda net, x: net(x).masked_fill(x > 0, 0.0)])
def test_masks_that_keep_the_shape_are_captured(formula, device):
    check_equal(lambda: Net(nn.Linear(4, 4), formula), torch.randn(4, 5, 4), device, mode="graph")


def normalised(**options):
    return nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4, **options), nn.Dropout(0.3))


class Averaged(nn.Module):
    """Moves an average of its input, in place or by a new tensor, and may look at a number afterwards."""

    def __init__(self, *, in_place, looks, buffer=True):
        super().__init__()
        self.net = normalised()
        self.in_place, self.looks = in_place, looks
        if buffer:
            self.register_buffer("mean", torch.zeros(4))
        else:
            self.mean = torch.zeros(4)

    def forward(self, x):
        moved = 0.9 * self.mean + 0.1 * x.mean(0)
        if self.in_place:
            self.mean.copy_(moved)
        else:
            self.mean = moved
        y = self.net(x) - self.mean
        return y * x[0, 0].tanh().item() if self.looks else y


def looks_late(net, x):
    y = net(x)
    return y * x[0, 0].tanh().item()


FAILURES = {
    "momentum=None": lambda: Net(normalised(momentum=None)),
    "after buffers and noise": lambda: Net(normalised(), looks_late),
    "buffer in place": lambda: Net(Averaged(in_place=True, looks=True)),
    "buffer replaced": lambda: Net(Averaged(in_place=False, looks=True)),
    "buffer replaced, nothing else": lambda: Net(Averaged(in_place=False, looks=False)),
    "plain tensor in place": lambda: Net(Averaged(in_place=True, looks=True, buffer=False)),
    "plain tensor replaced": lambda: Net(Averaged(in_place=False, looks=True, buffer=False)),
}


@pytest.mark.parametrize("name", FAILURES)
def test_a_capture_that_fails_leaves_nothing_behind(name, caplog):
    x = torch.randn(6, 12, 4, generator=torch.Generator().manual_seed(1))
    check_equal(FAILURES[name], x, torch.device("cpu"), mode="eager")
    assert len(said(caplog)) == 1


def moves_and_fails(*args, **kwargs):
    torch.rand(3)
    raise RuntimeError("it breaks")


@pytest.mark.parametrize(
    ("part", "mode"), [("capture", "eager"), ("bind", "eager"), ("summary", "eager"), ("compiled", "compile")]
)
def test_whatever_part_fails_the_training_is_the_eager_one(part, mode, device, monkeypatch, caplog):
    calls = []

    def summary_that_fails(*args):
        calls.append(args)
        return moves_and_fails() if len(calls) > 1 else whole(*args)  # the first is that of the eager loss

    whole = capture.summary
    owner = replay if part in ("bind", "compiled") else capture
    monkeypatch.setattr(owner, part, summary_that_fails if part == "summary" else moves_and_fails)
    x = torch.randn(6, 12, 4, generator=torch.Generator().manual_seed(1))
    check_equal(lambda: Net(normalised()), x, device, mode=mode)
    (sentence,) = said(caplog)
    assert "could not be made: it breaks" in sentence


def or_zero(net, x):
    """A factor of the second moments, or nothing, after noise and moved buffers."""
    y = net(x)
    try:
        return y.sum() * torch.linalg.cholesky(x.T @ x)
    except torch.linalg.LinAlgError:
        return 0 * y


def test_a_graph_that_fails_as_it_runs_gives_way_to_the_eager_loss(device, caplog):
    x = torch.randn(7, 12, 4, generator=torch.Generator().manual_seed(1))
    x[4] = 0.0
    with caplog.at_level(logging.WARNING):
        check_equal(lambda: Net(normalised(), or_zero), x, device, mode="eager")
    (sentence,) = said(caplog)
    assert "could not be run: linalg.cholesky" in sentence


def test_an_error_of_the_eager_loss_too_is_the_users_own(device, caplog):
    loss_of = CapturedLoss(Net(nn.Embedding(3, 2)), "graph")
    good, bad = torch.tensor([0, 2]), torch.tensor([0, 3])
    for batch in (good, good, good, good):
        loss_of(batch)
    with pytest.raises(IndexError, match="index out of range"):
        loss_of(bad)
    loss_of(good)
    assert loss_of.mode == "graph"
    assert not said(caplog)


class Moving(Objective):
    """A loss that moves weights as it is called: a target follows them, or they are clamped."""

    def __init__(self, *, follows, listed):
        super().__init__()
        self.net, target = nn.Linear(3, 3), nn.Linear(3, 3).requires_grad_(False)
        target.load_state_dict(self.net.state_dict())
        self.target = [target] if listed else nn.ModuleList([target])
        self.follows = follows

    def forward(self, *batch: Tensor):
        (target,) = self.target
        with torch.no_grad():
            self.net.weight.clamp_(-0.6, 0.6)
            for mine, learned in zip(target.parameters(), self.net.parameters(), strict=True):
                mine.lerp_(learned, 0.1 if self.follows else 0.0)
        return (self.net(batch[0]) - target(batch[0]) - batch[0]).square().sum(1).mean(), {}


@pytest.mark.parametrize("listed", [False, True], ids=["as a part", "in a list"])
@pytest.mark.parametrize("follows", [False, True])
def test_a_check_leaves_weights_where_they_are(follows, listed, device):
    def make():
        objective = Moving(follows=follows, listed=listed)
        objective.target[0].to(device)
        return objective

    x = torch.randn(21, 8, 3, generator=torch.Generator().manual_seed(0))
    check_equal(make, x, device, mode="graph")


READS_OF_ONE = {
    "float": lambda held: float(held),
    "item": lambda held: held.item(),
    "if": lambda held: 1.0 if held else 2.0,
    "format": lambda held: float(f"{held:.3f}"),
}


@pytest.mark.parametrize("name", READS_OF_ONE)
def test_a_number_read_from_a_tensor_that_may_be_filled_is_not_frozen(name, device, caplog):
    class Reading(Net):
        def forward(self, *batch: Tensor):
            loss, terms = super().forward(*batch)
            return READS_OF_ONE[name](held) * loss, terms

    held = torch.ones((), device=device)
    objective = Reading(nn.Linear(3, 3)).to(device)
    loss_of = CapturedLoss(objective, "graph")
    x = torch.randn(4, 3, device=device)
    for _ in range(5):
        loss_of(x)
    held.fill_(0.0)
    assert torch.equal(loss_of(x)[0], objective(x)[0])
    assert len(said(caplog)) == 1


def test_a_reentrant_checkpoint_learns_all_weights(device, caplog):
    class Checkpointed(Net):
        def forward(self, *batch: Tensor):
            x = batch[0].clone().requires_grad_()
            out = checkpoint(self.net, x, use_reentrant=True)
            return self.scale * out.square().sum(), {}

    objective = Checkpointed(nn.Linear(3, 3))
    objective.scale = nn.Parameter(torch.ones(()))
    objective.to(device)
    CapturedLoss(objective, "graph").backward(torch.randn(4, 3, device=device))
    assert all(weight.grad is not None for weight in objective.parameters())
    assert "use_reentrant=False" in caplog.text
