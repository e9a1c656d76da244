"""Slips of a first evening are answered in one sentence, with what to write."""

import pyro
import pyro.distributions as dist
import pytest
import scipy.stats
import torch
from torch import nn

import probgen as pg
from probgen import models, nets, sampling

X = torch.rand(200, 3, generator=torch.Generator().manual_seed(0))


def vae(**parts):
    own = {"encoder": nets.NormalHead(nets.MLP(3, 2)), "decoder": nets.NormalHead(nets.MLP(2, 3))}
    return models.VAE(**(own | parts))


class Decoder(nn.Module):
    def __init__(self):
        super().__init__()
        self.net = nets.MLP(2, 3)

    def forward(self, z):
        return dist.Normal(self.net(z), 1.0)


class TorchLaw(Decoder):
    def forward(self, z):
        law = torch.distributions.Normal(self.net(z), 1.0)
        return torch.distributions.Independent(law, 1)


class Rates(nn.Module):
    def forward(self):
        return dist.Gamma(torch.ones(2), 1.0).to_event(1)


def fitted(model, x=X, **options):
    return pg.fit(pg.SVI(model), x, steps=30, progress=False, seed=0, **options)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (
            lambda: fitted(vae(decoder=Decoder())),
            r"site 'x' should have a law for each of the 128 rows of plate 'data' but has 3 at dimension -1: "
            r".* end its law with \.to_event\(1\)",
        ),
        (lambda: vae(decoder=Decoder()).sample(5), r"site 'x' should .* of the 5 rows .*\.to_event\(1\)"),
        (
            lambda: fitted(vae(prior=Rates())),
            "outside of its law's support, GreaterThanEq.*: draw it in the guide from a law on that support, "
            "such as LogNormal or Gamma",
        ),
        (lambda: fitted(vae(), X * 1e8), "standardise them"),
        (
            lambda: fitted(vae(decoder=TorchLaw())),
            "site 'x' should have a law of pyro.distributions but has the Independent of torch.distributions",
        ),
        (
            lambda: sampling.InverseCDF(cdf=scipy.stats.norm.cdf),
            r"cdf should return a tensor .* \(torch\.special has",
        ),
        (lambda: sampling.InverseCDF(icdf=scipy.stats.norm.ppf), "icdf should return a tensor but returned"),
        (lambda: sampling.InverseCDF(log_prob=scipy.stats.norm.logpdf), "log_prob should return a tensor"),
    ],
    ids=["to_event", "to_event in sample", "support", "scale", "torch", "cdf", "icdf", "log_prob"],
)
def test_a_slip_is_answered_by_what_to_write(call, words):
    with pytest.raises((ValueError, TypeError), match=words) as caught:
        call()
    assert "\n" not in str(caught.value)


def test_a_model_of_other_plates_says_the_same():
    def story(y):
        mu = pyro.sample("mu", dist.Normal(torch.zeros(3), 1.0).to_event(1))
        with pyro.plate("rows", len(y)):
            pyro.sample("y", dist.Normal(mu, 1.0), obs=y)

    with pytest.raises(ValueError, match=r"site 'y' should .* 7 rows of plate 'rows' .*\.to_event\(1\)"):
        pg.Density.from_model(story, torch.zeros(7, 3))


@pytest.mark.parametrize(("scale", "said"), [(1.0, False), (1e5, True), (1e-5, True)])
def test_a_loss_that_is_not_finite_tells_of_columns_far_from_unit_scale(scale, said):
    class Broken(pg.Objective):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.ones(1))

        def forward(self, x):
            return (self.weight * x * torch.nan).sum(), {}

    x = 4 * X * torch.tensor([1.0, scale, 1.0])
    with pytest.raises(ValueError, match="loss should be finite") as caught:
        pg.fit(Broken(), x, steps=3, progress=False)
    assert ("column 1 of the data has a standard deviation of" in str(caught.value)) is said
