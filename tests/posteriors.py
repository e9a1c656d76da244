"""Eleven posteriors of posteriordb as Pyro models, with their reference draws.

See Magnusson et al. (2024), posteriordb. The files lie under PROBGEN_DATA; sites are float64.
"""

import json
import os
import zipfile
from pathlib import Path

import pyro
import pyro.distributions as dist
import torch
from pyro.distributions import constraints
from torch import Tensor

from probgen import Density

ZERO = torch.zeros((), dtype=torch.float64)
ONE = ZERO + 1


def read(name: str, what: str):
    path = Path(os.environ["PROBGEN_DATA"]) / "posteriordb" / name / f"{what}.json.zip"
    with zipfile.ZipFile(path) as archive:
        return json.loads(archive.read(archive.namelist()[0]))


def reference(name: str) -> dict[str, Tensor]:
    """Return the reference draws by number, such as beta[1], shape (10, 1000)."""
    chains = read(name, "draws")
    return {key: torch.tensor([chain[key] for chain in chains], dtype=torch.float64) for key in chains[0]}


def flat(support, *event):
    return dist.ImproperUniform(support, (), event)


def half_normal(scale):
    return dist.HalfNormal(scale * ONE)


def half_cauchy(scale):
    return dist.HalfCauchy(scale * ONE)


def schools(y, sigma):
    mu = pyro.sample("mu", dist.Normal(ZERO, 5.0))
    tau = pyro.sample("tau", half_cauchy(5.0))
    with pyro.plate("schools", len(y)):
        t = pyro.sample("t", dist.Normal(ZERO, 1.0))
        theta = pyro.deterministic("theta", mu + tau * t)
        pyro.sample("y", dist.Normal(theta, sigma), obs=y)


def regression(x, y, prior, scale):
    beta = pyro.sample("beta", prior)
    sigma = pyro.sample("sigma", scale)
    with pyro.plate("data", len(y)):
        pyro.sample("y", dist.Normal(x @ beta, sigma), obs=y)


def line(x, y, location, spread):
    alpha = pyro.sample("alpha", dist.Normal(location[0], spread[0]))
    beta = pyro.sample("beta", dist.Normal(location[1], spread[1]))
    sigma = pyro.sample("sigma", flat(constraints.positive))
    with pyro.plate("data", len(y)):
        pyro.sample("y", dist.Normal(alpha + beta * x, sigma), obs=y)


def autoregression(x, y):
    alpha = pyro.sample("alpha", dist.Normal(ZERO, 10.0))
    beta = pyro.sample("beta", dist.Normal(ZERO.expand(x.shape[1]), 10.0).to_event(1))
    sigma = pyro.sample("sigma", half_cauchy(2.5))
    with pyro.plate("time", len(y)):
        pyro.sample("y", dist.Normal(alpha + x @ beta, sigma), obs=y)


def recurrence(factor, inputs):
    """Return h_t = factor h_{t-1} + inputs_t from h_0 = inputs_0, by doubling: log n sums instead of n."""
    h, lag = inputs, 1
    while lag < len(h):
        h = torch.cat([h[:lag], h[lag:] + factor * h[:-lag]])
        factor, lag = factor**2, 2 * lag
    return h


def arma(y):
    mu = pyro.sample("mu", dist.Normal(ZERO, 10.0))
    phi, theta = (pyro.sample(name, dist.Normal(ZERO, 2.0)) for name in ("phi", "theta"))
    sigma = pyro.sample("sigma", half_cauchy(2.5))
    before = torch.cat([mu.reshape(1), y[:-1]])
    errors = recurrence(-theta, y - mu - phi * before)
    pyro.factor("errors", dist.Normal(ZERO, sigma).log_prob(errors).sum())


def garch(y, first):
    mu = pyro.sample("mu", flat(constraints.real))
    alpha0 = pyro.sample("alpha0", flat(constraints.positive))
    alpha1 = pyro.sample("alpha1", flat(constraints.interval(0.0, 1.0)))
    beta1 = pyro.sample("beta1", flat(constraints.interval(0.0, 1 - alpha1)))
    variances = recurrence(beta1, torch.cat([first.reshape(1) ** 2, alpha0 + alpha1 * (y[:-1] - mu) ** 2]))
    with pyro.plate("time", len(y)):
        pyro.sample("y", dist.Normal(mu, variances.sqrt()), obs=y)


