import math

import pyro
import pyro.distributions as dist
import pytest
import torch
from torch.distributions import (
    Beta,
    Categorical,
    Dirichlet,
    Gamma,
    LKJCholesky,
    LogNormal,
    MixtureSameFamily,
    MultivariateNormal,
    Normal,
    constraints,
)

from probgen import Density, Pair
from tests.pairs import LinearGaussian, Subsampled

float64 = torch.float64


def several(batch=()):
    """Three sites with three supports, independent."""
    laws = {"s": Gamma(2.0, 1.0), "p": Dirichlet(torch.ones(4)), "m": Normal(torch.zeros(2, 3), 1.0)}

    def log_prob(values):
        return (
            laws["s"].log_prob(values["s"])
            + laws["p"].log_prob(values["p"])
            + laws["m"].log_prob(values["m"]).sum((-2, -1))
        )

    return Density(
        log_prob,
        support={
            "s": constraints.positive,
            "p": constraints.simplex,
            "m": constraints.independent(constraints.real, 2),
        },
        event_shape={"s": (), "p": (4,), "m": (2, 3)},
        batch_shape=batch,
    )


# Density.


@pytest.mark.parametrize(
    "law",
    [
        Normal(0.0, 1.0),
        Gamma(2.0, 3.0),
        Beta(2.0, 3.0),
        Dirichlet(torch.tensor([1.0, 2.0, 3.0])),
        MultivariateNormal(torch.zeros(3), torch.eye(3)),
        LKJCholesky(3, 2.0),
        Gamma(torch.tensor([1.0, 2.0]), torch.tensor([1.0, 3.0])),
        MixtureSameFamily(
            Categorical(torch.ones(2)), Gamma(torch.tensor([1.0, 2.0]), torch.tensor([1.0, 3.0]))
        ),
    ],
    ids=["real", "positive", "interval", "simplex", "vector", "Cholesky factor", "batch", "mixture"],
)
def test_positions_and_values(law):
    density = Density.from_distribution(law, name="v")
    values = law.sample((5, 2))
    position = density.unconstrain(values)
    assert position.shape == (5, 2, *law.batch_shape, density.dim)
    torch.testing.assert_close(density.constrain(position)["v"], values, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(density.unconstrain({"v": values}), position)
    assert density.unconstrained_log_prob(position).shape == (5, 2, *law.batch_shape)
    assert law.support.check(density.constrain(torch.randn_like(position))["v"]).all()


def test_the_jacobian_of_the_exponential():
    """log u of a log-normal variable is normal."""
    density = Density.from_distribution(LogNormal(*torch.tensor([0.3, 0.8], dtype=float64)))
    u = torch.linspace(-3, 3, 7, dtype=float64).unsqueeze(-1)
    expected = Normal(*torch.tensor([0.3, 0.8], dtype=float64)).log_prob(u.squeeze(-1))
    torch.testing.assert_close(density.unconstrained_log_prob(u), expected)


def test_the_jacobian_of_the_logistic():
    density = Density.from_distribution(Beta(*torch.tensor([2.0, 3.0], dtype=float64)))
    u = torch.linspace(-3, 3, 7, dtype=float64)
    expected = 2 * u.sigmoid().log() + 3 * (-u).sigmoid().log() + math.log(12)
    torch.testing.assert_close(density.unconstrained_log_prob(u.unsqueeze(-1)), expected)


def test_the_jacobian_of_the_simplex():
    density = Density.from_distribution(Dirichlet(torch.tensor([1.0, 2.0, 3.0], dtype=float64)))
    u = torch.randn(2, dtype=float64)

    def simplex(v):
        return density.constrain(v)["x"]

    volume = torch.autograd.functional.jacobian(lambda v: simplex(v)[:2], u).det().abs().log()
    expected = density.log_prob(simplex(u)) + volume
    torch.testing.assert_close(density.unconstrained_log_prob(u), expected)


def test_an_unconstrained_density_integrates_to_one():
    density = Density.from_distribution(Gamma(*torch.tensor([0.7, 2.0], dtype=float64)))
    u = torch.linspace(-60, 10, 100_001, dtype=float64)
    total = torch.trapezoid(density.unconstrained_log_prob(u.unsqueeze(-1)).exp(), u)
    assert abs(total - 1) < 1e-6


def test_several_sites():
    density = several()
    assert density.names == ("s", "p", "m")
    assert density.dim == 1 + 3 + 6
    position = torch.randn(7, 5, density.dim)
    values = density.constrain(position)
    assert {name: tuple(value.shape) for name, value in values.items()} == {
        "s": (7, 5), "p": (7, 5, 4), "m": (7, 5, 2, 3),
    }  # fmt: skip
    torch.testing.assert_close(density.unconstrain(values), position, rtol=1e-4, atol=1e-4)
    volume = position[..., 0] + values["p"].log().sum(-1) + math.log(4) / 2
    expected = density.log_prob(values) + volume
    torch.testing.assert_close(density.unconstrained_log_prob(position), expected)


def test_several_sites_in_a_batch():
    density = several(batch=(3,))
    position = torch.randn(5, 3, density.dim)
    assert density.unconstrained_log_prob(position).shape == (5, 3)
    assert density.constrain(position)["m"].shape == (5, 3, 2, 3)


def test_dtype_and_device_of_a_law(device):
    density = Density.from_distribution(Normal(*torch.zeros(2, 4, dtype=float64, device=device) + 1))
    assert (density.dtype, density.device.type) == (float64, device.type)
    assert density.batch_shape == (4,)


def test_the_default_is_a_real_number():
    density = Density(lambda x: -0.5 * x**2)
    assert (density.names, density.dim, density.batch_shape) == (("x",), 1, ())
    assert density.dtype == torch.get_default_dtype()


def test_bad_densities():
    with pytest.raises(TypeError, match="support and event_shape should both be mappings"):
        Density(lambda x: x, support={"x": constraints.real})
    with pytest.raises(ValueError, match=r"support names the sites \['a'\] but event_shape \['b'\]"):
        Density(lambda x: x, support={"a": constraints.real}, event_shape={"b": ()})
    with pytest.raises(ValueError, match="a position should have 1 coordinates but has 2"):
        Density(lambda x: x).constrain(torch.zeros(5, 2))
    with pytest.raises(ValueError, match=r"log_prob should return shape \(5,\) but returned \(\)"):
        Density(lambda x: x.sum()).unconstrained_log_prob(torch.zeros(5, 1))


# Pair.


def test_the_posterior_of_a_pair_is_its_joint_density():
    pair, x = LinearGaussian(), torch.randn(4, 3)
    density = pair.posterior(x)
    assert (density.names, density.batch_shape, density.dim) == (("z",), (4,), 2)
    z = torch.randn(6, 4, 2)
    expected = pair.exact_posterior(x).log_prob(z) + pair.evidence(x)
    torch.testing.assert_close(density.log_prob(z), expected, rtol=1e-4, atol=1e-4)


def test_the_posterior_is_that_of_one_datum_in_a_subsampled_plate():
    whole, pair, x = LinearGaussian(), Subsampled(), torch.randn(4, 3)
    pair.load_state_dict(whole.state_dict())
    z = torch.randn(4, 2)
    torch.testing.assert_close(pair.posterior(x).log_prob(z), whole.posterior(x).log_prob(z))


class TwoLatents(Pair):
    def model(self, x=None, *context, n=1):
        with pyro.plate("data", n if x is None else len(x)):
            scale = pyro.sample("scale", dist.Gamma(2.0, 1.0))
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            return pyro.sample("x", dist.Normal(z, scale), obs=x)

    def guide(self, x=None, *context, n=1):
        pass


def test_the_posterior_of_several_sites():
    x = torch.tensor([0.5, -1.0, 2.0])
    density = TwoLatents().posterior(x)
    assert density.names == ("scale", "z")
    values = {"scale": torch.rand(6, 3) + 0.1, "z": torch.randn(6, 3)}
    expected = (
        Gamma(2.0, 1.0).log_prob(values["scale"])
        + Normal(0.0, 1.0).log_prob(values["z"])
        + Normal(values["z"], values["scale"]).log_prob(x)
    )
    torch.testing.assert_close(density.log_prob(values), expected)


class Observed(TwoLatents):
    def model(self, x=None, *context, n=1):
        with pyro.plate("data", len(x)):
            return pyro.sample("x", dist.Normal(0.0, 1.0), obs=x)


class Global(TwoLatents):
    def model(self, x=None, *context, n=1):
        z = pyro.sample("z", dist.Normal(0.0, 1.0))
        with pyro.plate("data", len(x)):
            return pyro.sample("x", dist.Normal(z, 1.0), obs=x)


class Angles(Pair):
    """t ~ von Mises(0, 1), x | t ~ N(t, 1)."""

    def model(self, x=None, *context, n=1):
        with pyro.plate("data", n if x is None else len(x)):
            t = pyro.sample("t", dist.VonMises(0.0, 1.0))
            return pyro.sample("x", dist.Normal(t, 1.0), obs=x)

    def guide(self, x=None, *context, n=1):
        with pyro.plate("data", len(x)):
            pyro.sample("t", dist.VonMises(x, 1.0))


def test_a_posterior_of_angles_stays_on_one_turn():
    """On the whole line it would be improper."""
    density = Angles().posterior(torch.zeros(3))
    angles = density.constrain(100 * torch.randn(50, 3, 1))["t"]
    assert (angles.abs() <= math.pi).all()


def test_posteriors_that_there_are_not():
    with pytest.raises(ValueError, match=r"model should have a continuous latent site .* but has none"):
        Observed().posterior(torch.zeros(3))
    with pytest.raises(ValueError, match=r"site 'z' should have batch shape \(3,\), one law per row of x"):
        Global().posterior(torch.zeros(3))


def test_samples_of_a_model_have_seeds():
    model = LinearGaussian()
    state = torch.random.get_rng_state()
    first = model.sample(5, seed=1)
    assert first.shape == (5, 3)
    assert not first.requires_grad
    assert torch.equal(first, model.sample(5, seed=1))
    assert torch.equal(torch.random.get_rng_state(), state)
    assert not torch.equal(first, model.sample(5))
    with pytest.raises(ValueError, match="n should be at least 1 but got 0"):
        model.sample(0)


def test_seeds_on_a_machine_with_several_gpus(monkeypatch, recwarn):
    state = torch.zeros(16, dtype=torch.uint8)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "get_rng_state", lambda device: state)
    monkeypatch.setattr(torch.cuda, "set_rng_state", lambda state, device: None)
    LinearGaussian().sample(5, seed=1)
    assert not recwarn.list
