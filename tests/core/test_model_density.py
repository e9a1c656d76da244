"""Densities from Pyro models, against closed forms, single runs and Pyro's own."""

import logging
import math

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro import poutine
from pyro.infer import config_enumerate
from pyro.infer.mcmc.util import TraceEinsumEvaluator
from torch.distributions import constraints
from torch.fx.experimental.proxy_tensor import make_fx

from probgen import Density
from probgen.sampling import sample

Y = torch.tensor([28.0, 8.0, -3.0, 7.0, -1.0, 1.0, 18.0, 12.0])
SD = torch.tensor([15.0, 10.0, 16.0, 11.0, 9.0, 11.0, 10.0, 18.0])


def schools(y):
    mu = pyro.sample("mu", dist.Normal(0.0, 5.0))
    tau = pyro.sample("tau", dist.HalfCauchy(5.0))
    with pyro.plate("schools", len(y)):
        t = pyro.sample("t", dist.Normal(0.0, 1.0))
        theta = pyro.deterministic("theta", mu + tau * t)
        pyro.sample("y", dist.Normal(theta, SD), obs=y)


def regression(x, y):
    w = pyro.sample("w", dist.Normal(0, 1).expand([3]).to_event(1))
    s = pyro.sample("s", dist.HalfCauchy(1))
    with pyro.plate("data", len(y)):
        pyro.sample("y", dist.Normal(x @ w, s), obs=y)


def many_supports():
    pyro.sample("share", dist.Dirichlet(torch.ones(3)).expand([2]).to_event(1))
    pyro.sample("factor", dist.LKJCholesky(3, 2.0))
    pyro.sample("angle", dist.VonMises(0.5, 2.0))
    cut = dist.TransformedDistribution(dist.Normal(torch.zeros(3), 1.0), dist.transforms.OrderedTransform())
    pyro.sample("cut", cut)
    with pyro.plate("groups", 2):
        pyro.sample("rate", dist.Gamma(2.0, 1.0))
        pyro.sample("p", dist.Uniform(torch.tensor([0.0, 1.0]), torch.tensor([2.0, 4.0])))


def triangle():
    a = pyro.sample("a", dist.Uniform(0.0, 1.0))
    pyro.sample("b", dist.ImproperUniform(constraints.interval(0.0, 1 - a), (), ()))


def in_place(y):
    mu = pyro.sample("mu", dist.Normal(0.0, 1.0))
    nu = torch.zeros(len(y))
    nu[0] = mu
    with pyro.plate("time", len(y)):
        pyro.sample("y", dist.Normal(nu, 1.0), obs=y)


def counts(y):
    p = pyro.sample("p", dist.Dirichlet(torch.ones(3)))
    with pyro.plate("groups", len(y)):
        pyro.sample("y", dist.Multinomial(12, p), obs=y)


def clipped(y):
    mu = pyro.sample("mu", dist.Normal(torch.zeros(2, 3), 1.0).to_event(2))
    cut, rows = mu.clone(), 2 * mu
    cut[mu < 0], rows[mu[:, 0] > 0] = 0.0, mu.new_tensor(2.0)
    pyro.sample("y", dist.Normal(cut + rows, 1.0).to_event(2), obs=y)


def branching(y):
    mu = pyro.sample("mu", dist.Normal(0.0, 1.0))
    with pyro.plate("time", len(y)):
        pyro.sample("y", dist.Normal(mu, 1.0 if mu > 0 else 2.0), obs=y)


def mixture(y):
    p = pyro.sample("p", dist.Dirichlet(torch.ones(3)))
    m = pyro.sample("m", dist.Normal(torch.zeros(3), 1.0).to_event(1))
    shift = pyro.sample("shift", dist.Bernoulli(0.3))
    with pyro.plate("data", len(y)):
        z = pyro.sample("z", dist.Categorical(p))
        pyro.sample("y", dist.Normal(m[z] + shift, 1.0), obs=y)


def hidden_markov(y):
    step = pyro.sample("step", dist.Dirichlet(torch.ones(3, 3)).to_event(1))
    m = pyro.sample("m", dist.Normal(torch.zeros(3), 2.0).to_event(1))
    z = 0
    for t in pyro.markov(range(len(y))):
        z = pyro.sample(f"z{t}", dist.Categorical(step[z]))
        pyro.sample(f"y{t}", dist.Normal(m[z], 1.0), obs=y[t])


