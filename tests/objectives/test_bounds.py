"""Weighted and importance-weighted bounds: identities, exact evidence, gradients without bias."""

import itertools
import logging
import math

import pyro.distributions as dist
import pyro.infer
import pytest
import torch

from probgen import Pair
from probgen.capture.captured_loss import CapturedLoss
from probgen.evaluation import log_likelihood
from probgen.objectives import ELBO, IWAE, SVI, BetaELBO, FreeBits, Renyi
from tests.objectives.test_elbo import Chain, data, mean_and_error
from tests.pairs import LinearGaussian


@pytest.fixture
def pair(device):
    return LinearGaussian().to(device).double()


@pytest.fixture
def x(pair):
    return data(pair)


def kl_of_coordinates(pair, x):
    mean, log_scale = pair.guide_map(x), pair.guide_log_scale
    return (0.5 * ((2 * log_scale).exp() + mean**2 - 1 - 2 * log_scale)).mean(0).detach()


def on_the_same_noise(*elbos):
    def values(pair, x, term):
        found = []
        for elbo in elbos:
            torch.manual_seed(4)
            found.append(SVI(pair, elbo)(x)[1][term])
        return found

    return values


def test_free_bits_count_each_coordinate_from_lambda_up(pair, x):
    kl = kl_of_coordinates(pair, x)
    nats = float(kl.mean())  # between the two
    loss, terms = SVI(pair, FreeBits(nats)).to(x.device).double()(x)
    torch.testing.assert_close(terms["kl"], kl.sum())
    torch.testing.assert_close(loss.detach() + terms["reconstruction"], kl.clamp(min=nats).sum())


def test_free_bits_by_site_count_the_whole(pair, x):
    kl = kl_of_coordinates(pair, x)
    for nats in (float(kl.sum()) / 2, float(kl.sum()) * 2):
        loss, terms = SVI(pair, FreeBits(nats, per="site")).to(x.device).double()(x)
        torch.testing.assert_close(
            loss.detach() + terms["reconstruction"], kl.sum().clamp(min=nats), rtol=1e-6, atol=0.0
        )


def test_nothing_is_gained_below_lambda(pair, x):
    torch.manual_seed(0)
    free = torch.autograd.grad(SVI(pair, FreeBits(1e3)).to(x.device)(x)[0], list(pair.guide_map.parameters()))
    torch.manual_seed(0)
    unweighted = torch.autograd.grad(
        SVI(pair, BetaELBO(0.0)).to(x.device)(x)[0], list(pair.guide_map.parameters())
    )
    for one, other in zip(free, unweighted, strict=True):
        torch.testing.assert_close(one, other)


def test_beta_by_site_weighs_that_site_alone(device):
    chain = Chain().to(device)
    x = torch.tensor([0.5, -1.0], dtype=torch.float64, device=device)
    loss, terms = SVI(chain, BetaELBO({"z1": 3.0})).to(device)(x)
    expected = 3 * terms["kl/z1"] + terms["kl/z2"] - terms["reconstruction"]
    torch.testing.assert_close(loss.detach(), expected)


def test_coordinates_are_counted_as_active_and_inactive(pair, x):
    with torch.no_grad():
        pair.guide_map.weight[1], pair.guide_map.bias[1], pair.guide_log_scale[1] = 0.0, 0.0, 0.0
    terms = SVI(pair)(x)[1]
    assert (float(terms["active"]), float(terms["inactive"])) == (1.0, 1.0)


def test_one_importance_sample_is_the_elbo(pair, x):
    iwae, plain = on_the_same_noise(IWAE(1), IWAE(1, gradient="plain"))(pair, x, "iwae")
    (elbo,) = on_the_same_noise(IWAE(1))(pair, x, "elbo")
    assert iwae == plain == elbo
    mean, error = mean_and_error(SVI(pair, IWAE(1)), x, "iwae", repeats=400)
    other, other_error = mean_and_error(SVI(pair), x, "elbo", repeats=400)
    assert abs(mean - other) < 5 * math.hypot(error, other_error)


