"""Autoencoders: linear ones against principal components, Wiener's filter, regression; copying; draws."""

import math
from functools import partial

import pyro.distributions as dist
import pytest
import torch
from sklearn.mixture import GaussianMixture as ByEM
from torch import nn

from probgen import data, fit, nets
from probgen.core import Coded
from probgen.models import Autoencoder
from probgen.objectives import MaximumLikelihood, Reconstruction
from probgen.priors import GaussianMixture, StandardNormal
from probgen.training import schedules


class SquaredError(nn.Module):
    """z ↦ N(Az + b, ½): the loss is the squared error, and a constant."""

    def __init__(self, inputs, outputs):
        super().__init__()
        self.net = nn.Linear(inputs, outputs)

    def forward(self, z):
        return dist.Normal(self.net(z), 0.5**0.5).to_event(1)


def linear(inputs, code, outputs=None, *, seed=0):
    torch.manual_seed(seed)
    encoder = nets.PointHead(nn.Linear(inputs, code))
    return Autoencoder(encoder, SquaredError(code, outputs or inputs)).double()


def correlated(n, dim=6, *, seed=1):
    """Normal data with the standard deviations 2, 1.6, ... in random directions, and their covariance."""
    gen = torch.Generator().manual_seed(seed)
    turn, _ = torch.linalg.qr(torch.randn(dim, dim, generator=gen, dtype=torch.float64))
    root = turn * torch.linspace(2.0, 0.4, dim, dtype=torch.float64)
    return torch.randn(n, dim, generator=gen, dtype=torch.float64) @ root.T, root @ root.T


def minimise(model, *batch):
    """Minimise the loss of one batch by L-BFGS, to the end."""
    objective = Reconstruction(model)
    options = {"max_iter": 400, "history_size": 20, "tolerance_change": 0.0, "tolerance_grad": 1e-9}
    optimizer = torch.optim.LBFGS(objective.parameters(), line_search_fn="strong_wolfe", **options)

    def loss():
        optimizer.zero_grad()
        value, _ = objective(*batch)
        value.backward()
        return value

    optimizer.step(loss)


def train(model, x, *, steps, batch_size):
    """Learn from fresh noise, with a learning rate that falls to nothing."""
    return fit(
        Reconstruction(model),
        x,
        steps=steps,
        batch_size=batch_size,
        optimizer=partial(torch.optim.Adam, lr=0.03),
        schedules={"lr": schedules.cosine(0.03, 1e-5, steps=steps)},
        seed=0,
        progress=False,
        compile="eager",
    )


def restored(model, x):
    return model.decode(model.encode(x).mean).mean


def test_a_linear_autoencoder_has_the_error_and_the_subspace_of_principal_components():
    x, _ = correlated(300)
    model = linear(6, 2)
    minimise(model, x)
    centred = x - x.mean(0)
    _, values, axes = torch.linalg.svd(centred, full_matrices=False)
    least = float(values[2:].square().sum() / x.numel())
    error = float((restored(model, x) - x).square().mean())
    assert error == pytest.approx(least, rel=1e-9)
    spanned, _ = torch.linalg.qr(model.decoder.net.weight.detach())
    torch.testing.assert_close(spanned @ spanned.T, axes[:2].T @ axes[:2], atol=1e-5, rtol=0)


def test_the_loss_is_in_nats_and_the_error_per_coordinate():
    x, _ = correlated(40)
    model = linear(6, 2)
    loss, terms = Reconstruction(model)(x)
    error = (restored(model, x) - x).square()
    torch.testing.assert_close(loss, error.sum(1).mean() + 3 * torch.tensor(torch.pi).double().log())
    torch.testing.assert_close(terms["mse"], error.mean())
    torch.testing.assert_close(terms["reconstruction"], -loss.detach())
    of_other, _ = Reconstruction(model)(x + 1, x)
    torch.testing.assert_close(of_other, -model.decoder(model.encode(x + 1).mean).log_prob(x).mean())
    with pytest.raises(ValueError, match=r"should be \(x,\) or \(seen, x\) but has 3 parts"):
        Reconstruction(model)(x, x, x)