X = torch.linspace(-1, 1, 24).reshape(8, 3) ** 2
MODELS = {
    "plate and scalars": (schools, (Y,)),
    "matrix product": (regression, (X, Y)),
    "supports": (many_supports, ()),
    "support of another site": (triangle, ()),
    "mixture": (mixture, (Y / 10,)),
    "hidden Markov": (hidden_markov, (Y[:5] / 10,)),
    "in place": (in_place, (Y / 10,)),
    "branching": (branching, (Y / 10,)),
    "counts": (counts, (torch.tensor([[3.0, 4.0, 5.0], [0.0, 0.0, 12.0]]),)),
    "clipped": (clipped, (Y[:6].reshape(2, 3) / 10,)),
}


@pytest.fixture(params=MODELS, scope="module")
def case(request):
    model, args = MODELS[request.param]
    return model, args, Density.from_model(model, *args)


def truth(model, args, values):
    """Return log p of one draw: Pyro's trace, discrete sites summed out by Pyro's own contraction."""
    conditioned = poutine.condition(model, data=values)
    discrete = model in (mixture, hidden_markov)
    nesting = 0 if model is hidden_markov else 1
    if discrete:
        conditioned = poutine.enum(
            poutine.condition(config_enumerate(model), data=values), first_available_dim=-1 - nesting
        )
    trace = poutine.trace(conditioned).get_trace(*args)
    return TraceEinsumEvaluator(trace, discrete, nesting).log_prob(trace)


def test_the_log_density_is_that_of_single_runs(case):
    model, args, density = case
    position = torch.randn(2, 3, density.dim)
    values = density.constrain(position)
    found = density.log_prob(values)
    assert found.shape == (2, 3)
    for place in [(0, 0), (1, 2)]:
        expected = truth(model, args, {name: value[place] for name, value in values.items()})
        torch.testing.assert_close(found[place], expected, rtol=1e-4, atol=1e-4)


def test_positions_and_values_are_inverse(case):
    density = case[2]
    position = torch.randn(5, density.dim)
    torch.testing.assert_close(
        density.unconstrain(density.constrain(position)), position, rtol=1e-2, atol=1e-2
    )
    assert density.constrain(position[0]).keys() == density.shapes.keys()
    torch.testing.assert_close(
        density.unconstrained_log_prob(position[0]), density.unconstrained_log_prob(position)[0]
    )


def test_what_vmap_cannot_run_is_run_chain_by_chain(case, caplog):
    model, args, density = case
    assert density.vectorised == (model not in (in_place, branching))
    with caplog.at_level(logging.WARNING, "probgen"):
        Density.from_model(model, *args)
    assert ("one chain at a time" in caplog.text) != density.vectorised


def test_a_vectorised_density_is_recorded_and_has_gradients(case):
    density = case[2]
    position = torch.randn(4, density.dim, requires_grad=True)
    log_prob = density.unconstrained_log_prob(position)
    (gradient,) = torch.autograd.grad(log_prob.sum(), position)
    assert gradient.isfinite().all()
    if density.vectorised:
        graph = make_fx(lambda u: density.unconstrained_log_prob(u))(position.detach())
        torch.testing.assert_close(graph(position.detach()), log_prob.detach())


def test_supports_hold():
    density = Density.from_model(many_supports)
    values = density.constrain(2 * torch.randn(500, density.dim))
    assert (values["share"].sum(-1) - 1).abs().max() < 1e-5
    assert (values["angle"].abs() <= math.pi).all()
    assert (values["cut"].diff(dim=-1) > 0).all()
    assert constraints.lower_cholesky.check(values["factor"]).all()
    assert ((values["p"] >= torch.tensor([0.0, 1.0])) & (values["p"] <= torch.tensor([2.0, 4.0]))).all()


def test_the_jacobian_of_a_support_that_moves():
    density = Density.from_model(triangle)
    u = torch.randn(6, 2)
    sites = density.constrain(u)
    assert (sites["a"] + sites["b"] < 1).all()

    def volume(v):
        jacobian = torch.autograd.functional.jacobian(
            lambda p: torch.stack(list(density.constrain(p).values())), v
        )
        return jacobian.det().abs().log()

    expected = torch.stack([volume(v) for v in u])
    torch.testing.assert_close(density.unconstrained_log_prob(u), expected, rtol=1e-4, atol=1e-4)


