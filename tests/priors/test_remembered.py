"""The composite prior: its density by hand, what it remembers, and what it refuses."""

import math

import pytest
import torch
from torch.distributions import Normal

from probgen import nets, priors


def encoder():
    torch.manual_seed(0)
    return nets.NormalHead(nets.MLP(3, 2, hidden=4))


def test_the_density_is_the_product_of_mixtures_by_hand():
    own = encoder()
    prior = priors.Remembered(own, weights=(1, 2, 1), wide=7.0)
    x, z = torch.randn(5, 3), 3 * torch.randn(5, 2)
    past = own(x).base_dist
    each = [Normal(0.0, 1.0).log_prob(z), past.log_prob(z), Normal(0.0, 7.0).log_prob(z)]
    expected = (0.25 * each[0].exp() + 0.5 * each[1].exp() + 0.25 * each[2].exp()).log().sum(1)
    torch.testing.assert_close(prior(x).log_prob(z), expected)


def test_draws_have_the_mean_and_variance_of_the_mixture():
    """Of 40,000 draws a mean has the error s/200; 5 of them are a false alarm once in a million."""
    prior = priors.Remembered(encoder(), wide=3.0)
    law = prior(torch.tensor([[2.0, -1.0, 0.5]]))
    torch.manual_seed(1)
    draws = law.sample((40_000,))[:, 0]
    assert ((draws.mean(0) - law.mean[0]).abs() < 5 * law.variance[0].sqrt() / 200).all()
    square = (draws - law.mean[0]).square()
    assert ((square.mean(0) - law.variance[0]).abs() < 5 * square.std(0) / 200).all()


def test_it_keeps_the_encoder_as_it_was_until_it_is_told():
    own = encoder()
    prior = priors.Remembered(own).train()
    x, z = torch.randn(4, 3), torch.randn(4, 2)
    before = prior(x).log_prob(z)
    with torch.no_grad():
        own.net.last.bias.add_(1.0)
    torch.testing.assert_close(prior(x).log_prob(z), before, rtol=0, atol=0)
    prior.remember(own)
    torch.testing.assert_close(prior.before(x).mean, own(x).mean.detach(), rtol=0, atol=0)
    assert (prior(x).log_prob(z) - before).abs().min() > 1e-3
    assert not any(weight.requires_grad for weight in prior.parameters())


def test_it_has_no_dropout_while_others_learn():
    net = torch.nn.Sequential(torch.nn.Dropout(0.5), torch.nn.Linear(3, 4))
    prior = priors.Remembered(nets.NormalHead(net)).train()
    x = torch.ones(1, 3)
    torch.testing.assert_close(prior.before(x).mean, prior.before(x).mean, rtol=0, atol=0)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"weights": (0.5, 0.5)}, r"weights should be three above 0 but are \(0.5, 0.5\)"),
        ({"weights": (0.5, 0.5, 0.0)}, "weights should be three above 0"),
        ({"weights": (0.5, 0.5, math.nan)}, "weights should be three above 0"),
        ({"wide": 0.0}, "wide should be above 0 but is 0.0"),
    ],
)
def test_what_is_no_mixture_is_refused(options, said):
    with pytest.raises(ValueError, match=said):
        priors.Remembered(encoder(), **options)


def test_an_encoder_of_another_law_is_refused():
    prior = priors.Remembered(nets.BernoulliHead(nets.MLP(3, 2)))
    with pytest.raises(TypeError, match="encoder should give normal laws, coordinate by coordinate, but"):
        prior(torch.zeros(1, 3))