def test_denoising_normal_data_with_linear_nets_is_wieners_filter():
    x, covariance = correlated(40_000, dim=4)
    sigma, one = 0.8, torch.eye(4, dtype=torch.float64)
    model = linear(4, 4)
    train(model, data.Corrupted(x, data.GaussianNoise(sigma)), steps=400, batch_size=800)
    found = model.decoder.net.weight.detach() @ model.encoder.net.weight.detach()
    wiener = torch.linalg.solve(covariance + sigma**2 * one, covariance).T

    def error(map_):
        kept = map_ - one
        return float(torch.trace(kept @ covariance @ kept.T + sigma**2 * map_ @ map_.T))

    assert error(wiener) * (1 - 1e-12) <= error(found) < 1.003 * error(wiener)
    assert error(one) > 1.3 * error(wiener)  # to copy would cost so much
    score = -torch.linalg.inv(
        covariance + sigma**2 * one
    )  # of the data with their noise, ∇ log p(y) = score y
    torch.testing.assert_close((found - one) / sigma**2, score, atol=0.06, rtol=0)


def test_linear_super_resolution_is_regression_on_the_small_pictures():
    x, _ = correlated(500, dim=16)
    pool = data.Pooling((4, 4), 2)
    model = linear(4, 4, 16)
    minimise(model, *data.Corrupted(x, pool)[torch.arange(500)])
    small = torch.cat([pool(x), torch.ones(500, 1, dtype=x.dtype)], 1)
    least = (small @ torch.linalg.lstsq(small, x).solution - x).square().mean()
    error = (restored(model, pool(x)) - x).square().mean()
    assert float(error / least) == pytest.approx(1, abs=1e-8)


def test_a_code_that_is_large_enough_only_copies():
    """Whether it has learned of the data shows on rows whose columns have nothing to do with one another."""
    gen = torch.Generator().manual_seed(2)
    plane = torch.randn(400, 2, generator=gen, dtype=torch.float64)
    x = plane @ torch.randn(2, 5, generator=gen, dtype=torch.float64)
    x = x + 0.3 * torch.randn(400, 5, generator=gen, dtype=torch.float64)
    apart = torch.stack([column[torch.randperm(400, generator=gen)] for column in x.T], 1)
    small, large, noisy = linear(5, 2), linear(5, 8), linear(5, 8)
    minimise(small, x)
    minimise(large, x)
    train(noisy, data.Corrupted(x, data.GaussianNoise(1.0)), steps=250, batch_size=400)

    def error(model, rows, seen=None):
        return float((restored(model, rows if seen is None else seen) - rows).square().mean())

    assert error(large, x) < 1e-9
    assert error(large, apart) < 1e-8  # copied: rows unlike the data as well as the data
    assert error(small, apart) > 5 * error(small, x)
    assert error(noisy, apart) > 3 * error(noisy, x)  # noise keeps it from copying
    seen = data.GaussianNoise(1.0)(x, generator=gen)
    left = float((seen - x).square().mean())
    assert error(large, x, seen) == pytest.approx(left, rel=1e-3)  # so that it restores nothing
    assert error(noisy, x, seen) < 0.7 * left


def test_it_draws_by_a_mixture_of_its_codes():
    gen = torch.Generator().manual_seed(3)
    corners = torch.tensor([[-4.0, 0.0], [4.0, 0.0], [0.0, 6.0]], dtype=torch.float64)
    which = torch.randint(3, (900,), generator=gen)
    plane = corners[which] + 0.5 * torch.randn(900, 2, generator=gen, dtype=torch.float64)
    x = torch.cat([plane, plane.sum(1, keepdim=True)], 1)
    model = linear(3, 2)
    assert isinstance(model, Coded)
    with pytest.raises(ValueError, match=r"draws only by a law of its codes, .* fit_codes\(x\)"):
        model.sample(3)
    minimise(model, x)
    model.fit_codes(x, components=3)
    state = torch.get_rng_state()
    draws = model.decode(model.prior().sample((3000,))).mean
    torch.set_rng_state(state)
    nearest = torch.cdist(draws[:, :2], corners).min(1)
    assert (nearest.values < 2.5).all()
    shares = nearest.indices.bincount(minlength=3) / 3000
    torch.testing.assert_close(shares, which.bincount() / 900, atol=0.04, rtol=0)
    assert model.sample(5, seed=1).shape == (5, 3)
    assert torch.equal(model.sample(5, seed=1), model.sample(5, seed=1))


