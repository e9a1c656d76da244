"""Arrays and frames where tensors are wanted: the numbers of tensors, and data of several parts."""

from functools import partial

import numpy as np
import pandas as pd
import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import nn

import probgen as pg
from probgen import evaluation, mmd, models, nets
from probgen.compare import Fitted, Method
from probgen.core import Pair, tensor_of

RANDOM = np.random.default_rng(0)
X, Y = RANDOM.normal(size=(60, 2)), RANDOM.normal(size=(50, 2)) + 0.5


@pytest.mark.parametrize(
    ("array", "dtype"),
    [
        (np.arange(3, dtype=np.uint8), torch.int64),
        (np.arange(3, dtype=">i4"), torch.int64),
        (np.array([True, False]), torch.bool),
        (np.arange(3.0), torch.float32),
        (np.arange(3.0)[::-1].astype(">f8"), torch.float32),
        (pd.Series([1.5, None]), torch.float32),
        (pd.DataFrame({"a": pd.array([1, None], dtype="Int64"), "b": [0.5, 1]}), torch.float32),
    ],
)
def test_an_array_is_a_tensor_of_its_numbers(array, dtype):
    found = tensor_of(array)
    assert found.dtype == dtype
    expected = np.asarray(
        array if isinstance(array, np.ndarray) else array.astype("float64"), dtype=np.float64
    )
    np.testing.assert_array_equal(found.double().numpy(), expected)
    if found.is_floating_point():
        assert tensor_of(array, dtype=torch.float64).dtype == torch.float64


def test_what_is_no_array_is_returned_as_it_is():
    for value in (torch.zeros(2), [1.0], "x", None, 3):
        assert tensor_of(value) is value


@pytest.mark.parametrize(
    ("value", "sentence"),
    [
        (np.array([1j]), "data should hold real numbers of up to 64 bits but holds complex128"),
        (np.array(["a"]), "data should hold real numbers .* but holds <U1"),
        (np.array([2**63], dtype=np.uint64), "whole numbers of int64 but holds 9223372036854775808"),
        (
            pd.DataFrame({"a": [1.0], "town": ["A"]}),
            r"column 'town' is str: code it with data.table\(frame\)",
        ),
    ],
)
def test_arrays_of_no_numbers_are_refused(value, sentence):
    with pytest.raises(ValueError, match=sentence):
        tensor_of(value, "data")


def test_an_infinite_array_is_refused_as_a_tensor_is():
    vae = models.VAE(nets.NormalHead(nets.MLP(2, 1)), nets.NormalHead(nets.MLP(1, 2)))
    with pytest.raises(ValueError, match="data should be finite but row 3 holds NaN or infinity"):
        pg.fit(pg.SVI(vae), np.where(np.arange(60)[:, None] == 3, np.nan, X), steps=1, progress=False)


DISTANCES = {
    "mmd2": lambda x, y: mmd.mmd2(x, y, mmd.Gaussian(1.0)).value,
    "energy": lambda x, y: mmd.energy_distance(x, y).value,
    "mmd_test": lambda x, y: mmd.mmd_test(x, y, generator=torch.Generator().manual_seed(0)).p_value,
    "bandwidth": mmd.median_bandwidth,
    "c2st": lambda x, y: evaluation.classifier_two_sample(x, y, seed=0).accuracy,
    "precision": lambda x, y: evaluation.precision_recall(x, y).precision,
    "coverage": lambda x, y: evaluation.density_coverage(x, y).coverage,
}


@pytest.mark.parametrize("name", DISTANCES)
def test_metrics_take_arrays_frames_and_parts(name):
    measure = DISTANCES[name]
    truth = measure(torch.from_numpy(X), torch.from_numpy(Y))
    assert measure(X, Y) == truth
    assert measure(pd.DataFrame(X), torch.from_numpy(Y)) == truth
    assert measure((X[:, 0], X[:, 1:]), (Y[:, 0], Y[:, 1:])) == truth
    assert measure(torch.from_numpy(X).float(), Y) == pytest.approx(truth, rel=1e-4, abs=1e-3)


