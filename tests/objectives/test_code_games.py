"""AAE and WAE-GAN: each player's gradient in the sum, and an aggregate that becomes the prior."""

import pytest
import torch
from torch import nn
from torch.nn.functional import softplus

from probgen import fit, mmd, nets
from probgen.models import VAE
from probgen.objectives import CodeGAN, Reconstruction, Sum
from probgen.objectives.aggregate_posterior import codes_and_prior
from probgen.training import schedules
from tests.objectives.test_factor_gan import Quadratic
from tests.pairs import LinearGaussian


def gradients(loss, module):
    return torch.autograd.grad(loss, list(module.parameters()), allow_unused=True, retain_graph=True)


@pytest.mark.parametrize("head", [nets.NormalHead, nets.PointHead], ids=["AAE", "WAE-GAN"])
def test_each_player_has_the_gradient_of_its_own_loss(head, device):
    weight = 7.0
    vae = VAE(head(nets.MLP(3, 2, hidden=5)), nets.NormalHead(nets.MLP(2, 3, hidden=4), scale="shared"))
    discriminator = nets.MLP(2, 1, hidden=6)
    parts = {"reconstruction": Reconstruction(vae), "codes": CodeGAN(vae, discriminator)}
    objective = Sum(parts, {"codes": weight}).to(device, torch.float64)
    x = torch.randn(11, 3, dtype=torch.float64, device=device)
    torch.manual_seed(1)
    loss, terms = objective(x)
    torch.manual_seed(1)
    reconstruction = -vae.decoder(vae.encoder(x).rsample()).log_prob(x).mean()
    z = vae.encoder(x).rsample()
    prior = torch.randn_like(z)
    deceiving = softplus(-discriminator(z)).mean()
    telling = softplus(-discriminator(prior)).mean() + softplus(discriminator(z.detach())).mean()
    for player, own in (
        (vae.encoder, reconstruction + weight * deceiving),
        (vae.decoder, reconstruction),
        (discriminator, weight * telling),
    ):
        for one, other in zip(gradients(loss, player), gradients(own, player), strict=True):
            torch.testing.assert_close(one, other)
            assert bool((other != 0).any())
    assert float(gradients(deceiving, discriminator)[0].abs().max()) > 1e-3  # held back
    torch.testing.assert_close(terms["codes/generator"], deceiving.detach())
    torch.testing.assert_close(terms["codes/discriminator"], telling.detach())


def test_the_aggregate_of_a_linear_gaussian_encoder_becomes_the_prior(device):
    """A quadratic discriminator can tell any two normal laws apart; the level of the test is 1 %."""
    gen = torch.Generator().manual_seed(4)
    mix = torch.randn(3, 3, generator=gen)
    x, held_out = ((torch.randn(n, 3, generator=gen) @ mix + 1).to(device) for n in (4000, 400))
    torch.manual_seed(5)
    pair = LinearGaussian().to(device)
    for unused in (pair.weight, pair.bias, pair.log_sigma):
        unused.requires_grad_(False)
    objective = CodeGAN(pair, Quadratic(2)).to(device)

    def tested():
        torch.manual_seed(6)
        codes, prior = codes_and_prior(pair, held_out)
        permuted = torch.Generator(device).manual_seed(0)
        return mmd.mmd_test(codes.detach(), prior, permutations=199, generator=permuted).p_value

    assert tested() == pytest.approx(1 / 200)  # power: before, they are told apart
    rate = {"lr": schedules.cosine(0.05, 0.002, steps=400)}
    adam = lambda weights: torch.optim.Adam(weights, betas=(0.0, 0.9))  # noqa: E731
    fit(objective, x, steps=400, batch_size=200, optimizer=adam, schedules=rate, seed=0, progress=False)
    assert tested() > 0.01
    covariance = pair.guide_map.weight @ torch.cov(x.T) @ pair.guide_map.weight.T
    covariance = covariance + (2 * pair.guide_log_scale).exp().diag()
    torch.testing.assert_close(covariance.detach().cpu(), torch.eye(2), atol=0.15, rtol=0)


def test_the_penalty_of_a_quadratic_discriminator(device):
    """Of d = wᵀz + zᵀAz the slope at z is w + (A + Aᵀ) z."""
    pair, discriminator = LinearGaussian().to(device).double(), Quadratic(2).to(device).double()
    nn.init.normal_(discriminator.linear.weight)
    x = torch.randn(30, 3, dtype=torch.float64, device=device)
    found = []
    for r1 in (0.0, 0.6):
        torch.manual_seed(1)
        found.append(CodeGAN(pair, discriminator, r1=r1).to(device)(x))
    (plain, _), (penalised, terms) = found
    torch.manual_seed(1)
    _, prior = codes_and_prior(pair, x)
    w, a = discriminator.linear.weight[0].split([2, 4])
    a = a.unflatten(0, (2, 2))
    squared = (w + prior @ (a + a.T)).square().sum(1).mean()
    torch.testing.assert_close(terms["r1"], squared.detach())
    for player, expected in ((discriminator, gradients(0.3 * squared, discriminator)), (pair, None)):
        for i, (one, other) in enumerate(
            zip(gradients(penalised, player), gradients(plain, player), strict=True)
        ):
            if one is not None:
                added = 0.0 if expected is None or expected[i] is None else expected[i]
                torch.testing.assert_close(one, other + added, rtol=1e-6, atol=1e-9)


def test_in_evaluation_the_loss_is_a_distance_that_is_judged(device):
    pair = LinearGaussian().to(device)
    objective = CodeGAN(pair, nn.Linear(2, 1)).to(device).eval()
    with torch.no_grad():
        pair.guide_map.weight.zero_()
        pair.guide_map.bias.zero_()
        x = torch.randn(3000, 3, device=device)
        loss, terms = objective(x)
        assert abs(float(loss)) < 0.005  # the codes are the prior's own draws
        assert list(terms) == ["energy"]
        pair.guide_map.bias.fill_(1.0)
        assert float(objective(x)[0]) > 0.3
    assert objective.judge({"loss": 3.0, "energy": 0.5}) == 0.5
    assert objective.judge({"loss": 3.0}) is None


class Rounding(nn.Linear):
    """A discriminator by which the encoder can learn nothing."""

    def forward(self, input):
        return super().forward(input.detach().round())


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda: CodeGAN(LinearGaussian(), nn.Linear(2, 3))(torch.ones(4, 3)), "one logit for each of 4"),
        (lambda: CodeGAN(LinearGaussian(), nn.Linear(2, 1))(torch.ones(1, 3)), "at least 2 data .* has 1"),
        (lambda: CodeGAN(LinearGaussian(), nn.Linear(2, 1), r1=-0.1), "r1 should be finite .* -0.1"),
        (
            lambda: CodeGAN(LinearGaussian(), Rounding(2, 1))(torch.ones(4, 3)),
            "logits should have a gradient for what it is given",
        ),
        (
            lambda: Sum({"codes": CodeGAN(LinearGaussian(), nn.Linear(2, 1))}, {"codes": -2.0}),
            "the weight of 'codes', a game, should not be negative but is -2.0",
        ),
        (
            lambda: Sum({"all": Sum({"codes": CodeGAN(LinearGaussian(), nn.Linear(2, 1))})}, {"all": -1.0}),
            "the weight of 'all', a game, should not be negative",
        ),
    ],
)  # fmt: skip
def test_bad_arguments_are_named(call, sentence):
    with pytest.raises(ValueError, match=sentence):
        call()
