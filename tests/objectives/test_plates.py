"""Pairs with plates of their own, factors and shared sites: nothing collides, and nothing is lost."""

import pyro
import pyro.distributions as dist
import pyro.infer
import pytest
import torch
from torch import nn

from probgen import Pair
from probgen.evaluation import log_likelihood, log_likelihoods
from probgen.objectives import ELBO, IWAE, SVI, BetaELBO, FreeBits, Renyi
from tests.objectives.test_elbo import data
from tests.pairs import LinearGaussian, Plated

BOUNDS = {
    "elbo": lambda particles: ELBO(particles=particles),
    "beta": lambda particles: BetaELBO(2.0, particles=particles),
    "free bits": lambda particles: FreeBits(0.1, particles=particles),
    "iwae": IWAE,
    "iwae, plain": lambda particles: IWAE(particles, gradient="plain"),
    "renyi": lambda particles: Renyi(0.5, particles=particles),
}


def twins(device, *kinds):
    """Return pairs of the same weights."""
    first, *others = (kind().to(device).double() for kind in kinds)
    for other in others:
        other.load_state_dict(first.state_dict())
    return first, *others


@pytest.mark.parametrize("particles", [1, 3])  # 3 is also the size of the pair's own plate
@pytest.mark.parametrize("bound", BOUNDS.values(), ids=BOUNDS)
def test_a_plate_of_the_pairs_own_changes_nothing(bound, particles, device):
    outcomes = []
    for pair in twins(device, LinearGaussian, Plated):
        x = torch.arange(15.0, device=device, dtype=torch.float64).reshape(5, 3) / 10
        torch.manual_seed(3)
        loss, terms = SVI(pair, bound(particles)).to(x.device).double()(x)
        gradients = torch.autograd.grad(loss, list(pair.parameters()))
        outcomes.append([loss.detach(), *terms.values(), *gradients])
    for plain, plated in zip(*outcomes, strict=True):
        torch.testing.assert_close(plated, plain)


def test_the_likelihood_and_the_posterior_sum_over_inner_plates(device):
    plain, plated = twins(device, LinearGaussian, Plated)
    x = data(plain)
    torch.testing.assert_close(
        log_likelihoods(plated, x, particles=7, seed=1), log_likelihoods(plain, x, particles=7, seed=1)
    )
    z = torch.randn(3, 5, 2, dtype=torch.float64, device=device)  # as many draws as coordinates
    torch.testing.assert_close(plated.posterior(x).log_prob(z), plain.posterior(x).log_prob(z))
    torch.testing.assert_close(plated.posterior(x).log_prob(z[0]), plain.posterior(x).log_prob(z[0]))


def test_finding_the_plates_draws_nothing_and_moves_nothing(device):
    class Normalised(LinearGaussian):
        def __init__(self):
            super().__init__()
            self.norm = nn.BatchNorm1d(3)
            self.still = nn.Dropout().eval()

        def guide(self, x=None, *context, n=1):
            return super().guide(self.norm(x))

    pair = Normalised().to(device)
    x = torch.randn(5, 3, device=device)
    svi = SVI(pair, ELBO(particles=4))
    losses = []
    for _ in range(2):  # the first call finds the plates
        torch.manual_seed(1)
        losses.append(svi(x)[0])
    assert losses[0] == losses[1]
    assert int(pair.norm.num_batches_tracked) == 2
    assert pair.norm.training
    assert not pair.still.training


class Global(LinearGaussian):
    """A latent site that all data share."""

    def model(self, x=None, *context, n=1):
        pyro.sample("shift", dist.Normal(self.bias.new_zeros(()), 1.0))
        return super().model(x, *context, n=n)

    def guide(self, x=None, *context, n=1):
        pyro.sample("shift", dist.Normal(self.bias[0], 1.0))
        return super().guide(x, *context, n=n)


class PartOfPlate(Plated):
    """A plate of coordinates of which each step sees three of nine."""

    def model(self, x=None, *context, n=1):
        with pyro.plate("data", len(x), dim=-1):
            z = pyro.sample("z", dist.Normal(self.bias.new_zeros(2), 1.0).to_event(1))
            with pyro.plate("coordinates", 9, dim=-2, subsample=torch.arange(3, device=x.device)):
                mean = (z * self.weight[:, None]).sum(-1) + self.bias[:, None]
                return pyro.sample("x", dist.Normal(mean, self.log_sigma.exp()), obs=x.T)


@pytest.mark.parametrize(
    ("pair", "sentence"),
    [
        (Global(), r"site 'shift' should stand in the plate of the data, with one .* has shape \(., 1\)"),
        (PartOfPlate(), "plate 'coordinates' should hold all of its 9 elements .* sub-sampled to 3"),
    ],
    ids=["global", "part of a plate"],
)
def test_what_has_no_probability_datum_by_datum_is_named(pair, sentence):
    x = torch.randn(5, 3)
    for call in (
        lambda: SVI(pair, IWAE(4))(x),
        lambda: SVI(pair, Renyi(0.5))(x),
        lambda: log_likelihood(pair, x, particles=4),
    ):
        with pytest.raises(ValueError, match=sentence):
            call()
    assert torch.isfinite(SVI(pair)(x)[0])  # an ELBO it has


def test_a_site_that_all_data_share_is_counted_once(device):
    pair = Global().to(device).double()
    x = data(pair, 8)
    kl = SVI(pair)(x)[1]["kl/shift"]
    torch.testing.assert_close(kl, pair.bias[0].detach() ** 2 / 2 / 8)


