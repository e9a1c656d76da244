"""Total correlation, the parts of the KL, DIP and capacity, against the closed forms of Gaussian codes."""

import itertools
import math

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import nn

from probgen import Pair
from probgen.objectives import DIP, SVI, Capacity, Sum, TotalCorrelation, gaussian_total_correlation, kl_parts
from probgen.objectives.total_correlation import _aggregate
from probgen.training import fit, schedules
from tests.objectives.test_sums_and_codes import TwoSites
from tests.pairs import LinearGaussian


class Codes(Pair):
    """z ~ N(0, I), x | z ~ N(z, I); the guide is N(Ax, diag(s²)) with A and s given."""

    def __init__(self, a, scales):
        super().__init__()
        self.a = nn.Parameter(torch.tensor(a, dtype=torch.float64))
        self.scales = nn.Parameter(torch.tensor(scales, dtype=torch.float64))

    def model(self, x=None, *context, n=1):
        zeros = torch.zeros_like(self.scales)
        with pyro.plate("data", n if x is None else len(x)):
            z = pyro.sample("z", dist.Normal(zeros, 1.0).to_event(1))
            return pyro.sample("x", dist.Normal(z, 1.0).to_event(1), obs=x)

    def guide(self, x=None, *context, n=1):
        with pyro.plate("data", len(x)):
            return pyro.sample("z", dist.Normal(x @ self.a.T, self.scales).to_event(1))


@pytest.fixture
def pair(device):
    return Codes([[1.0, 0.8, 0.0], [0.9, 0.3, 0.4], [0.0, 0.6, 0.7]], [0.4, 0.5, 0.5]).to(device)


@pytest.fixture
def x(pair):
    """Normal data whose mean and covariance are 0 and I exactly, so that the aggregate is known."""
    raw = torch.randn(2000, 3, dtype=torch.float64, device=pair.a.device)
    raw = raw - raw.mean(0)
    whitening = torch.linalg.inv(torch.linalg.cholesky(raw.T @ raw / len(raw)))
    return raw @ whitening.T


def truth(pair):
    """The parts of the KL where the aggregate posterior is N(0, AAᵀ + S)."""
    a, noise = pair.a.detach(), pair.scales.detach().square()
    covariance = a @ a.T + noise.diag()
    information = 0.5 * (covariance.logdet() - noise.log().sum())
    variances = covariance.diagonal()
    total = 0.5 * (variances.log().sum() - covariance.logdet())
    return [float(v) for v in (information, total, 0.5 * (variances - 1 - variances.log()).sum())]


def test_the_parts_of_a_gaussian_aggregate_are_its_closed_forms(pair, x):
    # The mixture of 2,000 components is the Gaussian to some 0.01 nats; five standard errors of a mean of
    # 2,000 log-ratios, of deviation about 1, over three drawings are 0.07.
    found = torch.stack([torch.stack(kl_parts(pair, x)) for _ in range(3)]).mean(0)
    for value, exact in zip(found.tolist(), truth(pair), strict=True):
        assert value == pytest.approx(exact, abs=0.07)
    assert truth(pair)[1] > 0.4  # which a coordinate-wise density would miss


def test_the_parts_add_up_to_the_kl(pair, x):
    pyro.set_rng_seed(1)
    z = pair.guide(x[:300])
    normal, noise = (
        torch.distributions.Normal(0.0, 1.0),
        torch.distributions.Normal(x[:300] @ pair.a.T, pair.scales),
    )
    expected = (noise.log_prob(z) - normal.log_prob(z)).sum(1).mean().detach()
    totals = []
    for rows in (300, 5000):  # the same draws: whatever q(z) is taken for
        pyro.set_rng_seed(1)
        _, terms = TotalCorrelation(pair, rows=rows)(x[:300])
        torch.testing.assert_close(sum(terms.values()), expected)
        totals.append(float(terms["total_correlation"]))
    pyro.set_rng_seed(1)
    assert float(kl_parts(pair, x[:300]).total_correlation) == pytest.approx(totals[0])
    assert totals[1] != pytest.approx(totals[0], abs=1e-3)
    exact = 0.5 * ((x @ pair.a.T).square() + pair.scales**2 - 1 - 2 * pair.scales.log()).sum(1).mean()
    assert float(exact.detach()) == pytest.approx(sum(truth(pair)))  # of the closed forms, too


def test_the_density_of_a_batch_is_without_bias_over_all_batches(device):
    # Exact, by enumeration: of 5 data the mean over all batches of 3 that hold datum i is q(z_i).
    means = torch.randn(5, 2, dtype=torch.float64, device=device)
    z = means + 0.3
    every = torch.distributions.Normal(means, 0.8)
    exact = every.log_prob(z[:, None]).sum(-1).exp().mean(1)
    exact_marginals = every.log_prob(z[:, None]).exp().mean(1)
    found, marginals = torch.zeros_like(exact), torch.zeros_like(exact_marginals)
    for rows in itertools.combinations(range(5), 3):
        rows = list(rows)
        law = torch.distributions.Normal(means[rows], 0.8)
        joint, _ = _aggregate(law, z[rows], 5)
        found[rows] += joint.exp() / math.comb(4, 2)
        for d in range(2):
            one, same = _aggregate(
                torch.distributions.Normal(means[rows, d : d + 1], 0.8), z[rows, d : d + 1], 5
            )
            torch.testing.assert_close(one, same)  # of one coordinate the joint is the marginal
            marginals[rows, d] += one.exp() / math.comb(4, 2)
    torch.testing.assert_close(found, exact)
    torch.testing.assert_close(marginals, exact_marginals)


