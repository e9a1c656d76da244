"""The evidence lower bound against exact evidence, closed forms, and Pyro's own bounds."""

import math

import pyro
import pyro.distributions as dist
import pyro.infer
import pytest
import torch
from torch import nn

from probgen import Pair
from probgen.objectives import ELBO, SVI, BetaELBO
from tests.pairs import LinearGaussian

PARTICLES = 20_000


def data(pair, n=5):
    return torch.randn(n, 3, device=pair.bias.device, dtype=pair.bias.dtype)


def mean_and_error(svi, x, term="elbo", repeats=40):
    values = torch.stack([svi(x)[1][term].double() for _ in range(repeats)])
    return float(values.mean()), float(values.std() / math.sqrt(repeats))


def test_loss_is_minus_the_bound_and_terms_add_up(device):
    pair = LinearGaussian().to(device)
    loss, terms = SVI(pair)(data(pair))
    torch.testing.assert_close(terms["elbo"], terms["reconstruction"] - terms["kl"])
    torch.testing.assert_close(loss.detach(), -terms["elbo"])
    assert not any(value.requires_grad for value in terms.values())


def test_analytic_kl_is_the_closed_form(device):
    pair = LinearGaussian().to(device).double()
    x = data(pair)
    mean, log_scale = pair.guide_map(x), pair.guide_log_scale
    closed = 0.5 * ((2 * log_scale).exp() + mean**2 - 1 - 2 * log_scale).sum(-1).mean()
    torch.testing.assert_close(SVI(pair)(x)[1]["kl"], closed.detach())


@pytest.mark.parametrize("elbo", [pyro.infer.TraceMeanField_ELBO(), pyro.infer.Trace_ELBO()], ids=type)
def test_agrees_with_pyro(elbo, device):
    pair = LinearGaussian().to(device).double()
    x = data(pair)
    ours, our_error = mean_and_error(SVI(pair), x, repeats=400)
    pyros, pyro_error = mean_and_error(SVI(pair, elbo), x, repeats=400)
    assert abs(ours - pyros) < 5 * math.hypot(our_error, pyro_error)


def test_gradient_is_that_of_pyro_on_the_same_noise(device):
    pair = LinearGaussian().to(device).double()
    x = data(pair)
    gradients = []
    for elbo in (None, pyro.infer.TraceMeanField_ELBO()):
        torch.manual_seed(3)
        loss, _ = SVI(pair, elbo)(x)
        gradients.append(torch.autograd.grad(loss, list(pair.parameters())))
    for ours, pyros in zip(*gradients, strict=True):
        torch.testing.assert_close(ours, pyros)


def test_particles_are_averaged(device):
    pair = LinearGaussian().to(device).double()
    x = data(pair)
    one, error_of_one = mean_and_error(SVI(pair), x, repeats=400)
    many, error_of_many = mean_and_error(SVI(pair, ELBO(particles=100)), x, repeats=40)
    assert abs(one - many) < 5 * math.hypot(error_of_one, error_of_many)


def test_beta_weighs_the_kl_and_the_unweighted_bound_is_logged(device):
    pair = LinearGaussian().to(device)
    loss, terms = SVI(pair, BetaELBO(4.0)).to(device)(data(pair))
    torch.testing.assert_close(loss.detach(), 4 * terms["kl"] - terms["reconstruction"])
    torch.testing.assert_close(terms["elbo"], terms["reconstruction"] - terms["kl"])


class Components(LinearGaussian):
    """The same pair with another plate at -1, which holds no data."""

    def model(self, x=None, *context, n=1):
        result = super().model(x, *context, n=n)
        with pyro.plate("components", 50):
            pyro.deterministic("centres", self.bias.new_zeros(50))
        return result


def test_only_the_plate_of_the_data_counts_them(device):
    plain, other = LinearGaussian().to(device), Components().to(device)
    x = data(plain)
    other.load_state_dict(plain.state_dict())
    losses = []
    for pair in (plain, other):
        torch.manual_seed(1)
        losses.append(SVI(pair)(x)[0])
    torch.testing.assert_close(*losses)


class LogNormalPoint(Pair):
    """z ~ LogNormal(0, 1), guided by a point with a log-density: z = exp(u), u ~ N(m, ½)."""

    def __init__(self):
        super().__init__()
        self.location = nn.Parameter(torch.tensor(0.3, dtype=torch.float64))

    def model(self, x=None, *context, n=1):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.LogNormal(x.new_zeros(()), 1.0))
            return pyro.sample("x", dist.Normal(z, 1.0), obs=x)

    def guide(self, x=None, *context, n=1):
        with pyro.plate("data", len(x)):
            u = pyro.sample("u", dist.Normal(self.location, 0.5), infer={"is_auxiliary": True})
            return pyro.sample("z", dist.Delta(u.exp(), log_density=-u))


