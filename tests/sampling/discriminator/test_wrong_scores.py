"""Scores that cannot refine draws are refused, and those that do it badly are said."""

import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import nn

from probgen import nets
from probgen.core import GenerativeModel
from probgen.models import GAN, VAE
from probgen.sampling import refine
from tests.sampling.discriminator.test_refine import METHODS, P, Push, log_ratio, normal_noise


def refuse(message: str, **options):
    model = options.pop("model", None) or normal_noise(1, "cpu", torch.float32)
    options = {"discriminator": log_ratio, "loss": "cross-entropy"} | options
    with pytest.raises((ValueError, TypeError), match=message):
        refine(model, **options)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("loss", ["absolute", "hinge", "wasserstein", "least-squares"])
def test_losses_that_estimate_no_ratio_are_refused_by_name(method, loss):
    refuse(
        f"scores should be log density ratios but the best discriminator by the loss '{loss}' is",
        loss=loss,
        method=method,
    )


class Noisy(GenerativeModel):
    def model(self, x=None, *context, n=1):
        with pyro.plate("data", n):
            z = pyro.sample("z", dist.Normal(torch.zeros(1), 1.0).to_event(1))
        return z + torch.rand(n, 1)


def test_bad_input():
    data = P.sample((100, 1))
    refuse(
        "model should be a generative model, such as models.GAN, but is of type Linear", model=nn.Linear(1, 1)
    )
    refuse("method should be one of rejection, metropolis, hmc but got 'gibbs'", method="gibbs")
    refuse("discriminator should be given, as Push has none", discriminator=None)
    refuse("loss should be one of cross-entropy, .* but got 'logistic'", loss="logistic")
    refuse("give held_out=, data .*, or loss=", loss=None)
    refuse("log_bound is for method='rejection'", method="hmc", log_bound=1.0)
    refuse("steps is for method='metropolis'", steps=3)
    refuse("steps should be at least 1 but got 0", method="metropolis", steps=0)
    refuse("trials should be at least 1000 but got 10", trials=10)
    refuse(r"a logit for each x, shape \(8, 1\), but returned \(8, 2\)", discriminator=nn.Linear(1, 2))
    refuse("scores should be finite but are nan at", discriminator=lambda x: log_ratio(x).sqrt())
    refuse(r"held_out should have shape \(m, 1\) with m ≥ 40", held_out=data[:30])
    refuse(r"held_out should have shape \(m, 1\) with m ≥ 40", held_out=data.expand(100, 2))
    refuse("held_out should be a tensor or an array but is of type str", held_out="data.csv")
    refuse("scores should be finite but are inf at", discriminator=lambda x: 1 / (x - x[0]).abs().sum(-1))
    refuse("at least 20 scores among those of draws", held_out=data + 100, discriminator=lambda x: x)
    refuse("scores should differ but are 0 for all", held_out=data, discriminator=lambda x: 0 * x)
    refuse(
        "draws \\['z', 'x'\\]", model=VAE(nets.NormalHead(nets.MLP(3, 2)), nets.NormalHead(nets.MLP(2, 3)))
    )
    given = GAN(nets.Joined(nets.MLP(4, 3)), nets.Joined(nets.MLP(5, 1)), noise=2)
    with pytest.raises(ValueError, match=r"context should be that of one draw, .* has shapes \[\(5, 2\)\]"):
        refine(given, torch.zeros(5, 2), loss="relativistic")
    refuse("data should be a function of its noise 'z' but differ", model=Noisy())
    coins = Push(dist.Bernoulli(torch.full((2,), 0.5)).to_event(1))
    refuse("noise should be real numbers for method='hmc' but 'z' is", model=coins, method="hmc")
    one_hot = Push(dist.OneHotCategorical(torch.ones(3)))
    for method in ("hmc", "metropolis"):
        refuse(
            f"noise should be real or whole numbers for method='{method}' but 'z'",
            model=one_hot,
            method=method,
        )
    steep = {"discriminator": lambda x: 4e8 * log_ratio(x)}
    refuse("rejection should accept at least 0.01% .*: use method='hmc'", **steep)
    refuse("but need .*: use method='hmc'", method="metropolis", **steep)


def test_scores_that_are_wrong_are_said():
    model = normal_noise(1, "cpu", torch.float32)
    said = refine(model, discriminator=lambda x: log_ratio(x).sigmoid(), loss="cross-entropy").report()
    assert "All scores lie between 0 and 1, as probabilities do" in said.findings[0]
    assert "should be 1 but is" in said.findings[1]
    data = torch.randn(1000, 1)
    said = refine(model, discriminator=log_ratio, held_out=data).report()
    assert "do not tell held-out data from draws" in said.findings[0]
    said = refine(model, discriminator=lambda x: -log_ratio(x), held_out=P.sample((5000, 1))).report()
    assert "the discriminator is turned round" in said.findings[0]
    curved = lambda x: (2 * log_ratio(x)).exp()  # noqa: E731
    said = refine(model, discriminator=curved, held_out=P.sample((5000, 1))).report()
    assert "the score is no linear function of log p/q" in said.findings[0]
