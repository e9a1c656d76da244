"""GANs: what is drawn, what the discriminator is asked, noise, contexts, codes."""

import pyro.distributions as dist
import pytest
import torch
from torch import nn

from probgen import fit, nets, priors
from probgen.core import Coded
from probgen.models import GAN, BiGAN
from probgen.objectives import Contest


def test_draws_are_the_generators_of_noise(device):
    gan = GAN(nn.Linear(3, 2), nn.Linear(2, 1), noise=3).to(device)
    x = gan.sample(20_000, seed=0)
    weight, bias = gan.generator.weight.detach(), gan.generator.bias.detach()
    torch.testing.assert_close(x.mean(0), bias, atol=0.05, rtol=0)
    torch.testing.assert_close(x.T.cov(), weight @ weight.T, atol=0.05, rtol=0)
    assert torch.equal(x, gan.sample(20_000, seed=0))


@pytest.mark.parametrize(
    "noise",
    [
        2,
        dist.Uniform(-torch.ones(2), torch.ones(2)).to_event(1),
        priors.NormalMixture(2, 5),
    ],
)
def test_noise_is_a_number_a_law_or_a_prior(noise):
    torch.manual_seed(0)
    gan = GAN(nn.Identity(), nn.Linear(2, 1), noise=noise)
    x = gan.sample(500, seed=0)
    assert x.shape == (500, 2)
    assert (x.abs().max() <= 1) == isinstance(noise, dist.Independent)
    real, fake = gan.contestants(x)
    assert fake[0].shape == (500, 2)
    assert real == (x,)


def test_contexts_reach_both_players():
    torch.manual_seed(0)
    generator = nets.Joined(nets.MLP(2 + 3, 4), None, nets.OneHot(3))
    discriminator = nets.Joined(nets.MLP(4 + 3, 1), None, nets.OneHot(3))
    gan = GAN(generator, discriminator, noise=2)
    x, labels = torch.randn(12, 4), torch.arange(12) % 3
    real, fake = gan.contestants(x, labels)
    assert real[1] is labels
    assert fake[1] is labels
    contest = Contest(gan, loss="cross-entropy", r1=0.1, r2=0.1, slope=0.1)
    loss, _ = contest(x, labels)
    loss.backward()
    assert all((weight.grad != 0).any() for weight in contest.parameters())
    assert not torch.equal(gan.sample(12, labels, seed=0), gan.sample(12, (labels + 1) % 3, seed=0))
    with pytest.raises(TypeError, match="Joined has parts for 2 inputs but got 1"):
        gan.sample(12)
    with pytest.raises(TypeError, match="Joined has parts for 2 inputs but got 1"):
        contest(x)


class Places(nn.Module):
    def forward(self, x, z):
        return (x[:, 0] * z[:, 0])[:, None]


def test_pairs_of_data_and_codes():
    torch.manual_seed(0)
    bigan = BiGAN(nets.NormalHead(nn.Linear(4, 4)), nn.Linear(2, 4), Places(), noise=2)
    x = torch.randn(30, 4)
    (real, code), (fake, z) = bigan.contestants(x)
    assert real is x
    torch.testing.assert_close(fake, bigan.generator(z))
    assert code.shape == z.shape == (30, 2)
    law = bigan.encode(x)
    torch.testing.assert_close(law.mean, bigan.encoder(x).mean.detach())
    assert not torch.equal(code, law.mean)  # drawn from the law
    torch.testing.assert_close(bigan.decode(z).mean, fake.detach())
    assert isinstance(bigan, Coded)
    assert not isinstance(GAN(nn.Identity(), nn.Identity(), noise=2), Coded)
    with pytest.raises(TypeError, match=r"encoder should return a law .* returned a Tensor: make it nets\."):
        BiGAN(nn.Linear(4, 2), nn.Linear(2, 4), Places(), noise=2).contestants(x)


def test_an_encoder_inverts_the_generator():
    """x = 2 z: where pairs cannot be told apart, E(x) = x / 2."""
    torch.manual_seed(0)
    x = 2.0 * torch.randn(4000, 1)
    discriminator = nets.Joined(nets.MLP(2, 1, hidden=(64, 64)))
    bigan = BiGAN(nets.PointHead(nn.Linear(1, 1)), nn.Linear(1, 1), discriminator, noise=1)
    for net in (bigan.encoder.net, bigan.generator):  # of one sign: those of two would meet at 0
        nn.init.ones_(net.weight)
    contest = Contest(bigan, loss="relativistic", r1=0.1, r2=0.1, average=0.99)
    options = {"seed": 1, "progress": False, "optimizer": contest.adam(5e-3, discriminator=1e-2)}
    fit(contest, x, steps=400, batch_size=128, **options)
    z = torch.randn(500, 1)
    again = bigan.encode(bigan.decode(z).mean).mean
    assert float((again - z).square().mean()) < 0.02
    assert abs(float(bigan.averaged.weight.detach())) == pytest.approx(2.0, abs=0.2)
    assert bigan.averaged_encoder is not None
