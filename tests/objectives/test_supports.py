"""Outside of its support a law's density is 0: in every mode and bound, the loss is infinite and says why."""

import pyro
import pyro.distributions as dist
import pyro.infer
import pytest
import torch
from torch import nn

from probgen import Density, Pair, fit
from probgen.capture.captured_loss import CapturedLoss
from probgen.core.supports import supported
from probgen.evaluation import log_likelihoods
from probgen.nets.laws import ContinuousBernoulli, GreyLevels
from probgen.objectives import ELBO, IWAE, SVI, FreeBits, Renyi


def thrice(a, numbers=3):
    """Return three numbers, or some more, made of each."""
    return a[..., None] * torch.arange(1.0, numbers + 1, device=a.device)


LAWS = {  # laws as functions of a real parameter, a value of the support, and one outside
    "Poisson": (lambda a: dist.Poisson(a.exp()), 2.0, 1.5),
    "Poisson, negative": (lambda a: dist.Poisson(a.exp()), 2.0, -1.0),
    "Bernoulli": (lambda a: dist.Bernoulli(logits=a), 1.0, 7.0),
    "continuous Bernoulli": (ContinuousBernoulli, 0.3, 1.7),
    "grey levels": (lambda a: GreyLevels(thrice(a, 5)), 0.25, 0.3),
    "grey levels, beyond": (
        lambda a: GreyLevels(thrice(a, 5)),
        1.0,
        9.0,
    ),
    "Beta": (lambda a: dist.Beta(a.exp(), 2.0), 0.3, 1.2),
    "Gamma": (lambda a: dist.Gamma(2.0, a.exp()), 0.3, -0.3),
    "exponential": (lambda a: dist.Exponential(a.exp()), 0.3, -0.3),
    "uniform": (lambda a: dist.Uniform(-a.exp() - 1, a.exp() + 1), 0.3, 9.0),
    "exponential from 1 on": (  # at its end it has a density
        lambda a: dist.TransformedDistribution(
            dist.Exponential(a.exp()), [torch.distributions.AffineTransform(1.0, 2.0)]
        ),
        1.0,
        0.5,
    ),
    "uniform as a Beta, of the unit of the data": (
        lambda a: dist.TransformedDistribution(
            dist.Beta(torch.ones_like(a), 1.0), [torch.distributions.AffineTransform(0.0, 255.0)]
        ),
        25.0,
        256.0,
    ),
    "Pareto": (lambda a: dist.Pareto(torch.ones_like(a), a.exp()), 1.5, 0.5),
    "log-normal": (lambda a: dist.LogNormal(a, 1.0), 1.5, -0.5),
    "geometric": (lambda a: dist.Geometric(logits=a), 1.0, 0.5),
    "binomial": (lambda a: dist.Binomial(5, logits=a), 1.0, 6.0),
    "categorical": (lambda a: dist.Categorical(logits=thrice(a)), 2, 7),
    "zero-inflated": (lambda a: dist.ZeroInflatedPoisson(a.exp(), gate_logits=a), 0.0, 1.5),
    "mixture": (
        lambda a: dist.MixtureSameFamily(
            dist.Categorical(logits=torch.stack([a, -a], -1)), dist.Poisson(torch.stack([a, 1 - a], -1).exp())
        ),
        2.0,
        1.5,
    ),
}


def mixture(parts):
    return dist.MixtureSameFamily(dist.Categorical(torch.tensor([0.4, 0.6])), parts, validate_args=False)


MIXTURES = {  # of laws with supports of their own, a value in some of them, its density, one in none of them
    "uniform": (dist.Uniform, ([0.0, 2.0], [1.0, 4.0]), 0.5, 0.4, 1.5),
    "Pareto": (dist.Pareto, ([1.0, 2.0], [2.0, 3.0]), 1.5, 0.4 * 2 / 1.5**3, 0.5),
    "binomial": (dist.Binomial, ([2, 5], 0.5), 4.0, 0.6 * 5 / 32, 6.0),
    "uniform, of vectors": (
        lambda *ends, validate_args: dist.Uniform(*ends, validate_args=validate_args).to_event(1),
        ([[0.0, 0.0], [2.0, 2.0]], [[1.0, 1.0], [4.0, 4.0]]),
        [2.5, 3.0],
        0.6 / 4,
        [0.5, 3.0],
    ),
}


