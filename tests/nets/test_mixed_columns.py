"""Laws of mixed rows: torch's column by column, with values missing, in a pair whose evidence is known."""

import math

import pyro
import pyro.distributions as dist
import pytest
import torch
from scipy import stats
from torch import nn

import probgen as pg
from probgen import nets, sampling
from probgen.core import FaultFinder, NotFinite
from probgen.evaluation import guide_against_chains, log_likelihoods
from probgen.models import VAE
from probgen.nets.counts import NegativeBinomial
from tests.laws import assert_power, check_goodness_of_fit, check_moments, of_scipy

KINDS = {
    "visits": "count",
    "town": ("categorical", 3),
    "change": "real",
    "ill": "binary",
    "income": "positive",
    "sex": ("categorical", 2),
    "height": "real",
}
NAN = math.nan


def head(*, scale="each"):
    torch.manual_seed(3)
    net = nn.Linear(2, nets.MixedHead.width(KINDS, scale=scale))
    made = nets.MixedHead(net, KINDS, scale=scale).double()
    if scale == "shared":
        nn.init.normal_(made.scale)
    return made


def scaled(s):
    return (5 * torch.asinh(s / 5)).exp()


def by_column(made, z):
    """The laws of torch, column by column, from the net's numbers in their documented order."""
    numbers = made.net(z)
    change, height, income, visits = numbers[..., :4].unbind(-1)
    spreads = numbers[..., 4:8] if made.scale is None else made.scale.expand(*z.shape[:-1], 4)
    rest = numbers[..., 4:] if made.scale is not None else numbers[..., 8:]
    size = 1 / scaled(spreads[..., 3])
    return {
        "visits": dist.NegativeBinomial(size, logits=(scaled(visits) / size).log()),
        "town": dist.Categorical(logits=rest[..., 1:4]),
        "change": dist.Normal(change, scaled(spreads[..., 0])),
        "ill": dist.Bernoulli(logits=rest[..., 0]),
        "income": dist.LogNormal(income, scaled(spreads[..., 2])),
        "sex": dist.Categorical(logits=rest[..., 4:6]),
        "height": dist.Normal(height, scaled(spreads[..., 1])),
    }


ROWS = torch.tensor(
    [
        [3.0, 2, -0.5, 1, 2.5, 0, 1.0],
        [0.0, 0, 1.5, 0, 0.01, 1, 0.0],
        [12.0, 1, 0.0, 1, 40.0, 1, -2.0],
        [NAN, 1, 0.0, NAN, 40.0, NAN, -2.0],
        [1.0, NAN, NAN, 1, NAN, 1, NAN],
        [NAN] * 7,
    ],
    dtype=torch.float64,
)


@pytest.mark.parametrize("scale", ["each", "shared"])
def test_log_prob_is_the_sum_over_the_columns_that_are_there(scale):
    made = head(scale=scale)
    z = torch.randn(6, 2, dtype=torch.float64)
    law = made(z)
    assert (law.batch_shape, law.event_shape) == ((6,), (7,))
    parts = [
        torch.where(x.isnan(), 0.0, column.log_prob(torch.where(x.isnan(), 1.0, x)))
        for column, x in zip(by_column(made, z).values(), ROWS.unbind(1), strict=True)
    ]
    torch.testing.assert_close(law.log_prob(ROWS), torch.stack(parts).sum(0), rtol=1e-12, atol=1e-12)
    assert law.log_prob(ROWS)[-1] == 0
    expanded = made(z[:1]).expand((6,)).log_prob(ROWS)
    torch.testing.assert_close(expanded, made(z[:1].expand(6, 2)).log_prob(ROWS))
    assert law.log_prob(ROWS.expand(4, 6, 7)).shape == (4, 6)


