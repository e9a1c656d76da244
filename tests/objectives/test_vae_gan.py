"""The VAE-GAN: each of its three losses reaches its own player alone, to the same bits captured."""

import math

import pytest
import torch
from torch import nn
from torch.nn.functional import softplus

from probgen import nets
from probgen.capture.captured_loss import CapturedLoss
from probgen.models import VAE
from probgen.objectives import VAEGAN
from probgen.priors import NormalMixture
from tests.pairs import LinearGaussian

GAMMA = 0.3


def small(device="cpu", dtype=torch.float64, prior=None):
    """Return a pair whose decoder is a point, a discriminator, and the part of it that gives features."""
    torch.manual_seed(0)
    encoder = nets.NormalHead(nets.MLP(3, 2, hidden=5))
    vae = VAE(encoder, nets.PointHead(nets.MLP(2, 3, hidden=4)), prior)
    trunk = nn.Sequential(nn.Linear(3, 6), nn.Tanh())
    return tuple(m.to(device, dtype) for m in (vae, nn.Sequential(trunk, nn.Linear(6, 1)), trunk))


def gradients(loss, module):
    found = torch.autograd.grad(loss, list(module.parameters()), allow_unused=True, retain_graph=True)
    return [torch.zeros_like(w) if g is None else g for w, g in zip(module.parameters(), found, strict=True)]


def by_hand(vae, discriminator, trunk, x):
    """Return the three losses of the paper, of the same draws, all attached to all."""
    law = vae.encoder(x)
    mean, scale = law.base_dist.loc, law.base_dist.scale
    z = mean + scale * torch.randn_like(mean)
    again, drawn = (vae.decoder.net(codes) for codes in (z, torch.randn_like(z)))
    kl = 0.5 * (mean**2 + scale**2 - 1 - 2 * scale.log()).sum(1).mean()
    features = 0.5 * ((trunk(x) - trunk(again)) ** 2).sum(1).mean()
    on_data, on_draws = discriminator(x), torch.cat([discriminator(again), discriminator(drawn)])
    generator = softplus(-on_draws).mean()
    return {
        "kl": kl,
        "features": features,
        "discriminator": softplus(-on_data).mean() + softplus(on_draws).mean(),
        "generator": generator,
    }


def test_each_loss_reaches_its_own_player_alone(device):
    vae, discriminator, trunk = small(device)
    x = torch.randn(12, 3, dtype=torch.float64, device=device)
    torch.manual_seed(1)
    loss, terms = VAEGAN(vae, discriminator, features=trunk, gamma=GAMMA).to(device)(x)
    torch.manual_seed(1)
    parts = by_hand(vae, discriminator, trunk, x)
    kl, features, of_discriminator, of_generator = parts.values()
    players = (  # who, the loss of its own, and what would reach it too were something not held back
        (vae.encoder, kl + features, (of_discriminator, of_generator)),
        (vae.decoder, GAMMA * features + of_generator, (of_discriminator,)),
        (discriminator, of_discriminator, (features, of_generator)),
    )
    for player, its_loss, others in players:
        found, expected = gradients(loss, player), gradients(its_loss, player)
        for one, other in zip(found, expected, strict=True):
            torch.testing.assert_close(one, other, rtol=1e-6, atol=1e-9)
        for one in (its_loss, *others):
            assert max(float(g.abs().max()) for g in gradients(one, player)) > 1e-3
    for name, value in parts.items():
        torch.testing.assert_close(terms[name], value.detach())
    assert list(terms) == [*parts, "accuracy"]


def test_the_slope_at_data_is_the_discriminators_own(device):
    vae, discriminator, trunk = small(device)
    x, found = torch.randn(12, 3, dtype=torch.float64, device=device), []
    for r1 in (0.0, 0.6):
        torch.manual_seed(1)
        found.append(VAEGAN(vae, discriminator, features=trunk, gamma=GAMMA, r1=r1).to(device)(x))
    (without, _), (loss, terms) = found
    # Of w·tanh(Ax + b) + c the slope is Aᵀ(w (1 − tanh²)).
    inner, w = trunk[0], discriminator[1].weight[0]
    squared = ((w * (1 - torch.tanh(inner(x)) ** 2)) @ inner.weight).square().sum(1).mean()
    torch.testing.assert_close(terms["r1"], squared.detach())
    torch.testing.assert_close(loss, without + 0.3 * squared)
    for player, own in ((vae, without), (discriminator, without + 0.3 * squared)):
        for one, other in zip(gradients(loss, player), gradients(own, player), strict=True):
            torch.testing.assert_close(one, other)


