"""Simplified graphs: fewer operations, the same bits; what has effects stays as it is."""

import pytest
import torch

from probgen.capture.bound_operations import bind
from probgen.capture.simplified import simplify
from probgen.capture.traced_function import traced
from probgen.core import Density
from probgen.sampling.markov.moves.hmc import leapfrog
from tests.sampling.markov.targets import target

FILLED = torch.tensor([1.0, 2.0])


def recorded(function, *inputs):
    with torch.no_grad():
        return traced(function, inputs, still=True)


def shortened(function, *inputs):
    graph = recorded(function, *inputs)
    simplify(graph, still=True)
    return graph


def count(graph):
    return sum(node.op == "call_function" for node in graph.graph.nodes)


@pytest.mark.parametrize("name", ["gamma", "dirichlet", "funnel"])
def test_a_leapfrog_step_is_shorter_and_the_same(name, generator):
    density = target(name, torch.float64, torch.device("cpu")).density
    leap = leapfrog(density)
    x = torch.randn(5, density.dim, generator=generator, dtype=torch.float64)
    inputs = (x, x.flip(0), torch.zeros_like(x), torch.ones(density.dim, dtype=torch.float64), x[:, :1])
    graph, found = recorded(leap, *inputs), shortened(leap, *inputs)
    assert all(torch.equal(a, b) for a, b in zip(leap(*inputs), found(*inputs), strict=True))
    assert count(found) < 0.8 * count(graph)


@pytest.mark.parametrize(
    ("function", "left"),
    [
        (lambda x: (x.detach().view(2).expand(2) + 1,), 1),
        (lambda x: (x.exp() * x.exp(),), 2),
        (lambda x: (x + FILLED.log().sum() * 2,), 1),
        (lambda x: (x * torch.ones_like(x).mul(3.0),), 1),
        (lambda x: ((x * 2).masked_fill_(x < 0, -1.0).add_(1),), 4),
        (lambda x: (x.view(2, 1).mul(FILLED).permute(1, 0).permute(0, 1),), 3),
        (lambda x: (x + True, x + 1, x + 1.0), 3),
        (lambda x: (x + torch.empty(2, device="meta").expand(3, 2).shape[0],), 1),
        (lambda x: (x + torch.fft.fft(FILLED).conj().imag,), 1),
        (lambda x: (x + FILLED[:1].log().expand(1, 1).mul(torch.ones(1, 1).expand(1, 1)),), 1),
        (lambda x: (x + FILLED.log()[0].expand(1),), 1),
    ],
    ids=[
        "renamed",
        "twice",
        "constants",
        "filled",
        "in place",
        "turned",
        "kinds of one",
        "meta",
        "conjugate",
        "one",
        "one expanded",
    ],
)
def test_what_is_left(function, left):
    inputs = (torch.tensor([-0.5, 2.0]),)
    graph = recorded(function, *inputs)
    before, found = graph(*inputs), shortened(function, *inputs)
    assert count(found) == left
    for x in (inputs[0], inputs[0] + 1, -inputs[0]):
        assert all(torch.equal(a, b) for a, b in zip(function(x), found(x), strict=True))
    assert len(before) == len(function(*inputs))


@pytest.mark.parametrize(
    "function",
    [lambda x: (x * 2, x.add_(1) * 3, x * 2), lambda x: (x + torch.randn(2), x + torch.randn(2))],
    ids=["writes into its input", "draws"],
)
def test_what_has_effects_is_neither_merged_nor_computed_beforehand(function):
    outcomes = []
    graph = shortened(function, torch.zeros(2))
    for call in (function, graph):
        x = torch.zeros(2)
        torch.manual_seed(3)
        outcomes.append([*call(x), *call(x), x])
    assert all(map(torch.equal, *outcomes))


@pytest.mark.parametrize(
    "function",
    [
        lambda x: (x.exp().sort().values.mul_(2.0) + x.exp().sort().values,),
        lambda x: (x.exp().unsafe_chunk(2)[0].mul_(2.0) + x.exp().unsafe_chunk(2)[0],),
        lambda x: (x.exp().unsafe_split(1)[1].add_(x[:1]) + x.exp().unsafe_split(1)[1],),
        lambda x: (x.exp().unsafe_split_with_sizes([1, 1])[1].zero_() + x.exp(),),
        lambda x: (x.expand(3, 2).frexp().mantissa.add_(1.0) - x.expand(3, 2).frexp().mantissa,),
        lambda x: (torch.var_mean(x)[1].neg_() + torch.var_mean(x)[1] * 2,),
    ],
    ids=["sort", "chunk", "split", "split with sizes", "frexp", "mean"],
)
def test_what_is_written_to_is_not_merged_where_operations_do_not_say_whose_memory_they_show(function):
    x = torch.tensor([2.0, -1.0])
    expected = function(x)
    with torch.no_grad():
        graph = traced(function, (x,))
    simplify(graph)
    for found in (graph, shortened(function, x)):
        assert all(map(torch.equal, expected, found(x)))


def test_a_density_of_a_distribution_is_recorded_in_place_and_all():
    density = Density.from_distribution(torch.distributions.HalfCauchy(1.0))
    x = torch.linspace(-2, 2, 5).unsqueeze(-1)
    found = shortened(lambda x: (density.unconstrained_log_prob(x),), x)
    assert not any("masked_fill_" in str(node.target) for node in found.graph.nodes)
    assert any("masked_fill" in str(node.target) for node in found.graph.nodes)
    assert torch.equal(found(x)[0], density.unconstrained_log_prob(x))


