"""The rows that a model is told to look at are those that its guide draws codes for."""

import pyro
import pyro.distributions as dist
import pyro.infer
import pytest
import torch
from pyro.infer.autoguide import AutoNormal
from torch import nn

from probgen import Pair, fit
from probgen.objectives import ELBO, IWAE, SVI, Renyi

N, BATCH, NOISE = 24, 6, 0.5
BOUNDS = {
    "elbo": ELBO,
    "elbo, 3 particles": lambda: ELBO(particles=3),
    "iwae": lambda: IWAE(2, gradient="plain"),
    "pyro": pyro.infer.Trace_ELBO,
    "pyro, mean field": pyro.infer.TraceMeanField_ELBO,
}


class Local(Pair):
    """z_i ~ N(0, 3), x_i | z_i ~ N(z_i, 1/2), for the rows i that come with the data; an autoguide."""

    def __init__(self, guide=AutoNormal, **options):
        super().__init__()
        with pyro.settings.context(module_local_params=True):
            self.auto = guide(self.model, **options)
        self.unused = nn.Parameter(torch.zeros(()), requires_grad=False)

    def model(self, x=None, rows=None, n=1):
        with pyro.plate("data", N, subsample=rows, dim=-1):
            z = pyro.sample("z", dist.Normal(self.unused, 3.0))
            return pyro.sample("x", dist.Normal(z, NOISE), obs=x)

    def guide(self, x=None, rows=None, n=1):
        with pyro.settings.context(module_local_params=True):
            return self.auto(x, rows)


@pytest.fixture
def data(device):
    return 3 * torch.randn(N, device=device), torch.arange(N, device=device)


def told(x, rows):
    return pyro.plate("data", N, subsample=rows, dim=-1)


@pytest.mark.parametrize("options", [{}, {"create_plates": told}], ids=["its own rows", "told"])
@pytest.mark.parametrize("make", BOUNDS.values(), ids=BOUNDS)
def test_each_code_is_learned_from_its_own_datum(make, options, data, device):
    x, rows = data
    pair = Local(**options).to(device)
    pair.guide(x[:BATCH], rows[:BATCH])  # makes its parameters
    steps = fit(
        SVI(pair, make()), (x, rows), epochs=40, batch_size=BATCH, seed=0, progress=False,
        optimizer=lambda weights: torch.optim.Adam(weights, lr=0.15),
    )  # fmt: skip
    assert steps.ended == "finished"
    off = pair.auto.locs.z.detach() - x * 9 / (9 + NOISE**2)
    assert float(off.abs().mean()) < 0.5  # an untrained one is 2.4 off, one of other rows 2.3


@pytest.mark.parametrize("make", BOUNDS.values(), ids=BOUNDS)
def test_rows_are_those_of_the_model_at_every_call(make, data, device):
    x, rows = data
    pair = Local().to(device)
    pair.guide(x[:BATCH], rows[:BATCH])
    with torch.no_grad():
        pair.auto.locs.z.copy_(x)
        pair.auto.scales.z_unconstrained.fill_(-9.0)
    for _ in range(5):
        order = torch.randperm(N, device=device)[:BATCH]
        _, terms = SVI(pair, make())(x[order], rows[order])
        expected = dist.Normal(0.0, NOISE).log_prob(torch.zeros(()))  # x at z = x
        assert abs(float(terms["reconstruction"]) - float(expected)) < 0.01


def test_a_batch_of_another_size_is_refused_with_the_way_out(data, device):
    x, rows = data
    pair = Local().to(device)
    pair.guide(x[:BATCH], rows[:BATCH])
    with pytest.raises(
        ValueError, match=r"plate 'data' of the guide should hold the 4 rows .* create_plates="
    ):
        SVI(pair)(x[:4], rows[:4])
    pair = Local(create_plates=told).to(device)
    pair.guide(x[:BATCH], rows[:BATCH])
    assert torch.isfinite(SVI(pair)(x[:4], rows[:4])[0])


class DrawsRows(Local):
    """A story that draws its rows itself: the model's are the guide's, as Pyro has it."""

    def __init__(self, data):
        super().__init__()
        self.x = data
        self.loc = nn.Parameter(torch.zeros(N, device=data.device))

    def model(self, x=None, *context, n=1):
        with pyro.plate("data", N, subsample_size=len(x), dim=-1) as rows:
            z = pyro.sample("z", dist.Normal(self.unused, 3.0))
            return pyro.sample("x", dist.Normal(z, NOISE), obs=self.x[rows])

    def guide(self, x=None, *context, n=1):
        with pyro.plate("data", N, subsample_size=len(x), dim=-1) as rows:
            return pyro.sample("z", dist.Normal(self.loc[rows], 1e-4))


@pytest.mark.parametrize(
    "make",
    [ELBO, lambda: ELBO(particles=3), lambda: IWAE(3), lambda: Renyi(0.5), pyro.infer.TraceMeanField_ELBO],
)
def test_rows_that_the_guide_draws_are_the_models_too(make, data, device):
    pair = DrawsRows(data[0]).to(device)
    with torch.no_grad():
        pair.loc.copy_(pair.x)
    _, terms = SVI(pair, make())(torch.zeros(BATCH, device=device))
    expected = dist.Normal(0.0, NOISE).log_prob(torch.zeros(()))
    assert abs(float(terms["reconstruction"]) - float(expected)) < 0.01