def test_the_bound_tightens_with_the_particles_and_stays_below_the_evidence(pair, x):
    exact = float(pair.evidence(x).mean().detach())
    found = [mean_and_error(SVI(pair, IWAE(k)), x, "iwae", repeats=300) for k in (1, 5, 50)]
    for (low, low_error), (high, high_error) in itertools.pairwise(found):
        assert high - low > 5 * math.hypot(low_error, high_error)
    assert found[-1][0] < exact + 5 * found[-1][1]


@pytest.mark.parametrize("elbo", [IWAE(3), IWAE(3, gradient="plain"), Renyi(0.5), Renyi(-1.0)], ids=repr)
def test_at_the_exact_posterior_every_bound_is_the_exact_evidence(elbo, device):
    pair = LinearGaussian(exact_guide=True).to(device).double()
    x = data(pair)
    loss, terms = SVI(pair, elbo)(x)
    torch.testing.assert_close(-loss.detach(), pair.evidence(x).mean().detach())
    torch.testing.assert_close(float(terms["ess"]), float(elbo.particles))


class Coin(Pair):
    """A probability with a uniform prior, and one toss x; its posterior is Beta(1 + x, 2 − x)."""

    def __init__(self, prior):
        super().__init__()
        self.prior = prior

    def model(self, x=None, *context, n=1):
        with pyro.plate("data", n if x is None else len(x)):
            p = pyro.sample("p", self.prior)
            return pyro.sample("x", dist.Bernoulli(p), obs=x)

    def guide(self, x=None, *context, n=1):
        with pyro.plate("data", len(x)):
            pyro.sample("p", dist.Beta(1 + x, 2 - x))


UNIFORM = {
    "numbers": lambda: dist.Uniform(0.0, 1.0),
    "a row": lambda: dist.Uniform(torch.zeros(6), torch.ones(6)),
    "Beta": lambda: dist.Beta(1.0, 1.0),
}


@pytest.mark.parametrize(
    "bound", [ELBO(particles=4), IWAE(8), Renyi(0.5)], ids=lambda one: type(one).__name__
)
@pytest.mark.parametrize("prior", UNIFORM)
def test_a_bounded_prior_under_many_particles(prior, bound):
    """The guide is the posterior: each draw's weight is p(x) = ½, and E[log w] = log ½ with KL known."""
    pair, x = Coin(UNIFORM[prior]()), torch.tensor([0.0, 1.0, 1.0, 0.0, 1.0, 0.0])
    _, terms = SVI(pair, bound)(x)
    if isinstance(bound, ELBO):
        torch.testing.assert_close(terms["kl"], torch.tensor(math.log(2) - 0.5))  # ∫ 2p log 2p dp
    else:
        name = "iwae" if isinstance(bound, IWAE) else "renyi"
        torch.testing.assert_close(terms[name], torch.tensor(-math.log(2)))
    estimate = log_likelihood(pair, x, particles=50, seed=1)
    assert abs(estimate.value + math.log(2)) < 1e-5


@pytest.mark.parametrize("particles", [1, 4])
def test_a_guide_beyond_a_bounded_prior_has_an_infinite_divergence(particles):
    """KL(Beta, Uniform(0.2, 0.8)) is infinite for every particle, whatever the shape of the prior."""
    pair, x = Coin(dist.Uniform(0.2, 0.8)), torch.ones(3)
    with torch.no_grad():
        _, terms = SVI(pair, ELBO(particles=particles))(x)
    assert terms["kl"].isposinf()


def gradients(pair, x, elbo, repeats):
    parameters = [pair.weight, pair.log_sigma, pair.guide_map.weight, pair.guide_log_scale]
    rows = [
        torch.cat([g.flatten() for g in torch.autograd.grad(SVI(pair, elbo)(x)[0], parameters)])
        for _ in range(repeats)
    ]
    return torch.stack(rows)