def test_one_of_several_known_results_is_known():
    """A sort of constants has two; what is made of either is a constant too."""

    def function(x):
        values, places = torch.arange(5.0).neg().sort()
        return (x * values.exp() + places,)

    x = torch.randn(3, 5)
    graph = shortened(function, x)
    assert torch.equal(graph(x)[0], function(x)[0])
    assert count(graph) == 2


@pytest.mark.parametrize(
    ("function", "padded"),
    [
        (lambda x: torch.cat([x[:2], x[2:] + 0.5 * x[:-2]]), 0),
        (lambda x: torch.cat([x[:1].exp(), x[1:] ** 2 + x[:-1]]), 6),
        (lambda x: x + torch.cat([x[4:] ** 2, x[:4]]), 0),
        (lambda x: torch.cat([x[1:] * x[:-1], x[:1]]), 6),
        (lambda x: torch.cat([x[:2], x[2:]]), 0),
    ],
    ids=["recurrence", "no two make the whole", "permuted", "overlapping", "taken apart"],
)
def test_gradients_of_slices_are_added_at_their_places(function, padded, generator):
    """What autograd pads and adds is added unpadded where one addend is whole, to the same bits."""

    def gradient(x):
        with torch.enable_grad():
            x = x.detach().requires_grad_()
            return torch.autograd.grad((function(function(x)) ** 2).sum(), x)

    x, other = torch.randn(2, 6, generator=generator, dtype=torch.float64)
    graph, found = recorded(gradient, x), shortened(gradient, x)
    assert torch.equal(found(other)[0], graph(other)[0])
    assert torch.equal(found(other)[0], gradient(other)[0])
    assert sum("slice_backward" in str(node.target) for node in graph.graph.nodes) >= 4
    assert sum("slice_backward" in str(node.target) for node in found.graph.nodes) == padded


def test_a_shape_that_changes_several_times_changes_once():
    def function(x):
        return (
            x.exp().view(6).unsqueeze(0).sum([0]).view(3, 2) * x.pow(1).unsqueeze(0).squeeze(0).view(3, 2),
        )

    x = torch.randn(2, 3)
    graph = shortened(function, x)
    assert count(graph) == 4
    assert torch.equal(graph(-x)[0], function(-x)[0])


@pytest.mark.parametrize("name", ["gamma", "dirichlet", "funnel"])
def test_called_by_functions_of_torch_a_graph_has_the_same_bits(name, generator):
    density = target(name, torch.float64, torch.device("cpu")).density
    leap = leapfrog(density)
    x = torch.randn(5, density.dim, generator=generator, dtype=torch.float64)
    inputs = (x, x.flip(0), torch.zeros_like(x), torch.ones(density.dim, dtype=torch.float64), x[:, :1])
    graph = shortened(leap, *inputs)
    bound = bind(graph)
    slow = [node for node in bound.graph.nodes if isinstance(node.target, torch._ops.OpOverload)]
    assert all(torch.equal(a, b) for a, b in zip(bound(*inputs), graph(*inputs), strict=True))
    assert len(slow) < 0.5 * count(graph)


def test_operations_that_are_called_quickly_take_their_arguments():
    """One graph of every operation of the table that the targets above may lack, to the bit."""

    def function(x):
        y = x.clamp(-1, 1).expand(3, 2, 3)
        flags = (x >= 0.5) & (x < y[0]) | (x.sigmoid() == 0.5).logical_and(x > 0)
        parts = x.abs().split([1, 2], 1)
        more = [parts[0].lgamma(), parts[1].digamma(), x.log1p(), x.sgn(), 1 - x, x.cumsum(1), x.abs().sqrt()]
        z = torch.cat([*more, x.transpose(0, 1).mm(x)[:2], x.narrow(1, -2, 2)], 1)
        return (torch.where(flags, x, -x), z.sum([1], True), y.sum([0, 1]), z.masked_fill(z > 1, -torch.inf))

    x = torch.randn(2, 3, dtype=torch.float64)
    graph = bind(shortened(function, x))
    for given in (x, x / 3, -x):
        assert all(map(_same_bits, graph(given), function(given)))


def _same_bits(a, b):
    return a.dtype == b.dtype and torch.equal(a.nan_to_num(7), b.nan_to_num(7))


def test_what_is_made_of_equal_constants_is_made_once():
    """Three calls of one map, each with constants of its own; -0.0 is not 0.0, nor a row a column."""

    def scaled(x):
        return (x / torch.arange(1.0, 3.0)).exp()

    def zeros(x):
        signs = x / torch.tensor([0.0, -0.0]).mul(1), x / torch.tensor([0.0, 0.0]).mul(1)
        rows = x * torch.ones(2, 1).mul(2), x * torch.ones(1, 2).mul(2)
        return *signs, *rows

    x = torch.tensor([-0.5, 2.0])
    graph = shortened(lambda x: (scaled(x) * scaled(x) + scaled(x),), x)
    assert count(graph) == 4
    assert torch.equal(graph(-x)[0], scaled(-x) * scaled(-x) + scaled(-x))
    assert all(torch.equal(a, b) for a, b in zip(shortened(zeros, x)(-x), zeros(-x), strict=True))
