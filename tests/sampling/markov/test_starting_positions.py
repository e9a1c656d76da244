"""Where chains start: draws of the prior, places sought anew, and the site at fault where there is none."""

import math

import pyro
import pyro.distributions as dist
import pytest
import torch
from scipy import stats
from torch.distributions import constraints

from probgen import Density
from probgen.sampling import initial_positions, random_walk, run, sample

Y = torch.tensor([0.3, -1.2, 2.0])


def gamma_normal(y, scale=lambda rate: rate, factor=lambda rate: 0 * rate):
    """rate ~ Gamma(3, 2), loc ~ N(5, 2), shift without a prior, y | ... ~ N(loc + shift, scale(rate))."""
    rate = pyro.sample("rate", dist.Gamma(3.0, 2.0))
    loc = pyro.sample("loc", dist.Normal(5.0, 2.0))
    shift = pyro.sample("shift", dist.ImproperUniform(constraints.real, (), ()))
    pyro.factor("penalty", factor(rate))
    with pyro.plate("data", len(y)):
        pyro.sample("y", dist.Normal(loc + shift, scale(rate)), obs=y)


def dependent(y):
    top = pyro.sample("top", dist.Uniform(1.0, 3.0))
    share = pyro.sample("share", dist.Uniform(torch.zeros(2), top).to_event(1))
    pyro.sample("y", dist.Normal(share.sum(), 1.0), obs=y)


LAWS = {
    "rate": stats.gamma(3.0, scale=0.5),
    "loc": stats.norm(5.0, 2.0),
    "shift": stats.norm(),
}


def test_starts_are_draws_of_the_prior(generator):
    """Kolmogorov–Smirnov at 1e-4 for each of 3 sites; standard normal starts would fail at two of them."""
    density = Density.from_model(gamma_normal, Y)
    starts = density.constrain(initial_positions(density, 256, start="prior", generator=generator))
    plain = density.constrain(initial_positions(density, 256, generator=generator))
    for name, law in LAWS.items():
        assert stats.kstest(starts[name].numpy(), law.cdf).pvalue > 1e-4
        assert (stats.kstest(plain[name].numpy(), law.cdf).pvalue > 1e-4) == (name == "shift")


def test_starts_of_sites_whose_support_depends_on_another(generator):
    density = Density.from_model(dependent, torch.tensor(1.0))
    starts = density.constrain(initial_positions(density, 256, start="prior", generator=generator))
    assert stats.kstest(starts["top"].numpy(), stats.uniform(1, 2).cdf).pvalue > 1e-4
    shares = starts["share"] / starts["top"].unsqueeze(-1)
    assert stats.kstest(shares.flatten().numpy(), stats.uniform().cdf).pvalue > 1e-4


def test_starts_of_a_family_differ_from_chain_to_chain(generator):
    density = Density.from_model(gamma_normal, Y).given({"y": torch.stack([Y, Y + 1, Y + 2])})
    starts = initial_positions(density, 64, start="prior", generator=generator)
    assert starts.shape == (64, 3, 3)
    for row in range(3):
        assert len(starts[:, row].unique(dim=0)) == 64


def test_many_chains_share_draws_of_the_prior(generator):
    density = Density.from_model(gamma_normal, Y)
    starts = initial_positions(density, 1000, start="prior", generator=generator)
    assert len(starts.unique(dim=0)) == 256


def test_a_sample_starts_at_the_prior():
    """The same seed gives the same chains, whatever torch's own generator does."""
    density = Density.from_model(gamma_normal, Y, factor=lambda rate: -0.0 * rate)

    def draw():
        torch.rand(3)
        generator = torch.Generator().manual_seed(3)
        options = {"chains": 8, "warmup": 40, "draws": 5, "generator": generator}
        return sample(density, method="random_walk", init="prior", **options)["rate"]

    assert torch.equal(draw(), draw())