def test_what_is_missing_has_no_gradient():
    made, z = head(), torch.randn(1, 2, dtype=torch.float64)
    whole, holes = ROWS[:1], ROWS[:1].clone()
    missing = [0, 1, 4]
    holes[0, missing] = NAN
    made(z).log_prob(holes).sum().backward()
    found = made.net.weight.grad.clone()
    assert found.isfinite().all()
    columns, names = by_column(made, z), list(KINDS)
    made.zero_grad()
    sum(columns[names[i]].log_prob(whole[0, i]) for i in range(7) if i not in missing).sum().backward()
    torch.testing.assert_close(found, made.net.weight.grad)
    x = holes.clone().requires_grad_()
    made(z).log_prob(x).sum().backward()
    assert x.grad.isfinite().all()
    assert (x.grad[0, missing] == 0).all()


def of_places(probs):
    return lambda v: probs.cumsum(0)[v.clamp(min=0).floor().long()] * (v >= 0)


def log(v, dtype=torch.float64):
    return torch.tensor(v, dtype=torch.float64).log().to(dtype)


def test_draws_follow_their_laws(device):
    made = head().to(device)
    z = torch.tensor([0.3, -0.7], dtype=torch.float64, device=device)
    with torch.no_grad():
        law, columns = made(z), by_column(made, z)
        x = law.sample((20_000,))
    assert x.dtype == torch.float64
    for (name, column), draws in zip(columns.items(), x.unbind(1), strict=True):
        if name in ("town", "sex"):
            cdf = of_places(column.probs.cpu())
        elif name == "ill":
            cdf = of_scipy(stats.bernoulli(float(column.probs)))
        elif name == "visits":
            size = float(column.total_count)
            cdf = of_scipy(stats.nbinom(size, size / (size + float(column.mean))))
        elif name == "income":
            cdf = of_scipy(stats.lognorm(float(column.scale), scale=math.exp(float(column.loc))))
        else:
            cdf = of_scipy(stats.norm(float(column.loc), float(column.scale)))
        check_goodness_of_fit(draws, cdf)
        if name in ("change", "income", "height"):
            assert_power(draws, cdf, shift=0.1)
        if name not in ("town", "sex"):
            place = list(KINDS).index(name)
            torch.testing.assert_close(law.mean[place], column.mean)
    assert law.mean[1] == columns["town"].probs.argmax()


def test_values_that_a_column_has_not_are_named_and_have_no_density():
    law = head()(torch.zeros(2, dtype=torch.float64))
    wrong = {
        0: (
            -1.0,
            "column 'visits' should be 0, 1, 2, ... as it is count, or NaN where it is missing, but holds -1",
        ),
        1: (3.0, "column 'town' should be the place of a level, from 0 on, as it is categorical, .* holds 3"),
        2: (math.inf, "column 'change' should be a finite number as it is real, .* holds inf"),
        3: (0.5, "column 'ill' should be 0 or 1 as it is binary, .* holds 0.5"),
        4: (0.0, "column 'income' should be above 0 as it is positive, .* holds 0"),
        5: (2.0, "column 'sex' .* holds 2"),
    }
    unchecked = law.expand(())
    unchecked._validate_args = False
    for place, (value, sentence) in wrong.items():
        row = ROWS[0].clone()
        row[place] = value
        assert not law.support.check(row)
        assert unchecked.log_prob(row) == -math.inf
        with pytest.raises(ValueError, match=sentence.replace("...", r"\.\.\.")):
            law.log_prob(row)
    assert law.support.check(ROWS).all()


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (
            lambda: nets.MixedHead(nn.Linear(1, 1), {"town": "categorical"}),
            "column 'town' should be .* is 'categ",
        ),
        (lambda: nets.MixedHead(nn.Linear(1, 1), ["real", "ordinal"]), "column 2 should be .* is 'ordinal'"),
        (lambda: nets.MixedHead(nn.Linear(1, 1), []), "kinds should have at least one column but are empty"),
        (
            lambda: nets.MixedHead(nn.Linear(1, 1), ["real"], scale="all"),
            "scale should be 'each' or 'shared'",
        ),
        (
            lambda: nets.MixedHead(nn.Linear(1, 3), ["real"])(torch.zeros(1)),
            "needs 2 numbers for its 1 columns",
        ),
        (lambda: nets.MixedInput(["real"])(torch.zeros(4, 2)), r"rows of 1 columns but got shape \(4, 2\)"),
    ],
)
def test_bad_input_is_one_sentence(call, sentence):
    with pytest.raises(ValueError, match=sentence):
        call()


