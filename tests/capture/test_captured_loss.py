"""The captured loss gives the bits of the eager one, or gives way to it with a reason."""

import logging
import os

import pytest
import torch
from torch import Tensor, nn

from probgen import Objective
from probgen.capture.captured_loss import CapturedLoss
from probgen.objectives import SVI, BetaELBO
from tests.pairs import LinearGaussian


class Layers(Objective):
    """Dropout and batch normalisation: noise of its own and buffers that move."""

    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(nn.Linear(3, 8), nn.BatchNorm1d(8), nn.Dropout(0.3), nn.Linear(8, 1))

    def forward(self, *batch: Tensor):
        loss = self.net(batch[0]).square().mean()
        return loss, {"square": loss.detach()}


def hidden():
    """A number that the objective's Python reads where no walk through its state comes by."""
    return float(os.environ.get("HIDDEN", 1.0))


class Annealed(Objective):
    """Keeps its weight in a Python number."""

    def __init__(self):
        super().__init__()
        self.location = nn.Parameter(torch.zeros(3))
        self.weight = 1.0

    def forward(self, *batch: Tensor):
        return self.weight * (batch[0] - self.location).square().sum(), {}


class Hidden(Annealed):
    """Reads a number from outside: a graph would freeze it."""

    def forward(self, *batch: Tensor):
        return hidden() * super().forward(*batch)[0], {}


class DataDependent(Annealed):
    """Branches on the data."""

    def forward(self, *batch: Tensor):
        square = (batch[0] - self.location).square().sum()
        return (square if batch[0].sum() > 0 else 2 * square), {}


def modes(device):
    """The modes beside eager that give its bits, on a device."""
    return ("graph", "cudagraph") if device.type == "cuda" else ("graph",)


def steps(objective, mode, batches, device):
    """Take a gradient step per batch and return the losses and the final state."""
    objective = objective.to(device)
    loss_of = CapturedLoss(objective, mode)
    optimizer = torch.optim.SGD(objective.parameters(), lr=0.01)
    losses = []
    for batch in batches:
        loss, _ = loss_of(batch.to(device))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.detach().clone())
    return torch.stack(losses), objective.state_dict(), loss_of


@pytest.mark.parametrize("make", [lambda: SVI(LinearGaussian()), Layers], ids=["svi", "layers"])
def test_captured_and_eager_give_the_same_bits(make, device, caplog):
    batches = (*torch.randn(11, 16, 3).unbind(), torch.randn(5, 3))
    outcomes = []
    with caplog.at_level(logging.WARNING):
        for mode in ("eager", *modes(device)):
            torch.manual_seed(7)
            losses, state, loss_of = steps(make(), mode, batches, device)
            outcomes.append((losses, state))
            assert loss_of.mode == mode
    assert not caplog.records
    (eager_losses, eager_state), *others = outcomes
    for losses, state in others:
        assert torch.equal(eager_losses, losses)
        for name, expected in eager_state.items():
            assert torch.equal(expected, state[name]), name


def test_the_graph_draws_fresh_noise_at_each_call(device):
    loss_of = CapturedLoss(SVI(LinearGaussian()).to(device), "graph")
    x = torch.randn(4, 3, device=device)
    losses = {float(loss_of(x)[0].detach()) for _ in range(5)}
    assert len(losses) == 5


def test_evaluation_mode_is_captured_on_its_own(device):
    objective = Layers().to(device)
    loss_of = CapturedLoss(objective, "graph")
    x = torch.randn(8, 3, device=device)
    loss_of(x)
    objective.eval()
    assert torch.equal(loss_of(x)[0], objective(x)[0])


def test_a_buffer_that_is_scheduled_needs_no_new_capture(device):
    objective = SVI(LinearGaussian(), BetaELBO(0.0)).to(device)
    loss_of = CapturedLoss(objective, "graph")
    x = torch.randn(4, 3, device=device)
    for beta in (0.0, 0.5, 2.0):
        objective.elbo.beta.fill_(beta)
        loss, terms = loss_of(x)
        torch.testing.assert_close(loss.detach(), beta * terms["kl"] - terms["reconstruction"])
    assert len(loss_of._graphs) == 1


def test_what_python_reads_outside_is_not_frozen_silently(device, monkeypatch, caplog):
    loss_of = CapturedLoss(Hidden().to(device), "graph")
    x = torch.ones(2, 3, device=device)
    loss_of(x)
    monkeypatch.setenv("HIDDEN", "3.0")
    with caplog.at_level(logging.WARNING):
        losses = [float(loss_of(x)[0].detach()) for _ in range(3)]
    assert losses == [18.0, 18.0, 18.0]
    assert len(caplog.records) == 1
    assert "gives loss 6 where eager gives 18 on the same noise" in caplog.text