@pytest.mark.parametrize("prior", [False, True], ids=["normal", "prior"])
def test_starts_are_pulled_in_until_the_density_is_finite(prior, generator):
    """Of the draws, 1 in 10⁴ or fewer are where the density is finite: close to the centre."""

    def narrow(y):
        x = pyro.sample("x", dist.Normal(torch.full((12,), 7.0 * prior), 1.0).to_event(1))
        near = (x - 7.0 * prior).abs().max() < 0.5
        pyro.factor("near", torch.where(near, 0.0, -math.inf))

    density = Density.from_model(narrow, Y)
    starts = initial_positions(density, 64, start="prior" if prior else "normal", generator=generator)
    assert density.unconstrained_log_prob(starts).isfinite().all()


def test_nan_at_some_starts_is_logged_with_the_site(generator, caplog):
    density = Density.from_model(gamma_normal, Y, scale=lambda rate: rate - 0.5)
    starts = initial_positions(density, 64, start="prior", generator=generator)
    assert density.unconstrained_log_prob(starts).isfinite().all()
    (message,) = caplog.messages
    share = stats.gamma(3.0, scale=0.5).cdf(0.5)
    count = int(message.split("NaN at ")[1].split()[0])
    assert abs(count - 64 * share) < 5 * math.sqrt(64 * share * (1 - share))
    assert "of 64 starting points, for which others are sought: rate = " in message
    assert "site 'y': its scale is -" in message
    assert message.endswith("not in GreaterThan(lower_bound=0.0)")


FAULTS = {
    "nan scale": (
        {"scale": lambda rate: rate * torch.nan},
        "it was nan at .*: site 'y': its scale is nan at row 0",
    ),
    "negative scale": (
        {"scale": lambda rate: -rate},
        r"it was nan at .*: site 'y': its scale is -[0-9.]+ at row 0, not in GreaterThan\(lower_bound=0.0\)",
    ),
    "likelihood of zero": (
        {"scale": lambda rate: 1e-30 * rate},
        "it was -inf at .*: site 'y': its log_prob is -inf at row 0",
    ),
    "factor": (
        {"factor": lambda rate: -torch.inf * rate},
        "it was -inf at .*: site 'penalty': its log_factor is -inf",
    ),
}


@pytest.mark.parametrize(("fault", "message"), FAULTS.values(), ids=FAULTS)
def test_the_site_at_fault_is_named(fault, message, generator):
    density = Density.from_model(gamma_normal, Y, **fault)
    with pytest.raises(ValueError, match=rf"no initial point .* {message}; give init="):
        sample(density, generator=generator)


def test_the_site_at_fault_is_named_for_a_given_start():
    density = Density.from_model(gamma_normal, Y, scale=lambda rate: rate - 1.0)
    init = {"rate": torch.full((4,), 0.5), "loc": torch.zeros(4), "shift": torch.zeros(4)}
    message = r"nan at rate = 0.5.* \(chain 0\): site 'y': its scale is -0.5 at row 0, not in GreaterThan"
    with pytest.raises(ValueError, match=message):
        sample(density, chains=4, init=init)


def test_the_member_of_a_family_at_fault_is_named():
    data = torch.stack([Y, torch.tensor([0.0, torch.nan, 0.0])])
    density = Density.from_model(gamma_normal, Y).given({"y": data})
    message = r"\(chain 0, batch row 1\): site 'y': its value is nan at row 1"
    with pytest.raises(ValueError, match=message):
        run(random_walk(density, scale=0.1), torch.zeros(2, 2, 3), draws=1, density=density)


def test_an_impossible_value_of_a_site_summed_out_is_no_fault(generator):
    """z = 1 has probability 0, which is right; it is the scale that is at fault."""

    def two(y):
        rate = pyro.sample("rate", dist.Gamma(2.0, 1.0))
        with pyro.plate("data", len(y)):
            z = pyro.sample("z", dist.Bernoulli(torch.tensor(0.0)))
            pyro.sample("y", dist.Normal(z, rate * torch.nan), obs=y)

    with pytest.raises(ValueError, match="site 'y': its scale is nan"):
        initial_positions(Density.from_model(two, Y), 4, generator=generator)
