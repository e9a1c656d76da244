"""Latent sites that all data share: the right posterior from mini-batches, or a word."""

from typing import Any

import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import Tensor, nn

import probgen as pg
from probgen.core import Pair
from probgen.objectives import ELBO, SVI
from probgen.training import schedules
from probgen.training.rows_of_data import training_on

N, BATCH = 400, 20
X = torch.randn(N, generator=torch.Generator().manual_seed(0)) + 1.0
EXACT_SD = (N + 1 / 100) ** -0.5  # of the mean of N(mean, 1) under a prior N(0, 10²)


class NormalMean(Pair):
    """Data N(mean, 1), one mean for all; the plate knows n data, or only those of the batch."""

    def __init__(self, n: int | None) -> None:
        super().__init__()
        self.n = n
        self.mean, self.log_sd = nn.Parameter(torch.zeros(())), nn.Parameter(torch.tensor(-1.0))

    def plate(self, x: Tensor | None, n: int) -> Any:
        if x is None or self.n is None:
            return pyro.plate("data", n if x is None else len(x))
        return pyro.plate("data", self.n, subsample=torch.arange(len(x)))

    def model(self, x: Tensor | None = None, *, n: int = 1) -> Tensor:
        mean = pyro.sample("mean", dist.Normal(0.0, 10.0))
        with self.plate(x, n):
            return pyro.sample("x", dist.Normal(mean, 1.0), obs=x)

    def guide(self, x: Tensor | None = None, *, n: int = 1) -> None:
        pyro.sample("mean", dist.Normal(self.mean, self.log_sd.exp()))
        with self.plate(x, n):
            pass


def train(pair: Pair, **options: object) -> pg.History:
    given = {"batch_size": BATCH, "steps": 1500, "seed": 0, "progress": False} | options
    steps = given["steps"]
    rates = {"lr": schedules.cosine(0.03, 1e-5, steps=steps)}
    return pg.fit(SVI(pair), X, schedules=rates, **given)  # type: ignore[arg-type]


def test_the_posterior_from_mini_batches_is_the_exact_one() -> None:
    pair = NormalMean(N)
    history = train(pair)
    assert float(pair.log_sd.detach().exp()) == pytest.approx(EXACT_SD, rel=0.02)
    assert float(pair.mean.detach()) == pytest.approx(float(X.sum()) * EXACT_SD**2, abs=EXACT_SD)
    assert not history.collapsed()
    assert history.diagnose() == [], "a mean that 400 data share has a KL of 0.01 nats per datum: no collapse"


@pytest.mark.parametrize("elbo", [None, pyro.infer.Trace_ELBO()], ids=["ELBO", "Pyro"])
def test_a_plate_that_takes_a_batch_for_all_data_is_refused(elbo: object) -> None:
    with pytest.raises(ValueError, match=r"latent site 'mean' is shared by all 400 data, .* batch_size=400"):
        pg.fit(SVI(NormalMean(None), elbo), X, batch_size=BATCH, steps=2, progress=False)  # type: ignore[arg-type]


def test_full_batches_and_losses_outside_of_a_training_need_no_more() -> None:
    train(NormalMean(None), batch_size=N, steps=2)
    SVI(NormalMean(None))(X[:BATCH])


def test_the_loss_of_batches_is_on_average_that_of_all_data() -> None:
    """Where draws do not vary, the losses of batches that tile the data have the whole loss as their mean."""
    pair = NormalMean(N)
    pair.guide = lambda x=None, n=1: pyro.sample("mean", dist.Delta(pair.mean))  # type: ignore[assignment]
    with training_on(N), torch.no_grad():
        whole = float(SVI(pair)(X)[0])
        parts = [float(SVI(pair)(batch)[0]) for batch in X.split(BATCH)]
    assert sum(parts) / len(parts) == pytest.approx(whole, rel=1e-5)


