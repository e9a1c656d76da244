"""What is true of every bound, one row each: exact evidence, any batch and plate, terms that add up."""

import pyro.distributions as dist
import pyro.infer
import pytest
import torch
from torch import nn

from probgen import Pair
from probgen.objectives import ELBO, IWAE, SVI, BetaELBO, FreeBits, Renyi
from tests.objectives.test_elbo import mean_and_error
from tests.pairs import LinearGaussian, Subsampled

REPEATS = 40
WEIGHTED = {  # their loss is another than minus the bound
    "beta": lambda: BetaELBO(3.0),
    "beta by site": lambda: BetaELBO({"z": 0.5}),
    "free bits": lambda: FreeBits(2.0),
    "free bits by site": lambda: FreeBits(5.0, per="site"),
}
BOUNDS = {
    "elbo": ELBO,
    "elbo, 4 particles": lambda: ELBO(particles=4),
    "beta of 1": lambda: BetaELBO(1.0),
    "no free bits": lambda: FreeBits(0.0),
    "iwae": lambda: IWAE(4),
    "iwae, plain": lambda: IWAE(4, gradient="plain"),
    "renyi 0.5": lambda: Renyi(0.5, particles=4),
    "renyi 2": lambda: Renyi(2.0, particles=4),
    "pyro": pyro.infer.Trace_ELBO,
    "pyro, mean field": pyro.infer.TraceMeanField_ELBO,
    "pyro, enumerating": lambda: pyro.infer.TraceEnum_ELBO(
        max_plate_nesting=1, strict_enumeration_warning=False
    ),
}
ALL = WEIGHTED | BOUNDS

bounds = pytest.mark.parametrize("make", BOUNDS.values(), ids=BOUNDS)
rows = pytest.mark.parametrize("make", ALL.values(), ids=ALL)


def svi(pair, make):
    return SVI(pair, make()).to(next(pair.parameters()).device).double()


@pytest.fixture
def pair(device):
    return LinearGaussian().to(device).double()


@pytest.fixture
def x(pair):
    return torch.randn(8, 3, dtype=torch.float64, device=pair.bias.device)


@rows
def test_terms_add_up(make, pair, x):
    _, terms = svi(pair, make)(x)
    torch.testing.assert_close(terms["elbo"], terms["reconstruction"] - terms["kl"])
    assert not any(value.requires_grad for value in terms.values())


@rows
def test_the_kl_is_the_closed_form(make, pair, x):
    mean, log_scale = pair.guide_map(x).detach(), pair.guide_log_scale.detach()
    closed = float(0.5 * ((2 * log_scale).exp() + mean**2 - 1 - 2 * log_scale).sum(-1).mean())
    found, error = mean_and_error(svi(pair, make), x, "kl", repeats=REPEATS)
    assert abs(found - closed) <= 5 * error + 1e-12
    assert error < 0.1 * closed  # power


@rows
def test_at_the_exact_posterior_the_elbo_is_the_exact_evidence(make, pair, x):
    pair.exact_guide = True
    exact = float(pair.evidence(x).mean().detach())
    found, error = mean_and_error(svi(pair, make), x, "elbo", repeats=REPEATS)
    assert abs(found - exact) <= 5 * error + 1e-12
    assert error < 0.1  # power: the KL, of 0.7 nats, is not lost or counted twice


@bounds
def test_at_the_exact_posterior_the_loss_is_minus_the_exact_evidence(make, pair, x):
    pair.exact_guide = True
    exact = float(pair.evidence(x).mean().detach())
    losses = torch.stack([svi(pair, make)(x)[0].detach() for _ in range(REPEATS)])
    assert abs(float(losses.mean()) + exact) <= 5 * float(losses.std()) / REPEATS**0.5 + 1e-12


@bounds
def test_elsewhere_the_bound_is_below_the_evidence(make, pair, x):
    exact = float(pair.evidence(x).mean().detach())
    losses = torch.stack([svi(pair, make)(x)[0].detach() for _ in range(REPEATS)])
    assert exact + float(losses.mean()) > 5 * float(losses.std()) / REPEATS**0.5


class Given(dist.Normal):
    """A normal law whose draws are made of given noise, shape (n, particles, latent)."""

    def __init__(self, loc, scale, noise):
        super().__init__(loc, scale)
        self.noise = noise

    def expand(self, batch_shape, _instance=None):
        return Given(self.loc.expand(batch_shape), self.scale.expand(batch_shape), self.noise)

    def rsample(self, sample_shape=()):
        noise = self.noise.transpose(0, 1) if self.loc.dim() > 2 else self.noise[:, 0]
        return self.loc + self.scale * noise


class NoiseGiven(LinearGaussian):
    """The noise of each datum comes with it, shape (n, particles, latent)."""

    def guide(self, x=None, *context, n=1):
        (noise,) = context
        with pyro.plate("data", len(x)):
            law = Given(self.guide_map(x), self.guide_log_scale.exp(), noise)
            return pyro.sample("z", law.to_event(1))