@pytest.mark.parametrize(("kind", "parameters", "good", "expected", "bad"), MIXTURES.values(), ids=MIXTURES)
def test_a_mixture_has_the_supports_of_all_its_components(kind, parameters, good, expected, bad):
    law = mixture(kind(*map(torch.tensor, parameters), validate_args=False))
    found = supported(law).log_prob(torch.tensor([good, bad])).exp()
    torch.testing.assert_close(found, torch.tensor([expected, 0.0]))


EVENTS = {  # laws of vectors
    "Dirichlet": (lambda a: dist.Dirichlet(thrice(a).exp()), [0.2, 0.3, 0.5], [0.2, 0.3, 0.6]),
    "one of three": (
        lambda a: dist.OneHotCategorical(logits=thrice(a)),
        [0.0, 1.0, 0.0],
        [0.2, 0.3, 0.5],
    ),
    "multinomial": (lambda a: dist.Multinomial(3, logits=thrice(a)), [0.0, 1.0, 2.0], [1.5, 1.5, 0.0]),
}
BOUNDS = {
    "elbo": ELBO,
    "elbo, 3 particles": lambda: ELBO(particles=3),
    "free bits": lambda: FreeBits(0.1),
    "iwae": lambda: IWAE(3),
    "iwae, plain": lambda: IWAE(3, gradient="plain"),
    "renyi": lambda: Renyi(0.5, particles=3),
    "pyro": pyro.infer.Trace_ELBO,
    "pyro, mean field": pyro.infer.TraceMeanField_ELBO,
    "pyro, enumerating": lambda: pyro.infer.TraceEnum_ELBO(
        max_plate_nesting=1, strict_enumeration_warning=False
    ),
}


class Observed(Pair):
    """z ~ N(0, 1), x | z ~ law(w z)."""

    def __init__(self, law):
        super().__init__()
        self.law = law
        self.weight = nn.Parameter(torch.tensor(0.3))

    def model(self, x=None, *context, n=1):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(self.weight.new_zeros(()), 1.0))
            return pyro.sample("x", self.law(self.weight * z), obs=x)

    def guide(self, x=None, *context, n=1):
        with pyro.plate("data", len(x)):
            return pyro.sample("z", dist.Normal(self.weight, 1.0))


def data(good, bad, device, rows=6):
    """Return data within the support, and the same with a value outside of it in row 4."""
    x = torch.tensor([good] * rows, device=device)
    wrong = x.clone()
    wrong[4] = torch.tensor(bad)
    return x, wrong


@pytest.mark.parametrize(("law", "good", "bad"), (LAWS | EVENTS).values(), ids=LAWS | EVENTS)
def test_the_density_is_the_laws_own_within_and_0_outside(law, good, bad, device):
    x, wrong = data(good, bad, device)
    with pyro.validation_enabled(False):
        law = law(torch.full((6,), 0.3, device=device))
        found, expected = supported(law).log_prob(wrong), law.log_prob(x)
    expected[4] = -torch.inf
    assert torch.equal(found, expected)


@pytest.mark.parametrize(("law", "good", "bad"), (LAWS | EVENTS).values(), ids=LAWS | EVENTS)
def test_a_graph_refuses_what_comes_later(law, good, bad, device):
    svi = SVI(Observed(law)).to(device)
    x, wrong = data(good, bad, device)
    loss_of = CapturedLoss(svi, "graph")
    torch.manual_seed(0)
    losses = [loss_of.backward(batch)[0] for batch in (x, x, wrong, x)]  # call 3 is not held against eager
    assert loss_of.mode == "graph"
    assert losses[2] == torch.inf
    assert all(torch.isfinite(losses[call]) for call in (0, 1, 3))


@pytest.mark.parametrize("make", BOUNDS.values(), ids=BOUNDS)
@pytest.mark.parametrize("validate", [False, True])
def test_no_bound_learns_from_it(make, validate, device):
    svi = SVI(Observed(LAWS["Poisson"][0]), make()).to(device)
    x, wrong = data(2.0, 1.5, device)
    assert torch.isfinite(svi(x)[0])
    if validate:
        with pytest.raises(ValueError, match="support"):
            svi(wrong)
        return
    with pyro.validation_enabled(False):
        loss, terms = svi(wrong)
    if isinstance(svi.elbo, pyro.infer.ELBO):  # which take the value of a loss from another of its kind
        assert not torch.isfinite(loss)
        return
    assert loss == torch.inf
    assert terms["reconstruction"] == -torch.inf