def test_a_prior_may_be_given():
    model = Autoencoder(nets.PointHead(nn.Linear(3, 2)), SquaredError(2, 3), StandardNormal(2))
    assert model.sample(4, seed=0).shape == (4, 3)
    model = Autoencoder(
        nets.PointHead(nn.Linear(3, 2)), SquaredError(2, 3), dist.Laplace(torch.zeros(2), 1.0)
    )
    assert model.sample(4, seed=0).shape == (4, 3)


def test_an_encoder_that_is_a_net_is_told_what_to_be():
    model = Autoencoder(nn.Linear(3, 2), SquaredError(2, 3))
    with pytest.raises(TypeError, match=r"returned a Tensor: make it nets.PointHead\(net\)"):
        model.encode(torch.zeros(4, 3))


def test_a_mixture_is_learned_by_em_and_then_by_gradient():
    gen = torch.Generator().manual_seed(4)
    x = torch.randn(2000, 2, generator=gen).double()
    x = torch.where(x[:, :1] > 0.5, x @ torch.tensor([[1.0, 3.0], [0.0, 0.2]]).double() + 5, 0.01 * x)
    law = GaussianMixture(2, 2).double()
    law.fit(x)
    unit = x.std(0)
    other = ByEM(2, random_state=0).fit((x / unit).numpy())
    expected = other.score((x / unit).numpy()) - float(unit.log().sum())
    assert float(law().log_prob(x).mean().detach()) == pytest.approx(expected, abs=0.01)
    objective = MaximumLikelihood(law)
    loss, terms = objective(x)
    assert terms == {}
    torch.testing.assert_close(loss, -law().log_prob(x).mean())
    fit(objective, x, steps=50, batch_size=2000, seed=0, progress=False, compile="eager")
    assert float(objective(x)[0].detach()) < float(loss.detach()) + 1e-3  # EM had come to the end


@pytest.mark.parametrize("unit", [1.0, 1e-5, 1e5])
def test_steps_on_a_mixture_know_no_unit(unit):
    """Codes of any unit, and nearly on a line, are learned on from EM's law to the same nats."""
    torch.manual_seed(0)
    x = torch.randn(400, 3) @ torch.tensor([[1.0, 1, 0], [0, 1, 1], [0, 0, 2e-3]])
    law = GaussianMixture(3, 2)
    law.fit(x * unit)
    adam = torch.optim.Adam(law.parameters(), lr=1e-3)
    losses = []
    for _ in range(50):
        loss = -law().log_prob(x * unit).mean() - 3 * math.log(unit)
        adam.zero_grad()
        loss.backward()
        adam.step()
        losses.append(float(loss.detach()))
    assert max(losses) - losses[0] < 0.01
    assert losses[-1] < losses[0]


def test_bad_input_of_a_mixture_is_named():
    law = GaussianMixture(2, 3)
    with pytest.raises(ValueError, match=r"shape \(n, 2\) but has shape \(7, 3\)"):
        law.fit(torch.zeros(7, 3))
    with pytest.raises(ValueError, match="2 rows for each of 3 components but has 5: take fewer"):
        law.fit(torch.randn(5, 2))
    with pytest.raises(ValueError, match="coordinate 1 is the same in all rows"):
        law.fit(torch.randn(50, 2) * torch.tensor([1.0, 0.0]))
    with pytest.raises(ValueError, match="components should be at least 1 but got 0"):
        GaussianMixture(2, 0)
    with pytest.raises(ValueError, match="finite"):
        law.fit(torch.full((50, 2), torch.nan))