def test_parts_of_different_lengths_are_refused():
    with pytest.raises(ValueError, match=r"the parts of x should be equally long but have \[60, 50\] rows"):
        mmd.energy_distance((X, Y), (X, Y))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_training_and_likelihood_take_arrays_in_the_type_of_the_weights(dtype):
    def trained(x, **options):
        torch.manual_seed(0)
        vae = models.VAE(nets.NormalHead(nets.MLP(2, 1)), nets.NormalHead(nets.MLP(1, 2))).to(dtype)
        pg.fit(pg.SVI(vae), x, steps=3, seed=0, progress=False, **options)
        return vae, evaluation.log_likelihood(vae, x, particles=3, seed=0)

    tensor = torch.from_numpy(X).to(dtype)
    expected, truth = trained(tensor, validation=tensor)
    for x in (X, pd.DataFrame(X, columns=["a", "b"])):
        found, value = trained(x, validation=x)
        assert value == truth
        assert all(torch.equal(a, b) for a, b in zip(expected.parameters(), found.parameters(), strict=True))


def test_contexts_of_draws_may_be_arrays():
    gmmn = models.GMMN(nets.Joined(nets.MLP(4 + 2, 3)), noise=4)
    expected = gmmn.sample(60, torch.from_numpy(X).float(), seed=0)
    assert torch.equal(gmmn.sample(60, X, seed=0), expected)


class TwoSites(Pair):
    """z ~ N(0, 1); x | z ~ N(z, 1); k | z ~ Bernoulli(σ(z)): data of two sites, real and whole."""

    def __init__(self):
        super().__init__()
        self.net = nn.Linear(2, 2)

    def model(self, x=None, k=None, n=1):
        with pyro.plate("data", n if x is None else len(x)):
            z = pyro.sample("z", dist.Normal(torch.zeros(()), 1.0))
            x = pyro.sample("x", dist.Normal(z, 1.0), obs=x)
            k = pyro.sample("k", dist.Bernoulli(logits=z), obs=None if k is None else k.float())
        return x, k

    def guide(self, x=None, k=None, n=1):
        with pyro.plate("data", len(x)):
            mean, log_scale = self.net(torch.stack([x, k.float()], -1)).unbind(-1)
            return pyro.sample("z", dist.Normal(mean, log_scale.exp()))


def quadrature(x, k):
    """log p(x, k) on a fine grid of z."""
    z = torch.linspace(-10, 10, 20_001, dtype=torch.float64)
    log_p = dist.Normal(0.0, 1.0).log_prob(z) + dist.Normal(z, 1.0).log_prob(x.double()[:, None])
    log_p = log_p + dist.Bernoulli(logits=z).log_prob(k.double()[:, None])
    return log_p.logsumexp(-1) + (z[1] - z[0]).log()


def test_data_of_several_observed_sites_are_learned_scored_and_compared():
    torch.manual_seed(0)
    pair = TwoSites()
    x, k = pair.sample(300, seed=1)
    data = (x, k.long())
    adam = partial(torch.optim.Adam, lr=0.05)
    history = pg.fit(pg.SVI(pair), data, steps=200, batch_size=100, optimizer=adam, seed=0, progress=False)
    assert history.ended == "finished"
    truth = quadrature(x, k)
    for found in (
        evaluation.log_likelihoods(pair, data, particles=4000, seed=0),
        evaluation.log_likelihoods(pair, x, k.long(), particles=4000, seed=0),
        evaluation.log_likelihoods(pair, (x.numpy(), k.long().numpy()), particles=4000, seed=0),
    ):
        assert (found.double() - truth).abs().max() < 0.05
    half = tuple(part[150:] for part in data)

    def fitted(train, seed):
        assert [part.dtype for part in train] == [torch.float32, torch.int64]
        log_prob = partial(evaluation.log_likelihoods, pair, particles=100, seed=seed)
        return Fitted(pair.sample, log_prob)

    metrics = ["energy", "nll", "coverage"]
    result = pg.compare({"two": Method(fitted)}, half, metrics, train=data, repeats=1, progress=False)
    values = result.frame.set_index(["method", "metric"]).value
    assert values["two", "nll"] == pytest.approx(-float(truth[150:].mean()), abs=0.02)
    assert values["two", "coverage"] > 0.9
    assert result.draws["two"].shape == (150, 2)


def test_compare_takes_arrays_and_samplers_that_return_them():
    def sampler(n, seed):
        return np.random.default_rng(seed).normal(size=(n, 2))

    one = pg.compare({"normal": sampler}, X, ["energy"], train=Y, repeats=1, progress=False)

    def tensors(n, seed):
        return torch.from_numpy(sampler(n, seed)).float()

    rows = (torch.from_numpy(X).float(), torch.from_numpy(Y).float())
    other = pg.compare({"normal": tensors}, rows[0], ["energy"], train=rows[1], repeats=1, progress=False)
    pd.testing.assert_frame_equal(one.frame, other.frame)
