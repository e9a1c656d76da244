"""The grouped VAE: where all is linear and normal its guide is the posterior and its ELBO the evidence."""

import pyro.distributions as dist
import pytest
import torch
from torch import nn

from probgen import fit
from probgen.models import GroupedVAE
from probgen.nets import MLP, Joined, NormalHead, OneHot
from probgen.objectives import SVI

SCALE = 0.7


class Fixed(nn.Module):
    """N(0, 1), whatever it is told: of two numbers for labels (n, m) or members (n, m, 1)."""

    def __init__(self, members):
        super().__init__()
        self.members = members

    def forward(self, x):
        batch = x.shape[:-1] if self.members else x.shape
        return dist.Normal(torch.zeros(*batch, 2), 1.0).to_event(1)


class Told(nn.Module):
    def forward(self, x):
        return dist.Normal(x, SCALE * torch.ones_like(x)).to_event(1)


class Seen(nn.Module):
    def forward(self, s, c):
        return dist.Normal(s, SCALE).to_event(1)


def exact():
    """x_j = s + noise, with contents that say nothing."""
    pair = GroupedVAE(
        content_prior=Fixed(False), content=Fixed(True), style=Told(), decoder=Seen(), style_size=1
    )
    return pair.eval(), torch.randn(6, 4, 1), torch.zeros(6, 4, dtype=torch.int64)


def small():
    torch.manual_seed(0)
    return GroupedVAE(
        content_prior=NormalHead(nn.Sequential(OneHot(4, missing=False), MLP(4, 2 * 2, hidden=()))),
        content=NormalHead(MLP(5, 2)),
        style=NormalHead(MLP(5, 3)),
        decoder=NormalHead(Joined(MLP(3 + 2, 5)), scale="shared"),
        style_size=3,
    )


def test_the_elbo_is_the_evidence():
    torch.manual_seed(0)
    pair, x, labels = exact()
    cov = torch.ones(4, 4) + SCALE**2 * torch.eye(4)
    law = torch.distributions.MultivariateNormal(torch.zeros(4), cov)
    svi = SVI(pair)
    _, terms = svi(x, labels)
    values = torch.stack([svi(x, labels)[1]["elbo"] for _ in range(60)])
    error = float(values.std()) / 60**0.5
    assert abs(float(values.mean()) - float(law.log_prob(x[..., 0]).mean())) < 4.4 * error + 1e-5
    assert error < 0.1
    assert terms


def test_precisions_of_the_seen_members_add_up():
    torch.manual_seed(0)
    pair, x, _ = exact()
    seen = torch.tensor([True, False, True, False]).expand(6, 4)
    law = pair.style_of(x, seen)
    precision = 1 + 2 / SCALE**2
    torch.testing.assert_close(law.mean, x[:, [0, 2]].sum(1) / SCALE**2 / precision)
    torch.testing.assert_close(law.stddev, torch.full((6, 1), precision**-0.5))
    changed = torch.where(seen[..., None], x, 9.0)
    torch.testing.assert_close(pair.style_of(changed, seen).mean, law.mean)
    none = pair.style_of(x, torch.zeros(6, 4, dtype=torch.bool))
    assert torch.equal(none.mean, torch.zeros(6, 1))
    torch.testing.assert_close(none.stddev, torch.ones(6, 1))


def test_in_training_some_members_tell_the_style_and_in_evaluation_all():
    pair, x = small(), torch.randn(200, 4, 5)
    some = pair.train()._some(x)
    counts = torch.bincount(some.sum(1), minlength=5)
    assert counts[0] == 0
    assert (counts[1:] > 25).all(), "1 to 4 members with equal probability, 50 of 200 each"
    assert pair.eval()._some(x) is None


def test_training_lowers_the_loss_and_draws_follow_their_seed():
    pair, x, labels = small(), torch.randn(64, 4, 5) * 0.1 + 2, torch.arange(4).expand(64, 4).contiguous()
    history = fit(SVI(pair), (x, labels), steps=60, seed=0, progress=False)
    losses = history.frame.query("term == 'loss' and split == 'train'")["value"].tolist()
    assert losses[-1] < losses[0] - 2
    assert all(bool(part.grad is None or part.grad.isfinite().all()) for part in pair.parameters())
    drawn = pair.sample(3, labels[:3], seed=1)
    assert drawn.shape == (3, 4, 5)
    assert torch.equal(drawn, pair.sample(3, labels[:3], seed=1))


def test_labels_and_data_are_asked_for():
    with pytest.raises(ValueError, match="the labels of members should be given"):
        small().sample(3)
    with pytest.raises(ValueError, match="the guide needs x"):
        small().guide()
