"""The library's samplers, on noise whose draws a discriminator scores."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod

import torch
from torch import Tensor

from probgen.core import Density, check_count
from probgen.sampling.discriminator.greatest_score import Trial
from probgen.sampling.discriminator.scored_noise import ScoredNoise
from probgen.sampling.exact.rejection.rejection import Rejection
from probgen.sampling.markov.moves.metropolis_hastings import independence
from probgen.sampling.markov.run import run
from probgen.sampling.markov.thinned_chains import AGREED, CHAINS, thinned_chains

TOLERANCE = 1e-3
"""The bound on the distance in total variation by which the steps of Metropolis–Hastings are chosen."""

RAREST = 1e-4
"""The share of acceptances from which on draws by rejection are worth waiting for."""

_MOST_STEPS, _DIAGNOSED, _CHAINS = 20_000, 200, 64


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
        self._density = noise.density(slope)
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


class ByChains(Sampler):
    """Hamiltonian Monte Carlo on the density of noise, from draws resampled in proportion to exp(score)."""

    method = "hmc"

    def __init__(
        self, noise: ScoredNoise, slope: float, tried: Trial, maximum: float, maximum_found: str
    ) -> None:
        super().__init__(noise, slope, tried, maximum, maximum_found)
        self._density: Density = noise.density(slope)
        with torch.no_grad():
            pool = noise.draw(len(tried.scores))
            weights = (slope * noise.scores_of_noise(pool).double()).softmax(0)
        start = pool[torch.multinomial(weights, CHAINS, replacement=True)]
        generator = torch.Generator(self._density.device).manual_seed(int(torch.randint(2**62, ())))
        self._chains = thinned_chains(
            self._density, "hmc", generator=generator, init=start.to(self._density.dtype)
        )
        notes = self._chains.notes
        self.r_hat = float(notes["largest R-hat"])
        self.effective = float(notes["least effective sample size"])

    def draw(self, n: int, seed: int) -> Tensor:
        return self._chains.draw(n, seed)

    def acceptance(self) -> float:
        return float(self._chains.notes["acceptance"])

    def findings(self) -> list[str]:
        found = list(self._chains.findings)
        if self.r_hat > AGREED:
            found.append(
                f"The chains of noise do not agree (R-hat {self.r_hat:.3f}): modes lie too far apart in it "
                "for them to cross, and their shares are those of the resampled draws that they started at: "
                "use method='rejection' or 'metropolis'."
            )
        return found