def test_terms_that_underflow_apart_are_summed():
    """log Σ_k exp(a_k + b_k), where a and b are large in different places."""

    def far():
        x = pyro.sample("x", dist.Normal(0.0, 1.0))
        k = pyro.sample("k", dist.Categorical(logits=torch.tensor([0.0, -150.0])))
        y = torch.tensor(math.sqrt(300.0))
        pyro.sample("y", dist.Normal(torch.stack([0 * x, y])[k], 1.0), obs=y)

    found = Density.from_model(far).log_prob({"x": torch.zeros(1)})
    assert float(found) == pytest.approx(math.log(2) - 150 - math.log(2 * math.pi), abs=1e-3)


def test_observations_predictions_and_derived_values():
    density = Density.from_model(schools, Y)
    values = {"mu": torch.zeros(4000), "tau": torch.ones(4000), "t": torch.ones(4000, 8)}
    assert torch.equal(density.observed["y"], Y)
    assert density.derived_names == ("theta",)
    torch.testing.assert_close(density.derived(values)["theta"], torch.ones(4000, 8))
    expected = dist.Normal(1.0, SD).log_prob(Y)
    torch.testing.assert_close(density.log_likelihood(values)["y"][7], expected)
    drawn = density.predict(values, seed=1)["y"]
    assert torch.equal(drawn, density.predict(values, seed=1)["y"])
    z = (drawn - 1) / SD
    assert z.mean(0).abs().max() < 5.5 / math.sqrt(4000)
    assert (z.var(0) - 1).abs().max() < 5.5 * math.sqrt(2 / 4000)
    latent, data = density.simulate(4000, seed=2)
    assert {name: tuple(v.shape) for name, v in (latent | data).items()} == {
        "mu": (4000,), "tau": (4000,), "t": (4000, 8), "y": (4000, 8),
    }  # fmt: skip
    assert abs(float(latent["mu"].std()) / 5 - 1) < 5.5 / math.sqrt(8000)
    assert len(latent["mu"].unique()) == 4000


LAWS = {
    "gamma": (lambda a: dist.Gamma(3.0 * a, 2.0), 1.5, 0.75),
    "poisson": (lambda a: dist.Poisson(3.0 * a), 3.0, 3.0),
    "fixed poisson": (lambda a: dist.Poisson(3.0), 3.0, 3.0),
    "binomial": (lambda a: dist.Binomial(10, 0.3 * a), 3.0, 2.1),
    "exponential": (lambda a: dist.Exponential(2.0 * a), 0.5, 0.25),
    "beta": (lambda a: dist.Beta(2.0 * a, 3.0), 0.4, 0.04),
    "categorical": (lambda a: dist.Categorical(a * torch.tensor([0.5, 0.5])), 0.5, 0.25),
    "bernoulli": (lambda a: dist.Bernoulli(0.25 * a), 0.25, 0.1875),
    "uniform": (lambda a: dist.Uniform(0.0, 2 * a), 1.0, 1 / 3),
}


@pytest.mark.parametrize("name", LAWS)
def test_predictions_under_vmap_have_the_law(name):
    law, mean, variance = LAWS[name]

    def model(y):
        a = pyro.sample("a", dist.Gamma(1.0, 1.0))
        with pyro.plate("data", len(y)):
            pyro.sample("y", law(a), obs=y)

    density = Density.from_model(model, torch.full((2,), 0.5 if name == "beta" else 1.0))
    values = {"a": torch.ones(2000)}
    y = density.predict(values, seed=3)["y"].double()
    z = (y.mean() - mean) / math.sqrt(variance / 4000)
    assert abs(z) < 5
    assert abs(y.var() / variance - 1) < 0.25
    assert abs(torch.corrcoef(y.mT)[0, 1]) < 5 / math.sqrt(2000)
    assert abs(torch.corrcoef(torch.stack([y[1:, 0], y[:-1, 0]]))[0, 1]) < 5 / math.sqrt(2000)


def test_a_family_of_data_sets():
    density = Density.from_model(schools, Y)
    data = torch.stack([Y, Y + 10, 2 * Y])
    family = density.given({"y": data})
    assert family.batch_shape == (3,)
    u = torch.randn(4, 3, family.dim)
    for i in range(3):
        expected = Density.from_model(schools, data[i]).unconstrained_log_prob(u[:, i])
        torch.testing.assert_close(family.unconstrained_log_prob(u)[:, i], expected)