def test_local_sites_are_counted_and_global_ones_are_not() -> None:
    class Local(NormalMean):
        def model(self, x: Tensor | None = None, *, n: int = 1) -> Tensor:
            mean = pyro.sample("mean", dist.Normal(0.0, 10.0))
            with self.plate(x, n):
                z = pyro.sample("z", dist.Normal(mean, 1.0))
                return pyro.sample("x", dist.Normal(z, 1.0), obs=x)

        def guide(self, x: Tensor | None = None, *, n: int = 1) -> None:
            mean = pyro.sample("mean", dist.Normal(self.mean, self.log_sd.exp()))
            with self.plate(x, n):
                pyro.sample("z", dist.Normal(mean + self.log_sd * torch.ones(len(x)), 1.0))  # type: ignore[arg-type]

    _, terms = SVI(Local(N))(X[:BATCH])
    assert float(terms["active"] + terms["inactive"]) == 1


class EightSchools(Pair):
    """Effects of schools beside a mean and a spread of all; given these, the guide's effects are exact."""

    def __init__(self) -> None:
        super().__init__()
        self.weights = nn.Parameter(torch.tensor([4.0, 0.0, 1.0, 0.0, 1.0, -0.7]))

    def model(self, x: Tensor | None = None, errors: Any = None, *, n: int = 8) -> Tensor:
        mu = pyro.sample("mu", dist.Normal(0.0, 5.0))
        tau = pyro.sample("tau", dist.LogNormal(1.0, 0.5))
        with pyro.plate("data", 8, subsample=torch.arange(len(errors))):
            theta = pyro.sample("theta", dist.Normal(mu, tau))
            return pyro.sample("x", dist.Normal(theta, errors), obs=x)

    def guide(self, x: Tensor | None = None, errors: Any = None, *, n: int = 8) -> None:
        assert x is not None
        a, b, c, d, m, log_s = self.weights
        tau = pyro.sample("tau", dist.LogNormal(m, log_s.exp()))
        mu = pyro.sample("mu", dist.Normal(a + b * (tau.log() - 1), (c + d * (tau.log() - 1)).exp()))
        with pyro.plate("data", 8, subsample=torch.arange(len(x))):
            precision = errors**-2 + tau**-2
            pyro.sample("theta", dist.Normal((x / errors**2 + mu / tau**2) / precision, precision**-0.5))


def test_eight_schools_from_batches_of_four() -> None:
    """The exact standard deviations of the posterior are those of a quadrature over mu and log tau."""
    pair = EightSchools()
    effects = torch.tensor([28.0, 8.0, -3.0, 7.0, -1.0, 1.0, 18.0, 12.0])
    errors = torch.tensor([15.0, 10.0, 16.0, 11.0, 9.0, 11.0, 10.0, 18.0])
    rates = {"lr": schedules.cosine(0.02, 1e-4, steps=1500)}
    pg.fit(
        SVI(pair, ELBO(particles=16)), (effects, errors), batch_size=4, steps=1500, schedules=rates, seed=0,
        progress=False,
    )  # fmt: skip
    with torch.no_grad():
        a, b, c, d, m, log_s = pair.weights.detach()
        z = torch.randn(2, 100_000, generator=torch.Generator().manual_seed(0))
        log_tau = m + log_s.exp() * z[0]
        mu = a + b * (log_tau - 1) + (c + d * (log_tau - 1)).exp() * z[1]
        precision = errors[:, None] ** -2 + (-2 * log_tau).exp()
        mean = ((effects / errors**2)[:, None] + mu * (-2 * log_tau).exp()) / precision
        theta = (mean.var(1) + (1 / precision).mean(1)).sqrt()
    assert float(mu.std()) == pytest.approx(3.2388, rel=0.05)
    assert float(log_tau.exp().std()) == pytest.approx(1.4318, rel=0.07)
    exact = torch.tensor([4.4566, 4.1747, 4.4090, 4.2291, 4.1372, 4.2410, 4.2747, 4.4286])
    torch.testing.assert_close(theta, exact, rtol=0.05, atol=0)
