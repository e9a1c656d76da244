"""Two known laws on the line: what each loss makes of a discriminator, and what its best one is worth."""

import math

import numpy as np
import pytest
import torch
from scipy import integrate, stats
from torch import nn

from probgen import fit, models, nets
from probgen.objectives import Contest, adversarial_loss

REAL = (stats.norm(-1.0, 0.6), stats.norm(1.5, 0.8))
FAKE = stats.norm(0.5, 1.3)
EDGES = np.linspace(-3.0, 4.0, 36)
"""Of 37 bins, in each of which the discriminator says one thing: its best values are known exactly."""


def draws_of_bins(cdf, n=6_000):
    """Numbers of bins, each as often among n as its mass says."""
    mass = torch.tensor(np.diff(np.concatenate([[0.0], cdf(EDGES), [1.0]])))
    return torch.arange(len(mass)).repeat_interleave((mass * n).round().long())[:, None].double()


def masses(draws):
    return torch.bincount(draws[:, 0].long(), minlength=len(EDGES) + 1).double() / len(draws)


BINS_OF_REAL = draws_of_bins(lambda x: 0.5 * REAL[0].cdf(x) + 0.5 * REAL[1].cdf(x))
BINS_OF_FAKE = draws_of_bins(FAKE.cdf)
P, Q = masses(BINS_OF_REAL), masses(BINS_OF_FAKE)

ABOVE = (P > Q).double()
BEST = {
    "absolute": ABOVE,
    "cross-entropy": P / (P + Q),
    "minimax": P / (P + Q),
    "least-squares": P / (P + Q),
    "hinge": 2 * ABOVE - 1,
    "relativistic": (P / Q).log(),
}
LEAST = {  # of the discriminator's loss
    "absolute": 0.5 * torch.minimum(P, Q).sum(),
    "cross-entropy": -(torch.xlogy(P, P / (P + Q)) + torch.xlogy(Q, Q / (P + Q))).nansum(),
    "minimax": -(torch.xlogy(P, P / (P + Q)) + torch.xlogy(Q, Q / (P + Q))).nansum(),
    "least-squares": 0.5 * (P * Q / (P + Q)).nansum(),
    "hinge": 2 * torch.minimum(P, Q).sum(),
}
SEEN = {  # of a logit d: what the table above says of it
    "absolute": torch.sigmoid,
    "cross-entropy": torch.sigmoid,
    "minimax": torch.sigmoid,
    "least-squares": lambda d: d,
    "hinge": lambda d: d,
    "relativistic": lambda d: d,
}


class Bins(nn.Module):
    """A discriminator that says one number in each bin."""

    def __init__(self):
        super().__init__()
        self.said = nn.Parameter(torch.zeros(len(P), dtype=torch.float64))

    def forward(self, x):
        return self.said[x[:, 0].long()]


@pytest.mark.parametrize("loss", BEST)
def test_a_trained_discriminator_is_the_best_one(loss):
    torch.manual_seed(0)
    discriminator, real, fake = Bins(), BINS_OF_REAL, BINS_OF_FAKE
    adam = torch.optim.Adam(discriminator.parameters(), lr=0.1, betas=(0.9, 0.99))
    steps = 400
    rates = torch.optim.lr_scheduler.CosineAnnealingLR(adam, steps)
    for _ in range(steps):
        if loss == "relativistic":  # of pairs: all that go together, a part at a time
            n = 8_000
            batch = real[torch.randint(len(real), (n,))], fake[torch.randint(len(fake), (n,))]
        else:
            batch = real, fake
        adam.zero_grad()
        value, _ = adversarial_loss(
            discriminator, real=batch[0], fake=batch[1], loss=loss, turn="discriminator"
        )
        value.backward()
        adam.step()
        rates.step()
    found = SEEN[loss](discriminator.said.detach())
    if loss == "relativistic":  # any constant may be added
        weight = P + Q
        found = found - ((found - BEST[loss]) * weight).sum() / weight.sum()
    seen = (P + Q) > 0.004
    clear = seen & ((P / Q).log().abs() > 0.15)  # a little above or below: which side of a step is chance
    where = clear if loss in ("absolute", "hinge") else seen
    assert where.sum() > 25
    tolerance = {"absolute": 0.05, "hinge": 0.05, "relativistic": 0.15}.get(loss, 0.01)
    torch.testing.assert_close(found[where], BEST[loss][where], atol=tolerance, rtol=0)
    if loss in LEAST:
        torch.testing.assert_close(value.detach(), LEAST[loss], atol=2e-3, rtol=0)


