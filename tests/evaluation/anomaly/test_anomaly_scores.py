"""Scores against closed forms of linear Gaussian pairs, and scikit-learn; simple data that look likely."""

import math
import zlib

import numpy as np
import pyro.distributions as dist
import pytest
import torch
from sklearn.covariance import LedoitWolf
from sklearn.decomposition import PCA
from sklearn.neighbors import NearestNeighbors

from probgen import models, nets
from probgen.evaluation import anomaly_scores, compressed_bits, detection, likelihood_regret
from tests.pairs import LinearGaussian

double = torch.float64


class Linear(LinearGaussian):
    """With a code: the posterior mean and the decoder's law."""

    @torch.no_grad()
    def encode(self, x, *context):
        return self.exact_posterior(x)

    @torch.no_grad()
    def decode(self, z, *context):
        return dist.Normal(z @ self.weight.T + self.bias, self.log_sigma.exp()).to_event(1)


def pair_and_data(event=4, latent=2, *, exact=True, n=30):
    pair = Linear(event, latent, exact_guide=exact).double().requires_grad_(False)
    return pair, pair.sample(n, seed=1), pair.sample(50, seed=2)


def test_likelihoods_are_those_of_the_closed_form():
    """With the exact posterior as guide every weight is p(x), so that bound and likelihood are exact."""
    pair, x, train = pair_and_data()
    other = LinearGaussian(4, 2, exact_guide=True).double().requires_grad_(False)
    other.bias.add_(1.0)
    found = anomaly_scores(pair, x, train=train, background=other, particles=3)
    nats = -pair.evidence(x)
    for name in ("negative ELBO", "negative log-likelihood"):
        np.testing.assert_allclose(found[name], nats, atol=1e-9)
    np.testing.assert_allclose(found["typicality"], (nats + pair.evidence(train).mean()).abs(), atol=1e-9)
    np.testing.assert_allclose(found["likelihood ratio"], nats + other.evidence(x), atol=1e-9)
    decoded = pair.exact_posterior(x).mean @ pair.weight.T + pair.bias
    np.testing.assert_allclose(found["reconstruction"], (decoded - x).square().sum(1), atol=1e-9)
    codes, own = (pair.exact_posterior(rows).mean for rows in (x, train))
    expected = np.sqrt(LedoitWolf().fit(own).mahalanobis(codes))
    np.testing.assert_allclose(found["codes"], expected, rtol=1e-9)
    assert "likelihood regret" not in found


def test_a_bound_is_below_the_likelihood_by_the_divergence_of_the_guide():
    pair, x, train = pair_and_data(exact=False, n=5)
    found = anomaly_scores(pair, x, train=train, scores=["negative ELBO"], particles=20_000)
    q = dist.Normal(pair.guide_map(x), pair.guide_log_scale.exp()).to_event(1)
    lost = torch.distributions.kl_divergence(
        dist.MultivariateNormal(q.mean, torch.diag_embed(q.variance)), pair.exact_posterior(x)
    )
    np.testing.assert_allclose(found["negative ELBO"], lost - pair.evidence(x), rtol=0.03)


def test_the_regret_is_what_the_best_code_wins():
    """With one coordinate the best normal law is the posterior, and the regret the guide's divergence.

    With z = μ + sε of the guide and the posterior N(m, 1 / λ) the log weight is, but for a constant,
    ½ (1 − λs²) ε² − λs (μ − m) ε, whose variance gives the error of a mean of 1,000 draws.
    """
    pair, x, _ = pair_and_data(3, 1, exact=False, n=8)
    q = dist.Normal(pair.guide_map(x), pair.guide_log_scale.exp()).to_event(1)
    lost = torch.distributions.kl_divergence(
        dist.MultivariateNormal(q.mean, torch.diag_embed(q.variance)), pair.exact_posterior(x)
    )
    found = likelihood_regret(pair, x, steps=300, seed=0)
    posterior = pair.exact_posterior(x)
    scale, precision = pair.guide_log_scale.exp(), posterior.precision_matrix[..., 0, 0]
    apart = (q.mean - posterior.mean)[:, 0]
    variance = 0.5 * (1 - precision * scale**2).square() + (precision * scale * apart).square()
    assert float(lost.max()) > 1
    assert bool(((found - lost).abs() < 0.01 + 4.4 * (variance / 1000).sqrt()).all())
    assert float((variance / 1000).sqrt().max()) < 0.15
    exact = Linear(3, 1, exact_guide=True).double().requires_grad_(False)
    assert float(likelihood_regret(exact, x, steps=100, seed=0).abs().max()) < 0.02