def test_the_log_density_of_a_point_counts(device):
    pair = LogNormalPoint().to(device)
    x = torch.ones(1, dtype=torch.float64, device=device)
    kl, error = mean_and_error(SVI(pair, ELBO(particles=PARTICLES)), x, term="kl")
    exact = 0.5 * (0.5**2 + 0.3**2 - 1) - math.log(0.5)  # that of the normals of log z
    assert abs(kl - exact) < 5 * error
    assert error < 0.005


class Chain(Pair):
    """z1 ~ N(0, 1), z2 | z1 ~ N(z1, 1), x | z2 ~ N(z2, 1), guided from z2 to z1: not mean-field."""

    def __init__(self):
        super().__init__()
        self.location = nn.Parameter(torch.tensor([0.4, 0.3], dtype=torch.float64))

    def model(self, x=None, *context, n=1):
        with pyro.plate("data", n if x is None else len(x)):
            z1 = pyro.sample("z1", dist.Normal(self.location.new_zeros(()), 1.0))
            z2 = pyro.sample("z2", dist.Normal(z1, 1.0))
            return pyro.sample("x", dist.Normal(z2, 1.0), obs=x)

    def guide(self, x=None, *context, n=1):
        with pyro.plate("data", len(x)):
            z2 = pyro.sample("z2", dist.Normal(self.location[0] * x, 0.8))
            return pyro.sample("z1", dist.Normal(self.location[1] * z2, 0.6))

    def exact_bound(self, x):
        a, b = self.location.detach()
        e_z2, v_z2 = a * x, 0.8**2
        square_z2 = e_z2**2 + v_z2
        square_z1 = b**2 * square_z2 + 0.6**2
        square_step = (1 - b) ** 2 * square_z2 + 0.6**2
        square_error = (x - e_z2) ** 2 + v_z2
        log_joint = -1.5 * math.log(2 * math.pi) - 0.5 * (square_z1 + square_step + square_error)
        entropy = math.log(2 * math.pi * math.e) + math.log(0.8) + math.log(0.6)
        return float((log_joint + entropy).mean())


def test_kl_is_right_where_the_guide_visits_sites_in_another_order(device):
    pair = Chain().to(device)
    x = torch.tensor([0.5, -1.0, 2.0], dtype=torch.float64, device=device)
    value, error = mean_and_error(SVI(pair, ELBO(particles=PARTICLES)), x)
    assert abs(value - pair.exact_bound(x)) < 5 * error
    assert error < 0.005


def test_several_sites_are_reported_one_by_one(device):
    pair = Chain().to(device)
    terms = SVI(pair)(torch.ones(3, dtype=torch.float64, device=device))[1]
    torch.testing.assert_close(terms["kl"], terms["kl/z1"] + terms["kl/z2"])


class Discrete(Pair):
    """A mixture of two normals with its exact posterior as the guide."""

    def __init__(self):
        super().__init__()
        self.location = nn.Parameter(torch.tensor([-1.0, 2.0], dtype=torch.float64))

    def model(self, x=None, *context, n=1):
        with pyro.plate("data", n if x is None else len(x)):
            k = pyro.sample("k", dist.Categorical(self.location.new_tensor([0.3, 0.7])))
            return pyro.sample("x", dist.Normal(self.location[k], 1.0), obs=x)

    def guide(self, x=None, *context, n=1):
        logits = dist.Normal(self.location, 1.0).log_prob(x[:, None]) + x.new_tensor([0.3, 0.7]).log()
        with pyro.plate("data", len(x)):
            return pyro.sample("k", dist.Categorical(logits=logits), infer={"enumerate": "parallel"})


def test_enumeration_gives_the_exact_evidence(device):
    pair = Discrete().to(device)
    x = torch.tensor([0.0, 1.0, 3.0], dtype=torch.float64, device=device)
    law = dist.MixtureSameFamily(
        dist.Categorical(x.new_tensor([0.3, 0.7])), dist.Normal(pair.location.detach(), 1.0)
    )
    for elbo in (pyro.infer.TraceEnum_ELBO(max_plate_nesting=1), None):
        loss, terms = SVI(pair, elbo)(x)
        torch.testing.assert_close(-loss.detach(), law.log_prob(x).mean())
        torch.testing.assert_close(terms["elbo"], -loss.detach())


class GuideLacksZ(LinearGaussian):
    def guide(self, x=None, *context, n=1):
        return None


class ObservesNothing(LinearGaussian):
    def model(self, x=None, *context, n=1):
        return super().model(None, n=len(x))


class GuidesMore(LinearGaussian):
    """A guide that also names a value and adds a factor, as a vector-quantised one does."""

    def guide(self, x=None, *context, n=1):
        with pyro.plate("more", len(x)):
            pyro.deterministic("mean", self.guide_map(x), event_dim=1)
            pyro.factor("commitment", torch.full((len(x),), 0.25, device=x.device), has_rsample=True)
        return super().guide(x)


