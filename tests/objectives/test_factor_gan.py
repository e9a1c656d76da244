"""FactorVAE's game: the closed form of Gaussian codes, and who learns from which loss."""

import math

import pytest
import torch
from torch import nn
from torch.nn.functional import softplus

from probgen import fit
from probgen.capture.captured_loss import CapturedLoss
from probgen.objectives import SVI, FactorGAN, Sum, gaussian_total_correlation
from probgen.objectives.aggregate_posterior import codes_and_prior
from probgen.objectives.factor_gan import permuted
from tests.objectives.test_codes_apart import Codes
from tests.objectives.test_sums_and_codes import TwoSites
from tests.pairs import LinearGaussian


class Quadratic(nn.Module):
    """A logit that is a quadratic form of the code: the log-ratio of two normal laws is one."""

    def __init__(self, size):
        super().__init__()
        self.linear = nn.Linear(size * size + size, 1)
        nn.init.zeros_(self.linear.weight)

    def forward(self, z):
        return self.linear(torch.cat([z, (z[..., None] * z[..., None, :]).flatten(-2)], -1)).squeeze(-1)


@pytest.fixture
def pair(device):
    return Codes([[1.0, 0.8, 0.0], [0.9, 0.3, 0.4], [0.0, 0.6, 0.7]], [0.4, 0.5, 0.5]).to(device)


@pytest.fixture
def discriminator(pair):
    return nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 1)).to(pair.a)


def normal(rows, like, *, seed):
    gen = torch.Generator().manual_seed(seed)
    return torch.randn(rows, 3, generator=gen, dtype=torch.float64).to(like)


def gradients(loss, module):
    return torch.autograd.grad(loss, list(module.parameters()), allow_unused=True, retain_graph=True)


def test_a_trained_discriminator_knows_the_total_correlation_of_a_gaussian_aggregate(pair):
    # Learned from 10,000 codes and as many permuted ones, judged on 10,000: the log-ratio has a deviation of
    # about 1, so that its mean has a standard error of 0.01, and the 13 weights add less: 0.05.
    covariance = (pair.a @ pair.a.T + pair.scales.square().diag()).detach()
    exact = float(0.5 * (covariance.diagonal().log().sum() - covariance.logdet()))
    discriminator = Quadratic(3).to(pair.a)
    objective = FactorGAN(pair.requires_grad_(False), discriminator)
    x = normal(20_000, pair.a, seed=1)
    learner = torch.optim.LBFGS(discriminator.parameters(), max_iter=40, line_search_fn="strong_wolfe")

    def its_loss():
        torch.manual_seed(11)
        learner.zero_grad()
        loss, terms = objective(x)
        loss.backward()
        return terms["discriminator"]

    learner.step(its_loss)
    torch.manual_seed(12)
    _, terms = objective(normal(10_000, pair.a, seed=2))
    assert exact > 0.4
    assert float(terms["total_correlation"]) == pytest.approx(exact, abs=0.05)
    # The best weights of z_i z_j are those of the two precision matrices.
    best = 0.5 * (covariance.diagonal().reciprocal().diag() - torch.linalg.inv(covariance))
    found = discriminator.linear.weight.detach()[0, 3:].unflatten(0, (3, 3))
    torch.testing.assert_close((found + found.T) / 2, best, atol=0.1, rtol=0.0)


def by_hand(pair, discriminator, x):
    """Return E d(z) and the discriminator's loss as two losses, from the same draws."""
    codes, _ = codes_and_prior(pair, x)
    half = len(x) // 2
    shuffled = permuted(codes[half:].detach())
    on_codes, on_shuffled = discriminator(codes[:half].detach()), discriminator(shuffled)
    return discriminator(codes).mean(), softplus(-on_codes).mean() + softplus(on_shuffled).mean()


def test_each_player_has_the_gradient_of_its_own_loss_alone(pair, discriminator):
    x = normal(41, pair.a, seed=3)
    torch.manual_seed(4)
    loss, terms = FactorGAN(pair, discriminator)(x)
    torch.manual_seed(4)
    total_correlation, of_discriminator = by_hand(pair, discriminator, x)
    for module, own in (
        (pair, total_correlation),
        (discriminator, of_discriminator),
    ):
        found, expected = gradients(loss, module), gradients(own, module)
        for one, other in zip(found, expected, strict=True):
            torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-14)
    assert float(gradients(total_correlation, discriminator)[0].abs().max()) > 1e-3  # held back
    assert list(terms) == ["total_correlation", "discriminator", "accuracy"]
    torch.testing.assert_close(terms["total_correlation"], total_correlation.detach())
    torch.testing.assert_close(terms["discriminator"], of_discriminator.detach())


def test_the_discriminators_loss_never_reaches_the_encoder(pair, discriminator, monkeypatch):
    """With the generator's side cut off nothing at all arrives at the encoder."""

    def cut(discriminator, codes, *, as_it_is=False):
        return (codes.detach() if as_it_is else discriminator(codes)).sum(1)

    monkeypatch.setattr("probgen.objectives.factor_gan.logits", cut)
    x = normal(40, pair.a, seed=5)
    loss, _ = FactorGAN(pair, discriminator)(x)
    assert loss.requires_grad
    assert gradients(loss, pair) == (None, None)
    undetached = softplus(-discriminator(codes_and_prior(pair, x)[0])).mean()
    assert all(bool((grad != 0).any()) for grad in gradients(undetached, pair))


