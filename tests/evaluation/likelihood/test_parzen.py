"""The Parzen window against dense matrices, the window of a single draw, and a Gaussian law."""

import math

import pytest
import torch

from probgen.evaluation import parzen_log_likelihood
from probgen.mmd import pairwise


def normal(n, d, device, dtype, generator):
    return torch.randn(n, d, device=device, dtype=dtype, generator=generator)


def dense(draws, x, width):
    """The log-density of each x as SciPy-like textbook code has it: a mixture of normals."""
    law = torch.distributions.MixtureSameFamily(
        torch.distributions.Categorical(torch.ones(len(draws), dtype=torch.float64, device=draws.device)),
        torch.distributions.Independent(torch.distributions.Normal(draws.double(), width), 1),
    )
    return law.log_prob(x.double())


@pytest.fixture(params=["one tile", "many tiles"])
def _tiling(request, monkeypatch):
    if request.param == "many tiles":
        monkeypatch.setattr(pairwise, "_tile_rows", lambda columns, device: 7)


@pytest.mark.usefixtures("_tiling")
def test_equals_a_mixture_of_normals(device, dtype, generator):
    draws, x, validation = (normal(n, 4, device, dtype, generator) for n in (60, 45, 50))
    widths = [0.2, 0.4, 0.6, 0.8, 1.2]
    scores = [float(dense(draws, validation, width).mean()) for width in widths]
    best = widths[scores.index(max(scores))]
    assert best not in (widths[0], widths[-1])  # so that a wrong sign or power would choose another
    found = parzen_log_likelihood(draws, x, validation=validation, bandwidths=widths)
    values = dense(draws, x, best)
    assert found.bandwidth == best
    assert found.value == pytest.approx(float(values.mean()), rel=1e-9)
    assert found.stderr == pytest.approx(float(values.std()) / math.sqrt(45), rel=1e-9)


@pytest.mark.parametrize("d", [1, 3, 40])
def test_the_bandwidth_is_found_within_bounds_that_hold_the_best(d, device, generator):
    draws, x, validation = (normal(n, d, device, torch.float64, generator) for n in (60, 20, 30))
    found = parzen_log_likelihood(draws, x, validation=validation)
    score = lambda width: float(dense(draws, validation, width).mean())  # noqa: E731
    best = max(score(float(width)) for width in torch.logspace(-2, 1, 300, dtype=torch.float64))
    assert score(found.bandwidth) > best - 0.002


def test_the_window_of_one_draw_is_a_normal(device, generator):
    """Its best variance is the mean squared distance per coordinate."""
    x = normal(500, 3, device, torch.float64, generator)
    draw = torch.full((1, 3), 0.5, dtype=torch.float64, device=device)
    found = parzen_log_likelihood(draw, x, validation=x)
    variance = float((x - draw).square().mean())
    assert found.bandwidth**2 == pytest.approx(variance, rel=1e-9)
    assert found.value == pytest.approx(-1.5 * (math.log(2 * math.pi * variance) + 1), rel=1e-9)


def test_many_draws_of_a_normal_have_the_likelihood_of_that_normal(device, generator):
    draws, x, validation = (normal(n, 1, device, torch.float64, generator) for n in (2000, 2000, 1000))
    found = parzen_log_likelihood(draws, x, validation=validation)
    exact = -0.5 * (math.log(2 * math.pi) + x.square().mean())
    assert found.value == pytest.approx(float(exact), abs=0.01)
    assert found.stderr == pytest.approx(math.sqrt(0.5 / 2000), rel=0.1)
    assert 0.05 < found.bandwidth < 0.5  # Silverman's rule: 1.06 m^(-1/5) = 0.2


def test_an_offset_costs_no_accuracy_and_units_count(device, generator):
    draws, x, validation = (normal(n, 5, device, torch.float64, generator) for n in (50, 30, 40))
    found = parzen_log_likelihood(draws, x, validation=validation)
    far, wide, image = (
        parzen_log_likelihood(change(draws), change(x), validation=change(validation))
        for change in (lambda z: z + 1e6, lambda z: 10 * z, lambda z: z.unsqueeze(1))
    )
    assert far == pytest.approx(found, rel=1e-7)
    assert wide.value == pytest.approx(found.value - 5 * math.log(10), rel=1e-9)
    assert wide.bandwidth == pytest.approx(10 * found.bandwidth, rel=1e-9)
    assert image == pytest.approx(found, rel=1e-9)


X = torch.arange(12.0).reshape(6, 2)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: parzen_log_likelihood(X, X, validation=X),
            "should hold points that are not among the draws",
        ),
        (lambda: parzen_log_likelihood(X, X, validation=X, bandwidths=[]), "at least one but are \\[\\]"),
        (lambda: parzen_log_likelihood(X, X, validation=X, bandwidths=[1.0, 0.0]), "should be positive"),
        (lambda: parzen_log_likelihood(X, X[:, :1], validation=X), "the same event shape"),
        (lambda: parzen_log_likelihood(X / 0, X, validation=X), "draws should be finite"),
        (lambda: parzen_log_likelihood(X, X[:0], validation=X), "x should hold at least one point"),
    ],
)
def test_bad_input(call, message):
    with pytest.raises(ValueError, match=message):
        call()
