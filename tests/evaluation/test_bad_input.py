"""What is no number, sample or count is told in a sentence, never in Python's own words or by a NaN."""

import math

import numpy as np
import pandas as pd
import pytest
import torch

from probgen import models, nets
from probgen.evaluation import (
    anomaly_scores,
    classifier_features,
    classifier_two_sample,
    clustering,
    compressed_bits,
    density_coverage,
    detection,
    embedding,
    encoded,
    frechet_distance,
    guide_against_chains,
    likelihood_regret,
    log_likelihood,
    mean_correlation,
    nearest_neighbour_ratio,
    parzen_log_likelihood,
    precision_recall,
    principal_components,
    reconstructed,
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


VAE = models.VAE(nets.NormalHead(nets.MLP(2, 1)), nets.NormalHead(nets.MLP(1, 2)))
LABELS = torch.arange(20) % 4


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda: encoded(VAE, X.half()), TypeError, "x should be torch.float32, as the weights of VAE, but"),
        (lambda: encoded(VAE, LABELS[:, None]), (TypeError, ValueError), "x should|inputs of size 2"),
        (lambda: encoded(VAE, LABELS.reshape(10, 2)), TypeError, "x should be of a type that the networks"),
        (lambda: encoded(VAE, X.tolist()), TypeError, "x should be a dense tensor or .* but is list"),
        (lambda: reconstructed(VAE, X[0, 0]), TypeError, r"but is of shape \(\)"),
        (lambda: reconstructed(VAE, X[:0]), ValueError, "x should have at least one row but has 0"),
        (lambda: encoded(VAE, X.to_sparse()), TypeError, "x should be a dense tensor"),
        (lambda: likelihood_regret(VAE, LABELS.reshape(10, 2)), TypeError, "x should be of a type that"),
        (lambda: precision_recall(X.to_sparse(), Y), TypeError, "real should be a dense tensor but is"),
        (lambda: clustering(X.to_sparse(), LABELS), ValueError, "codes should be dense but are"),
        (lambda: clustering(X, np.array(list("abcd") * 5)), ValueError, "labels should be real numbers but"),
        (
            lambda: clustering(X, pd.Series(list("abcd") * 5).astype("category")),
            ValueError,
            "labels should hold numbers but holds category: code it as whole numbers",
        ),
        (lambda: embedding(torch.ones(20, 2), method="t-sne"), ValueError, "codes should vary, to be"),
        (lambda: principal_components(X * 1j, X, 1), ValueError, "x should be dense and of real numbers but"),
        (lambda: mean_correlation(X, X.to_sparse()), TypeError, "codes should be a dense tensor"),
        (lambda: anomaly_scores(None, X * 1j, train=X), ValueError, "x should be dense and of real numbers"),
        (lambda: compressed_bits(X / 0, levels=16), ValueError, "x should be finite but holds NaN"),
        (lambda: compressed_bits(None, levels=16), ValueError, "x should hold real numbers"),
        (
            lambda: classifier_features(X, LABELS * 10**12, steps=1),
            ValueError,
            "labels should be classes 0, 1, ..., fewer than the 20 rows, but one is 3000000000000",
        ),
    ],
)  # fmt: skip
def test_odd_input_to_judges_is_named(call, error, words):
    with pytest.raises(error, match=words):
        call()


def test_codes_that_are_all_one_are_one_cluster():
    """A collapsed encoder is judged and not refused: the best assignment is the commonest label."""
    for method in ("k-means", "gaussian mixture"):
        found = clustering(torch.ones(20, 2), LABELS, method=method, repeats=1)
        assert (found.accuracy, found.ari) == (0.25, 0.0)


def test_tensors_with_a_gradient_or_of_sixteen_bits_are_taken():
    x = X.clone().requires_grad_()
    assert frechet_distance(x, Y) == frechet_distance(X, Y)
    scores = anomaly_scores(VAE, x, train=Y, particles=3)
    pd.testing.assert_frame_equal(scores, anomaly_scores(VAE, X, train=Y, particles=3))
    features = [classifier_features(data, LABELS, width=4, steps=5)(Y) for data in (x, X)]
    assert features[0].equal(features[1])
    levels = (torch.arange(32) % 16 / 15).reshape(4, 8).requires_grad_()
    assert compressed_bits(levels, levels=16).equal(compressed_bits(levels.tolist(), levels=16))
    half = torch.arange(20).bfloat16()
    assert detection(half, half + 4) == detection(half.float(), half.float() + 4)


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
