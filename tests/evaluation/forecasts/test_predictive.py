"""Forecasts against Kalman's and the forward algorithm's predictive laws, and missing steps against sums."""

import itertools

import pyro.distributions as dist
import pytest
import torch
from scipy import stats

from probgen import SVI
from probgen.data import Ragged
from probgen.evaluation import (
    crps,
    filtered_log_likelihoods,
    forecast,
    forecast_log_prob,
    log_likelihoods,
    pit,
    pit_test,
)
from probgen.models import VAE, VRNN, DeepMarkov, HiddenMarkov
from probgen.nets import GRU, MLP, History, Joined, NormalHead, StudentTHead
from probgen.objectives import ELBO
from tests.models.test_sequences import LENGTHS, Affine, Code, deep_markov, linear, vrnn

LEVEL = 1e-4


def past(rows=3, seed=1):
    return torch.randn(rows, 4, 1, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def covariance(steps):
    """Of x_1, ..., x_T: z_t = 0.8 z_{t−1} + 0.5 ε from z_0 = 0, x_t = z_t + 0.7 ε."""
    t = torch.arange(1, steps + 1)
    noise = torch.tril(0.8 ** (t[:, None] - t).clamp(min=0).double()) * 0.5
    return noise @ noise.T + 0.49 * torch.eye(steps).double()


def predicted(x, length, horizon, seen=None):
    """Mean and covariance of the next steps given those seen, by conditioning."""
    known = torch.arange(length) if seen is None else torch.arange(length)[seen[:length]]
    future = torch.arange(length, length + horizon)
    total = covariance(length + horizon)
    gain = torch.linalg.solve(total[known][:, known], total[known][:, future]).T
    return gain @ x[known, 0], total[future][:, future] - gain @ total[known][:, future]


def test_draws_are_of_kalmans_predictive_law():
    x, horizon = past(), 3
    drawn = forecast(linear(1.2), x, LENGTHS, horizon=horizon, n=20_000, seed=0)
    assert drawn.shape == (20_000, 3, horizon, 1)
    for row, length in enumerate(LENGTHS.tolist()):
        mean, spread = predicted(x[row], length, horizon)
        for step in range(horizon):
            law = stats.norm(float(mean[step]), float(spread[step, step]) ** 0.5)
            assert stats.kstest(drawn[::4, row, step, 0].numpy(), law.cdf).pvalue > LEVEL
        found = drawn[:, row, :, 0].T.cov()
        torch.testing.assert_close(found, spread, atol=0.05, rtol=0)
    # The law of another past is another: the test has power.
    law = stats.norm(float(predicted(x[1], 4, 1)[0]), float(predicted(x[1], 4, 1)[1]) ** 0.5)
    assert stats.kstest(drawn[:, 0, 0, 0].numpy(), law.cdf).pvalue < LEVEL
    assert torch.equal(drawn, forecast(linear(1.2), x, LENGTHS, horizon=horizon, n=20_000, seed=0))


def test_log_scores_are_kalmans():
    x, came = past(), torch.tensor([[0.3], [-1.0], [2.0]]).double()
    found = forecast_log_prob(linear(1.2), came, x, LENGTHS, n=40_000, seed=0)
    for row, length in enumerate(LENGTHS.tolist()):
        mean, spread = predicted(x[row], length, 1)
        exact = dist.Normal(mean[0], spread[0, 0] ** 0.5).log_prob(came[row, 0])
        assert float(found[row]) == pytest.approx(float(exact), abs=0.03)


def hmm(emission="bernoulli"):
    torch.manual_seed(0)
    model = HiddenMarkov(3, 2, emission=emission).double()
    with torch.no_grad():
        model.start.normal_()
    return model, torch.randint(2, (3, 4) if emission == "categorical" else (3, 4, 2)).double()


@pytest.mark.parametrize("emission", ["bernoulli", "categorical"])
def test_draws_are_of_the_forward_algorithms_predictive_law(emission):
    model, x = hmm(emission)
    x = x.long() if model.tokens else x
    n, horizon = 20_000, 2
    drawn = forecast(model, x, LENGTHS, horizon=horizon, n=n, seed=0)
    values = list(itertools.product(range(2), repeat=horizon if model.tokens else 2 * horizon))
    chosen = torch.tensor(values).reshape(len(values), horizon, *x.shape[2:]).to(x)
    for row, length in enumerate(LENGTHS.tolist()):
        start = x[row, :length].expand(len(values), *[-1] * (x.dim() - 1))
        p = (model.log_prob(torch.cat([start, chosen], 1)) - model.log_prob(start)).exp().detach()
        assert float(p.sum()) == pytest.approx(1.0)
        same = (drawn[:, row].unsqueeze(1) == chosen).flatten(2).all(-1).sum(0)
        assert float(((same - n * p) ** 2 / (n * p)).sum()) < stats.chi2(len(values) - 1).isf(LEVEL)
    came = x[:, 0]
    found = forecast_log_prob(model, came, x, LENGTHS, n=40_000, seed=0)
    exact = torch.stack(
        [
            model.log_prob(torch.cat([x[row : row + 1, :length], came[row : row + 1, None]], 1))[0]
            - model.log_prob(x[row : row + 1, :length])[0]
            for row, length in enumerate(LENGTHS.tolist())
        ]
    )
    torch.testing.assert_close(found, exact.detach())
    long = torch.tensor([4, 4, 4])
    holes = forecast_log_prob(model, came, x, long, SEEN)
    seen = torch.cat([SEEN, torch.ones(3, 1).bool()], 1)
    longer = model.log_prob(torch.cat([x, came[:, None]], 1), long + 1, seen)
    torch.testing.assert_close(holes, (longer - model.log_prob(x, long, SEEN)).detach())


def test_a_linear_vrnn_goes_on_from_what_it_has_drawn():
    torch.manual_seed(0)
    weight = torch.nn.Parameter(torch.randn(5, 1, dtype=torch.float64))
    history = History(GRU(1, 5)).double().eval()
    pair = VRNN(  # x = z + ε, so that x | h ~ N(w·h, 2)
        history, prior=Code(weight), encoder=Code(weight, 0.5, 0.5**0.5), decoder=Code(weight, 1.0)
    )
    x = past()
    drawn = forecast(pair, x, LENGTHS, horizon=2, n=5000, seed=0)
    came = torch.tensor([[0.3], [-1.0], [2.0]]).double()
    score = forecast_log_prob(pair, came, x, LENGTHS, n=40_000, seed=0)
    for row, length in enumerate(LENGTHS.tolist()):
        start = torch.cat([x[row, :length].expand(5000, -1, -1), drawn[:, row]], 1)
        means = (history(start) @ weight)[..., 0].detach()
        for step in range(2):
            place = stats.norm.cdf(drawn[:, row, step, 0].numpy(), means[:, length + step].numpy(), 2**0.5)
            assert stats.kstest(place, "uniform").pvalue > LEVEL
        exact = dist.Normal(means[0, length], 2**0.5).log_prob(came[row, 0])
        assert float(score[row]) == pytest.approx(float(exact), abs=0.03)


@pytest.mark.parametrize("head", [NormalHead, StudentTHead])
def test_real_forecasts_are_calibrated_on_their_own_model(head):
    torch.manual_seed(1)
    pair = DeepMarkov(
        Affine(0.9),
        head(MLP(1, 1, hidden=8)),
        reader=GRU(1, 4, backward=True),
        guide_step=NormalHead(Joined(MLP(1 + 4, 1, hidden=8))),
        latent=1,
    ).double()
    with torch.no_grad():
        next(pair.emission.parameters()).mul_(3.0)
    lengths = torch.full((400,), 6)
    x = pair.sample(400, lengths, seed=0)
    drawn = forecast(pair, x[:, :5], lengths - 1, horizon=1, n=400, seed=1)[:, :, 0, 0]
    assert pit_test(pit(drawn, x[:, 5, 0], seed=2)).p_value > LEVEL
    other = x[torch.randperm(400, generator=torch.Generator().manual_seed(0))]
    blind = forecast(pair, other[:, :5], lengths - 1, horizon=1, n=400, seed=1)[:, :, 0, 0]
    assert crps(drawn, x[:, 5, 0]).mean() < crps(blind, x[:, 5, 0]).mean()


SEEN = torch.tensor([[True, False, True, True], [True, True, True, True], [False, True, False, True]])


class SeeingSmoother(torch.nn.Module):
    """The exact q(z_t | z_{t−1}, those of x_t, ..., x_T that were seen) of the linear model."""

    def forward(self, x, steps, seen=None):
        seen = steps if seen is None else seen
        a, q, r = 0.8, 0.25, 0.49
        information = potential = torch.zeros(len(x), dtype=x.dtype)
        rows = []
        for t in reversed(range(x.shape[1])):
            information = information + torch.where(seen[:, t], 1 / r, 0.0)
            potential = potential + torch.where(seen[:, t], x[:, t, 0] / r, 0.0)
            precision = 1 / q + information
            rows.append(torch.stack([a / q / precision, potential / precision, precision**-0.5], -1))
            information, potential = a**2 / q - a**2 / q**2 / precision, a / q * potential / precision
        return torch.stack(rows[::-1], 1)


def with_holes():
    return DeepMarkov(
        Affine(), Affine(1.0, 0.7), reader=SeeingSmoother(), guide_step=Affine(), latent=1
    ).double()


def evidence(x):
    found = []
    for row, length in enumerate(LENGTHS.tolist()):
        known = torch.arange(length)[SEEN[row, :length]]
        law = dist.MultivariateNormal(torch.zeros(len(known)).double(), covariance(length)[known][:, known])
        found.append(law.log_prob(x[row, known, 0]))
    return torch.stack(found)


def test_missing_steps_leave_the_evidence_of_the_others():
    x, exact = past(), evidence(past())
    pair = with_holes()
    torch.testing.assert_close(log_likelihoods(pair, x, LENGTHS, SEEN, particles=1, seed=0), exact)
    filtered = filtered_log_likelihoods(pair, x, LENGTHS, SEEN, particles=3, resample_below=0.0, seed=0)
    torch.testing.assert_close(filtered, exact)
    blind = filtered_log_likelihoods(linear(1.2), x, LENGTHS, particles=3000, seed=0)
    assert ((blind - exact).abs()[[0, 2]] > 0.1).all()
    loss = SVI(pair, ELBO(particles=3000))(x, LENGTHS, SEEN)[0].detach()
    assert float(-loss) == pytest.approx(float(exact.mean()), abs=0.05)  # the guide is exact
    rows = [x[row, :length] for row, length in enumerate(LENGTHS.tolist())]
    seen = [SEEN[row, :length] for row, length in enumerate(LENGTHS.tolist())]
    ragged = log_likelihoods(pair, (Ragged(rows), Ragged(seen)), particles=1, seed=0)
    torch.testing.assert_close(ragged, exact)


def test_what_is_written_at_missing_steps_has_no_influence():
    x = past()
    other = torch.where(SEEN[..., None], x, 1e6)
    torch.manual_seed(0)
    pair = DeepMarkov(
        Affine(0.9),
        NormalHead(MLP(1, 1, hidden=8)),
        reader=GRU(1, 4, backward=True, missing=True),
        guide_step=NormalHead(Joined(MLP(1 + 4, 1, hidden=8))),
        latent=1,
    ).double()
    for values in ([past(), other],):
        losses = []
        for data in values:
            torch.manual_seed(0)
            losses.append(SVI(pair)(data, LENGTHS, SEEN)[0].detach())
        assert torch.equal(*losses)
    drawn = [forecast(pair, data, LENGTHS, SEEN, horizon=2, n=50, seed=0) for data in (x, other)]
    assert torch.equal(*drawn)
    slopes = torch.autograd.grad(SVI(pair)(x, LENGTHS, SEEN)[0], list(pair.parameters()))
    assert all(bool(slope.isfinite().all()) and bool(slope.any()) for slope in slopes)


def test_forecasts_know_what_was_seen_alone():
    x = past()
    drawn = forecast(with_holes(), x, LENGTHS, SEEN, horizon=1, n=20_000, seed=0)
    for row, length in enumerate(LENGTHS.tolist()):
        mean, spread = predicted(x[row], length, 1, SEEN[row])
        law = stats.norm(float(mean[0]), float(spread[0, 0]) ** 0.5)
        assert stats.kstest(drawn[::4, row, 0, 0].numpy(), law.cdf).pvalue > LEVEL


@pytest.mark.parametrize("emission", ["bernoulli", "categorical"])
def test_a_hidden_markov_model_sums_missing_steps_out(emission):
    model, x = hmm(emission)
    x = x.long() if model.tokens else x
    found = model.log_prob(x, LENGTHS, SEEN)
    values = list(itertools.product(range(2), repeat=1 if model.tokens else 2))
    for row, length in enumerate(LENGTHS.tolist()):
        holes = [t for t in range(length) if not SEEN[row, t]]
        total = []
        for filling in itertools.product(values, repeat=len(holes)):
            filled = x[row : row + 1, :length].clone()
            for t, value in zip(holes, filling, strict=True):
                filled[0, t] = torch.tensor(value).to(x).reshape(x.shape[2:])
            total.append(model.log_prob(filled)[0])
        torch.testing.assert_close(found[row], torch.stack(total).logsumexp(0))
    hole = SEEN if model.tokens else SEEN[..., None]
    other = torch.where(hole, x, 1 if model.tokens else 7)
    torch.testing.assert_close(model.log_prob(other, LENGTHS, SEEN), found)
    before = model.fit_em(x, LENGTHS, SEEN, iterations=4, pseudo_count=1e-6)
    assert before[0] == pytest.approx(float(found.sum().detach()))
    assert all(b > a - 1e-6 for a, b in itertools.pairwise(before))


def test_what_is_wrong_is_said():
    torch.manual_seed(0)
    x = torch.zeros(3, 4, 3).double()
    with pytest.raises(ValueError, match="a VRNN reads x itself"):
        SVI(vrnn().double())(x, LENGTHS, SEEN)
    with pytest.raises(ValueError, match="should be made with missing=True"):
        SVI(deep_markov().double())(x, LENGTHS, SEEN)
    with pytest.raises(ValueError, match=r"seen should be bool of shape \(3, 4\) but are torch.int64"):
        SVI(deep_markov().double())(x, LENGTHS, SEEN.long())
    with pytest.raises(ValueError, match="horizon should be at least 1 but got 0"):
        forecast(linear(), past(), LENGTHS, horizon=0)
    with pytest.raises(ValueError, match="came should have a row for each sequence of x, of shape"):
        forecast_log_prob(linear(), torch.zeros(2, 1).double(), past(), LENGTHS)
    for came in (torch.zeros(3).double(), torch.zeros(3, 2).double()):
        with pytest.raises(ValueError, match="came should have a row for each sequence of x"):
            forecast_log_prob(linear(), came, past(), LENGTHS)
    with pytest.raises(ValueError, match="came should have a row for each of the 3 sequences but has 4"):
        forecast_log_prob(linear(), torch.zeros(4, 1).double(), past(), LENGTHS)
    for lengths in ([0, 1, 2], [5, 1, 2]):
        with pytest.raises(ValueError, match="lengths of pasts should be 1 to the 4 steps of x but go"):
            forecast(linear(), past(), torch.tensor(lengths), horizon=1)
    model, _ = hmm()
    with pytest.raises(ValueError, match=r"log p\(x\) of a past should be finite but is -inf"):
        forecast(model, torch.full((3, 4, 2), 0.5).double(), LENGTHS, horizon=1)
    vae = VAE(NormalHead(MLP(3, 2)), NormalHead(MLP(2, 3)))
    with pytest.raises(TypeError, match="by methods 'ahead' and 'filtering', which VAE has not"):
        forecast(vae, torch.zeros(2, 3), horizon=1)


def test_without_lengths_all_steps_are_past():
    torch.manual_seed(0)
    x = torch.zeros(2, 4, 3).double()
    for pair in (deep_markov().double(), vrnn().double()):
        lengths = torch.tensor([4, 4])
        one, other = (forecast(pair, x, *own, horizon=2, n=5, seed=0) for own in ((), (lengths,)))
        assert torch.equal(one, other)
