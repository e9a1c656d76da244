"""Pyro's global store of parameters: pairs have their own, and what is said of them is true."""

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.infer.autoguide import AutoDiagonalNormal, AutoNormal
from torch import nn

import probgen as pg
from probgen.objectives import ELBO, IWAE

X = torch.randn(64, 4, generator=torch.Generator().manual_seed(0)) + 2


class Tutorial(pg.Pair):
    """A pair as in Pyro's tutorials, which names its networks by ``pyro.module``."""

    def __init__(self):
        super().__init__()
        self.decoder, self.encoder = nn.Linear(2, 4), nn.Linear(4, 2)

    def name(self, part):
        return pyro.module(part, getattr(self, part))

    def model(self, x=None, n=1):
        decoder = self.name("decoder")
        with pyro.plate("data", n if x is None else len(x)):
            z = pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))
            return pyro.sample("x", dist.Normal(decoder(z), 1.0).to_event(1), obs=x)

    def guide(self, x=None, n=1):
        encoder = self.name("encoder")
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(encoder(x), 1.0).to_event(1))


class Bias(Tutorial):
    """A pair with a parameter that ``pyro.param`` is given, and returns."""

    def __init__(self, statement=lambda pair: pyro.param("bias", pair.bias)):
        super().__init__()
        self.bias = nn.Parameter(torch.rand(4))
        self.statement = statement

    def model(self, x=None, n=1):
        bias = self.statement(self)
        with pyro.plate("data", n if x is None else len(x)):
            z = pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))
            return pyro.sample("x", dist.Normal(self.decoder(z) + bias, 1.0).to_event(1), obs=x)


class ByAutoguide(Tutorial):
    def __init__(self, kind, named):
        super().__init__()
        self.named = named
        self.auto = kind(self.model)

    def name(self, part):
        return pyro.module(part, self.decoder) if self.named else self.decoder

    def guide(self, x=None, n=1):
        return self.auto(x)


def loss_of(pair):
    with torch.no_grad():
        return float(pg.SVI(pair, ELBO(particles=100))(X)[0])


@pytest.fixture(autouse=True)
def clear():
    pyro.clear_param_store()
    yield
    pyro.clear_param_store()


@pytest.mark.parametrize("make", [Tutorial, Bias])
@pytest.mark.parametrize("elbo", [ELBO(), IWAE(2), pyro.infer.Trace_ELBO()], ids=["elbo", "iwae", "pyro"])
def test_every_pair_of_a_process_learns_its_own_parameters(make, elbo):
    pairs = [make(), make()]
    for pair in pairs:
        pair.sample(2, seed=0)  # outside of training, where the statements are made too
        before = loss_of(pair)
        adam = lambda parameters: torch.optim.Adam(parameters, lr=0.05)  # noqa: E731
        pg.fit(pg.SVI(pair, elbo), X, epochs=40, optimizer=adam, progress=False, seed=0)
        assert loss_of(pair) < before - 1
    first, second = (pair.decoder.weight for pair in pairs)
    assert (first - second).abs().max() > 1e-3


def test_draws_and_likelihoods_are_by_the_own_parameters():
    """By those that the store keeps, of the first pair, the second would draw around the first's mean."""
    first, second = Bias(), Bias()
    with torch.no_grad():
        second.bias += 50
    first.sample(1)
    assert second.sample(100, seed=0).mean() > 40
    far, near = (pg.evaluation.log_likelihood(pair, X + 50, particles=20, seed=0) for pair in (first, second))
    assert near.value > far.value + 1000
    z = torch.zeros(1, len(X), 2)
    assert (second.posterior(X + 50).log_prob(z) > first.posterior(X + 50).log_prob(z) + 1000).all()


ELSEWHERE = nn.Linear(1, 1)


@pytest.mark.parametrize(
    ("statement", "words"),
    [
        (
            lambda pair: pyro.param("g", torch.ones(4)),
            "'g' should be .* but is in Pyro's global store, where",
        ),
        (
            lambda pair: pyro.param("c", pair.bias, constraint=dist.constraints.positive),
            "'c' should be used as it is but has a constraint, .* say by .exp",
        ),
        (
            lambda pair: pyro.module("elsewhere", ELSEWHERE)(torch.ones(1)),
            r"'elsewhere\$\$\$weight' should be in a module of the pair but is in Pyro's global store",
        ),
    ],
    ids=["global", "constrained", "elsewhere"],
)
def test_what_is_not_learned_is_refused_for_what_it_is(statement, words):
    with pytest.raises(ValueError, match=words):
        pg.fit(pg.SVI(Bias(statement)), X, epochs=1, progress=False)


@pytest.mark.parametrize("kind", [AutoNormal, AutoDiagonalNormal])
def test_autoguides_with_local_parameters(kind):
    """They make their parameters in the first pass, which are the pair's then, and are learned."""
    with pyro.settings.context(module_local_params=True):
        objective = pg.SVI(ByAutoguide(kind, named=False))
        objective(X)
        before = {name: value.clone() for name, value in objective.named_parameters()}
        assert any("auto" in name for name in before)
        pg.fit(objective, X, epochs=5, progress=False, seed=0)
        for name, value in objective.named_parameters():
            if "auto" in name or "decoder" in name:
                assert (value != before[name]).any(), name


def test_autoguides_of_models_that_name_modules_are_refused_with_a_cure():
    with (
        pyro.settings.context(module_local_params=True),
        pytest.raises(ValueError, match=r"pyro.module and pyro.param should be left out of a model that an"),
    ):
        pg.fit(pg.SVI(ByAutoguide(AutoNormal, named=True)), X, epochs=1, progress=False)


def test_autoguides_without_local_parameters_are_refused_with_a_cure():
    pair = ByAutoguide(AutoNormal, named=False)
    with pytest.raises(ValueError, match=r"global store.*module_local_params=True\) before they are made"):
        pg.fit(pg.SVI(pair), X, epochs=1, progress=False)
