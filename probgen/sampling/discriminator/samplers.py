"""The library's samplers, on noise whose draws a discriminator scores."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod

import torch
from torch import Tensor

from probgen.capture.recorded_function import wrapper
from probgen.core import Density, check_count, source_of
from probgen.sampling.discriminator.greatest_score import Trial
from probgen.sampling.discriminator.scored_noise import ScoredNoise
from probgen.sampling.exact.rejection.rejection import Rejection
from probgen.sampling.markov import diagnosis
from probgen.sampling.markov.moves.metropolis import has_gradient
from probgen.sampling.markov.moves.metropolis_hastings import independence
from probgen.sampling.markov.run import run
from probgen.sampling.markov.sample import DENSE
from probgen.sampling.markov.warmup.trajectory_lengths import adapt_hmc

TOLERANCE = 1e-3
"""The bound on the distance in total variation by which the steps of Metropolis–Hastings are chosen."""

RAREST = 1e-4
"""The share of acceptances from which on draws by rejection are worth waiting for."""

_MOST_STEPS, _DIAGNOSED, _CHAINS = 20_000, 200, 64

_WARM_UP, _MOVES, _POOL = 300, 25, 64
"""Of HMC: steps of tuning, and for each draw moves, and draws among which it is resampled, at most."""

_LEAPS = 16
"""Leapfrog steps of a trajectory at most: draws need not find modes, which resampling has found, and where
steps are short, as at the borders of a generator's modes, the trajectories that go farthest take hundreds."""

AGREED = 1.01
"""R-hat up to which chains agree."""


class Sampler(ABC):
    """A way to draw noise from p₀(z) exp(slope d(G(z))), and what is known of it."""

    method: str
    total_variation = math.nan
    effective = math.nan
    r_hat = math.nan

    def __init__(
        self, noise: ScoredNoise, slope: float, tried: Trial, maximum: float, maximum_found: str
    ) -> None:
        self.noise, self.slope, self.tried = noise, slope, tried
        self.maximum, self.maximum_found = maximum, maximum_found

    @abstractmethod
    def draw(self, n: int, seed: int) -> Tensor:
        r"""Return n draws of noise, (n, \*noise)."""

    @abstractmethod
    def acceptance(self) -> float: ...

    def findings(self) -> list[str]:
        return []


class ByRejection(Sampler):
    """Exact rejection from p₀; a score above the maximum raises, with what it means for earlier draws."""

    method = "rejection"
    total_variation = 0.0

    def __init__(
        self, noise: ScoredNoise, slope: float, tried: Trial, maximum: float, maximum_found: str
    ) -> None:
        super().__init__(noise, slope, tried, maximum, maximum_found)
        expected = tried.acceptance(maximum)
        if expected < RAREST:
            raise ValueError(
                f"rejection should accept at least {RAREST:.2%} of the generator's draws but would accept "
                f"{expected:.2g}: use method='hmc'"
            )
        self._law = Rejection(self._log_prob, proposal=noise.law, log_bound=maximum)

    def draw(self, n: int, seed: int) -> Tensor:
        return self._law.sample((n,)).squeeze(1)

    def acceptance(self) -> float:
        try:
            return float(self._law.report().acceptance)
        except ValueError:  # nothing was drawn
            return self.tried.acceptance(self.maximum)

    def _log_prob(self, z: Tensor) -> Tensor:
        scores = self.slope * self.noise.scores_of_noise(z)
        above = ~(scores <= self.maximum + 1e-6 * (1 + abs(self.maximum)))
        if above.any():
            self._refuse(z, scores, above)
        return self.noise.law.log_prob(z) + scores

    def _refuse(self, z: Tensor, scores: Tensor, above: Tensor) -> None:
        """Say where the maximum is exceeded, and by how much draws under it are wrong.

        With weights w = exp(score) cut at c = exp(maximum), draws have the law q min(w, c) / E min(w, c),
        which is at most E (w − c)₊ / E w from the target in total variation.
        """
        if not bool(scores.isfinite().all()):
            raise ValueError("scores should be finite but one of a draw is not: the networks overflow there")
        flat = scores.double().flatten()
        weights = (flat - self.maximum).exp()
        lost = float((weights - 1).clamp(min=0).sum() / weights.sum())
        place = z.reshape(-1, *self.noise.law.event_shape)[int(flat.argmax())]
        raise ValueError(
            f"log_bound should be at least the greatest score of a draw but the maximum, {self.maximum:.6g} "
            f"({self.maximum_found}), is exceeded by {float(flat.max()):.6g} at noise "
            f"{[round(value, 4) for value in place.flatten()[:8].tolist()]}; draws made under it are about "
            f"{lost:.2g} from their law, in total variation, at most: give more trials=, or log_bound="
        )