def test_the_kl_to_a_prior_without_a_closed_form_is_that_of_the_draw(device):
    vae, discriminator, trunk = small(device, prior=NormalMixture(2, 3))
    x = torch.randn(12, 3, dtype=torch.float64, device=device)
    torch.manual_seed(1)
    _, terms = VAEGAN(vae, discriminator, features=trunk)(x)
    torch.manual_seed(1)
    law = vae.encoder(x)
    z = law.rsample()
    torch.testing.assert_close(terms["kl"], (law.log_prob(z) - vae.prior().log_prob(z)).mean().detach())


def test_in_evaluation_the_loss_is_the_distance_of_draws(device):
    vae, discriminator, trunk = small(device)
    objective = VAEGAN(vae, discriminator, features=trunk).eval()
    with torch.no_grad():
        drawn = vae.model(n=3000).detach()
        for x, low, high in ((drawn, -0.005, 0.005), (drawn + 1, 0.1, 9.0)):
            loss, terms = objective(x)
            assert low < float(loss) < high
            assert list(terms) == ["energy"]
    assert objective.judge({"loss": 3.0, "energy": 0.5}) == 0.5
    assert objective.judge({"loss": 3.0}) is None


def test_captured_and_eager_give_the_same_bits(device, caplog):
    outcomes = []
    for mode in ("eager", "graph"):
        vae, discriminator, trunk = small(device, torch.float32)
        objective = VAEGAN(vae, discriminator, features=trunk, gamma=GAMMA, r1=0.5).to(device)
        torch.manual_seed(7)
        loss_of = CapturedLoss(objective, mode)
        optimizer = torch.optim.SGD(objective.parameters(), lr=0.01)
        for x in torch.randn(6, 9, 3, device=device):
            loss, terms = loss_of(x)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        outcomes.append([loss.detach(), *terms.values(), *objective.state_dict().values()])
        assert loss_of.mode == mode
    assert not caplog.records
    for eager, captured in zip(*outcomes, strict=True):
        assert torch.equal(eager, captured)


def made(**given):
    vae, discriminator, trunk = small(dtype=torch.float32)
    return VAEGAN(vae, given.pop("discriminator", discriminator), **({"features": trunk} | given))


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda: made(gamma=-0.1), "gamma should be at least 0 and finite but got -0.1"),
        (lambda: made(gamma=math.nan), "gamma should be at least 0 and finite but got nan"),
        (lambda: made(r1=-0.1), "r1 should be finite and not negative but got -0.1"),
        (lambda: made(features=nn.Linear(3, 6)), "a part of the discriminator, but the Linear is none"),
        (lambda: made(loss="relativistic"), "loss should not be 'relativistic': there are two draws"),
        (lambda: made()(torch.ones(1, 3)), "at least 2 data but has 1"),
        (lambda: made(features=(d := nn.Linear(3, 2)), discriminator=d)(torch.ones(4, 3)), "one logit for"),
        (
            lambda: VAEGAN(LinearGaussian(), (d := nn.Linear(3, 1)), features=d)(torch.ones(4, 3)),
            "the pair should have a module 'decoder' from codes to a law",
        ),
        (
            lambda: VAEGAN(
                VAE(nets.NormalHead(nets.MLP(3, 2)), nets.BernoulliHead(nets.MLP(2, 3))),
                (d := nn.Linear(3, 1)),
                features=d,
            )(torch.ones(4, 3)),
            "draws of the decoder should have a gradient, but Independent has no rsample",
        ),
    ],
)  # fmt: skip
def test_bad_arguments_are_named(call, sentence):
    with pytest.raises(ValueError, match=sentence):
        call()