def test_inputs_are_finite_and_say_what_is_missing():
    made = nets.MixedInput(KINDS)
    x = made(ROWS)
    assert x.shape == (6, made.width) == (6, 2 + 1 + 1 + 1 + 5 + 7)
    assert x.isfinite().all()
    assert torch.equal(x[:, -7:], ROWS.isnan().double())
    assert torch.equal(x[-1, :-7], torch.zeros(10).double())
    expected = [-0.5, 1.0, math.log(2.5), math.log(4.0), 1.0, 0, 0, 1, 1, 0]
    torch.testing.assert_close(x[0, :-7], torch.tensor(expected).double())


LOADINGS, NOISE = torch.tensor([1.5, -0.8, 0.4], dtype=torch.float64), 0.5


class Exact(nn.Module):
    """The posterior of a code given the columns that are there, of x = w z + noise."""

    outputs = 1

    def forward(self, x):
        there = ~x.isnan()
        precision = 1 + (LOADINGS**2 * there).sum(-1) / NOISE**2
        mean = (LOADINGS * x.nan_to_num(0)).sum(-1) / NOISE**2 / precision
        return dist.Normal(mean[..., None], precision[..., None] ** -0.5).to_event(1)


def linear_pair():
    net = nn.Linear(1, 3).double()
    decoder = nets.MixedHead(net, ["real"] * 3, scale="shared").double()
    with torch.no_grad():
        net.weight.copy_(LOADINGS[:, None])
        net.bias.zero_()
        decoder.scale.fill_(5 * math.sinh(math.log(NOISE) / 5))
    return VAE(Exact(), decoder, prior=StandardNormal())


class StandardNormal(nn.Module):
    def forward(self):
        zero = torch.zeros(1, dtype=torch.float64)
        return dist.Normal(zero, zero + 1).to_event(1)


def observed_blocks(n=40):
    generator = torch.Generator().manual_seed(1)
    z, noise = (torch.randn(n, k, generator=generator, dtype=torch.float64) for k in (1, 3))
    x = z * LOADINGS + NOISE * noise
    x[torch.rand(n, 3, generator=generator) < 0.4] = NAN
    truth = []
    for row in x:
        there = ~row.isnan()
        w = LOADINGS[there]
        covariance = torch.outer(w, w) + NOISE**2 * torch.eye(len(w))
        law = dist.MultivariateNormal(torch.zeros_like(w), covariance)
        truth.append(float(law.log_prob(row[there])) if len(w) else 0.0)
    return x, torch.tensor(truth, dtype=torch.float64)


def test_a_linear_vae_has_the_evidence_of_the_columns_that_are_there():
    x, truth = observed_blocks()
    assert x.isnan().any(1).sum() > 20
    torch.testing.assert_close(log_likelihoods(linear_pair(), x, particles=2), truth)
    loss, terms = pg.SVI(linear_pair())(x)
    draws = [pg.SVI(linear_pair())(x)[0].detach() for _ in range(300)]
    expected, found = -truth.mean(), torch.stack(draws)
    assert abs(found.mean() - expected) < 5 * found.std() / math.sqrt(300)
    assert abs(found.mean() - expected) < 0.05
    assert loss.isfinite()
    assert math.isfinite(float(terms["kl"]))


@pytest.mark.parametrize("compile", ["eager", "graph"])
def test_training_learns_from_what_is_there(compile):
    """The maximum of the likelihood, in which a missing value stands for nothing."""
    x, _ = observed_blocks(400)
    x = x + torch.tensor([1.0, 2.0, 3.0])
    kinds = ["real"] * 3
    torch.manual_seed(0)
    encoder = nets.NormalHead(nets.Joined(nets.MLP(6, 1, hidden=(16,)), nets.MixedInput(kinds)))
    vae = VAE(encoder.double(), nets.MixedHead(nn.Linear(1, 3), kinds, scale="shared").double()).double()
    adam = torch.optim.Adam(vae.parameters(), lr=0.05)
    options = {"optimizer": adam, "progress": False, "seed": 0, "compile": compile}
    history = pg.fit(pg.SVI(vae), x, steps=200, batch_size=100, validation=x[:100], **options)
    assert history.ended == "finished"
    found = vae.decoder.net.bias.detach()
    error = 3 * torch.sqrt((LOADINGS**2 + NOISE**2) / (400 * 0.6))
    assert ((found - torch.tensor([1.0, 2.0, 3.0])).abs() < error).all()