class ByMetropolis(Sampler):
    """Independence chains, each a draw: p₀ proposes, and the ratio of exponentiated scores accepts."""

    method = "metropolis"

    def __init__(
        self,
        noise: ScoredNoise,
        slope: float,
        tried: Trial,
        maximum: float,
        maximum_found: str,
        *,
        steps: int | None,
    ) -> None:
        super().__init__(noise, slope, tried, maximum, maximum_found)
        # 1/M = E_q w / max w: the share that rejection would accept.
        share = tried.acceptance(maximum)
        if steps is None:
            most = min(share, 1 - TOLERANCE)  # one step is enough there
            wanted = math.log(TOLERANCE) / math.log1p(-most) if share > 0 else math.inf
            if wanted > _MOST_STEPS:
                raise ValueError(
                    f"chains of method 'metropolis' should come within {TOLERANCE} of their law in "
                    f"{_MOST_STEPS:,} steps but need {wanted:.3g}, as only {share:.2g} of the generator's "
                    "draws are as likely as the best: use method='hmc', or give steps="
                )
            steps = math.ceil(wanted)
        self.steps = check_count("steps", steps)
        self.total_variation = (1 - share) ** self.steps
        self._density = _density_of_noise(noise, slope, "metropolis")
        self._transition = independence(self._density, noise.law)
        self._seen = -math.inf
        # A few chains that go on tell how far apart draws of one chain would have to be.
        start = self._density.unconstrain(noise.draw(_CHAINS))
        chains = run(
            self._transition,
            start,
            draws=_DIAGNOSED,
            thin=max(1, self.steps // 20),
            density=self._density,
            seed=int(torch.randint(2**62, ())),
        )
        summary = chains.summary()
        self._acceptance = float(chains.statistics["acceptance"].double().mean())
        self.r_hat = float(summary.r_hat.max())
        self.effective = float(summary[["ess_bulk", "ess_tail"]].min(axis=1).min())

    def draw(self, n: int, seed: int) -> Tensor:
        start = self._density.unconstrain(self.noise.draw(n))
        own = int(torch.randint(2**62, ()))  # with the seed itself the first proposals would be the start
        chains = run(self._transition, start, draws=1, thin=self.steps, density=self._density, seed=own)
        z = chains[self.noise.site][:, 0]
        self._seen = max(self._seen, float(self.slope * self.noise.scores_of_noise(z).max()))
        return z.to(self.noise.like.dtype)

    def acceptance(self) -> float:
        return self._acceptance

    def findings(self) -> list[str]:
        found = []
        if self.total_variation > 10 * TOLERANCE:
            found.append(
                f"After {self.steps} steps the chains may be {self.total_variation:.2g} from their law, in "
                "total variation: give more steps."
            )
        if self._seen > self.maximum:
            found.append(
                f"A draw's score, {self._seen:.4g}, is above the maximum of {self.maximum:.4g} from which "
                "the bound in total variation was computed, which is then too small: give more trials."
            )
        return found


class ByHMC(Sampler):
    """Resample–move: draws of p₀, resampled by exp(score), each moved by Hamiltonian Monte Carlo.

    The moves leave log p₀(z) + slope d(G(z)) as it is, whatever they reach: shares of modes that lie too far
    apart for them to cross are those of the resampling, which are right as the pool of draws grows.

    Source: Gilks and Berzuini (2001), Following a moving target: Monte Carlo inference for dynamic Bayesian
    models.
    """

    method = "hmc"

    def __init__(
        self, noise: ScoredNoise, slope: float, tried: Trial, maximum: float, maximum_found: str
    ) -> None:
        super().__init__(noise, slope, tried, maximum, maximum_found)
        self._share = tried.worth()
        self._density = _density_of_noise(noise, slope, "hmc")
        position = self._density.unconstrain(self._resampled(_CHAINS).to(self._density.dtype))
        if not has_gradient(self._density, position):
            raise ValueError(
                f"noise should be real numbers for method='hmc' but {noise.site!r} is of a discrete law: use "
                "method='rejection'"
            )
        generator = source_of(None, int(torch.randint(2**62, ())), self._density.device)
        tuned = adapt_hmc(
            self._density,
            position,
            steps=_WARM_UP,
            covariance="dense" if self._density.dim <= DENSE else "diagonal",
            most=_LEAPS,
            generator=generator,
            wrap=wrapper("graph", calls=2),
        )
        self._transition = tuned.transition
        chains = run(
            tuned.transition, tuned.position, draws=_DIAGNOSED, density=self._density, generator=generator
        )
        summary = chains.summary()
        self.r_hat = float(summary.r_hat.max())
        self.effective = float(summary[["ess_bulk", "ess_tail"]].min(axis=1).min())
        self._acceptance = float(chains.statistics["acceptance"].double().mean())
        # As many moves as two autocorrelation times, where chains can go everywhere; the most where draws
        # start far from the target, as among those of p₀ hardly any is near it.
        apart = 2 * chains.shape.numel() / self.effective
        self._worth = min(1.0, _POOL * self._share)
        self.steps = _MOVES if self._worth < 1 else min(math.ceil(apart), _MOVES)
        self._findings = [
            *diagnosis.of_moves(chains.statistics, tuned.acceptance, {noise.site: chains[noise.site]}),
            *diagnosis.of_energy(chains.statistics),
        ]

    def draw(self, n: int, seed: int) -> Tensor:
        start = self._density.unconstrain(self._resampled(n).to(self._density.dtype))
        own = int(torch.randint(2**62, ()))
        chains = run(self._transition, start, draws=1, thin=self.steps, density=self._density, seed=own)
        return chains[self.noise.site][:, 0].to(self.noise.like.dtype)

    def acceptance(self) -> float:
        return self._acceptance

    def findings(self) -> list[str]:
        found = list(self._findings)
        if self.r_hat > AGREED and self._worth < 0.1:
            found.append(
                f"The chains of noise do not agree (R-hat {self.r_hat:.3f}), so that modes keep the shares "
                f"of the draws that they start at, which are worth {self._worth:.2g} exact ones each: shares "
                "of few draws are rough."
            )
        return found

    @torch.no_grad()
    def _resampled(self, n: int) -> Tensor:
        """Resample n of so many draws that these are worth n, systematically, in a random order."""
        pool = self.noise.draw(max(len(self.tried.scores), min(math.ceil(n / self._share), _POOL * n)))
        weights = (self.slope * self.noise.scores_of_noise(pool).double()).softmax(0)
        levels = (torch.arange(n, device=weights.device) + torch.rand((), dtype=torch.float64)) / n
        chosen = torch.searchsorted(weights.cumsum(0), levels).clamp(max=len(pool) - 1)
        return pool[chosen[torch.randperm(n).to(chosen.device)]]


def _density_of_noise(noise: ScoredNoise, slope: float, method: str) -> Density:
    """Return the density of noise, or say that a chain cannot move there."""
    try:
        density = noise.density(slope)
        density.unconstrain(noise.like)
    except (ValueError, NotImplementedError) as error:
        raise ValueError(
            f"noise should be real or whole numbers for method={method!r} but {noise.site!r} is of the law "
            f"{noise.law}: use method='rejection'"
        ) from error
    return density