def test_factors_of_the_guide_count_and_named_values_do_not(device):
    plain, more = LinearGaussian().to(device), GuidesMore().to(device)
    more.load_state_dict(plain.state_dict())
    x = data(plain)
    losses = []
    for pair in (plain, more):
        torch.manual_seed(1)
        losses.append(SVI(pair)(x)[0])
    torch.testing.assert_close(losses[1], losses[0] + 0.25)


class GuidesX(LinearGaussian):
    def guide(self, x=None, *context, n=1):
        with pyro.plate("more", len(x)):
            pyro.sample("x", dist.Normal(x, 1.0).to_event(1))
        return super().guide(x)


class GuidesOneCoordinate(LinearGaussian):
    def model(self, x=None, *context, n=1):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(self.bias[:2], 1.0).to_event(1))
            return pyro.sample("x", dist.Normal(z.mean(-1, keepdim=True) + self.bias, 1.0).to_event(1), obs=x)

    def guide(self, x=None, *context, n=1):
        with pyro.plate("data", len(x)):
            return pyro.sample("z", dist.Normal(self.guide_map(x)[:, :1], 1.0).to_event(1))


class GuidesWithoutPlate(LinearGaussian):
    def guide(self, x=None, *context, n=1):
        return pyro.sample("z", dist.Normal(self.bias[:2], 1.0).to_event(1))


class GlobalParameter(LinearGaussian):
    def guide(self, x=None, *context, n=1):
        pyro.param("shift", torch.zeros(2))
        return super().guide(x)


@pytest.mark.parametrize("elbo", [None, pyro.infer.Trace_ELBO()], ids=["probgen", "pyro"])
def test_a_parameter_in_the_global_store_is_refused(elbo):
    with pytest.raises(ValueError, match="parameter 'shift' should be in a module of the pair"):
        SVI(GlobalParameter(), elbo)(torch.ones(3, 3))
    pyro.clear_param_store()


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: SVI(GuidesX()), "guide site 'x' should be a latent site of the model, or be marked as aux"),
        (
            lambda: SVI(GuidesOneCoordinate()),
            r"site 'z' should have the same batch and event shape in model and guide but has "
            r"\(3,\), \(2,\) and \(3,\), \(1,\)",
        ),
        (lambda: SVI(GuidesWithoutPlate()), r"has \(3,\), \(2,\) and \(\), \(2,\)"),
        (
            lambda: SVI(GuideLacksZ()),
            "every latent site of the model should be in the guide, which lacks 'z'",
        ),
    ],
)
def test_wrong_pairs_are_named(make, sentence):
    with pytest.raises(ValueError, match=sentence):
        make()(torch.ones(3, 3))


def test_a_model_that_observes_nothing_is_named():
    pair = ObservesNothing()
    pair.guide = lambda x: [LinearGaussian.guide(pair, x), pyro.sample("x", dist.Delta(x, event_dim=1))][0]
    with pytest.raises(ValueError, match="the model should observe its data"):
        SVI(pair)(torch.ones(3, 3))


@pytest.mark.parametrize(
    ("call", "error", "sentence"),
    [
        (lambda: ELBO(particles=0), ValueError, "particles should be at least 1 but got 0"),
        (lambda: BetaELBO(-1.0), ValueError, "beta should be at least 0 but got -1.0"),
        (
            lambda: SVI(LinearGaussian(), pyro.infer.RenyiELBO()),
            TypeError,
            "elbo should have a differentiable loss but RenyiELBO has none",
        ),
        (lambda: SVI(nn.Linear(1, 1)), TypeError, "pair should be a probgen.Pair but is a Linear"),
    ],
)
def test_bad_arguments(call, error, sentence):
    with pytest.raises(error, match=sentence):
        call()


def test_kl_of_a_continuous_bernoulli_law_from_the_uniform_one(device):
    """It is less the entropy, not infinite: the mean of log q at draws, of which the variance is known."""

    class OnUnit(Pair):
        def __init__(self):
            super().__init__()
            self.logits = torch.nn.Parameter(torch.full((3,), -0.9))

        def model(self, x=None, n=1):
            with pyro.plate("data", len(x)):
                z = pyro.sample("z", dist.Uniform(0 * self.logits, 1.0).to_event(1))
                pyro.sample("x", dist.Normal(z.sum(-1), 1.0), obs=x)

        def guide(self, x=None, n=1):
            with pyro.plate("data", len(x)):
                pyro.sample("z", dist.ContinuousBernoulli(logits=self.logits).expand([len(x), 3]).to_event(1))

    torch.manual_seed(0)
    found = SVI(OnUnit().to(device), ELBO(particles=2000))(torch.zeros(5, device=device))[1]["kl"]
    law = dist.ContinuousBernoulli(logits=torch.tensor(-0.9, device=device))
    error = 0.9 * law.variance.sqrt() * (3 / 10_000) ** 0.5  # log q(z) = −0.9 z + a constant
    assert abs(found + 3 * law.entropy()) < 5 * error
