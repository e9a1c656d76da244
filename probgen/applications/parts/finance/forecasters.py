"""Forecasts of returns, a day ahead and as paths: by GARCH, by resampling, by networks of innovations."""

from __future__ import annotations

import math
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from probgen.core import Terms, seeded
from probgen.models import GJRGARCH, DeepMarkov
from probgen.objectives import MaximumLikelihood
from probgen.training import fit_lbfgs

WINDOW = 500
"""Days of historical simulation, as it is used in banks."""

BLOCK = 20
"""Days that a bootstrap takes together."""

PARTICLES = 1000


class Ahead(NamedTuple):
    """Forecasts one day ahead: draws (n, days), and log p of what came (days,), nats, where it is known."""

    draws: Tensor
    log_prob: Tensor | None


class Forecaster(Protocol):
    """What forecasts returns in percent, float64: each day from ``start`` on given the past, and paths."""

    def ahead(self, returns: Tensor, start: int, *, n: int, seed: int) -> Ahead: ...

    def paths(self, past: Tensor, *, horizon: int, n: int, seed: int) -> Tensor:
        """Return draws of the next days' returns, shape (n, horizon)."""
        ...


class InnovationLaw(Protocol):
    """A law of an innovation given what the ones before say, which a state holds, shape (days, s)."""

    def states(self, innovations: Tensor) -> Tensor:
        """Return the state before each of T innovations and after the last, shape (T + 1, s)."""
        ...

    def after(self, states: Tensor, innovations: Tensor) -> Tensor: ...

    def draw(self, states: Tensor) -> Tensor:
        """Return an innovation for each state, shape (days,)."""
        ...

    def log_prob(self, states: Tensor, innovations: Tensor) -> Tensor | None:
        """Return the log-density of an innovation given each state, None where there is none."""
        ...


class HeldLikelihood(MaximumLikelihood):
    """Minus the log-likelihood, and Σ_j (w_j − w_j⁰)² / 2σ² of weights w that start at w⁰."""

    def __init__(self, model: GJRGARCH, *, scale: float = 3.0) -> None:
        super().__init__(model)
        self._start = [(weight, weight.detach().clone()) for weight in model.parameters()]
        self._scale = scale

    def forward(self, *batch: Tensor) -> tuple[Tensor, Terms]:
        """Return the loss and its terms."""
        loss, terms = super().forward(*batch)
        apart = torch.cat([(weight - start).flatten() for weight, start in self._start])
        return loss + (apart / self._scale).square().sum() / 2, terms


class LearnedGarch(NamedTuple):
    """GJR with Student-t innovations as learned, and whether its weights had to be held."""

    garch: GJRGARCH
    held: bool


def learned_garch(returns: Tensor) -> LearnedGarch:
    """Return GJR with Student-t innovations, by maximum likelihood on returns in percent, shape (T,).

    Of returns without heavy tails or without volatility that moves the likelihood has no highest point: it
    grows on as the degrees of freedom do, say. There, returns are divided by their standard deviation, and
    weights held near where they start by a normal law of deviation 3 for each.
    """
    garch = GJRGARCH().to(returns)
    garch.start_at(returns[None])
    held = False
    try:
        fit_lbfgs(MaximumLikelihood(garch), returns[None], tolerance=1e-5)
    except ValueError:
        held, unit = True, returns.std()
        garch = GJRGARCH().to(returns)
        garch.start_at(returns[None] / unit)
        fit_lbfgs(HeldLikelihood(garch), returns[None] / unit, tolerance=1e-5)
        with torch.no_grad():
            garch.mean.mul_(unit)
            garch.log_variance.add_(2 * unit.log())
    return LearnedGarch(garch.requires_grad_(False), held)