def gaussian_process(x, y):
    rho = pyro.sample("rho", dist.Gamma(25 * ONE, 4.0))
    alpha = pyro.sample("alpha", half_normal(2.0))
    sigma = pyro.sample("sigma", half_normal(1.0))
    kernel = alpha**2 * torch.exp(-0.5 * ((x - x.unsqueeze(-1)) / rho) ** 2)
    noise = sigma * torch.eye(len(x), dtype=x.dtype)
    pyro.sample("y", dist.MultivariateNormal(torch.zeros_like(x), kernel + noise), obs=y)


def mixture(y):
    mu = pyro.sample("mu", flat(constraints.ordered_vector, 2))
    pyro.factor("mu_prior", dist.Normal(ZERO, 2.0).log_prob(mu).sum())
    sigma = pyro.sample("sigma", half_normal(2.0).expand([2]).to_event(1))
    theta = pyro.sample("theta", dist.Beta(5 * ONE, 5.0))
    with pyro.plate("data", len(y)):
        second = pyro.sample("second", dist.Bernoulli(1 - theta)).long()
        pyro.sample("y", dist.Normal(mu[second], sigma[second]), obs=y)


def _columns(data, names):
    return [torch.tensor(data[name], dtype=torch.float64) for name in names]


def posterior(name: str) -> Density:
    """Return a posterior by its name in posteriordb."""
    data = read(name, "data")

    def number(*names):
        return _columns(data, names)

    if name.startswith("eight_schools"):
        return Density.from_model(schools, *number("y", "sigma"))
    if name == "sblri-blr":
        prior = dist.Normal(ZERO.expand(data["D"]), 10.0).to_event(1)
        return Density.from_model(regression, *number("X", "y"), prior, half_normal(10.0))
    if name.startswith("kidiq"):
        y, high_school, iq = number("kid_score", "mom_hs", "mom_iq")
        x = torch.stack([torch.ones_like(y), high_school, iq, high_school * iq], 1)
        return Density.from_model(regression, x, y, flat(constraints.real_vector, 4), half_cauchy(2.5))
    if name.startswith("mesquite"):
        y, *columns = number("weight", "diam1", "diam2", "canopy_height", "total_height", "density", "group")
        x = torch.stack([torch.ones_like(y), *columns], 1)
        return Density.from_model(
            regression, x, y, flat(constraints.real_vector, 7), flat(constraints.positive)
        )
    if name.startswith("nes"):
        y, age, ideo, race, *rest = number(
            "partyid7", "age_discrete", "real_ideo", "race_adj", "educ1", "gender", "income"
        )
        x = torch.stack([torch.ones_like(y), ideo, race, *((age == k).double() for k in (2, 3, 4)), *rest], 1)
        return Density.from_model(
            regression, x, y, flat(constraints.real_vector, 9), flat(constraints.positive)
        )
    if name.startswith("kilpisjarvi"):
        location, spread = number("pmualpha", "pmubeta"), number("psalpha", "psbeta")
        return Density.from_model(line, *number("x", "y"), location, spread)
    if name == "arK-arK":
        (y,), k = number("y"), data["K"]
        lags = torch.stack([y[k - j : len(y) - j] for j in range(1, k + 1)], 1)
        return Density.from_model(autoregression, lags, y[k:])
    if name.startswith("arma"):
        return Density.from_model(arma, *number("y"))
    if name.startswith("garch"):
        return Density.from_model(garch, *number("y", "sigma1"))
    if name.startswith("gp"):
        return Density.from_model(gaussian_process, *number("x", "y"))
    return Density.from_model(mixture, *number("y"))


NAMES = (
    "eight_schools-eight_schools_noncentered", "sblri-blr", "kidiq-kidscore_interaction", "mesquite-mesquite",
    "nes1992-nes", "kilpisjarvi_mod-kilpisjarvi", "arK-arK", "arma-arma11", "garch-garch11",
    "gp_pois_regr-gp_regr", "low_dim_gauss_mix-low_dim_gauss_mix",
)  # fmt: skip
