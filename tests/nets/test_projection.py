"""The projection discriminator: its formula, the best discriminator of two laws, labels that do not fit."""

import math

import pytest
import torch
from torch import nn

from probgen import nets
from probgen.models import GAN
from probgen.objectives import Contest
from probgen.objectives.adversarial import discriminator_loss


def test_it_is_the_inner_product_of_label_and_features_and_a_logit_of_both(device, dtype):
    torch.manual_seed(0)
    net = nets.ProjectionDiscriminator(nets.MLP(4, 6), 6, classes=3).to(device, dtype)
    x, y = torch.randn(5, 4, device=device, dtype=dtype), torch.tensor([0, 2, 1, 1, 0], device=device)
    features = net.features(x)
    rows = net.of_classes.weight.T[y]  # V transposed: a row for each class
    expected = (rows * features).sum(1) + net.unconditional(features).flatten()
    torch.testing.assert_close(net(x, y), expected)
    assert (net(x, y) != net(x, (y + 1) % 3)).all()


class Powers(nn.Module):
    """Features x and x²."""

    def forward(self, x):
        return torch.cat([x, x.square()], 1)


def test_it_learns_the_log_ratio_of_two_laws_of_data_and_label():
    """p(x | y) = N(m_y, 1), q(x | y) = N(0, 2), equal shares: the log-ratio is linear in x, x², given y."""
    means, n = torch.tensor([-1.0, 0.5, 2.0]), 30_000
    torch.manual_seed(0)
    y = torch.arange(n) % 3
    real, fake = means[y, None] + torch.randn(n, 1), math.sqrt(2) * torch.randn(n, 1)
    net = nets.ProjectionDiscriminator(Powers(), 2, classes=3)
    # A constant for each class, which features without one do not have.
    net.features = nn.Sequential(Powers(), nn.ConstantPad1d((0, 1), 1.0))
    net.unconditional, net.of_classes = nn.Linear(3, 1), nn.Linear(3, 3, bias=False)
    learner = torch.optim.LBFGS(net.parameters(), max_iter=60, line_search_fn="strong_wolfe")

    def loss():
        learner.zero_grad()
        found = discriminator_loss(net(real, y), net(fake, y), loss="cross-entropy")
        found.backward()
        return found

    learner.step(loss)
    x = torch.linspace(-1.5, 2.5, 9)
    for label, mean in enumerate(means):
        exact = -0.5 * (x - mean).square() + x.square() / 4 + 0.5 * math.log(2)
        found = net(x[:, None], torch.full((9,), label)).detach()
        torch.testing.assert_close(found, exact, atol=0.15, rtol=0)


def test_it_plays_a_contest_with_penalties():
    torch.manual_seed(0)
    generator = nets.Joined(nets.MLP(2 + 3, 4), None, nets.OneHot(3, missing=False))
    discriminator = nets.ProjectionDiscriminator(nets.MLP(4, 6), 6, classes=3)
    contest = Contest(GAN(generator, discriminator, noise=2), loss="cross-entropy", r1=0.1, r2=0.1)
    loss, _ = contest(torch.randn(9, 4), torch.arange(9) % 3)
    loss.backward()
    assert all((weight.grad != 0).any() for weight in contest.parameters())


def call(x=None, *labels, features=6):
    net = nets.ProjectionDiscriminator(nets.MLP(4, features), 6, classes=3)
    return net(torch.zeros(2, 4) if x is None else x, *labels)


@pytest.mark.parametrize(
    ("wrong", "kind", "sentence"),
    [
        (lambda: call(None), ValueError, r"data and their labels, shape \(2,\), but was given no labels"),
        (
            lambda: call(None, torch.tensor([[0], [1]])),
            ValueError,
            r"labels, shape \(2,\), but was given labels of shape \(2, 1\)",
        ),
        (
            lambda: call(None, torch.tensor([0, -1])),
            ValueError,
            "labels should be 0 to 2, none of them missing, but hold -1",
        ),
        (
            lambda: call(None, torch.tensor([3, 0])),
            ValueError,
            "labels should be 0 to 2, none of them missing, but hold 3",
        ),
        (lambda: call(None, torch.zeros(2)), TypeError, "labels should be integers but are torch.float32"),
        (
            lambda: call(None, torch.tensor([0, 1]), features=5),
            ValueError,
            r"features of a ProjectionDiscriminator should have shape \(2, 6\) but have \(2, 5\)",
        ),
        (
            lambda: nets.ProjectionDiscriminator(nets.MLP(4, 6), 6, classes=0),
            ValueError,
            "classes should be at least 1 but got 0",
        ),
    ],
)
def test_what_does_not_fit_is_named(wrong, kind, sentence):
    with pytest.raises(kind, match=sentence):
        wrong()


def test_a_generator_of_classes_draws_of_no_missing_label():
    gan = GAN(nets.Joined(nets.MLP(5, 4), None, nets.OneHot(3, missing=False)), nets.MLP(4, 1), noise=2)
    with pytest.raises(ValueError, match="none of them missing, but hold -1"):
        gan.sample(2, torch.tensor([0, -1]))
