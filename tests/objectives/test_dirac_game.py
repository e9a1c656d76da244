r"""The smallest game: data at 0, draws at θ, d(x) = ψ x. What each loss and penalty does at its equilibrium.

The Jacobian of (θ, ψ) ↦ (−∂L_generator/∂θ, −∂L_discriminator/∂ψ) at the equilibrium, each gradient taken by
autograd through the objective, has the eigenvalues ±i f without a penalty: the players go round. With R1 they
are −γ/2 ± √(γ²/4 − f²), so that the game converges, and from γ = 2 f on without going round.
Source: Mescheder, Geiger and Nowozin (2018), Which training methods for GANs do actually converge?
"""

import math

import numpy as np
import pytest
import torch
from torch import nn

from probgen import fit, models
from probgen.objectives import Contest

FREQUENCY = {
    "absolute": 1 / 8,
    "cross-entropy": 1 / 2,
    "minimax": 1 / 2,
    "least-squares": 1 / 2,
    "hinge": 1.0,
    "wasserstein": 1.0,
    "relativistic": 1 / 2,
}


class Point(nn.Module):
    """The generator: every draw is θ."""

    def __init__(self, theta):
        super().__init__()
        self.theta = nn.Parameter(torch.tensor(theta, dtype=torch.float64))

    def forward(self, z):
        return self.theta + 0 * z


class Line(nn.Module):
    """The discriminator d(x) = a + ψ x, with a at its best: ½ for least squares, 0 else."""

    def __init__(self, psi, middle):
        super().__init__()
        self.psi = nn.Parameter(torch.tensor(psi, dtype=torch.float64))
        self.middle = middle

    def forward(self, x):
        return self.middle + self.psi * x


def game(loss, start=(1.0, 1.0), **penalties):
    middle = 0.5 if loss == "least-squares" else 0.0
    gan = models.GAN(Point(start[0]), Line(start[1], middle), noise=1).double()
    return Contest(gan, loss=loss, **penalties)


X = torch.zeros(2, 1, dtype=torch.float64)


def move(contest, place, x=X):
    """The direction in which both players move from a place."""
    generator, discriminator = contest.model.generator, contest.model.discriminator
    with torch.no_grad():
        generator.theta.fill_(place[0])
        discriminator.psi.fill_(place[1])
    loss, _ = contest(x)
    pair = torch.autograd.grad(loss, [generator.theta, discriminator.psi])
    return -np.array([float(part) for part in pair])


def eigenvalues(contest, at=(0.0, 0.0), x=X, step=1e-6):
    """Of the Jacobian of the directions, by central differences of autograd's gradients."""
    columns = []
    for i in range(2):
        shift = step * np.eye(2)[i]
        columns.append((move(contest, at + shift, x) - move(contest, at - shift, x)) / (2 * step))
    found = np.linalg.eigvals(np.stack(columns, 1))
    return found[np.argsort(found.imag * 1e6 + found.real)]


@pytest.mark.parametrize("loss", FREQUENCY)
def test_without_a_penalty_the_players_go_round(loss):
    f = FREQUENCY[loss]
    np.testing.assert_allclose(eigenvalues(game(loss)), [-1j * f, 1j * f], atol=1e-8)


@pytest.mark.parametrize(
    ("loss", "pulled"), [("relativistic", 0.0), ("wasserstein", 0.0), ("cross-entropy", 2.25)]
)
def test_losses_of_differences_do_not_see_where_the_data_lie(loss, pulled):
    """Data at 3: d = ψ x has a constant 3 ψ, which other losses pull down, as −∂²L/∂ψ² = −9/2 there."""
    found = eigenvalues(game(loss), at=(3.0, 0.0), x=X + 3)
    f = FREQUENCY[loss]
    root = np.sqrt(complex(pulled**2 - f**2))
    np.testing.assert_allclose(
        found, sorted([-pulled - root, -pulled + root], key=lambda z: (z.imag, z.real)), atol=1e-7
    )


@pytest.mark.parametrize("loss", FREQUENCY)
@pytest.mark.parametrize("share", [0.5, 0.9, 1.1, 2.0])  # of the critical γ
@pytest.mark.parametrize("which", ["r1", "r1 and r2"])
def test_gradient_penalties_pull_the_eigenvalues_to_the_left_and_from_the_critical_one_on_make_them_real(
    loss, share, which
):
    f = FREQUENCY[loss]
    critical = 2 * f if which == "r1" else f
    gamma = share * critical
    penalties = {"r1": gamma} if which == "r1" else {"r1": gamma, "r2": gamma}
    half = gamma / 2 if which == "r1" else gamma
    root = np.sqrt(complex(half**2 - f**2))
    expected = np.array([-half - root, -half + root])
    expected = expected[np.argsort(expected.imag * 1e6 + expected.real)]
    found = eigenvalues(game(loss, **penalties))
    np.testing.assert_allclose(found, expected, atol=1e-7)
    assert (np.abs(found.imag).max() < 1e-6) == (share > 1)


def radii(contest, *, start=(1.0, 1.0), steps=300, rate=0.2, alternating=False):
    """Return how far from the equilibrium gradient descent is after each step."""
    place, found = np.array(start), []
    for _ in range(steps):
        for player in range(2) if alternating else [slice(None)]:
            moved = rate * move(contest, place)
            place[player] = place[player] + moved[player]
        found.append(np.hypot(*place))
    return np.array(found)


@pytest.mark.parametrize("loss", FREQUENCY)
def test_without_a_penalty_neither_way_of_taking_turns_converges(loss):
    """At once, |1 + i h f| = √(1 + h² f²) a step; in turn, exactly 1."""
    rate = 0.2 / FREQUENCY[loss]
    at_once = radii(game(loss), start=(1e-3, 0.0), steps=60, rate=rate)
    assert at_once[-1] == pytest.approx(1e-3 * 1.04**30, rel=1e-2)
    in_turn = radii(game(loss), start=(1e-3, 0.0), steps=64, rate=rate, alternating=True)
    assert in_turn[:32].max() == pytest.approx(in_turn[32:].max(), rel=0.02)


@pytest.mark.parametrize("loss", FREQUENCY)
@pytest.mark.parametrize("which", ["r1", "r1 and r2"])
def test_with_r1_every_loss_converges(loss, which):
    f = FREQUENCY[loss]
    penalties = {"r1": 2 * f} if which == "r1" else {"r1": f, "r2": f}
    found = radii(game(loss, **penalties), rate=0.25 / f, steps=100)
    assert found[-1] < 1e-5
    assert found[0] > 0.5


@pytest.mark.parametrize("slope", [0.3, 1.0])
def test_the_penalty_of_wgan_gp_does_not_converge(slope):
    """Its target is a slope of 1, and at the equilibrium the best slope is 0."""
    found = radii(game("wasserstein", slope=slope), rate=0.05, steps=250)
    assert found[-80:].max() > 0.3
    assert radii(game("wasserstein", r1=2.0), rate=0.1, steps=120)[-1] < 1e-3


def test_fit_goes_the_same_ways():
    def trained(**penalties):
        contest = game("relativistic", **penalties)
        sgd = torch.optim.SGD(contest.parameters(), lr=0.5)
        fit(contest, X, steps=100, batch_size=2, optimizer=sgd, seed=0, compile="eager", progress=False)
        return math.hypot(*(float(weight.detach()) for weight in contest.parameters()))

    assert trained() > 0.5  # far out the two losses pull a little inwards, near by the steps push outwards
    assert trained(r1=1.0) < 1e-6
    assert trained(r2=1.0) < 1e-6
