"""Recorded and compiled log-densities: the same draws, and eager ones where a graph would be wrong."""

import shutil
from functools import partial

import pytest
import torch
from joblib import Parallel, delayed
from torch.distributions import Gamma, Normal

from probgen.capture.recorded_function import Recorded, expect, wrapper
from probgen.core import Density
from probgen.sampling import sample
from tests.pairs import LinearGaussian


@pytest.fixture
def logged(caplog):
    return lambda: [record.getMessage() for record in caplog.records if record.name == "probgen"]


def scaled_and_parted(scale, x):
    return ((scale * x).view(2, 3).sum(0).exp(),)


def called(function, x):
    function(x)
    return function


def draws(density, **options):
    return sample(
        density, chains=8, warmup=30, draws=20, generator=torch.Generator().manual_seed(3), **options
    )


@pytest.mark.parametrize("method", ["hmc", "random_walk"])
def test_a_recorded_density_gives_the_same_bits(method):
    density = Density.from_distribution(Gamma(torch.tensor([2.0, 3.0]), torch.ones(2)), name="rate")
    eager = draws(density, method=method, compile="eager")
    assert torch.equal(eager["rate"], draws(density, method=method, compile="graph")["rate"])


def test_a_pair_is_recorded(logged):
    posterior = LinearGaussian().posterior(torch.randn(3, 3))
    eager = draws(posterior, compile="eager")
    assert torch.equal(eager["z"], draws(posterior, compile="graph")["z"])
    assert not logged()


@pytest.mark.skipif(shutil.which("c++") is None, reason="needs a C++ compiler")
def test_a_compiled_density_agrees(logged):
    law = Normal(torch.tensor(1.0, dtype=torch.float64), 2.0)
    density = Density(lambda x: law.log_prob(x).where(x < 4, torch.nan), dtype=torch.float64)
    eager = draws(density, compile="eager", method="random_walk")
    compiled = draws(density, compile="compile", method="random_walk")
    torch.testing.assert_close(eager["x"], compiled["x"])
    assert int(compiled.statistics["not_finite"].sum()) > 0
    for name, values in eager.statistics.items():
        torch.testing.assert_close(values, compiled.statistics[name])
    assert all("was NaN" in message for message in logged())


def test_what_cannot_be_recorded_runs_as_it_is_written(logged):
    def log_prob(x):
        if (x > 1e6).any():
            raise ValueError("far away")
        return -0.5 * x**2

    density = Density(log_prob)
    eager = draws(density, compile="eager")
    assert torch.equal(eager["x"], draws(density, compile="graph")["x"])
    assert len(logged()) == 1
    assert "the log-density runs as it is written, not as a graph: " in logged()[0]


def test_a_state_that_python_keeps_is_seen(logged):
    calls = 0

    def log_prob(x):
        nonlocal calls
        calls += 1
        return -0.5 * x**2 - float(calls > 4)

    draws(Density(log_prob), compile="graph", method="random_walk")
    assert ["its results differ" in message for message in logged()] == [True]


def test_every_form_of_arguments_has_its_graph():
    recorded = Recorded(lambda x: (x.sum(0),), mode="graph", calls=1)
    for shape in ((2,), (3,), (2, 2)):
        for _ in range(3):
            assert torch.equal(recorded(torch.ones(shape))[0], torch.ones(shape).sum(0))


def counted(calls, **options):
    """Return a recorded function, and the list of its calls in Python."""
    seen = []

    def function(x):
        seen.append(x)
        return (2 * x,)

    return wrapper("auto", calls=calls, **options)(function), seen


def test_a_recorded_function_is_sent_to_another_process_without_its_graphs():
    function = wrapper("graph", calls=1000)(partial(scaled_and_parted, 2.0))
    x = torch.randn(6)
    (there,) = Parallel(n_jobs=2)([delayed(called)(function, x)])  # back with graphs of its own
    assert function._graphs == {}
    assert there._graphs == {}
    (found,) = there(x)
    assert torch.equal(found, scaled_and_parted(2.0, x)[0])
    assert len(there._graphs) == 1


def test_a_short_run_is_not_recorded():
    for calls, many in ((10, 20), (10_000, 6)):  # recorded once, and looked at after 1, 2, 4, 8, 16
        function, seen = counted(calls)
        for _ in range(20):
            function(torch.ones(2))
        assert len(seen) == many


def test_a_run_that_becomes_long_is_recorded_on_the_way():
    function, seen = counted(1, steps=100)
    for _ in range(5):
        function(torch.ones(2))
    assert len(seen) == 5
    expect(function, calls=50, done=5)
    for _ in range(15):
        assert torch.equal(function(torch.ones(2))[0], torch.full((2,), 2.0))
    assert len(seen) == 10  # recorded, and looked at after 1, 2, 4 and 8 calls


@pytest.mark.skipif(shutil.which("c++") is None, reason="needs a C++ compiler")
def test_a_graph_is_compiled_once_more_calls_are_expected(monkeypatch):
    made = []
    compiled = torch._inductor.compile
    monkeypatch.setattr(
        torch._inductor, "compile", lambda *args, **options: made.append(1) or compiled(*args, **options)
    )
    function, _ = counted(2, steps=1000)
    for calls, done, many in ((2, 0, 0), (2, 500, 0), (1, 600, 0), (1e7, 700, 1), (1e8, 800, 1)):
        expect(function, calls=calls, done=done)
        assert torch.equal(function(torch.ones(2))[0], torch.full((2,), 2.0))
        assert len(made) == many
    with pytest.raises(
        ValueError, match="compile should be one of auto, eager, graph, compile but got 'fast'"
    ):
        wrapper("fast", calls=1)