@rows
def test_the_mean_over_parts_is_the_whole(make, device):
    """But for free bits between the parts' own KL, whose maximum is that of a mean over the batch."""
    pair = NoiseGiven().to(device).double()
    particles = getattr(make(), "particles", 1)
    x = torch.randn(12, 3, dtype=torch.float64, device=device)
    noise = torch.randn(12, particles, 2, dtype=torch.float64, device=device)
    loss, terms = svi(pair, make)(x, noise)
    whole = {"loss": loss.detach()} | terms
    sizes = [3, 4, 5]
    parts = [svi(pair, make)(*part) for part in zip(x.split(sizes), noise.split(sizes), strict=True)]
    for name, expected in whole.items():
        if name in ("active", "inactive"):
            continue
        values = torch.stack([({"loss": loss.detach()} | terms)[name] for loss, terms in parts])
        torch.testing.assert_close((values * values.new_tensor(sizes)).sum() / 12, expected)


@rows
def test_the_scale_of_a_plate_changes_nothing(make, pair, x):
    subsampled = Subsampled().to(x.device).double()
    subsampled.load_state_dict(pair.state_dict())
    outcomes = []
    for one in (pair, subsampled):
        torch.manual_seed(1)
        loss, terms = svi(one, make)(x)
        outcomes.append([loss, *terms.values(), *torch.autograd.grad(loss, list(one.parameters()))])
    for plain, scaled in zip(*outcomes, strict=True):
        torch.testing.assert_close(scaled, plain)


@pytest.mark.parametrize(
    "make", [lambda: IWAE(1), lambda: IWAE(1, gradient="plain"), lambda: Renyi(0.5, particles=1)]
)
def test_of_one_draw_every_bound_is_the_elbo(make, pair, x):
    outcomes = []
    for bound in (make, pyro.infer.Trace_ELBO):
        torch.manual_seed(1)
        loss, _ = svi(pair, bound)(x)
        outcomes.append([loss, *torch.autograd.grad(loss, [pair.weight, pair.bias, pair.log_sigma])])
    for one, elbo in zip(*outcomes, strict=True):
        torch.testing.assert_close(one, elbo)


@pytest.mark.parametrize("step", [1e-3, -1e-3])
def test_renyi_goes_over_into_the_elbo_at_one(step, pair, x):
    """(1/s) log mean w^s = mean log w + (s/2) var log w + O(s²), over the draws, with s = 1 − α."""
    torch.manual_seed(1)
    _, terms = SVI(pair, Renyi(1 - step, particles=50))(x)
    noise = NoiseGiven().to(x.device).double()
    noise.load_state_dict(pair.state_dict())
    torch.manual_seed(1)
    draws = torch.randn(50, 8, 2, dtype=torch.float64, device=x.device)
    log_w = torch.stack([_log_weights(pair, x, z) for z in draws])
    torch.testing.assert_close(terms["elbo"], log_w.mean())
    slope = log_w.var(0, correction=0).mean() / 2
    torch.testing.assert_close((terms["renyi"] - terms["elbo"]) / step, slope, rtol=0.05, atol=0.0)


def _log_weights(pair, x, noise):
    q = dist.Normal(pair.guide_map(x), pair.guide_log_scale.exp()).to_event(1)
    z = q.base_dist.loc + q.base_dist.scale * noise
    prior = dist.Normal(torch.zeros_like(z), 1.0).to_event(1)
    likelihood = dist.Normal(z @ pair.weight.T + pair.bias, pair.log_sigma.exp()).to_event(1)
    return (prior.log_prob(z) + likelihood.log_prob(x) - q.log_prob(z)).detach()


class TwoCodes(Pair):
    """Codes of two and three coordinates: the first is used, the second has a KL of 0.005 nats, others 0."""

    def __init__(self):
        super().__init__()
        self.location = nn.Parameter(torch.tensor(0.7))

    def model(self, x=None, *context, n=1):
        with pyro.plate("data", len(x)):
            y = pyro.sample("y", dist.Normal(x.new_zeros(2), 1.0).to_event(1))
            z = pyro.sample("z", dist.Normal(x.new_zeros(3), 1.0).to_event(1))
            return pyro.sample("x", dist.Normal(y.sum(-1) + z.sum(-1), 1.0), obs=x)

    def guide(self, x=None, *context, n=1):
        with pyro.plate("data", len(x)):
            mean = torch.stack([self.location * x, torch.full_like(x, 0.1)], -1)
            y = pyro.sample("y", dist.Normal(mean, 1.0).to_event(1))
            return y, pyro.sample("z", dist.Normal(x.new_zeros(3), 1.0).to_event(1))


@pytest.mark.parametrize("name", sorted(ALL.keys() - {"iwae", "beta by site"}))
def test_sites_and_their_active_coordinates_are_reported_one_by_one(name, device):
    x = torch.linspace(-2, 2, 6, dtype=torch.float64, device=device)
    terms = svi(TwoCodes().to(device).double(), ALL[name])(x)[1]
    counts = {name: float(terms[name]) for name in ("active", "inactive", "active/y", "active/z")}
    assert counts == {"active": 1, "inactive": 4, "active/y": 1, "active/z": 0}
    torch.testing.assert_close(terms["kl"], terms["kl/y"] + terms["kl/z"])
    if name not in ("renyi 0.5", "renyi 2", "iwae, plain"):  # whose KL is a mean over draws
        torch.testing.assert_close(terms["kl/y"], (0.7 * x).square().mean() / 2 + 0.005)
        assert float(terms["kl/z"]) == 0.0


@rows
def test_a_code_of_one_coordinate_is_counted_too(make, device):
    pair = LinearGaussian(latent=1).to(device).double()
    terms = svi(pair, make)(torch.randn(8, 3, dtype=torch.float64, device=device))[1]
    assert (float(terms["active"]), float(terms["inactive"])) == (1.0, 0.0)
