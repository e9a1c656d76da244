"""What is no number, sample or count is told in a sentence, never in Python's own words or by a NaN."""

import math

import pytest
import torch

from probgen.evaluation import (
    classifier_two_sample,
    density_coverage,
    guide_against_chains,
    log_likelihood,
    nearest_neighbour_ratio,
    parzen_log_likelihood,
    precision_recall,
)
from probgen.mmd import mmd_test
from probgen.sampling.markov.diagnosis import autocorrelation, nested_r_hat
from tests.pairs import LinearGaussian

X, Y = torch.randn(2, 20, 2, generator=torch.Generator().manual_seed(0))
PAIR = LinearGaussian(latent=1)
DATA = PAIR.sample(3, seed=0).detach()


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda: log_likelihood(PAIR, DATA, particles=2.5), TypeError, "particles should be an int"),
        (lambda: log_likelihood(PAIR, DATA, particles=0), ValueError, "particles should be at least 1"),
        (lambda: log_likelihood(None, DATA), TypeError, "pair should be a probgen.Pair but is a None"),
        (
            lambda: guide_against_chains(PAIR, DATA, {"z": X}),
            TypeError,
            "chains should be Chains, .* but is a dict",
        ),
        (lambda: precision_recall(X, Y, neighbours=2.5), TypeError, "neighbours should be an integer"),
        (lambda: density_coverage(X, Y, neighbours=0), ValueError, "neighbours should be at least 1"),
        (lambda: classifier_two_sample(X, Y, folds=2.5), TypeError, "folds should be an integer"),
        (
            lambda: parzen_log_likelihood(X, Y, validation=Y, bandwidths=[1e-200]),
            ValueError,
            "bandwidths should be between 1e-100 and 1e100",
        ),
        (lambda: nested_r_hat(torch.randn(4), superchains=2), ValueError, r"shape \(chains, draws"),
        (lambda: nested_r_hat(torch.randn(4, 0), superchains=2), ValueError, "one at least"),
        (lambda: nested_r_hat(math.nan * X, superchains=2), ValueError, "draws should be finite but"),
        (lambda: nested_r_hat(X, superchains=2.5), ValueError, "superchains should be .* but got 2.5"),
        (lambda: autocorrelation(X[0]), ValueError, r"shape \(chains, draws"),
        (lambda: autocorrelation(math.nan * X), ValueError, "not at draw 0 of chain 0"),
        (lambda: mmd_test([[1.0]], X, method="block"), TypeError, "x should be a tensor but is a list"),
    ],
)  # fmt: skip
def test_bad_input(call, error, words):
    with pytest.raises(error, match=words):
        call()


def test_bandwidths_may_be_a_tensor():
    widths = [0.5, 1.0, 2.0]
    found, expected = (
        parzen_log_likelihood(X, Y, validation=Y + 1, bandwidths=given)
        for given in (torch.tensor(widths), widths)
    )
    assert found == expected


@pytest.mark.parametrize("factor", [2.0**-600, 2.0**-70, 2.0**600])
def test_autocorrelation_knows_no_units(factor):
    draws = torch.randn(4, 50, dtype=torch.float64)
    expected = autocorrelation(draws)
    torch.testing.assert_close(autocorrelation(factor * draws), expected)


@pytest.mark.parametrize("factor", [1e-130, 1e-30, 1e30, 1e130])
@pytest.mark.parametrize(
    "metric",
    [
        precision_recall,
        density_coverage,
        lambda x, y: nearest_neighbour_ratio(x, y, x + y),
        classifier_two_sample,
    ],
    ids=["precision", "density", "ratio", "classifier"],
)
def test_metrics_know_no_units(metric, factor):
    x, y = X.double(), Y.double()
    assert metric(factor * x, factor * y) == pytest.approx(metric(x, y), rel=1e-9)