def test_distances_are_scikit_learns():
    generator = torch.Generator().manual_seed(0)
    train = torch.randn(80, 6, generator=generator, dtype=double) @ torch.diag(torch.arange(1.0, 7).double())
    x = 100 + torch.randn(9, 2, 3, generator=generator, dtype=double)
    train = 100 + train.reshape(80, 2, 3)
    found = anomaly_scores(None, x.numpy(), train=train.numpy(), components=2, neighbours=3, seed=1)
    flat, own = x.flatten(1).numpy(), train.flatten(1).numpy()
    nearest = NearestNeighbors(n_neighbors=3).fit(own).kneighbors(flat)[0][:, -1]
    np.testing.assert_allclose(found["neighbours"], nearest, rtol=1e-5)
    plane = PCA(2, svd_solver="full").fit(own)
    apart = np.linalg.norm(flat - plane.inverse_transform(plane.transform(flat)), axis=1)
    np.testing.assert_allclose(found["principal components"], apart, rtol=1e-5)
    assert list(found) == ["neighbours", "isolation forest", "principal components"]
    far = anomaly_scores(None, x + 50, train=train, scores=["isolation forest"], seed=1)
    assert far["isolation forest"].min() > found["isolation forest"].max()


def test_simple_data_look_likely():
    """A picture of one grey, that of the mean, is the most likely of all, and lies where no datum does.

    In 60 coordinates ‖x − b‖ in units of the law is near √60 for data and 0 for it: the likelihood alone has
    anomalies and data the wrong way round, and the typicality has them right.
    """
    pair, x, train = pair_and_data(60, 5, n=200)
    grey = pair.bias + 0.01 * torch.randn(50, 60, generator=torch.Generator().manual_seed(3), dtype=double)
    names = ["negative log-likelihood", "typicality"]
    normal, anomalous = (anomaly_scores(pair, rows, train=train, scores=names) for rows in (x, grey))
    areas = {name: detection(normal[name], anomalous[name]).auc.value for name in names}
    assert areas["negative log-likelihood"] == 0
    assert areas["typicality"] > 0.99


def test_bits_can_be_read_back_and_simple_rows_have_few():
    generator = torch.Generator().manual_seed(0)
    noise = torch.randint(17, (1, 64), generator=generator) / 16
    rows = torch.cat([torch.full((1, 64), 0.5), (torch.arange(64)[None] // 4) / 16, noise])
    bits = compressed_bits(rows.reshape(3, 8, 8), levels=17)
    assert bits[0] < bits[1] < bits[2]
    assert float(bits[2]) >= 64 * math.log2(17) * 0.9
    for row, size in zip(rows, bits, strict=True):
        packed = zlib.compressobj(9, wbits=-15)
        content = packed.compress((row * 16).round().to(torch.uint8).numpy().tobytes()) + packed.flush()
        assert 8 * len(content) == size


def test_complexity_takes_the_compressors_nats_off():
    pair, _, train = pair_and_data()
    x = torch.tensor([[0.0, 0, 0, 0], [0.0, 0.25, 1, 0.5]], dtype=double)
    names = ["negative log-likelihood", "input complexity"]
    found = anomaly_scores(pair, x, train=train, levels=5, scores=names)
    bits = compressed_bits(x, levels=5).numpy() * math.log(2)
    np.testing.assert_allclose(found["input complexity"], found["negative log-likelihood"] - bits)


def test_a_model_is_scored_on_its_device_in_evaluation_mode_and_seeded(device, dtype):
    vae = models.VAE(nets.NormalHead(nets.MLP(3, 2)), nets.NormalHead(nets.MLP(2, 3))).to(device, dtype)
    x, train = (torch.randn(n, 3, device=device, dtype=dtype) for n in (6, 40))
    every = anomaly_scores(vae, x, train=train, particles=4, seed=3)
    assert every.shape == (6, 9)
    assert np.isfinite(every.to_numpy()).all()
    some = anomaly_scores(vae, x, train=train, particles=4, seed=3, scores=["typicality", "neighbours"])
    assert some.equals(every[["typicality", "neighbours"]])
    assert likelihood_regret(vae, x, steps=2, seed=0).shape == (6,)
    assert vae.training


X = torch.rand(5, 3)
POINT = models.VAE(nets.PointHead(nets.MLP(3, 2)), nets.NormalHead(nets.MLP(2, 3)))


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda: anomaly_scores(None, X, train=X, scores=["codes"]), ValueError, "'codes' is not: some need"),
        (lambda: anomaly_scores("vae", X, train=X), TypeError, "model should be a Pair, .* but is a str"),
        (lambda: anomaly_scores(None, X, train=X[:, :2]), ValueError, r"shape but have \(3,\) and \(2,\)"),
        (lambda: anomaly_scores(None, X[0], train=X), ValueError, r"x should be rows, .* but is \(3,\)"),
        (lambda: anomaly_scores(None, X, train=X * math.nan), ValueError, "train should be finite but holds"),
        (lambda: anomaly_scores(None, X, train=X, neighbours=6), ValueError, "neighbours should be at most"),
        (lambda: anomaly_scores(None, X, train=X, components=4), ValueError, "size should be at most 3"),
        (lambda: anomaly_scores(POINT, X, train=X), ValueError, "is a point"),
        (lambda: compressed_bits(X, levels=256), ValueError, "x should be rows of grey levels, whole"),
        (lambda: compressed_bits(X, levels=300), ValueError, "levels should be at most 256, a byte, but are"),
        (lambda: likelihood_regret(None, X), TypeError, "pair should be a probgen.Pair"),
    ],
)  # fmt: skip
def test_bad_input_is_named(call, error, words):
    with pytest.raises(error, match=words):
        call()