def test_in_a_sum_the_encoder_has_gamma_times_the_gradient(pair, discriminator):
    x = normal(30, pair.a, seed=6)
    objective = Sum({"svi": SVI(pair), "tc": FactorGAN(pair, discriminator)}, {"tc": 6.4}).to(x.device)
    torch.manual_seed(7)
    loss, _ = objective(x)
    torch.manual_seed(7)
    of_svi, _ = SVI(pair)(x)
    total_correlation, _ = by_hand(pair, discriminator, x)
    for one, a, b in zip(
        gradients(loss, pair), gradients(of_svi, pair), gradients(total_correlation, pair), strict=True
    ):
        torch.testing.assert_close(one, a + 6.4 * b, rtol=1e-6, atol=1e-9)


def test_each_coordinate_is_permuted_by_itself_and_every_order_is_as_likely():
    rows = torch.arange(3.0)
    codes = torch.stack([rows, 10 + rows], 1)
    torch.manual_seed(0)
    drawn = torch.stack([permuted(codes) for _ in range(3600)])
    assert torch.equal(drawn.sort(1).values, codes.expand(3600, 3, 2))
    orders = (drawn - torch.tensor([0.0, 10.0])) @ torch.diag(torch.tensor([1.0, 27.0]))
    names = (orders.sum(2) * torch.tensor([1.0, 3.0, 9.0])).sum(1)
    counts = names.unique(return_counts=True)[1].double()
    assert len(counts) == 36
    # Chi-square with 35 degrees of freedom: above 66.6 once in a thousand.
    assert float(((counts - 100).square() / 100).sum()) < 66.6


def test_learning_takes_the_total_correlation_away(pair):
    x = normal(4000, pair.a, seed=8)
    before = float(gaussian_total_correlation(pair, x))
    objective = Sum({"svi": SVI(pair), "tc": FactorGAN(pair, Quadratic(3).to(pair.a))}, {"tc": 20.0})
    options = {"schedules": {"lr": lambda step: 0.05}, "compile": "eager", "progress": False}
    fit(objective.to(x.device), x, steps=100, batch_size=200, seed=0, **options)
    assert before > 0.4
    assert float(gaussian_total_correlation(pair, x)) < 0.1


def test_in_evaluation_the_loss_is_a_distance_that_is_judged(pair, discriminator):
    objective = FactorGAN(pair, discriminator).eval()
    x = normal(4000, pair.a, seed=9)
    with torch.no_grad():
        loss, terms = objective(x)
        free = Codes(torch.eye(3).tolist(), [0.4, 0.5, 0.5]).to(x.device)
        none, _ = FactorGAN(free, discriminator).eval()(x)
    assert list(terms) == ["energy", "total_correlation"]
    assert objective.judge({"loss": 1.0, "energy": 0.2}) == 0.2
    assert objective.judge({"loss": 1.0}) is None
    assert float(loss) > 0.02  # of dependent coordinates; of independent ones 0 but for 4,000 draws
    assert abs(float(none)) < 0.005


def test_captured_and_eager_give_the_same_bits(caplog):
    outcomes = []
    for mode in ("eager", "graph"):
        torch.manual_seed(7)
        pair, critic = LinearGaussian(), nn.Sequential(nn.Linear(2, 8), nn.Tanh(), nn.Linear(8, 1))
        objective = Sum({"svi": SVI(pair), "tc": FactorGAN(pair, critic)}, {"tc": 5.0})
        loss_of = CapturedLoss(objective, mode)
        optimizer = torch.optim.SGD(objective.parameters(), lr=0.01)
        for x in torch.randn(6, 9, 3):
            loss, terms = loss_of(x)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        outcomes.append([loss.detach(), *terms.values(), *objective.state_dict().values()])
        assert loss_of.mode == mode
    assert not caplog.records
    for eager, captured in zip(*outcomes, strict=True):
        assert torch.equal(eager, captured)


def play(discriminator, rows=8, pair=None):
    pair = LinearGaussian() if pair is None else pair
    return FactorGAN(pair, discriminator)(torch.ones(rows, 3))


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda: play(nn.Linear(2, 1), rows=1), "at least 4 data, two for each half, but has 1"),
        (lambda: play(nn.Linear(2, 1), rows=3), "at least 4 data, two for each half, but has 3"),
        (lambda: play(nn.Linear(2, 2)), r"one logit for each .* but returned shape \(.*2\)"),
        (lambda: play(nn.Flatten(0)), r"one logit for each .* but returned shape \(16,\)"),
        (lambda: play(nn.Linear(1, 1), pair=LinearGaussian(latent=1)), "at least 2 coordinates .* has 1"),
        (lambda: FactorGAN(TwoSites(), nn.Linear(2, 1))(torch.ones(8)), "'k' should be reparameterised but"),
        (
            lambda: Sum({"tc": FactorGAN(LinearGaussian(), nn.Linear(2, 1))}, {"tc": -1.0}),
            "the weight of 'tc', a game, should not be negative but is -1.0",
        ),
    ],
)  # fmt: skip
def test_bad_arguments_are_named(call, sentence):
    with pytest.raises(ValueError, match=sentence):
        call()


def test_a_last_batch_of_three_codes_is_left_out():
    game = FactorGAN(LinearGaussian(), nn.Linear(2, 1))
    history = fit(game, torch.randn(11, 3), epochs=1, batch_size=4, compile="eager", progress=False)
    assert history.step == 2
    assert math.isfinite(history.values("loss")[-1])