class Garch:
    """GJR with its Student-t, or, filtered historical simulation, with residuals of days in its place."""

    def __init__(self, garch: GJRGARCH, days: Tensor | None) -> None:
        self.garch = garch
        self.residuals = None if days is None else garch.residuals(days[None])[0]

    def ahead(self, returns: Tensor, start: int, *, n: int, seed: int) -> Ahead:
        laws, days = self.garch.step_laws(returns[None]), len(returns) - start
        with seeded(seed):
            if self.residuals is None:
                drawn = laws.sample(torch.Size((n,)))[:, 0, start:-1]
                return Ahead(drawn, laws.log_prob(torch.cat([returns, returns[:1]]))[0, start:-1])
            chosen = self.residuals[torch.randint(len(self.residuals), (n, days), device=returns.device)]
        return Ahead(self.garch.mean + self.garch.variances(returns[None])[0, start:-1].sqrt() * chosen, None)

    def paths(self, past: Tensor, *, horizon: int, n: int, seed: int) -> Tensor:
        return self.garch.forecast(past[None], horizon=horizon, n=n, innovations=self.residuals, seed=seed)[
            :, 0
        ]


class RollingGarch:
    """GJR with its Student-t, its weights learned anew every so many days from the days just before.

    Args:
        returns: the series, of which a fit sees days before it alone.
        first: a day of a fit, counted from 0.
        every: days from fit to fit.
        window: days that a fit sees, at most.

    Attributes:
        fits: what was learned, by the day after the last that it saw.
    """

    def __init__(self, returns: Tensor, *, first: int, every: int, window: int = 2000) -> None:
        self.first, self.every, self.window = first, every, window
        self.fits: dict[int, LearnedGarch] = {}
        self._returns = returns

    def ahead(self, returns: Tensor, start: int, *, n: int, seed: int) -> Ahead:
        found = []
        while start < len(returns):
            begin, fit, garch = self._before(start)
            end = min(fit + self.every, len(returns))
            found.append(garch.ahead(returns[begin:end], start - begin, n=n, seed=seed + start))
            start = end
        known = [part.log_prob for part in found if part.log_prob is not None]
        return Ahead(torch.cat([part.draws for part in found], 1), torch.cat(known))

    def paths(self, past: Tensor, *, horizon: int, n: int, seed: int) -> Tensor:
        begin, _, garch = self._before(len(past))
        return garch.paths(past[begin:], horizon=horizon, n=n, seed=seed)

    def _before(self, day: int) -> tuple[int, int, Garch]:
        """Return the first day of the window, that of the last fit, and what is learned there."""
        fit = self.first + (day - self.first) // self.every * self.every
        begin = max(0, fit - self.window)
        if fit not in self.fits:
            self.fits[fit] = learned_garch(self._returns[begin:fit])
        return begin, fit, Garch(self.fits[fit].garch, None)


