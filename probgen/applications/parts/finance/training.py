"""How the networks of the application ``finance`` are trained, by days before a block alone."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from probgen.applications.frame.study import Study
from probgen.applications.parts.finance import innovation_laws as laws
from probgen.applications.parts.finance.forecasters import Forecaster, Innovations, StochasticVolatility
from probgen.models import GJRGARCH
from probgen.objectives import SVI, BetaELBO, ConditionalMomentMatching, Contest
from probgen.training import schedules

STEPS = {"GJR-VRNN": 200, "VRNN": 300, "deep Markov": 200, "GJR-GMMN": 1000, "GJR-GAN": 1000}
"""Of a training in the full size.

They were chosen by trials on days 2,031 to 4,030 of the S&P 500; the last thousand of these are judged too.
"""


def learned(study: Study, method: str, garch: GJRGARCH, train: Tensor) -> Forecaster:
    """Return a method of ours, trained on returns in percent, shape (T,), float64."""
    seed = study.seed_of(method, len(train))
    torch.manual_seed(seed)
    steps = study.pick(full=STEPS[method], quick=STEPS[method] // 5, tiny=2)
    name = f"{method.lower().replace(' ', '-')}-{len(train)}"
    if method == "deep Markov":
        model = laws.deep_markov().to(train.device)
        unit = (train - garch.mean) / garch.log_variance.exp().sqrt()
        _by_svi(study, name, model, laws.windows(unit, length=64, stride=16), seed=seed, steps=steps)
        return StochasticVolatility(model, garch)
    if method in ("GJR-VRNN", "VRNN"):
        vrnn = laws.vrnn().to(train.device)
        found = Innovations(garch, laws.Recurrent(vrnn), filtered=method != "VRNN")
        rows = laws.windows(found.standardised(train), length=100, stride=25)
        _by_svi(study, name, vrnn, rows, seed=seed, steps=steps)
        return found
    implicit = (laws.gmmn() if method == "GJR-GMMN" else laws.gan()).to(train.device)
    found = Innovations(garch, laws.Implicit(implicit), filtered=True)
    innovations = found.standardised(train)
    batch = (innovations.float()[:, None], laws.summary(laws.before(innovations)[:-1]).float())
    if method == "GJR-GMMN":
        objective: Any = ConditionalMomentMatching(implicit, *laws.kernels())
        rates = {"lr": schedules.cosine(3e-3, 0.0, steps=steps)}
        study.fit(name, objective, batch, seed=seed, steps=steps, batch_size=256, schedules=rates)
        return found
    contest = Contest(implicit, loss="cross-entropy", r1=0.1, average=0.995).to(train.device)
    adam = contest.adam(1e-3, discriminator=1e-3)
    study.fit(name, contest, batch, seed=seed, method=method, steps=steps, batch_size=256, optimizer=adam)
    return found


def _by_svi(study: Study, name: str, pair: Any, rows: Tensor, *, seed: int, steps: int) -> None:
    """Learn a pair of sequences; a code that is not used is no fault of a forecast, which scores judge."""
    study.fit(
        name,
        SVI(pair, BetaELBO()),
        rows,
        seed=seed,
        steps=steps,
        batch_size=32,
        max_gradient_norm=20.0,
        schedules={
            "elbo.beta": schedules.linear(0.3, 1.0, steps=max(1, steps // 4)),
            "lr": schedules.cosine(3e-3, 0.0, steps=steps),
        },
    )
    pair.eval()
