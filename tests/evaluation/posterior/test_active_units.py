"""Active units of two levels against the closed form, in either order of the guide."""

import math

import pyro
import pyro.distributions as dist
import pyro.infer
import pytest
import torch
from torch import nn

from probgen import Pair
from probgen.evaluation import active_units
from probgen.objectives import ELBO, IWAE, SVI
from probgen.training import History


class Levels(Pair):
    """z2 ~ N(0, I), z1 | z2 ~ N(z2, 1), x | z1 ~ N(z1, 1); the guide draws z1 given x, then z2 given z1.

    Coordinate 0 of z1 has the mean a_0 x_0, and that of z2 the mean b_0 z1_0, and so on.
    """

    def __init__(self, a=(0.5, 0.0), b=(0.6, 0.8), *, upwards=True):
        super().__init__()
        self.a = nn.Parameter(torch.tensor(a, dtype=torch.float64))
        self.b = nn.Parameter(torch.tensor(b, dtype=torch.float64))
        self.names = ("z1", "z2") if upwards else ("z2", "z1")

    def model(self, x=None, *context, n=1):
        with pyro.plate("data", len(x)):
            z2 = pyro.sample("z2", dist.Normal(torch.zeros_like(x), 1.0).to_event(1))
            z1 = pyro.sample("z1", dist.Normal(z2, 1.0).to_event(1))
            return pyro.sample("x", dist.Normal(z1, 1.0).to_event(1), obs=x)

    def guide(self, x=None, *context, n=1):
        first, second = self.names
        with pyro.plate("data", len(x)):
            z = pyro.sample(first, dist.Normal(self.a * x, 0.9).to_event(1))
            pyro.sample(second, dist.Normal(self.b * z, 0.7).to_event(1))


@pytest.fixture
def x(device):
    gen = torch.Generator().manual_seed(0)
    return torch.randn(400, 2, generator=gen, dtype=torch.float64).to(device) * 1.3


@pytest.mark.parametrize("upwards", [True, False])
def test_the_variance_of_means_is_the_closed_form_at_both_levels(upwards, x):
    pair = Levels(upwards=upwards).to(x.device)
    table = active_units(pair, x, draws=20)
    first, second = pair.names
    of_x = x.var(0)
    expected = {
        f"{first}[0]": 0.25 * of_x[0],
        f"{first}[1]": 0.0,
        f"{second}[0]": 0.09 * of_x[0],
        f"{second}[1]": 0.0,
    }
    assert set(table.index) == set(expected)
    exact = [label for label in expected if label.startswith(first)]  # whose law does not depend on draws
    for label, value in expected.items():
        assert table.variance[label] == pytest.approx(float(value), abs=1e-12 if label in exact else 0.03)
    # With 20 draws the noise of the means alone has the variance 0.8² 0.9² / 20 = 0.026.
    assert abs(table.variance[f"{second}[1]"]) < 0.01
    assert table.active.to_dict() == {label: value > 0.01 for label, value in expected.items()}
    assert table.groupby("site").active.sum().to_dict() == {first: 1, second: 1}


def test_the_kl_of_a_site_is_analytic_where_no_parent_of_it_comes_after_it_in_the_guide(x):
    pair = Levels().to(x.device)
    terms = SVI(pair)(x)[1]
    assert (float(terms["active/z2"]), "active/z1" in terms, "active" in terms) == (2.0, False, False)
    many = SVI(pair, ELBO(particles=2000))(x[:50])[1]
    # E KL(q(z2 | z1) ‖ N(0, 1)), E z1² = (a x)² + 0.9²
    square = (pair.a * x[:50]) ** 2 + 0.81
    exact = (0.5 * (0.49 + pair.b**2 * square - 1) - math.log(0.7)).sum(-1).mean()
    assert float(many["kl/z2"]) == pytest.approx(float(exact.detach()), abs=0.02)
    meanfield = SVI(
        pair, pyro.infer.Trace_ELBO(num_particles=2000, vectorize_particles=True, max_plate_nesting=1)
    )
    assert float(many["elbo"]) == pytest.approx(float(meanfield(x[:50])[1]["elbo"]), abs=0.05)
    assert SVI(pair, IWAE(3))(x)[0].isfinite()


def test_collapse_is_said_of_the_site_where_it_is(x):
    pair = Levels(a=(0.9, 0.9), b=(0.0, 0.0)).to(x.device)

    def guide(x=None, *context, n=1):
        with pyro.plate("data", len(x)):
            pyro.sample("z2", dist.Normal(torch.zeros_like(x), 1.0).to_event(1))
            pyro.sample("z1", dist.Normal(pair.a * x, 0.7).to_event(1))

    pair.guide = guide
    history = History()
    history.add(1, 1, "train", {name: float(value) for name, value in SVI(pair)(x)[1].items()})
    (finding,) = history.diagnose()
    assert finding.startswith("Posterior collapse at site 'z2': all its latent coordinates have a KL below")
    assert not history.collapsed()


def test_collapse_is_said_where_the_kl_of_another_site_is_not_known_by_coordinate():
    history = History()
    history.add(1, 1, "train", {"loss": 1.0, "kl": 2.0, "active/z2": 0.0})
    assert [finding[:32] for finding in history.diagnose()] == ["Posterior collapse at site 'z2':"]
    history.add(2, 1, "train", {"loss": 1.0, "kl": 2.0, "active/z2": 1.0})
    assert history.diagnose() == []


def test_bad_input_is_named(x):
    pair = Levels().to(x.device)
    with pytest.raises(ValueError, match="draws should be at least 2 but got 1"):
        active_units(pair, x, draws=1)
    with pytest.raises(ValueError, match="x should have at least 2 rows, over which means vary, but has 1"):
        active_units(pair, x[:1])