def test_a_part_of_an_inner_plate_stands_for_the_whole(device):
    whole, part = twins(device, Plated, PartOfPlate)
    x, outcomes = data(whole), []
    for pair in (whole, part):
        torch.manual_seed(1)
        outcomes.append(SVI(pair)(x)[1])
    torch.testing.assert_close(outcomes[1]["reconstruction"], 3 * outcomes[0]["reconstruction"])
    torch.testing.assert_close(outcomes[1]["kl"], outcomes[0]["kl"])


class Factors(LinearGaussian):
    """A factor of 0.5 in the model and one of 0.25, with a gradient, in the guide."""

    def model(self, x=None, *context, n=1):
        with pyro.plate("more", n if x is None else len(x)):
            pyro.factor("reward", self.bias.new_tensor(0.5))
        return super().model(x, *context, n=n)

    def guide(self, x=None, *context, n=1):
        with pyro.plate("more", len(x)):
            commitment = 0.25 + self.guide_map(x).sum(-1) - self.guide_map(x).sum(-1).detach()
            pyro.factor("commitment", commitment, has_rsample=True)
        return super().guide(x)


@pytest.mark.parametrize("bound", BOUNDS.values(), ids=BOUNDS)
def test_factors_are_reported_apart_and_never_weighted(bound, device):
    plain, factors = twins(device, LinearGaussian, Factors)
    x, outcomes, gradients = data(plain), [], []
    for pair in (plain, factors):
        torch.manual_seed(1)
        loss, terms = SVI(pair, bound(3)).to(device).double()(x)
        gradients.append(torch.autograd.grad(loss, [pair.guide_map.bias, pair.weight]))
        outcomes.append({"loss": loss.detach()} | terms)
    without, with_factors = outcomes
    torch.testing.assert_close(with_factors["loss"], without["loss"] - 0.25)
    torch.testing.assert_close(with_factors["factor"], torch.full_like(loss, 0.25).detach())
    torch.testing.assert_close(with_factors["elbo"], without["elbo"] + 0.25)
    for term in ("reconstruction", "kl", "active"):
        torch.testing.assert_close(with_factors[term], without[term])
    for (bias, weight), (more_bias, same_weight) in [gradients]:
        torch.testing.assert_close(more_bias, bias + 1)
        torch.testing.assert_close(same_weight, weight)


def test_factors_agree_with_pyro_on_the_same_noise(device):
    pair = Factors().to(device).double()
    x, losses = data(pair), []
    for elbo in (ELBO(), pyro.infer.TraceMeanField_ELBO()):
        torch.manual_seed(1)
        losses.append(SVI(pair, elbo)(x)[0])
    torch.testing.assert_close(*losses)


def test_a_factor_of_the_guide_is_no_part_of_the_likelihood(device):
    plain, factors = twins(device, LinearGaussian, Factors)
    x = data(plain)
    expected = log_likelihoods(plain, x, particles=5, seed=1) + 0.5  # that of the model is
    torch.testing.assert_close(log_likelihoods(factors, x, particles=5, seed=1), expected)


class FactorOnly(Pair):
    """The likelihood written as a factor."""

    def __init__(self):
        super().__init__()
        self.location = nn.Parameter(torch.tensor(0.3))

    def model(self, x=None, *context, n=1):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(x.new_zeros(()), 1.0))
            pyro.factor("likelihood", dist.Normal(z, 1.0).log_prob(x))

    def guide(self, x=None, *context, n=1):
        with pyro.plate("data", len(x)):
            return pyro.sample("z", dist.Normal(self.location * x, 0.5**0.5))


def test_a_likelihood_may_be_a_factor(device):
    pair = FactorOnly().to(device)
    with torch.no_grad():
        pair.location.fill_(0.5)  # the exact posterior
    x = torch.tensor([0.5, -1.0, 2.0], device=device)
    loss, terms = SVI(pair, IWAE(3))(x)
    torch.testing.assert_close(-loss.detach(), dist.Normal(x.new_zeros(()), 2**0.5).log_prob(x).mean())
    assert float(terms["reconstruction"]) == 0.0
    torch.testing.assert_close(terms["elbo"], terms["factor"] - terms["kl"])


class Likelihood(LinearGaussian):
    """No latent site: a model that is learned by maximum likelihood."""

    def model(self, x=None, *context, n=1):
        with pyro.plate("data", len(x)):
            return pyro.sample("x", dist.Normal(self.bias, 1.0).to_event(1), obs=x)

    def guide(self, x=None, *context, n=1):
        return None


@pytest.mark.parametrize("elbo", [ELBO(), ELBO(particles=2), BetaELBO(3.0), FreeBits(1.0)], ids=repr)
def test_without_latent_sites_the_bound_is_the_likelihood(elbo, device):
    pair = Likelihood().to(device)
    x = torch.randn(5, 3, device=device)
    loss, terms = SVI(pair, elbo).to(device)(x)
    expected = dist.Normal(pair.bias, 1.0).to_event(1).log_prob(x).mean()
    torch.testing.assert_close(-loss, expected)
    assert float(terms["kl"]) == 0.0


class Dropping(LinearGaussian):
    def __init__(self):
        super().__init__()
        self.drop = nn.Dropout(0.9)

    def model(self, x=None, *context, n=1):
        return super().model(None if x is None else self.drop(x), *context, n=n)


def test_the_likelihood_is_taken_in_evaluation_mode(device):
    pair = Dropping().to(device).double()
    x = data(pair)
    pair.eval()
    expected = log_likelihoods(pair, x, particles=3, seed=1)
    density = pair.posterior(x).log_prob(torch.zeros(5, 2, dtype=torch.float64, device=device))
    pair.train()
    torch.testing.assert_close(log_likelihoods(pair, x, particles=3, seed=1), expected)
    z = torch.zeros(5, 2, dtype=torch.float64, device=device)
    torch.testing.assert_close(pair.posterior(x).log_prob(z), density)
    assert pair.drop.training