class Bootstrap:
    """Past days drawn again: one of the last 500 for tomorrow, blocks of 20 days for paths."""

    def __init__(self, train: Tensor) -> None:
        self.train = train

    def ahead(self, returns: Tensor, start: int, *, n: int, seed: int) -> Ahead:
        days = torch.arange(start, len(returns), device=returns.device)
        with seeded(seed):
            back = torch.randint(1, min(WINDOW, start) + 1, (n, len(days)), device=returns.device)
        return Ahead(returns[days - back], None)

    def paths(self, past: Tensor, *, horizon: int, n: int, seed: int) -> Tensor:
        blocks = -(-horizon // BLOCK)
        with seeded(seed):
            starts = torch.randint(len(self.train) - BLOCK + 1, (n, blocks, 1), device=past.device)
        return self.train[starts + torch.arange(BLOCK, device=past.device)].reshape(n, -1)[:, :horizon]


class Innovations:
    r"""r_t = μ + σ_t ε_t with σ_t by GJR, or a constant, and ε_t from a learned law given those before."""

    def __init__(self, garch: GJRGARCH, law: InnovationLaw, *, filtered: bool) -> None:
        self.garch, self.law, self.filtered = garch, law, filtered

    def scales(self, returns: Tensor) -> Tensor:
        """Return σ_1, ..., σ_{T+1}."""
        variances = self.garch.variances(returns[None])[0]
        return (variances if self.filtered else variances[:1].expand(len(variances))).sqrt()

    def standardised(self, returns: Tensor) -> Tensor:
        """Return ε_1, ..., ε_T."""
        return (returns - self.garch.mean) / self.scales(returns)[:-1]

    @torch.no_grad()
    def ahead(self, returns: Tensor, start: int, *, n: int, seed: int) -> Ahead:
        scales, innovations = self.scales(returns)[start:-1], self.standardised(returns)
        states = self.law.states(innovations)[start:-1]
        with seeded(seed):
            drawn = self.law.draw(states.repeat(n, 1)).reshape(n, -1)
            log_prob = self.law.log_prob(states, innovations[start:])
        return Ahead(self.garch.mean + scales * drawn, None if log_prob is None else log_prob - scales.log())

    @torch.no_grad()
    def paths(self, past: Tensor, *, horizon: int, n: int, seed: int) -> Tensor:
        mean, omega, alpha, gamma, beta, _ = self.garch.coefficients()
        variance = self.scales(past)[-1].square().expand(n)
        states = self.law.states(self.standardised(past))[-1:].expand(n, -1)
        drawn = []
        with seeded(seed):
            for _ in range(horizon):
                innovation = self.law.draw(states)
                states = self.law.after(states, innovation)
                apart = variance.sqrt() * innovation
                drawn.append(mean + apart)
                if self.filtered:
                    variance = omega + (alpha + gamma * (apart < 0)) * apart**2 + beta * variance
        return torch.stack(drawn, 1)


class StochasticVolatility:
    """A deep Markov model of returns less their mean in units of their deviation, by a particle filter.

    Its particles go on by the story alone, so that no forecast has seen what came; they start two years
    before the first forecast.
    """

    def __init__(self, model: DeepMarkov, garch: GJRGARCH) -> None:
        self.model, self.mean, self.scale = model, garch.mean, garch.log_variance.exp().sqrt()

    @torch.no_grad()
    def ahead(self, returns: Tensor, start: int, *, n: int, seed: int) -> Ahead:
        x, drawn, log_probs = self._seen(returns), [], []
        with seeded(seed):
            z = self._first(PARTICLES)
            for day in range(max(0, start - WINDOW), len(x)):
                came = x[day]
                z = self.model.transition(z).sample()
                law = self.model.emission(z)
                weights = law.log_prob(came[None])
                if day >= start:
                    chosen = torch.randint(PARTICLES, (n,), device=x.device)
                    drawn.append(self.model.emission(z[chosen]).sample()[:, 0])
                    log_probs.append(weights.logsumexp(0) - math.log(PARTICLES))
                z = z[_systematic(weights)]
        draws = torch.stack(drawn, 1).to(returns)
        return Ahead(self.mean + self.scale * draws, torch.stack(log_probs).to(returns) - self.scale.log())

    @torch.no_grad()
    def paths(self, past: Tensor, *, horizon: int, n: int, seed: int) -> Tensor:
        drawn = []
        with seeded(seed):
            z = self._first(n)
            for came in self._seen(past)[-WINDOW:]:
                z = self.model.transition(z).sample()
                z = z[_systematic(self.model.emission(z).log_prob(came[None]))]
            for _ in range(horizon):
                z = self.model.transition(z).sample()
                drawn.append(self.model.emission(z).sample()[:, 0])
        return self.mean + self.scale * torch.stack(drawn, 1).to(past)

    def _seen(self, returns: Tensor) -> Tensor:
        return ((returns - self.mean) / self.scale).to(self.model.start)

    def _first(self, n: int) -> Tensor:
        return self.model.start.expand(n, -1)


def _systematic(log_weights: Tensor) -> Tensor:
    """Return the places of particles drawn by their weights, with one uniform number for all."""
    n = len(log_weights)
    sums = log_weights.double().softmax(0).cumsum(0)
    points = (torch.arange(n, device=sums.device) + torch.rand((), device=sums.device)) / n
    return torch.searchsorted(sums, points.to(sums)).clamp(max=n - 1)