def test_missing_values_are_refused_by_what_cannot_leave_them_out():
    x, _ = observed_blocks()
    vae = VAE(nets.NormalHead(nets.MLP(3, 1)), nets.NormalHead(nets.MLP(1, 3))).double()
    sentence = r"data should be finite but row \d+ holds NaN or infinity: .* nets.MixedHead"
    with pytest.raises(ValueError, match=sentence):
        pg.fit(pg.SVI(vae), x, steps=1, progress=False)
    with pytest.raises(ValueError, match="x should be finite but row"):
        log_likelihoods(vae, x)
    x[3, 1] = math.inf
    with pytest.raises(ValueError, match=r"x should be finite or NaN .* but row 3 holds infinity"):
        log_likelihoods(linear_pair(), x)


def test_a_training_names_the_column_that_is_wrong():
    x = ROWS[:3].clone()
    x[1, 4] = -1.0
    vae = VAE(nets.NormalHead(nets.Joined(nets.MLP(17, 1), nets.MixedInput(KINDS))), head_of_one())
    with pytest.raises(ValueError, match="column 'income' should be above 0 as it is positive"):
        pg.fit(pg.SVI(vae.float()), x.float(), steps=3, progress=False)


def test_chains_and_the_guide_have_the_posterior_given_what_is_there():
    x, _ = observed_blocks()
    few = x[x.isnan().any(1)][:3]
    pair = linear_pair()
    options = {"warmup": 100, "draws": 200, "seed": 0, "progress": False}
    chains = sampling.sample(pair.posterior(few), **options)
    exact = pair.encoder(few)
    found = chains["z"].flatten(0, 1)
    assert ((found.mean(0) - exact.mean).abs() < 0.1).all()
    assert ((found.std(0) - exact.stddev).abs() < 0.1).all()
    assert guide_against_chains(pair, few, chains, seed=0).failures() == []


def test_a_value_that_is_missing_is_no_fault():
    with FaultFinder(), pyro.plate("data", 6):
        pyro.sample("x", head()(torch.zeros(6, 2, dtype=torch.float64)), obs=ROWS)
        with pytest.raises(NotFinite, match="site 'y'"):
            pyro.sample("y", dist.Normal(torch.zeros(6), 1.0), obs=torch.full((6,), math.inf))


def head_of_one():
    return nets.MixedHead(nets.MLP(1, nets.MixedHead.width(KINDS)), KINDS)


@pytest.mark.parametrize("size", [0.01, 0.3, 2.0, 15.9, 16.1, 100.0, 1e4, 1e10])
def test_counts_have_scipys_law_and_the_poisson_limit(size):
    x = torch.tensor([0.0, 1, 3, 40, 300], dtype=torch.float64)
    for mean in (0.01, 3.0, 50.0):
        law = NegativeBinomial(log(mean), log(size))
        truth = (
            stats.poisson(mean).logpmf(x)
            if size > 1e8
            else stats.nbinom(size, size / (size + mean)).logpmf(x)
        )
        torch.testing.assert_close(law.log_prob(x), torch.as_tensor(truth), rtol=1e-7, atol=1e-7)
        single = NegativeBinomial(log(mean, torch.float32), log(size, torch.float32)).log_prob(x.float())
        torch.testing.assert_close(single.double(), law.log_prob(x), rtol=3e-5, atol=3e-5)


def test_counts_are_drawn_with_their_mean_and_variance():
    law = NegativeBinomial(torch.tensor(3.0).double().log(), torch.tensor(1.5).double().log())
    check_moments(law.sample((400_000,)), 3.0, 3 + 9 / 1.5)
    torch.testing.assert_close(law.variance, torch.tensor(9.0).double())