def test_a_check_counts_the_calls_that_it_did_not_see_and_the_last_one_is_made_at_the_end(
    device, monkeypatch, caplog
):
    loss_of = CapturedLoss(Hidden().to(device), "graph")
    x, few = torch.ones(4, 3, device=device), torch.ones(2, 3, device=device)
    for _ in range(4):
        loss_of(x)
        loss_of(few)
    loss_of.check()
    assert not caplog.records
    monkeypatch.setenv("HIDDEN", "3.0")
    assert [float(loss_of(few)[0].detach()) for _ in range(3)] == [6.0, 6.0, 6.0]
    loss_of.check()
    assert loss_of.mode == "eager"
    assert [record.message for record in caplog.records] == [
        "the loss runs eagerly, since its captured graph gives loss 6 where eager gives 18 on the same "
        "noise, and may have done so at the 3 calls before"
    ]


def test_data_dependent_structure_runs_eagerly_with_one_reason(device, caplog):
    with caplog.at_level(logging.WARNING):
        losses, _, loss_of = steps(DataDependent(), "graph", [torch.ones(2, 3), -torch.ones(2, 3)], device)
    assert loss_of.mode == "eager"
    assert len(caplog.records) == 1
    assert "could not be made" in caplog.text
    assert losses[0] == 6.0
    assert losses[1] > 12.0


class MovingAverage(Annealed):
    """Replaces a buffer by a new tensor, where batch normalisation writes into it."""

    def __init__(self):
        super().__init__()
        self.register_buffer("mean", torch.zeros(3))

    def forward(self, *batch: Tensor):
        self.mean = 0.9 * self.mean + 0.1 * batch[0].mean(0)
        return (batch[0] - self.location).square().sum(), {}


def test_a_buffer_that_is_replaced_runs_eagerly(device, caplog):
    x = torch.randn(4, 3, device=device)
    objective = MovingAverage().to(device)
    loss_of = CapturedLoss(objective, "graph")
    loss_of(x)
    assert loss_of.mode == "eager"
    assert "would not change 'mean' as a call of the loss does" in caplog.text
    torch.testing.assert_close(objective.mean, 0.1 * x.mean(0))


class Scaled(torch.autograd.Function):
    """The identity, with its gradient scaled by a Python number."""

    @staticmethod
    def forward(ctx, x, scale):
        ctx.scale = scale
        return x.view_as(x)

    @staticmethod
    def backward(ctx, gradient):
        return ctx.scale * gradient, None


class Reversed(Annealed):
    """Reverses a gradient, as in domain-adversarial training, by a number that Python anneals."""

    def __init__(self):
        super().__init__()
        self.weight = -1.0

    def forward(self, *batch: Tensor):
        return (batch[0] - Scaled.apply(self.location, self.weight * hidden())).square().sum(), {}


def test_a_gradient_that_python_anneals_is_not_frozen_silently(device, monkeypatch, caplog):
    objective = Reversed().to(device)
    loss_of = CapturedLoss(objective, "graph")
    x = torch.ones(2, 3, device=device)
    loss_of(x)
    monkeypatch.setenv("HIDDEN", "-1.0")  # same loss, same norm of the gradient
    loss_of(x)[0].backward()
    assert "gives other values of the gradient of location than eager" in caplog.text
    assert (objective.location.grad < 0).all()


class GradientPenalty(Objective):
    """Differentiates inside the loss, as in a Wasserstein GAN."""

    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 1))

    def forward(self, *batch: Tensor):
        x = (batch[0] + torch.randn_like(batch[0])).requires_grad_()
        (gradient,) = torch.autograd.grad(self.net(x).sum(), x, create_graph=True)
        return (gradient.norm(dim=1) - 1).square().mean(), {}


class SharedGradient(Objective):
    """Two parameters whose gradients are one tensor in autograd, and a third without a gradient."""

    def __init__(self):
        super().__init__()
        self.a, self.b, self.c = (nn.Parameter(torch.ones(3)) for _ in range(3))

    def forward(self, *batch: Tensor):
        return ((self.a + self.b) * batch[0].mean(0)).square().sum(), {}


class Direct(Objective):
    """Its gradient is a buffer of its own, and a number spread over a tensor."""

    def __init__(self):
        super().__init__()
        self.a, self.b = (nn.Parameter(torch.ones(2, 3)) for _ in range(2))
        self.register_buffer("direction", torch.tensor([1.0, 2.0, 3.0]))

    def forward(self, *batch: Tensor):
        return (self.a * self.direction).sum() + self.b.sum(), {}


