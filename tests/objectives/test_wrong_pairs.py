"""Models and guides that do not belong together, or not to their data: one sentence each, and no number."""

import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import nn

from probgen import Pair
from probgen.evaluation import log_likelihood
from probgen.objectives import ELBO, IWAE, SVI, Renyi

N = 5
CALLS = {
    "elbo": lambda pair, x: SVI(pair)(x),
    "elbo, 3 particles": lambda pair, x: SVI(pair, ELBO(particles=3))(x),
    "iwae": lambda pair, x: SVI(pair, IWAE(3))(x),
    "renyi": lambda pair, x: SVI(pair, Renyi(0.5))(x),
    "likelihood": lambda pair, x: log_likelihood(pair, x, particles=3, seed=0),
}


class Told(Pair):
    """A pair of two functions of x."""

    def __init__(self, model=None, guide=None):
        super().__init__()
        self.shift = nn.Parameter(torch.zeros(()))
        self.parts = model or right_model, guide or right_guide

    def model(self, x=None, *context, n=1):
        return self.parts[0](x)

    def guide(self, x=None, *context, n=1):
        return self.parts[1](x)


def data_plate(x, more=0, **options):
    return pyro.plate("data", len(x) + more, **options)


def right_model(x):
    with data_plate(x):
        z = pyro.sample("z", dist.Normal(x.new_zeros(()), 1.0))
        return pyro.sample("x", dist.Normal(z, 1.0), obs=x)


def right_guide(x):
    with data_plate(x):
        return pyro.sample("z", dist.Normal(x / 2, 0.5**0.5))


def observes(law_of_z, value_of_x=lambda x: x):
    def model(x):
        with data_plate(x):
            z = pyro.sample("z", dist.Normal(x.new_zeros(()), 1.0))
            return pyro.sample("x", law_of_z(z), obs=value_of_x(x))

    return model


def guided(more=0, **options):
    def guide(x):
        with data_plate(x, more, **options):
            return pyro.sample("z", dist.Normal(x.new_zeros(()), 1.0))

    return guide


def one_of_five(x):
    with pyro.plate("data", 1):
        return pyro.sample("z", dist.Normal(x.new_zeros(()), 1.0))


def observing_guide(x):
    with data_plate(x):
        return pyro.sample("z", dist.Normal(x.new_zeros(()), 1.0), obs=x)


def part(offset):
    def model(x):
        with pyro.plate("data", 100, subsample=offset + torch.arange(len(x))):
            z = pyro.sample("z", dist.Normal(x.new_zeros(()), 1.0))
            return pyro.sample("x", dist.Normal(z, 1.0), obs=x)

    return model


def part_guide(x):
    with pyro.plate("data", 100, subsample=torch.arange(len(x))):
        return pyro.sample("z", dist.Normal(x / 2, 0.5**0.5))


def seven(x):
    with pyro.plate("data", 100, subsample_size=7):
        z = pyro.sample("z", dist.Normal(x.new_zeros(()), 1.0))
        return pyro.sample("x", dist.Normal(z, 1.0), obs=x)


SAME_ROWS = "plate 'data' should have the same rows in model and guide but"
WRONG = {
    "a larger plate": ((None, guided(more=1)), f"{SAME_ROWS} has 5 of 5 and 6 of 6"),
    "a plate of one": ((None, one_of_five), f"{SAME_ROWS} has 5 of 5 and 1 of 1"),
    "a part of another plate": ((part(0), None), f"{SAME_ROWS} has 5 of 100 and 5 of 5"),
    "other rows": ((part(3), part_guide), f"{SAME_ROWS} is told others"),
    "more rows than data": ((seven, None), f"{SAME_ROWS} has 7 of 100 and 5 of 5"),
    "a plate at -2": (
        (None, guided(dim=-2)),
        "site 'z' should have the same batch and event shape in model and guide",
    ),
    "a guide that observes": ((None, observing_guide), "guide site 'z' should be drawn but is observed"),
    "a column": (
        (observes(lambda z: dist.Normal(z, 1.0), lambda x: x[:, None]), None),
        r"site 'x' should observe values of the shape of its law, \(.*5,\), but got \(5, 1\)",
    ),
    "a law of columns": (
        (observes(lambda z: dist.Normal(z.reshape(-1, N)[0, :, None], 1.0)), None),
        r"site 'x' should observe values of the shape of its law, \(.*5, 5\), but got \(5,\)",
    ),
    "other events": (
        (observes(lambda z: dist.Normal(z[..., None].expand(*z.shape, 2), 1.0).to_event(1)), None),
        r"site 'x' should observe values of the shape of its law, \(.*5, 2\), but got \(5,\)",
    ),
}


@pytest.mark.parametrize(("stories", "sentence"), WRONG.values(), ids=WRONG)
@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_what_does_not_fit_is_told(call, stories, sentence):
    x = torch.arange(float(N))
    with pyro.validation_enabled(False), pytest.raises(ValueError, match=sentence) as error:
        call(Told(*stories), x)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_a_batch_has_rows(call):
    pair = Told()
    for x in (torch.zeros(0), torch.zeros(())):
        with pytest.raises(ValueError, match=r"should have (at least one|a) row"):
            call(pair, x)


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
@pytest.mark.parametrize("rows", [1, 2])
def test_one_row_is_enough(call, rows):
    x = torch.arange(float(rows))
    exact = dist.Normal(0.0, 2**0.5).log_prob(x).mean()  # by every draw, since the guide is the posterior
    found = call(Told(), x)
    value = torch.tensor(found.value) if hasattr(found, "value") else -found[0].detach()
    if call in (CALLS["elbo"], CALLS["elbo, 3 particles"]):  # whose KL is not that of the draws
        return
    torch.testing.assert_close(value, exact, check_dtype=False)


def point_guide(x):
    with data_plate(x):
        return pyro.sample("z", dist.Delta(x / 2))


def test_a_point_has_a_joint_density_and_no_bound():
    """MAP estimation: the loss is −log p(x, z) at z, and no term calls it a bound."""
    x = torch.arange(float(N))
    exact = (dist.Normal(0.0, 1.0).log_prob(x / 2) + dist.Normal(x / 2, 1.0).log_prob(x)).mean()
    for elbo in (None, ELBO(particles=3), pyro.infer.Trace_ELBO()):
        svi = SVI(Told(guide=point_guide), elbo)
        loss, terms = svi(x)
        torch.testing.assert_close(-loss.detach(), exact)
        torch.testing.assert_close(terms["log_joint"], exact)
        assert "elbo" not in terms
        assert svi.judge({name: float(value) for name, value in terms.items()} | {"loss": 1.0}) in (
            pytest.approx(-float(exact)),
            1.0,
        )
    for call in (CALLS["iwae"], CALLS["renyi"], CALLS["likelihood"]):
        with pytest.raises(ValueError, match=r"guide site 'z' should be a law with a density but is a point"):
            call(Told(guide=point_guide), x)
