"""How a captured loss runs: the choice of "auto", the compiler and CUDA graphs, and what happens without."""

import logging
import shutil

import pytest
import torch
from torch import Tensor, nn

from probgen import Objective
from probgen.capture import replay
from probgen.capture.captured_loss import CapturedLoss
from probgen.capture.modes import COMPILE_STEPS
from probgen.objectives import SVI
from tests.pairs import LinearGaussian

compiles = pytest.mark.filterwarnings(
    "ignore:`torch.jit.script_method` is deprecated"
)  # inside torch.compile


class Noisy(Objective):
    """Dropout, batch normalisation and noise of its own."""

    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(nn.Linear(3, 8), nn.BatchNorm1d(8), nn.Dropout(0.3), nn.Linear(8, 1))

    def forward(self, *batch: Tensor):
        x = batch[0] + torch.randn_like(batch[0])
        loss = self.net(x).square().mean()
        return loss, {"square": loss.detach(), "noise": x.mean()}


def train(loss_of, batches):
    """Take a step per batch; return the losses."""
    optimizer = torch.optim.SGD(loss_of.objective.parameters(), lr=0.01)
    losses = []
    for batch in batches:
        loss, _ = loss_of(batch)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.detach().clone())
    return torch.stack(losses)


def test_auto_depends_on_device_steps_and_compiler_alone(device, monkeypatch, caplog):
    pair = SVI(LinearGaussian()).to(device)
    if device.type == "cuda":
        assert CapturedLoss(pair, "auto", 10**9).mode == CapturedLoss(pair).mode == "cudagraph"
        return
    monkeypatch.setattr(shutil, "which", lambda name: f"/usr/bin/{name}")
    assert CapturedLoss(pair).mode == CapturedLoss(pair, "auto", COMPILE_STEPS - 1).mode == "graph"
    assert CapturedLoss(pair, "auto", COMPILE_STEPS).mode == "compile"
    assert not caplog.records
    monkeypatch.setattr(shutil, "which", lambda name: None)
    assert CapturedLoss(pair, "auto", COMPILE_STEPS).mode == "graph"
    assert [r.message for r in caplog.records] == [
        "the loss runs as a plain graph, since compile='auto' finds no C++ compiler"
    ]


@compiles
def test_the_compiled_loss_is_the_eager_one_on_the_same_noise_and_resumes_to_the_same_bits(device, caplog):
    batches = (*torch.randn(6, 16, 3, device=device).unbind(), torch.randn(5, 3, device=device))
    outcomes = []
    for mode in ("eager", "compile"):
        torch.manual_seed(7)
        objective = Noisy().to(device)
        loss_of = CapturedLoss(objective, mode, batch_size=16)
        losses = train(loss_of, batches)
        outcomes.append([losses, *objective.state_dict().values()])
        assert loss_of.mode == mode
    assert "probgen" not in {record.name for record in caplog.records}
    torch.testing.assert_close(outcomes[1], outcomes[0])

    weights = {name: value.clone() for name, value in objective.state_dict().items()}
    noise = torch.get_rng_state() if device.type == "cpu" else torch.cuda.get_rng_state(device)
    more = [batches[0]] * 3
    uninterrupted = train(loss_of, more)
    assert len(set(uninterrupted.tolist())) == 3  # fresh noise at each step
    objective.load_state_dict(weights)
    (torch.set_rng_state if device.type == "cpu" else torch.cuda.set_rng_state)(noise)
    assert torch.equal(train(loss_of, more), uninterrupted)


def test_without_a_compiler_the_plain_graph_runs_and_says_why(device, monkeypatch, caplog):
    def no_compiler(graph, inputs):
        raise RuntimeError("No working C++ compiler found\nand a long story")

    monkeypatch.setattr(replay, "compiled", no_compiler)
    loss_of = CapturedLoss(SVI(LinearGaussian()).to(device), "compile")
    train(loss_of, torch.randn(5, 4, 3, device=device))
    assert loss_of.mode == "graph"
    assert [record.message for record in caplog.records] == [
        "the loss runs as a plain graph, since with compile='compile' it could not be made: "
        "No working C++ compiler found"
    ]


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        (lambda loss, *rest: [1.01 * loss, *rest], "gives loss"),
        (lambda *results: [*results[:-1], 1.01 * results[-1]], "gives other values of the gradient of"),
    ],
)
def test_a_compiled_loss_that_is_wrong_gives_way_to_the_plain_graph(
    wrong, reason, device, monkeypatch, caplog
):
    monkeypatch.setattr(replay, "compiled", lambda graph, inputs: lambda *tensors: wrong(*graph(*tensors)))
    x, outcomes = torch.randn(5, 4, 3, device=device), []
    for mode in ("eager", "compile"):
        torch.manual_seed(7)
        loss_of = CapturedLoss(SVI(LinearGaussian()).to(device), mode)
        outcomes.append(train(loss_of, x))
    assert torch.equal(*outcomes)
    assert loss_of.mode == "graph"
    assert len(caplog.records) == 1
    assert f"with compile='compile' it {reason}" in caplog.text


def test_only_full_batches_are_compiled(device, monkeypatch):
    made = []
    monkeypatch.setattr(replay, "compiled", lambda graph, inputs: made.append(graph) or graph)
    loss_of = CapturedLoss(SVI(LinearGaussian()).to(device), "compile", batch_size=4)
    for rows in (3, 4, 3, 4):
        loss_of(torch.randn(rows, 3, device=device))
    assert len(made) == 1


def test_cuda_graphs_need_a_cuda_device(device, caplog):
    objective = Noisy().to(device)
    if device.type == "cpu":
        with pytest.raises(
            ValueError, match="compile='cudagraph' needs a CUDA device but the data are on cpu"
        ):
            CapturedLoss(objective, "cudagraph")
        return
    loss_of = CapturedLoss(objective, "cudagraph")
    before = torch.cuda.get_rng_state(device), {k: v.clone() for k, v in objective.state_dict().items()}
    x = torch.randn(16, 3, device=device)
    loss, _ = loss_of(x)
    again, _ = loss_of(x)  # before the first is differentiated
    assert not torch.equal(loss, again)
    torch.cuda.set_rng_state(before[0], device)
    objective.load_state_dict(before[1])
    torch.testing.assert_close(loss_of(x)[0], loss)
    weight = objective.net[0].weight
    loss.backward()
    kept = weight.grad.clone()
    loss_of(x)  # a replay does not write into gradients that were taken
    assert torch.equal(weight.grad, kept)
    weight.data = weight.data.clone()  # other memory: a new graph
    with torch.no_grad():
        weight.zero_()
    objective.eval()
    with caplog.at_level(logging.WARNING):
        loss_of(x)
    assert loss_of.mode == "cudagraph"
    assert not caplog.records