def test_the_doubly_reparameterised_gradient_has_no_bias_and_less_noise(pair, x):
    repeats, particles, x = 100, 8, x.repeat(30, 1)  # 3000 draws of the gradient, thirty at a time
    plain = gradients(pair, x, IWAE(particles, gradient="plain"), repeats)
    dreg = gradients(pair, x, IWAE(particles), repeats)
    difference = plain.mean(0) - dreg.mean(0)
    error = ((plain.var(0) + dreg.var(0)) / repeats).sqrt()
    assert (difference.abs() < 5 * error).all()
    guide = slice(pair.weight.numel() + 1, None)
    size = plain.mean(0)[guide].norm()
    assert error[guide].norm() < 0.2 * size  # power: a guide gradient that is wrong by half is seen
    assert dreg.var(0)[guide].sum() < plain.var(0)[guide].sum()


def test_renyi_of_order_zero_is_the_importance_weighted_bound(pair, x):
    torch.manual_seed(2)
    renyi = SVI(pair, Renyi(0.0, particles=4))(x)
    torch.manual_seed(2)
    iwae = SVI(pair, IWAE(4, gradient="plain"))(x)
    torch.testing.assert_close(renyi[0], iwae[0])
    torch.testing.assert_close(renyi[1]["elbo"], iwae[1]["elbo"])


def test_renyi_falls_with_its_order_from_above_the_elbo(pair, x):
    low, middle, high = on_the_same_noise(*(Renyi(a, particles=50) for a in (0.9, 0.5, -0.5)))(
        pair, x, "renyi"
    )
    elbo = on_the_same_noise(Renyi(0.9, particles=50))(pair, x, "elbo")[0]
    assert elbo < low < middle < high


@pytest.mark.parametrize(
    "elbo",
    [FreeBits(0.1), BetaELBO({"z": 2.0}), ELBO(particles=3), IWAE(4), IWAE(4, gradient="plain"), Renyi(0.5)],
    ids=lambda elbo: type(elbo).__name__,
)
def test_every_bound_is_captured_to_the_same_bits(elbo, device, caplog):
    outcomes = []
    for mode in ("eager", "graph"):
        torch.manual_seed(7)
        objective = SVI(LinearGaussian(), elbo).to(device)
        loss_of = CapturedLoss(objective, mode)
        optimizer = torch.optim.SGD(objective.parameters(), lr=0.01)
        with caplog.at_level(logging.WARNING):
            for x in torch.randn(6, 9, 3, device=device):
                loss, terms = loss_of(x)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
        outcomes.append([loss.detach(), *terms.values(), *objective.pair.parameters()])
    assert not caplog.records
    for eager, captured in zip(*outcomes, strict=True):
        assert torch.equal(eager, captured)


def test_bounds_agree_with_pyros_renyi(pair, x):
    pyros = pyro.infer.RenyiELBO(alpha=0.5, num_particles=5, vectorize_particles=True, max_plate_nesting=1)
    one = x[:1]  # Pyro's is the bound of the batch as one datum
    ours, error = mean_and_error(SVI(pair, Renyi(0.5, particles=5)), one, "renyi", repeats=1000)
    values = torch.tensor([-pyros.loss(pair.model, pair.guide, one) for _ in range(1000)])
    other_error = float(values.std() / math.sqrt(1000))
    assert abs(ours - float(values.mean())) < 5 * math.hypot(error, other_error)


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda: BetaELBO({"z": -1.0}), "beta_z should be at least 0 but got -1.0"),
        (lambda: FreeBits(-1.0), "nats should be at least 0 but got -1.0"),
        (lambda: FreeBits(1.0, per="latent"), "per should be 'coordinate' or 'site' but got 'latent'"),
        (lambda: IWAE(2, gradient="score"), "gradient should be 'dreg' or 'plain' but got 'score'"),
        (lambda: Renyi(1.0), "alpha should be finite and other than 1"),
        (
            lambda: SVI(LinearGaussian(), BetaELBO({"y": 1.0}))(torch.ones(2, 3)),
            r"beta should name latent sites, \['z'\], but names 'y'",
        ),
    ],
)
def test_bad_arguments_are_named(call, sentence):
    with pytest.raises(ValueError, match=sentence):
        call()
