"""A graph belongs to the objective as it stands: nothing that changes afterwards is lost or kept."""

import logging

import pytest
import torch
from torch import Tensor, nn

from probgen import Objective
from probgen.capture.captured_loss import MAX_GRAPHS, CapturedLoss
from probgen.objectives import SVI
from tests.pairs import LinearGaussian


class Parts(Objective):
    """Two layers, of which parts can be frozen, replaced or added."""

    def __init__(self):
        super().__init__()
        self.layers = nn.ModuleList([nn.Linear(3, 3), nn.Linear(3, 3)])
        self.drop = nn.Dropout(0.5)

    def forward(self, *batch: Tensor):
        x = batch[0]
        for layer in self.layers:
            x = layer(x)
        return self.drop(x).square().mean(), {}


def freeze(objective):
    objective.layers[0].requires_grad_(False)


def unfreeze(objective):
    objective.layers[0].requires_grad_(True)


def replace(objective):
    objective.layers[1].weight = nn.Parameter(torch.eye(3, device=objective.layers[1].weight.device))


def add(objective):
    objective.layers.append(nn.Linear(3, 3).to(objective.layers[0].weight.device))


def remove(objective):
    del objective.layers[1]


def swap_data(objective):
    objective.layers[0].weight.data = objective.layers[0].weight.data + 1.0


def load(objective):
    objective.load_state_dict({name: value + 0.5 for name, value in objective.state_dict().items()})


def assign(objective):
    objective.load_state_dict({name: v + 0.5 for name, v in objective.state_dict().items()}, assign=True)


def evaluate_a_part(objective):
    objective.drop.eval()


CHANGES = [freeze, unfreeze, replace, add, remove, swap_data, load, assign, evaluate_a_part]


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__)
def test_a_changed_objective_is_never_run_by_a_stale_graph(change, device, caplog):
    torch.manual_seed(3)
    objective = Parts().to(device)
    if change is unfreeze:
        freeze(objective)
    mode = "cudagraph" if device.type == "cuda" else "graph"
    loss_of = CapturedLoss(objective, mode)
    x = torch.randn(5, 3, device=device)
    for _ in range(4):  # the fifth and sixth call are not ones that are compared with eager
        loss_of(x)
    change(objective)
    outcomes = []
    for call in (loss_of, objective):
        objective.zero_grad()
        torch.manual_seed(4)
        loss, _ = call(x)
        loss.backward()
        outcomes.append([loss.detach(), *(p.grad for p in objective.parameters())])
    for found, expected in zip(*outcomes, strict=True):
        assert (found is None) == (expected is None)
        assert found is None or torch.equal(found, expected)
    assert loss_of.mode == mode
    assert not caplog.records


def test_another_dtype_has_a_graph_of_its_own(device):
    objective = Parts().to(device)
    loss_of = CapturedLoss(objective, "graph")
    x = torch.randn(5, 3, device=device)
    assert loss_of(x)[0].dtype == torch.float32
    objective.double()
    assert loss_of(x.double())[0].dtype == torch.float64


def test_a_batch_that_is_laid_out_otherwise_has_a_graph_of_its_own(device, caplog):
    """What a graph takes out as doing nothing, such as ``contiguous``, depends on the layout."""

    class Flat(Parts):
        def forward(self, *batch):
            return super().forward(batch[0].contiguous().view(-1).view(batch[0].shape))

    objective = Flat().to(device)
    loss_of = CapturedLoss(objective, "graph")
    x = torch.randn(5, 3, device=device)
    for batch in (x, x.T.contiguous().T, x):
        torch.manual_seed(4)
        found = loss_of(batch)[0]
        torch.manual_seed(4)
        assert torch.equal(found, objective(batch)[0])
    assert loss_of.mode == "graph"
    assert len(loss_of._graphs) == 2
    assert not caplog.records


def test_freezing_and_unfreezing_in_turn_makes_two_graphs(device):
    objective = Parts().to(device)
    loss_of = CapturedLoss(objective, "graph")
    x = torch.randn(5, 3, device=device)
    for _ in range(4):
        for change in (freeze, unfreeze):
            change(objective)
            objective.zero_grad()
            loss_of(x)[0].backward()
            frozen = objective.layers[0].weight.grad is None
            assert frozen == (change is freeze)
    assert len(loss_of._graphs) == 2


def test_ragged_data_make_a_bounded_number_of_graphs_and_one_warning(device, caplog):
    objective = SVI(LinearGaussian()).to(device)
    loss_of = CapturedLoss(objective, "graph")
    with caplog.at_level(logging.WARNING):
        for rows in range(1, MAX_GRAPHS + 5):
            x = torch.randn(rows, 3, device=device)
            torch.manual_seed(rows)
            found = loss_of(x)[0]
            torch.manual_seed(rows)
            assert torch.equal(found, objective(x)[0])
    assert len(loss_of._graphs) == MAX_GRAPHS
    assert loss_of.mode == "graph"
    assert [r.message for r in caplog.records] == [
        f"the loss runs eagerly on further shapes, since it has {MAX_GRAPHS} graphs"
    ]


def test_without_gradients_the_objective_itself_is_called(device):
    loss_of = CapturedLoss(Parts().to(device), "graph")
    with torch.no_grad():
        loss, _ = loss_of(torch.randn(5, 3, device=device))
    assert not loss.requires_grad
    assert not loss_of._graphs


class Careful(Objective):
    """Has a part for which it turns autocast off."""

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Linear(3, 4), nn.Linear(4, 2)

    def forward(self, *batch: Tensor):
        hidden = self.first(batch[0]).float().tanh()
        with torch.autocast(hidden.device.type, enabled=False):
            return self.second(hidden).square().mean(), {}


@pytest.mark.parametrize("make", [lambda: SVI(LinearGaussian()), Careful], ids=["svi", "careful"])
def test_autocast_has_a_graph_of_its_own_with_the_casts_of_eager(make, device, caplog):
    """The casts of the weights are not frozen, and what runs eagerly in float32 does so here."""
    torch.manual_seed(3)
    x = torch.randn(20, 16, 3, device=device)
    outcomes = []
    for mode in ("eager", "graph"):
        torch.manual_seed(7)
        objective = make().to(device)
        loss_of = CapturedLoss(objective, mode)
        optimizer = torch.optim.SGD(objective.parameters(), lr=0.05)
        losses = []
        for batch in x:
            optimizer.zero_grad()
            with torch.autocast(device.type, torch.bfloat16):
                loss, _ = loss_of(batch)
            loss.backward()
            optimizer.step()
            losses.append(loss.detach())
        outcomes.append([torch.stack(losses), *objective.state_dict().values()])
        assert loss_of.mode == mode
    assert not caplog.records
    for found, expected in zip(*outcomes, strict=True):
        assert torch.equal(found, expected)
    torch.manual_seed(1)
    found, _ = loss_of(x[0])  # without autocast
    torch.manual_seed(1)
    assert torch.equal(found, objective(x[0])[0])
    assert len(loss_of._graphs) == 2
