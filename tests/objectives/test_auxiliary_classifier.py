"""Two classes that overlap: the game of an auxiliary classifier moves them apart, projection does not."""

import pytest
import torch
from torch import nn

from probgen import fit, nets, objectives
from probgen.models import GAN

MEANS = torch.tensor([-0.7, 0.7])


class LocationScale(nn.Module):
    """x = m_y + s_y z: the family of the truth, so that a bias is one of the game."""

    def __init__(self):
        super().__init__()
        self.location = nn.Parameter(torch.zeros(2))
        self.log_scale = nn.Parameter(torch.zeros(2))

    def forward(self, z, y):
        return self.location[y, None] + self.log_scale[y, None].exp() * z


def features():
    return nets.MLP(1, 16, hidden=(32,), activation=lambda: nn.LeakyReLU(0.2))


def projected():
    discriminator = nets.ProjectionDiscriminator(nn.Sequential(features(), nn.LeakyReLU(0.2)), 16, classes=2)
    gan = GAN(LocationScale(), discriminator, noise=1)
    return gan, objectives.Contest(gan, loss="cross-entropy", r1=0.1, average=0.98)


class OfData(nn.Module):
    """A discriminator that is not told the label, as in the paper."""

    def __init__(self, net):
        super().__init__()
        self.net = net

    def forward(self, x, y):
        return self.net(x)


def with_classifier():
    gan = GAN(
        LocationScale(), OfData(nn.Sequential(features(), nn.LeakyReLU(0.2), nn.Linear(16, 1))), noise=1
    )
    classifier = nets.ClassHead(nets.MLP(1, 2, hidden=(32,)))
    contest = objectives.Contest(gan, loss="cross-entropy", r1=0.1, average=0.98)
    parts = {
        "contest": contest,
        "classification": objectives.Classification(nn.ModuleDict({"classifier": classifier})),
        "information": objectives.MutualInformation(gan, classifier, of="label"),
    }
    return gan, objectives.Sum(parts)


def locations(make, seed):
    """Means of both classes after a training."""
    torch.manual_seed(seed)
    gan, objective = make()
    y = torch.arange(4000) % 2
    x = MEANS[y, None] + torch.randn(4000, 1)
    options = {"schedules": {"lr": lambda step: 0.01 if step < 400 else 0.002}, "progress": False}
    adam = {"optimizer": lambda weights: torch.optim.Adam(weights, betas=(0.0, 0.9))}
    fit(objective, (x, y), steps=600, batch_size=256, seed=seed, compile="graph", **options, **adam)
    return gan.averaged.location.detach(), gan.averaged.log_scale.detach().exp()


@pytest.mark.parametrize("make", [projected, with_classifier])
def test_an_auxiliary_classifier_moves_classes_apart_and_projection_does_not(make):
    """Classes at ±0.7 of deviation 1: half of the gap is 0.7; the classifier makes it larger, and narrow."""
    location, scale = locations(make, seed=0)
    half = float(location[1] - location[0]) / 2
    if make is projected:
        assert half == pytest.approx(0.7, abs=0.15)
        torch.testing.assert_close(scale, torch.ones(2), atol=0.2, rtol=0)
    else:
        assert half > 0.95
        assert float(scale.max()) < 0.8
