"""The rewriting of a graph keeps every value, and takes out what it should."""

import pytest
import torch
from torch import Tensor, nn

from probgen import Objective, models, nets
from probgen.capture.bound_operations import bind
from probgen.capture.loss_graph import capture
from probgen.objectives import SVI


class Formula(Objective):
    """A loss given by a function of a parameter of shape (2, 3) and the batch."""

    def __init__(self, formula):
        super().__init__()
        self.weight = nn.Parameter(torch.arange(1.0, 7.0).reshape(2, 3) / 7)
        self.register_buffer("memory", torch.zeros(2, 3))
        self.register_buffer("mean", torch.zeros(3))
        self.formula = formula

    def forward(self, *batch: Tensor):
        return self.formula(self, batch[0]), {}


def captured(objective, x):
    weights, state = dict(objective.named_parameters()), dict(objective.named_buffers())
    graph = capture(objective, weights, state, (x,))
    return graph, [*weights.values(), *state.values(), x]


def operations(graph):
    return [node.target for node in graph.graph.graph.nodes if node.op == "call_function"]


def writes_into_a_copy(o, x):
    copy = torch.cat([x])
    copy.add_(1.0)
    return (o.weight * copy * x).sum()


def writes_into_what_was_read(o, x):
    y = x.clone()
    first = y * 2
    y.add_(1.0)
    return (o.weight * (first + y * 2)).sum()


def writes_through_a_view(o, x):
    y = torch.zeros_like(x)
    y[0] += x[0]
    return (o.weight * (y + torch.zeros_like(x))).sum()


def writes_into_a_buffer(o, x):
    before = o.memory + 0.0
    o.memory.add_(x)
    return (o.weight * (before - o.memory)).sum()


def writes_without_a_word(o, x):
    before = o.mean * 2
    y = nn.functional.batch_norm(x, o.mean, torch.ones(3), training=True)
    return (o.weight * (y + before - o.mean * 2)).sum()


def draws_twice(o, x):
    return (o.weight * (torch.randn(2, 3) - torch.randn(2, 3))).sum()


def counts(o, x):
    n = (x * 4).long()
    return (o.weight * ((n * 2) ** 2 + (n * 2.0 + 1) ** -1)).sum()


def constants_of_two_types(o, x):
    half = torch.full((2, 3), 0.1, dtype=torch.float64)
    return (o.weight.double() * half / torch.ones(2, 3) - torch.ones(2, 3, dtype=torch.float64)).sum()


def broadcasts(o, x):
    return ((o.weight.sum() * torch.ones(2, 3)) * torch.ones(4, 2, 3)).sum()


def transposes(o, x):
    return (o.weight.t().t().unsqueeze(0).squeeze(0).expand(2, 3) @ torch.ones(3, 3)).square().sum()


FORMULAS = [
    writes_into_a_copy,
    writes_into_what_was_read,
    writes_through_a_view,
    writes_into_a_buffer,
    writes_without_a_word,
    draws_twice,
    counts,
    constants_of_two_types,
    broadcasts,
    transposes,
]


@pytest.mark.parametrize("formula", FORMULAS, ids=lambda formula: formula.__name__)
def test_rewriting_keeps_values_gradients_and_buffers(formula):
    x = torch.randn(2, 3)
    objective = Formula(formula)
    graph, inputs = captured(objective, x)
    for function in (graph.graph, bind(graph.graph)):
        outcomes = []
        for call in (lambda: (objective(x)[0],), lambda: function(*inputs)):  # noqa: B023
            objective.memory.fill_(0.5)
            objective.mean.fill_(0.1)
            torch.manual_seed(3)
            loss, *gradients = call()
            if not gradients:
                gradients = torch.autograd.grad(loss, objective.weight)
            outcomes.append([loss.detach(), *gradients, objective.memory.clone(), objective.mean.clone()])
        for found, expected in zip(outcomes[1], outcomes[0], strict=True):
            assert found.dtype == expected.dtype
            assert torch.equal(found, expected)


def test_what_changes_nothing_is_taken_out():
    graph, _ = captured(
        Formula(lambda o, x: (o.weight.t().t().view(2, 3) * 1 + 0).square().sum()), torch.zeros(2, 3)
    )
    aten = torch.ops.aten
    assert operations(graph) == [aten.pow.Tensor_Scalar, aten.sum.default, aten.mul.Scalar] or operations(
        graph
    ) == [aten.pow.Tensor_Scalar, aten.sum.default, aten.mul.Scalar, aten.mul.Tensor]


def test_the_graph_of_a_vae_is_small():
    """Forwards and backwards; more operations than this would be felt in the step of a small net."""
    encoder, decoder = nets.MLP(64, 2, hidden=(8,)), nets.MLP(2, 64, hidden=(8,))
    objective = SVI(models.VAE(nets.NormalHead(encoder), nets.BernoulliHead(decoder)))
    graph, _ = captured(objective, torch.zeros(4, 64))
    assert len(operations(graph)) <= 105
    slow = [
        target for target in operations(graph._replace(graph=bind(graph.graph))) if hasattr(target, "_schema")
    ]
    assert len(slow) <= 12


def test_results_of_autograd_from_before_the_step_are_refused():
    objective = Formula(lambda o, x: (o.weight * o.kept).sum())
    objective.kept = objective.weight.square()
    with pytest.raises(ValueError, match="it would hold results of autograd from before the step"):
        captured(objective, torch.zeros(2, 3))