@pytest.mark.parametrize("bad", [1.2, -0.1])
def test_the_likelihood_refuses_it_without_validation(bad, device):
    pair = Observed(LAWS["Beta"][0]).to(device)
    x, wrong = data(0.3, bad, device)
    with pyro.validation_enabled(False):
        assert torch.isfinite(log_likelihoods(pair, x, particles=3)).all()
        with pytest.raises(ValueError, match=r"log p\(x\) should be finite but is -inf at row 4 of x"):
            log_likelihoods(pair, wrong, particles=3)


@pytest.mark.parametrize(
    ("name", "sentence"),
    {
        "Poisson": "model site 'x': its value is 1.5 at row .*, outside of its law's support, Integer",
        "Bernoulli": "its value is 7.0 at row .*, outside of its law's support, Boolean",
        "grey levels": r"its value is 0.3\d* at row .* of its law's support, Levels\(0, 1/4, ..., 1\)",
        "continuous Bernoulli": r"its value is 1.7\d* at row .* of its law's support, Interval\(low",
        "categorical": r"its value is 7.0 at row .*, outside of its law's support, IntegerInterval\(low",
        "Dirichlet": r"its value is 0.2\d* at row .*, outside of its law's support, Simplex",
    }.items(),
)
def test_fit_names_the_value_and_the_rule(name, sentence, device):
    law, good, bad = (LAWS | EVENTS)[name]
    x = torch.tensor([good] * 60, device=device)
    x[38] = torch.tensor(bad)
    svi = SVI(Observed(law)).to(device)
    with pytest.raises(ValueError, match=sentence):
        fit(svi, x, epochs=3, batch_size=6, seed=2, progress=False, compile="graph")


@pytest.mark.parametrize("validate", [False, True])
def test_fit_refuses_such_rows_of_validation_data_too(validate, device):
    law, good, bad = LAWS["Poisson"]
    x, wrong = data(good, bad, device)
    svi = SVI(Observed(law)).to(device)
    rule = "validation terms should .* at step 1 .* its value is 1.5 at row .* of its law's support, Integer"
    options = {"steps": 2, "validation": wrong, "progress": False, "seed": 0}
    with pyro.validation_enabled(validate), pytest.raises(ValueError, match="support" if validate else rule):
        fit(svi, x, **options)


def test_what_a_mask_hides_may_be_anything(device):
    def hidden(a):
        seen = torch.arange(6, device=a.device) != 4
        return dist.Bernoulli(logits=a).mask(seen)

    svi = SVI(Observed(hidden)).to(device)
    x, wrong = data(1.0, -1.0, device)
    with pyro.validation_enabled(False):
        for other in (wrong, torch.where(wrong == -1, torch.nan, wrong)):
            torch.manual_seed(0)
            expected = svi(x)[0]
            torch.manual_seed(0)
            torch.testing.assert_close(svi(other)[0], expected)


class Narrow(Observed):
    """A prior on the positive numbers, whose guide draws any."""

    def model(self, x=None, *context, n=1):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Exponential(1 + self.weight.new_zeros(())))
            return pyro.sample("x", dist.Normal(self.weight * z, 1.0), obs=x)


@pytest.mark.parametrize("make", BOUNDS.values(), ids=BOUNDS)
def test_draws_outside_of_their_prior_count_as_impossible(make, device):
    x = torch.zeros(50, device=device)
    with pyro.validation_enabled(False):
        assert not torch.isfinite(SVI(Narrow(None), make()).to(device)(x)[0])


UNCONDITIONAL = {  # whose support is the same whatever is learned
    "Poisson", "Poisson, negative", "Bernoulli", "continuous Bernoulli", "grey levels", "Beta", "Gamma",
    "exponential", "exponential from 1 on", "log-normal", "geometric", "zero-inflated", "mixture",
    "Dirichlet", "one of three",
}  # fmt: skip


@pytest.mark.parametrize(
    ("law", "good", "bad"),
    [row for name, row in (LAWS | EVENTS).items() if name in UNCONDITIONAL],
)
def test_chains_have_no_density_on_it(law, good, bad, device):
    """But where the support depends on what is learned."""

    def model(x, seen=None):
        a = pyro.sample("a", dist.Normal(torch.zeros((), device=device), 0.1))
        with pyro.plate("data", len(x)), pyro.poutine.mask(mask=seen is None or seen):
            pyro.sample("x", law(a.expand(len(x))), obs=x)

    x, wrong = data(good, bad, device)
    Density.from_model(model, x)
    Density.from_model(model, wrong, torch.arange(6, device=device) != 4)
    with pytest.raises(
        ValueError, match=r"site 'x' should observe values of its law's support, .* row 4 holds"
    ):
        Density.from_model(model, wrong)