def test_improper_priors_dtype_and_modules():
    class Line(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.noise = torch.nn.Dropout(0.5)

        def forward(self, y):
            m = pyro.sample("m", dist.ImproperUniform(constraints.real, (), ()))
            with pyro.plate("data", len(y)):
                pyro.sample("y", dist.Normal(m, self.noise(torch.ones(()))), obs=y)

    module = Line()
    density = Density.from_model(module, Y.double())
    assert (density.dtype, density.names) == (torch.float64, ("m",))
    assert module.training
    expected = dist.Normal(3.0, 1.0).log_prob(Y.double()).sum()
    torch.testing.assert_close(density.log_prob({"m": torch.tensor([3.0]).double()}), expected.reshape(1))
    with pytest.raises(ValueError, match="every site should have a proper prior"):
        density.simulate(3)


def test_a_matrix_that_is_not_positive_definite_is_one_chains_own():
    def model():
        r = pyro.sample("r", dist.Normal(0.0, 1.0))
        covariance = torch.eye(2) + r * (1 - torch.eye(2))
        pyro.sample("y", dist.MultivariateNormal(torch.zeros(2), covariance), obs=torch.ones(2))

    density = Density.from_model(model)
    assert density.vectorised
    log_prob = density.log_prob({"r": torch.tensor([0.0, 2.0, 0.5])})
    assert log_prob.isnan().tolist() == [False, True, False]


def counting():
    pyro.sample("x", dist.Normal(0.0, 1.0))
    pyro.sample("n", dist.Poisson(3.0))


def discrete_only():
    pyro.sample("k", dist.Bernoulli(0.5))


def subsampled():
    m = pyro.sample("m", dist.Normal(0.0, 1.0))
    with pyro.plate("data", 10, subsample_size=5):
        pyro.sample("y", dist.Normal(m, 1.0), obs=torch.zeros(5))


def noisy():
    m = pyro.sample("m", dist.Normal(0.0, 1.0))
    pyro.sample("y", dist.Normal(m + torch.randn(()), 1.0), obs=torch.zeros(()))


def changing():
    if torch.rand(()) < 0.5:
        pyro.sample("a", dist.Normal(0.0, 1.0))
    pyro.sample("b", dist.Normal(0.0, 1.0))


def masked():
    with pyro.plate("data", 3):
        mask = torch.tensor([True, False, True])
        pyro.sample("y", dist.Normal(0.0, 1.0), obs=torch.zeros(3), obs_mask=mask)


def on_a_sphere():
    pyro.sample("d", dist.ProjectedNormal(torch.ones(2)))


@pytest.mark.parametrize(
    ("model", "words"),
    [
        (counting, "site 'n' should be continuous, or have finitely many values"),
        (discrete_only, "the model should have a continuous latent site but has none"),
        (subsampled, "plate 'data' should hold all of its 10 elements but is sub-sampled to 5"),
        (noisy, "the same log-probability in every run"),
        (changing, "site 'a' should be in every run of the model"),
        (masked, "site 'y_unobserved' should have a prior everywhere but is masked in part"),
        (on_a_sphere, "site 'd' should have a support that the real line can be mapped to"),
    ],
)
def test_models_that_have_no_density(model, words):
    with pytest.raises(ValueError, match=words):
        Density.from_model(model)


def test_summed_out_sites_have_no_single_likelihoods():
    density = Density.from_model(mixture, Y / 10)
    with pytest.raises(ValueError, match="is not known where discrete sites are summed out"):
        density.log_likelihood(density.constrain(torch.zeros(1, density.dim)))


def test_the_global_state_of_randomness_is_left_alone():
    state = torch.random.get_rng_state()
    Density.from_model(mixture, Y / 10)
    assert torch.equal(torch.random.get_rng_state(), state)


REFERENCE = {"mu": (4.411, 3.309), "tau": (3.602, 3.198), "theta": (6.151, 5.616)}
"""Means and standard deviations of 10,000 draws of posteriordb; of theta, those of the first school."""


def test_eight_schools_against_reference_draws():
    density = Density.from_model(schools, Y)
    generator = torch.Generator().manual_seed(1)
    chains = sample(
        density, method="random_walk", chains=500, warmup=600, draws=40, thin=20, generator=generator
    )
    for name, (mean, sd) in REFERENCE.items():
        draws = chains[name] if name != "theta" else chains[name][..., 0]
        of_chains = draws.mean(1)
        error = math.hypot(float(of_chains.std()) / math.sqrt(500), sd / 100)
        assert abs(float(of_chains.mean()) - mean) < 5 * error
        assert abs(float(draws.std()) / sd - 1) < 0.08