@pytest.mark.parametrize("make", [Reversed, GradientPenalty, SharedGradient, Direct])
def test_gradients_that_are_made_by_hand_or_shared_are_captured_to_the_same_bits(make, device, caplog):
    batches, outcomes = torch.randn(5, 4, 3).unbind(), []
    for mode in ("eager", *modes(device)):
        torch.manual_seed(7)
        objective = make().to(device)
        loss_of = CapturedLoss(objective, mode)
        for batch in batches:
            objective.zero_grad()
            loss_of.backward(batch.to(device))
            for weight in objective.parameters():
                if weight.grad is not None:
                    weight.grad.mul_(0.1)  # in place, as clipping does
                    with torch.no_grad():
                        weight.sub_(weight.grad)
        outcomes.append(objective.state_dict())
    assert loss_of.mode == mode
    assert not caplog.records
    for name, expected in outcomes[0].items():
        for state in outcomes[1:]:
            assert torch.equal(expected, state[name]), name


def tenfold(gradient):
    return 10 * gradient


def halve(weight):
    weight.grad = 0.5 * weight.grad


@pytest.mark.parametrize(
    ("hook", "register"),
    [(None, None), (tenfold, "register_hook"), (halve, "register_post_accumulate_grad_hook")],
)
def test_backward_is_the_losss_own_backward(hook, register, device, caplog):
    """Scaled, accumulated, and through the hooks of a parameter, which a graph cannot hold."""
    batches, outcomes = torch.randn(2, 6, 3, device=device), []
    for way in ("eager", "eager backward", *modes(device)):
        torch.manual_seed(7)
        objective = Layers().to(device)
        loss_of = CapturedLoss(objective, way.split()[0])
        losses = [loss_of(batches[0])[0].detach()]
        if hook is not None:
            getattr(objective.net[0].weight, register)(hook)
        for batch in batches:
            if way == "eager":
                loss, terms = loss_of(batch)
                (0.5 * loss).backward()
            else:
                loss, terms = loss_of.backward(batch, scale=0.5)
                assert not loss.requires_grad
            losses += [loss.detach(), terms["square"]]
        outcomes.append([*losses, *(weight.grad for weight in objective.parameters())])
    for outcome in outcomes[1:]:
        for found, expected in zip(outcome, outcomes[0], strict=True):
            assert torch.equal(found, expected)
    assert ("has hooks on its gradient" in caplog.text) == (hook is tenfold)


def test_gradients_are_scaled_and_accumulated_as_by_autograd(device):
    objective = Layers().to(device).eval()
    loss_of = CapturedLoss(objective, "graph")
    x, y = torch.randn(2, 6, 3, device=device)
    gradients = []
    for call in (objective, loss_of):
        objective.zero_grad()
        first, second = call(x)[0], call(y)[0]
        (0.25 * first).backward()
        (3.0 * second).backward()
        gradients.append([weight.grad for weight in objective.parameters()])
    torch.testing.assert_close(gradients[1], gradients[0])
    loss, _ = loss_of(x)
    loss.backward(retain_graph=True)
    with pytest.raises(RuntimeError, match="the loss of a captured graph should be differentiated once"):
        loss.backward()


def test_a_users_error_surfaces_in_its_own_words(device):
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
        CapturedLoss(SVI(LinearGaussian()).to(device), "graph")(torch.randn(4, 2, device=device))


class Returns(Annealed):
    """Returns whatever a test plants."""

    def __init__(self, outcome):
        super().__init__()
        self.outcome = outcome

    def forward(self, *batch: Tensor):
        return self.outcome(self.location.square().sum())


@pytest.mark.parametrize("mode", ["eager", "graph"])
@pytest.mark.parametrize(
    ("outcome", "error", "sentence"),
    [
        (lambda loss: loss, TypeError, r"Returns should return \(loss, terms\) but returned a Tensor"),
        (lambda loss: (loss[None], {}), ValueError, "should be a scalar tensor with a gradient but is"),
        (lambda loss: (loss.detach(), {}), ValueError, "should be a scalar tensor with a gradient but is"),
        (lambda loss: (loss, {"a": 1.0}), ValueError, "the term 'a' of Returns should be a detached scalar"),
        (lambda loss: (loss, {"a": loss}), ValueError, "the term 'a' of Returns should be a detached scalar"),
    ],
)
def test_what_an_objective_returns_is_checked(mode, outcome, error, sentence):
    with pytest.raises(error, match=sentence):
        CapturedLoss(Returns(outcome), mode)(torch.zeros(2, 3))


def test_an_unknown_mode_is_named():
    with pytest.raises(
        ValueError, match="compile should be one of auto, eager, graph, compile, cudagraph but got 'jit'"
    ):
        CapturedLoss(Annealed(), "jit")
