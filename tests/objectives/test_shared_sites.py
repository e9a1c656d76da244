"""Latent sites that all data share: the right posterior from mini-batches, or a word."""

from typing import Any

import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import Tensor, nn

import probgen as pg
from probgen.core import Pair
from probgen.objectives import SVI
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