def test_hinge_is_four_times_the_absolute_error_at_the_best_of_each():
    discriminator, real, fake = Bins(), BINS_OF_REAL, BINS_OF_FAKE
    sign = 2 * ABOVE - 1

    def value(loss, said):
        with torch.no_grad():
            discriminator.said.copy_(said)
        return float(adversarial_loss(discriminator, real=real, fake=fake, loss=loss)[1]["discriminator"])

    absolute = value("absolute", 1e3 * sign)
    assert value("hinge", sign) == pytest.approx(4 * absolute, rel=1e-9)
    assert absolute == pytest.approx(float(LEAST["absolute"]), rel=1e-9)


@pytest.mark.parametrize("seed", range(4))
def test_where_the_laws_agree_every_discriminator_errs_by_one_half(seed):
    """½ E[1 − D] + ½ E D = ½, whatever D: nothing makes D itself ½, and no generator is pushed away."""
    torch.manual_seed(seed)
    discriminator = nets.MLP(2, 1, hidden=(16,)).double()
    with torch.no_grad():
        discriminator.last.weight.mul_(100)  # far from ½, on both sides
        x = torch.randn(500, 2, dtype=torch.float64)
        discriminator.last.bias.sub_(discriminator(x).mean())
    value, terms = adversarial_loss(discriminator, real=x, fake=x[torch.randperm(500)], loss="absolute")
    assert discriminator(x).sigmoid().std() > 0.1
    assert float(terms["discriminator"]) == pytest.approx(0.5, abs=1e-12)
    (slope,) = torch.autograd.grad(value, discriminator.body[0].weight)
    assert slope.abs().max() < 1e-12  # so that it stays what it is


class Fixed(nn.Module):
    """A generator that learns nothing: x = 0.5 + 1.3 z."""

    def forward(self, z):
        return 0.5 + 1.3 * z


@pytest.mark.parametrize("loss", ["absolute", "cross-entropy", "hinge"])
def test_a_network_in_a_contest_nears_the_best_discriminator_and_its_error(loss):
    """Against quadrature: ½ ∫ min(p, q), p/(p+q), and sign(p − q) where the two are well apart."""
    torch.manual_seed(0)
    rng = torch.Generator().manual_seed(1)
    x = -1.0 + 0.6 * torch.randn(
        20_000, 1, generator=rng
    )  # the absolute error is stuck on two modes at times
    p = REAL[0].pdf
    gan = models.GAN(Fixed(), nets.MLP(1, 1, hidden=(32, 32)), noise=1)
    game, steps = Contest(gan, loss=loss), 300
    adam = torch.optim.Adam(gan.discriminator.parameters(), lr=1e-2)
    fit(game, x, steps=steps, batch_size=500, optimizer=adam, seed=0, compile="eager", progress=False,
        schedules={"lr": lambda step: 1e-2 * 0.5 * (1 + math.cos(math.pi * step / steps))})  # fmt: skip

    at = np.linspace(-6, 7, 2601)
    real, fake = p(at), FAKE.pdf(at)
    with torch.no_grad():
        said = gan.discriminator(torch.tensor(at, dtype=torch.float32)[:, None])[:, 0].double().numpy()
    # The decision, and so the error, of all of them: D = 1 where p > q.
    error = 0.5 * integrate.simpson(np.where(said > 0, fake, real), x=at)
    best = 0.5 * integrate.quad(lambda t: min(p(t), FAKE.pdf(t)), -8, 8, limit=200)[0]
    assert best - 1e-4 < error < best + 0.006
    if loss == "cross-entropy":
        far = np.abs(1 / (1 + np.exp(-said)) - real / (real + fake))
        assert integrate.simpson(far * (real + fake) / 2, x=at) < 0.03
    else:
        # Beyond ±1 the hinge loss asks for nothing where one law has no mass to speak of.
        told = 2 / (1 + np.exp(-said)) - 1 if loss == "absolute" else said.clip(-1, 1)
        clear = (np.abs(np.log(real / fake)) > 0.5) & (real + fake > 0.02)
        assert np.abs(told - np.sign(real - fake))[clear].mean() < 0.25
