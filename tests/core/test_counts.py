"""Counts and rates may be NumPy's: what a user has computed is taken as what a user has typed."""

import numpy as np
import pyro.distributions as dist
import pytest
import torch

from probgen import Density, data, mmd, models, nets, priors, sampling
from probgen.core import check_count
from probgen.evaluation import classifier_two_sample, log_likelihoods, precision_recall
from probgen.sampling import hmc
from probgen.training import fit
from tests.pairs import LinearGaussian
from tests.training.test_fit import Square, x_of

X, Y = x_of(30), x_of(30) + 0.5
NORMAL = Density.from_distribution(dist.Normal(0.0, 1.0))


def trained(**counts):
    return fit(Square(), X, progress=False, **({"steps": 2} | counts))


TAKES = {  # by the name of a count, a call that takes it
    "steps": lambda k: trained(steps=k),
    "batch_size": lambda k: trained(batch_size=k),
    "accumulate": lambda k: trained(accumulate=k),
    "epochs": lambda k: trained(epochs=k, steps=None),
    "patience": lambda k: trained(patience=k, validation=X),
    "particles": lambda k: log_likelihoods(LinearGaussian(), X, particles=k, seed=0),
    "n": lambda k: LinearGaussian().sample(k),
    "noise": lambda k: models.GMMN(nets.MLP(2, 2), noise=k),
    "dim": priors.StandardNormal,
    "outputs": lambda k: nets.MLP(3, k),
    "levels": lambda k: data.quantise(X.sigmoid(), k),
    "multiple": lambda k: data.Ragged([X[0], X[1]], multiple=k),
    "chains": lambda k: sampling.sample(NORMAL, chains=k, draws=2, warmup=20),
    "draws": lambda k: sampling.sample(NORMAL, chains=4, draws=k, warmup=20),
    "steps of hmc": lambda k: hmc(NORMAL, scale=torch.ones(1), steps=k),
    "permutations": lambda k: mmd.mmd_test(X, Y, permutations=k),
    "block_size": lambda k: mmd.mmd2_blocks(X, Y, mmd.Linear(), block_size=k),
    "folds": lambda k: classifier_two_sample(X, Y, folds=k),
    "neighbours": lambda k: precision_recall(X, Y, neighbours=k),
}


@pytest.mark.parametrize("name", TAKES)
def test_a_count_may_be_numpys_and_is_no_truth_value(name):
    TAKES[name](np.int64(2))
    for wrong in (True, 2.5, "2"):
        with pytest.raises(TypeError, match=f"{name.split()[0]} should be an integer but got {wrong!r}"):
            TAKES[name](wrong)


def test_the_size_of_a_prior_may_be_numpys():
    encoder = nets.NormalHead(nets.MLP(3, np.int64(2)))
    assert models.VAE(encoder, nets.NormalHead(nets.MLP(2, 3))).sample(4).shape == (4, 3)


def test_a_count_is_returned_as_pythons():
    for two in (2, np.int64(2), np.uint8(2), torch.tensor(2)):
        assert type(check_count("n", two)) is int
    with pytest.raises(ValueError, match="levels should be at least 2 but got 1"):
        check_count("levels", np.int64(1), least=2)


def test_a_factor_and_an_end_may_be_numpys():
    kernel = np.float32(0.5) * mmd.Gaussian(1.0)
    torch.testing.assert_close(mmd.mmd2(X, Y, kernel), mmd.mmd2(X, Y, 0.5 * mmd.Gaussian(1.0)))
    law = sampling.truncate(dist.Normal(0.0, 1.0), np.float32(-1.0), np.int64(1))
    assert law.support.lower_bound == -1.0