def test_the_gaussian_total_correlation_is_the_closed_form(pair, x):
    found = gaussian_total_correlation(pair, x)
    assert not found.requires_grad
    assert float(found) == pytest.approx(truth(pair)[1], abs=1e-9)


def test_a_mutual_information_that_few_data_cannot_show_is_said(pair, x, caplog):
    # Its parts add up, but 50 data cannot say more than log 50 = 3.9 nats, of the law's 8.
    with torch.no_grad():
        pair.scales.fill_(0.05)
    parts = kl_parts(pair, x[:50])
    assert truth(pair)[0] > 8 > math.log(50) > parts.mutual_information > math.log(50) - 1
    assert parts.total_correlation > truth(pair)[1] + 1
    assert "at its most for 50 data, log 50 = 3.91" in caplog.text
    caplog.clear()
    with torch.no_grad():
        pair.scales.fill_(0.5)
    kl_parts(pair, x[:500])
    assert not caplog.text


def test_blocks_change_nothing(pair, x, monkeypatch):
    pyro.set_rng_seed(0)
    whole = kl_parts(pair, x[:50])
    monkeypatch.setattr("probgen.objectives.total_correlation.BLOCK", 1000)
    pyro.set_rng_seed(0)
    for one, other in zip(kl_parts(pair, x[:50]), whole, strict=True):
        torch.testing.assert_close(one, other)


def test_learning_takes_the_total_correlation_away(pair, x):
    before = float(kl_parts(pair, x).total_correlation)
    weighted = Sum({"svi": SVI(pair), "tc": TotalCorrelation(pair)}, {"tc": 20.0}).to(x.device)
    history = fit(weighted, x, steps=60, batch_size=100, schedules={"lr": lambda step: 0.05}, progress=False)
    after = float(kl_parts(pair, x).total_correlation)
    assert before > 0.4
    assert after < 0.1
    assert history.values("tc/mutual_information")[-1] > 0


def test_dip_is_numpys_covariance(pair, x):
    rows = x[:40] + 1.0
    means = (rows @ pair.a.T).detach().cpu().numpy()
    covariance = np.cov(means.T, bias=True)
    noise = np.diag(pair.scales.detach().cpu().numpy() ** 2)
    for kind, found in (("I", covariance), ("II", covariance + noise)):
        apart = (found - np.diag(np.diag(found))) ** 2
        along = (np.diag(found) - 1) ** 2
        loss, terms = DIP(pair, kind, off_diagonal=3.0, diagonal=0.5)(rows)
        assert float(loss.detach()) == pytest.approx(3 * apart.sum() + 0.5 * along.sum())
        assert float(terms["off_diagonal"]) == pytest.approx(apart.sum())
        assert float(terms["diagonal"]) == pytest.approx(along.sum())
        assert apart.sum() > 0.1
        assert along.sum() > 0.1
    assert float(DIP(pair, "I", off_diagonal=2.0).diagonal) == 20
    assert float(DIP(pair, "II", off_diagonal=2.0).diagonal) == 2


def test_capacity_is_the_bound_with_the_kls_distance(pair, x):
    pyro.set_rng_seed(0)
    loss, terms = SVI(pair, Capacity(4.0, weight=7.0))(x)
    expected = 7 * (terms["kl"] - 4).abs() - terms["reconstruction"]
    torch.testing.assert_close(loss.detach(), expected)
    torch.testing.assert_close(terms["elbo"], terms["reconstruction"] - terms["kl"])
    assert abs(float(terms["kl"]) - 4) > 0.1


def test_a_code_carries_its_capacity_as_it_is_annealed(x):
    pair = LinearGaussian().to(x.device).double()
    objective = SVI(pair, Capacity(0.0, weight=100.0)).to(x.device)
    plan = {"elbo.capacity": schedules.linear(0.0, 3.0, steps=40), "lr": lambda step: 0.05}
    history = fit(objective, x, steps=60, batch_size=200, schedules=plan, progress=False)
    assert float(objective.elbo.capacity) == 3.0
    assert history.values("kl")[-1] == pytest.approx(3.0, abs=0.2)


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda: Capacity(-1.0), "nats should be at least 0 and finite but got -1"),
        (lambda: Capacity(1.0, weight=math.nan), "weight should be at least 0 and finite but got nan"),
        (lambda: DIP(LinearGaussian(), "III"), "kind should be 'I' or 'II' but got 'III'"),
        (lambda: DIP(LinearGaussian(), off_diagonal=-1.0), "off_diagonal should be at least 0 .* got -1"),
        (lambda: TotalCorrelation(LinearGaussian(), rows=1), "rows should be at least 2, .* but got 1"),
        (lambda: TotalCorrelation(LinearGaussian())(torch.ones(1, 3)), "at least 2 data for a total corr"),
        (lambda: kl_parts(LinearGaussian(), torch.ones(1, 3)), "x should have at least 2 data"),
        (lambda: DIP(LinearGaussian())(torch.ones(1, 3)), "at least 2 data for a covariance but has 1"),
        (lambda: DIP(TwoSites())(torch.ones(3)), "'k' should be reparameterised but Categorical"),
        (lambda: DIP(TwoSites(), site="z")(torch.ones(3)), "'z' should have independent coord.* is Normal"),
        (
            lambda: kl_parts(LinearGaussian(exact_guide=True), torch.ones(3, 3)),
            "'z' should have independent coordinates, .* but is MultivariateNormal",
        ),
    ],
)  # fmt: skip
def test_bad_arguments_are_named(call, sentence):
    with pytest.raises(ValueError, match=sentence):
        call()
