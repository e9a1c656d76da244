"""What ArviZ is given: groups with the numbers of a model's formulas, on which its diagnoses run."""

import logging
import warnings

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from torch.distributions import constraints

from probgen import models, nets
from probgen.core import Density
from probgen.sampling import sample
from tests import laws

with warnings.catch_warnings():
    warnings.simplefilter("ignore", FutureWarning)  # of the refactor that ArviZ announces once a process
    import arviz as az

DATA = torch.tensor([[0.3, 1.2], [0.8, -0.4], [1.9, 0.1]])
SETTINGS = {"chains": 16, "warmup": 150, "draws": 100, "seed": 1, "progress": False}
COORDS = {"clinic": ["north", "south"], "patient": ["a", "b", "c"]}
DIMS = {"effect": ["clinic"], "y": ["patient", "clinic"]}


def clinics(y, spread=2.0):
    mean = pyro.sample("mean", dist.Normal(0.0, spread))
    with pyro.plate("clinics", 2, dim=-1):
        effect = pyro.sample("effect", dist.Normal(mean, 1.0))
        pyro.deterministic("twice", 2 * effect)
        with pyro.plate("patients", 3, dim=-2):
            pyro.sample("y", dist.Normal(effect, 0.5), obs=y)


@pytest.fixture(scope="module")
def chains():
    return sample(Density.from_model(clinics, DATA), **SETTINGS)


@pytest.fixture(scope="module")
def data(chains):
    return chains.to_arviz(coords=COORDS, dims=DIMS, prior=4000)


def test_every_group_is_there(data):
    assert set(data.groups()) >= {
        "posterior", "sample_stats", "observed_data", "log_likelihood", "log_prior", "posterior_predictive",
        "prior", "prior_predictive",
    }  # fmt: skip
    assert set(data["posterior"].data_vars) == {"mean", "effect", "twice"}
    assert set(data["prior"].data_vars) == {"mean", "effect", "twice"}


def test_log_prior_and_log_likelihood_are_those_of_the_formulas(chains, data):
    mean, effect = chains["mean"], chains["effect"]
    expected = {
        "mean": dist.Normal(0.0, 2.0).log_prob(mean),
        "effect": dist.Normal(mean[..., None], 1.0).log_prob(effect),
    }
    for name, value in expected.items():
        np.testing.assert_allclose(data["log_prior"][name].values, value.numpy(), rtol=1e-5, atol=1e-5)
    likelihood = dist.Normal(effect[..., None, :], 0.5).log_prob(DATA)
    np.testing.assert_allclose(data["log_likelihood"]["y"].values, likelihood.numpy(), rtol=1e-5, atol=1e-5)


def test_priors_are_drawn_from_the_prior(data):
    mean = torch.as_tensor(data["prior"]["mean"].values[0])
    laws.check_goodness_of_fit(mean, lambda x: torch.special.ndtr(x / 2))
    y = torch.as_tensor(data["prior_predictive"]["y"].values[0, :, 1, 0])
    laws.check_goodness_of_fit(y, lambda x: torch.special.ndtr(x / (4 + 1 + 0.25) ** 0.5))
    np.testing.assert_allclose(data["prior"]["twice"].values, 2 * data["prior"]["effect"].values, rtol=1e-6)


def test_dimensions_have_the_names_and_labels_of_the_user(data):
    assert data["posterior"]["effect"].dims == ("chain", "draw", "clinic")
    for group in ("log_likelihood", "posterior_predictive", "prior_predictive"):
        assert data[group]["y"].dims == ("chain", "draw", "patient", "clinic")
    assert data["observed_data"]["y"].dims == ("patient", "clinic")
    assert data["posterior"]["effect"].sel(clinic="south").shape == (16, 100)
    assert list(data["log_prior"]["effect"].coords["clinic"].values) == ["north", "south"]


def test_dimensions_that_do_not_fit_are_refused(chains):
    for dims, coords, message in (
        ({"efect": ["clinic"]}, {}, "but name 'efect'"),
        ({"effect": ["clinic", "patient"]}, {}, "should be 1 names"),
        ({"effect": "clinic"}, {}, "should be 1 names"),
        ({"effect": ["clinic"]}, {"clinic": ["north"]}, "should be 2 labels"),
    ):
        with pytest.raises(ValueError, match=message):
            chains.to_arviz(dims=dims, coords=coords)


@pytest.mark.filterwarnings("ignore:Estimated shape parameter", "ignore::DeprecationWarning")
def test_power_scaling_tells_a_prior_that_matters():
    """Of a normal mean: a prior as narrow as the likelihood matters, one a hundred times as wide does not."""
    found = {}
    for spread in (0.3, 30.0):
        drawn = sample(Density.from_model(clinics, DATA, spread), **SETTINGS).to_arviz(prior=0)
        assert "prior" not in drawn.groups()
        found[spread] = float(az.psens(drawn, component="prior", component_var_names=["mean"])["mean"])
        assert float(az.psens(drawn, component="likelihood")["effect"].max()) > 0.05
    assert found[30.0] < 0.05 < found[0.3]
    assert az.loo(drawn, var_name="y").elpd_loo < 0


def test_what_is_not_known_is_left_out_with_a_word(caplog):
    def flat(y):
        mean = pyro.sample("mean", dist.ImproperUniform(constraints.real, (), ()))
        pyro.sample("y", dist.Normal(mean, 1.0).expand([3]).to_event(1), obs=y)

    with caplog.at_level(logging.INFO, logger="probgen"):
        data = sample(Density.from_model(flat, DATA[:, 0]), **SETTINGS).to_arviz()
    assert "prior and prior_predictive are left out: every site should have a proper prior" in caplog.text
    assert not {"prior", "prior_predictive"} & set(data.groups())
    assert (data["log_prior"]["mean"].values == 0).all()


def test_chains_of_a_pair_have_all_groups():
    torch.manual_seed(0)
    vae = models.VAE(nets.NormalHead(nets.MLP(3, 2)), nets.NormalHead(nets.MLP(2, 3)))
    x = torch.randn(5, 3, generator=torch.Generator().manual_seed(0))
    codes = sample(vae.posterior(x), **SETTINGS)
    data = codes.to_arviz(prior=300, dims={"z": ["row", "code"], "x": ["row", "column"]})
    law, z = vae.decode(codes["z"]), codes["z"]
    np.testing.assert_allclose(
        data["log_likelihood"]["x"].values, law.log_prob(x).numpy(), rtol=1e-4, atol=1e-4
    )
    prior = torch.distributions.Normal(0.0, 1.0).log_prob(z).sum(-1)
    np.testing.assert_allclose(data["log_prior"]["z"].values, prior.numpy(), rtol=1e-4, atol=1e-4)
    assert data["posterior_predictive"]["x"].dims == ("chain", "draw", "row", "column")
    residual = torch.as_tensor(data["posterior_predictive"]["x"].values) - law.mean
    laws.check_goodness_of_fit(residual / law.stddev, torch.special.ndtr)
    assert data["prior_predictive"]["x"].shape == (1, 300, 5, 3)
    laws.check_goodness_of_fit(torch.as_tensor(data["prior"]["z"].values), torch.special.ndtr)
    assert (data["observed_data"]["x"].values == x.numpy()).all()
    assert "row" in az.loo(data, pointwise=True).loo_i.dims
