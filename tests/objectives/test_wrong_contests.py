"""Contests that cannot be played are refused in a sentence."""

from functools import partial

import pytest
import torch
from torch import nn
from torch.distributions import Bernoulli
from torch.utils.data import DataLoader, TensorDataset

from probgen.models import GAN, GMMN
from probgen.objectives import Contest
from tests.objectives.test_contest import game, net, single, trained


class Through(nn.Module):
    """A net before a function without a gradient, or behind what takes the gradient of its input away."""

    def __init__(self, net, then):
        super().__init__()
        self.net, self.then = net, then

    def forward(self, x):
        return self.net(x.detach()) if self.then is None else self.then(self.net(x).sigmoid())


def left_behind():
    model = GAN(net(3), net(), noise=3)
    Contest(model, average=0.9)
    return Contest(model)


def frozen(player):
    contest = single(discriminator_steps=2)
    contest.model.get_submodule(player).requires_grad_(False)
    return contest


@pytest.mark.parametrize(
    ("make", "kind", "sentence"),
    [
        (lambda: game(r1=-1.0), ValueError, "r1 should be finite and not negative but got -1"),
        (lambda: game(r2=float("nan")), ValueError, "r2 should be finite and not negative but got nan"),
        (lambda: game(slope=-0.1), ValueError, "slope should be finite and not negative but got -0.1"),
        (
            lambda: game(discriminator_steps=0),
            ValueError,
            "discriminator_steps should be at least 1 but got 0",
        ),
        (
            lambda: Contest(GAN(net(), net(), noise=3), pack=0),
            ValueError,
            "pack should be at least 1 but got 0",
        ),
        (lambda: game(penalty_every=0), ValueError, "penalty_every should be at least 1 but got 0"),
        (
            lambda: game(penalty_every=2),
            ValueError,
            "penalty_every=2 should go with a penalty, r1, r2 or slope",
        ),
        (lambda: game(average=1.0), ValueError, r"average should be a decay in \[0, 1\), .* but got 1"),
        (lambda: game(loss="ns"), ValueError, "loss should be 'absolute' or .* but got 'ns'"),
        (lambda: Contest(GMMN(net(), noise=3)), TypeError, "model should have a discriminator .* is a GMMN"),
        (
            lambda: Contest(GAN(net(3), nn.Sequential(net(), nn.Sigmoid()), noise=3))(torch.randn(4, 3)),
            ValueError,
            "the discriminator should return logits, .* but ends in Sigmoid",
        ),
        (
            lambda: Contest(GAN(net(3), nn.Sequential(nn.BatchNorm1d(3), net()), noise=3), slope=1.0),
            ValueError,
            "should have no batch normalisation where slope penalises its slope",
        ),
        (
            lambda: Contest(GAN(net(3), net(2), noise=3))(torch.randn(4, 3)),
            ValueError,
            r"should return one logit for each of 4 data, .* returned shape \(4, 2\)",
        ),
        (
            lambda: game(pack=4)(torch.randn(6, 3)),
            ValueError,
            "a batch should divide into packs of 4 but has 6 rows: choose a batch_size",
        ),
        (
            lambda: trained(make=partial(single, pack=3)),
            ValueError,
            "a multiple of 3 rows, but batch_size is 16: take 15",
        ),
        (
            lambda: trained(make=partial(single, pack=4), accumulate=8),
            ValueError,
            "a batch should have at least 32 rows, 4 for each of 8 parts, the least_rows of Contest",
        ),
        (
            lambda: trained(make=partial(single, pack=4), accumulate=3, batch_size=32),
            ValueError,
            "a multiple of 12 rows, 4 for each of 3 parts, but batch_size is 32: take 24",
        ),
        (
            lambda: trained(
                make=partial(single, pack=4),
                data=DataLoader(TensorDataset(torch.randn(30, 3)), batch_size=8),
                batch_size=None,
            ),
            ValueError,
            "a multiple of 4 rows, but the last batch of the DataLoader has 6: give it drop_last=True",
        ),
        (
            lambda: Contest(GAN(net(1), nn.Sequential(nn.Flatten(), net()), noise=3))(torch.randn(4, 3, 1)),
            ValueError,
            r"draws of the generator should have the shape of the data, \(4, 3, 1\), but have \(4, 1\)",
        ),
        (
            lambda: Contest(GAN(Through(net(3), lambda p: Bernoulli(p).sample()), net(), noise=3))(
                torch.randn(4, 3)
            ),
            ValueError,
            "draws should have a gradient for the weights of the generator",
        ),
        (
            lambda: Contest(GAN(net(3), Through(net(), None), noise=3))(torch.randn(4, 3)),
            ValueError,
            "logits should have a gradient for what it is given",
        ),
        (
            lambda: left_behind()(torch.randn(4, 3)),
            ValueError,
            "'averaged' holds averaged weights of another contest, which this one would not move",
        ),
        (
            lambda: trained(make=partial(frozen, "generator"), optimizer=None),
            ValueError,
            "the loss of Contest should be a scalar tensor with a gradient",
        ),
        (
            lambda: trained(make=partial(frozen, "discriminator"), optimizer=None),
            ValueError,
            "the loss of Contest should be a scalar tensor with a gradient",
        ),
    ],
)
def test_what_is_wrong_is_said(make, kind, sentence):
    with pytest.raises(kind, match=sentence):
        make()
