"""Draws of a generator, corrected by its discriminator: by rejection, Metropolis–Hastings, or HMC."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple, cast, get_args

import torch
from torch import Tensor

from probgen.core import Estimate, GenerativeModel, check_count, seed_of, seeded, tensor_of, weights_dtype
from probgen.sampling.discriminator.calibration import ScoreCalibration, calibrated
from probgen.sampling.discriminator.findings import findings_of
from probgen.sampling.discriminator.greatest_score import SLACK, Trial, trial
from probgen.sampling.discriminator.samplers import ByHMC, ByMetropolis, ByRejection, Sampler
from probgen.sampling.discriminator.scored_noise import Discriminator, ScoredNoise

Method = Literal["rejection", "metropolis", "hmc"]
RATIOS = ("cross-entropy", "minimax", "relativistic")
"""Losses whose best discriminator is log p/q, of the last up to a constant."""

OTHERS = {
    "absolute": "1 where p > q and 0 elsewhere",
    "least-squares": "p / (p + q), no logit",
    "hinge": "the sign of p − q",
    "wasserstein": "a function of bounded slope",
}
"""What the best discriminator is by losses that are no density ratio."""

_LEAST = 40


class Refinement(NamedTuple):
    """What is known of refined draws.

    Attributes:
        method: "rejection", "metropolis" or "hmc".
        acceptance: the share of proposals that were accepted; before there are draws, that of a trial.
        maximum: the greatest score, times the slope of the calibration, that draws of the generator reach.
        maximum_found: how it was found.
        log_mean_ratio: log E p/q over draws of the generator, by the scores: 0 where these are right and the
            generator misses nothing, log of the mass that it reaches where it does. NaN for scores that
            are known up to a constant, those of "relativistic" that are not calibrated.
        calibration: of the scores on held-out data; None where they are taken on trust.
        total_variation: a bound on the distance of a draw's law from that which its sampler aims at: 0 for
            rejection, (1 − 1/M)ᵏ for Metropolis–Hastings, NaN, not known, for HMC.
        effective, r_hat: the least effective sample size of the chains' trial run, and their largest R-hat;
            NaN for rejection.
        beyond: the share of the held-out data whose score is above the maximum, which no refined draw can
            stand for; NaN without held-out data.
        findings: what is wrong, a sentence each.
    """

    method: str
    acceptance: float
    maximum: float
    maximum_found: str
    log_mean_ratio: Estimate
    calibration: ScoreCalibration | None
    total_variation: float
    effective: float
    r_hat: float
    beyond: float
    findings: Sequence[str]

    @property
    def notes(self) -> Mapping[str, str | float]:
        """The figures by name, as ``probgen.compare`` reports them."""
        notes: dict[str, str | float] = {
            "acceptance": self.acceptance,
            "maximum of the scores": self.maximum,
            "calibration": "none: scores are taken on trust",
        }
        if self.log_mean_ratio.value == self.log_mean_ratio.value:
            notes["mean of p/q over the generator's draws"] = math.exp(self.log_mean_ratio.value)
        if self.calibration is not None:
            notes["calibration"] = f"slope {self.calibration.slope.value:.3g}, Z {self.calibration.z:.2f}"
            notes["held-out data above the maximum"] = self.beyond
        if self.method == "metropolis":
            notes["bound on the distance in total variation"] = self.total_variation
        if self.method != "rejection":
            notes |= {"largest R-hat": self.r_hat, "least effective sample size": self.effective}
        return notes


class Refined:
    """Draws of a generative model that its discriminator corrects; :func:`refine` makes one."""

    def __init__(
        self,
        noise: ScoredNoise,
        sampler: Sampler,
        log_mean_ratio: Estimate,
        calibration: ScoreCalibration | None,
        beyond: float,
        findings: Sequence[str],
    ) -> None:
        self._noise, self._sampler, self._log_mean_ratio = noise, sampler, log_mean_ratio
        self._calibration, self._beyond, self._findings = calibration, beyond, findings

    def __repr__(self) -> str:
        return f"Refined({self._sampler.method}, acceptance {self._sampler.acceptance():.3g})"

    @torch.no_grad()
    def sample(self, n: int, *, seed: int | None = None, generator: torch.Generator | None = None) -> Tensor:
        r"""Draw n refined x, (n, \*event); the same seed, or state of a generator, gives the same bits.

        Raises:
            ValueError: where rejection meets a score above the maximum.
        """
        n, seed = check_count("n", n), seed_of(seed, generator)
        if seed is None:
            seed = int(torch.randint(2**62, ()))
        with seeded(seed):
            return self._noise.made(self._sampler.draw(n, seed))

    def report(self) -> Refinement:
        """Return what is known of the draws, and what is wrong with them."""
        return Refinement(
            self._sampler.method,
            self._sampler.acceptance(),
            self._sampler.maximum,
            self._sampler.maximum_found,
            self._log_mean_ratio,
            self._calibration,
            self._sampler.total_variation,
            self._sampler.effective,
            self._sampler.r_hat,
            self._beyond,
            [*self._findings, *self._sampler.findings()],
        )


def refine(
    model: GenerativeModel,
    *context: Any,
    discriminator: Discriminator | None = None,
    method: Method = "rejection",
    loss: str | None = None,
    held_out: Any = None,
    log_bound: float | None = None,
    steps: int | None = None,
    trials: int = 2**14,
    seed: int | None = None,
    generator: torch.Generator | None = None,
) -> Refined:
    r"""Draw from a generator's law q, corrected by its discriminator towards the law p of the data.

    Where the discriminator's logit is d = log p/q, up to a constant, the noise z ~ p₀ of x = G(z) is drawn
    from the density

    .. math:: p_0(z)\, e^{d(G(z))} / Z

    and x then has the law p wherever q reaches: what the generator never makes is not made here, and modes
    that it misses stay missed. The library's own samplers draw z:

    ================  ==================================================================================
    ``method``        how
    ================  ==================================================================================
    ``"rejection"``   :class:`probgen.sampling.Rejection` from p₀, accepted with probability
                      exp(d − max d): independent and exact. The maximum is ``log_bound``, or the greatest
                      score of ``trials`` draws and of climbs from the best of these; every proposal is
                      checked against it, and one above it raises.
    ``"metropolis"``  :func:`probgen.sampling.independence` with proposals from p₀: n chains of ``steps``
                      steps for n independent draws. With M the maximum of p/q, their law is within
                      (1 − 1/M)ᵏ of the target after k steps; where ``steps`` is not given it is 10⁻³.
    ``"hmc"``         Hamiltonian Monte Carlo on log p₀(z) + d(G(z)), for rare acceptance: draws of p₀ are
                      resampled by exp(d), and each is moved, by trajectories of 16 steps at most. Modes too
                      far apart in z for moves to cross keep the shares that resampling gives them.
    ================  ==================================================================================

    A trained discriminator is too sure, as it knows its training data, and where the generator draws by
    averaged weights it learned from other draws than these. With ``held_out`` data its scores are
    calibrated: d becomes a d + b by a logistic regression of half of these against draws, tested on the other
    half. Of a loss that estimates no density ratio this is the least that is needed, and then the law of the
    *score* is made that of the data's; among points of one score draws keep the generator's law.

    Args:
        model: the generator: its data are a function of one site, the noise, as in a GAN or a GMMN. A copy
            is kept, in evaluation mode.
        context: the condition of a conditional model, one for all draws, without a dimension of rows.
        discriminator: from (x, \*context) to logits, (n,) or (n, 1); ``model.discriminator`` where not given.
        method: from the table.
        loss: what the discriminator learned by; needed where there are no held-out data.
        held_out: data that the discriminator was not trained on, (m, \*event), of this context, m ≥ 40.
        log_bound: the maximum of d (of a d, calibrated), for rejection, where it is known.
        steps: of each chain of "metropolis".
        trials: draws among which the maximum is sought.
        seed, generator: of the trial, the halves of the data and the warm-up, one at most; seed 0 where not
            given.

    Raises:
        ValueError, TypeError: for scores that are no logits, no numbers, or of a loss that estimates no
            density ratio, held-out data unlike the draws, a bound below a draw's score, and too few
            acceptances to draw by the method.

    Source: Azadi, Olsson, Darrell, Goodfellow and Odena (2019), Discriminator rejection sampling; Turner,
    Hung, Frank, Saatchi and Yosinski (2019), Metropolis-Hastings generative adversarial networks; Che and
    others (2020), Your GAN is secretly an energy-based model and you should use discriminator driven latent
    sampling; Mengersen and Tweedie (1996) for the bound.

    >>> import pyro, pyro.distributions as dist
    >>> class Wide(GenerativeModel):  # draws N(0, 1) where the data are N(0, 1/2)
    ...     def model(self, x=None, *context, n=1):
    ...         with pyro.plate("data", n):
    ...             return pyro.sample("z", dist.Normal(torch.zeros(1), 1.0).to_event(1))
    >>> refined = refine(Wide(), discriminator=lambda x: -x.square() / 2, loss="relativistic")
    >>> round(float(refined.sample(10_000, seed=0).var()), 1), round(refined.report().acceptance, 1)
    (0.5, 0.7)
    """
    discriminator = _checked(model, discriminator, method, loss, held_out)
    if log_bound is not None and method != "rejection":
        raise ValueError(f"log_bound is for method='rejection' but method is {method!r}: leave it out")
    if steps is not None and method != "metropolis":
        raise ValueError(f"steps is for method='metropolis' but method is {method!r}: leave it out")
    seed = seed_of(seed, generator, default=0)
    noise = ScoredNoise(model, discriminator, context)
    with seeded(seed):
        trials = check_count("trials", trials, least=1000)
        calibration, real = None, None
        if held_out is not None:
            x = _like_draws(held_out, noise, model)
            with torch.no_grad():
                real, fake = noise.scores(x), noise.scores_of_noise(noise.draw(len(x)))
                others = noise.scores_of_noise(noise.draw(trials))
            calibration = _calibration(real, fake, others, seed)
        slope = 1.0 if calibration is None else calibration.slope.value
        tried = trial(noise, slope, trials)
        maximum, found = tried.greatest + SLACK, tried.found
        if log_bound is not None:
            maximum, found = _bound(log_bound, tried), "given"
        if method == "rejection":
            sampler: Sampler = ByRejection(noise, slope, tried, maximum, found)
        elif method == "metropolis":
            sampler = ByMetropolis(noise, slope, tried, maximum, found, steps=steps)
        else:
            sampler = ByHMC(noise, slope, tried, maximum, found)
    beyond = float("nan") if real is None else float((slope * real > maximum).double().mean())
    findings = findings_of(tried, calibration, real, slope, maximum, loss, OTHERS)
    return Refined(noise, sampler, _mean_ratio(tried, calibration, loss), calibration, beyond, findings)


def _mean_ratio(tried: Trial, calibration: ScoreCalibration | None, loss: str | None) -> Estimate:
    """Return log E p/q over draws, where the scores' constant is known."""
    mean = tried.log_mean_ratio()
    if calibration is not None:
        return Estimate(mean.value + calibration.intercept.value, mean.stderr)
    return Estimate(math.nan, math.nan) if loss == "relativistic" else mean


def _checked(model: Any, discriminator: Any, method: str, loss: str | None, held_out: Any) -> Discriminator:
    """Return the discriminator, once what is asked for makes sense."""
    if not isinstance(model, GenerativeModel):
        raise TypeError(
            f"model should be a generative model, such as models.GAN, but is of type {type(model).__name__}"
        )
    if method not in get_args(Method):
        raise ValueError(f"method should be one of {', '.join(get_args(Method))} but got {method!r}")
    if discriminator is None:
        discriminator = getattr(model, "discriminator", None)
        if discriminator is None:
            raise ValueError(
                f"discriminator should be given, as {type(model).__name__} has none: a function of x that "
                "returns logits"
            )
    if loss is not None and loss not in (*RATIOS, *OTHERS):
        raise ValueError(f"loss should be one of {', '.join((*RATIOS, *OTHERS))} but got {loss!r}")
    if held_out is None and loss is None:
        raise ValueError(
            "scores should be known to be log density ratios: give held_out=, data that the discriminator "
            "was not trained on, to calibrate them, or loss=, what it learned by, to take them on trust"
        )
    if held_out is None and loss in OTHERS:
        raise ValueError(
            f"scores should be log density ratios but the best discriminator by the loss {loss!r} is "
            f"{OTHERS[loss]}: give held_out=, data to calibrate them on"
        )
    return cast(Discriminator, discriminator)


def _like_draws(held_out: Any, noise: ScoredNoise, model: GenerativeModel) -> Tensor:
    """Return held-out data as the draws are: their event shape, type and device."""
    x = tensor_of(held_out, "held_out", dtype=weights_dtype(model))
    if not isinstance(x, Tensor):
        raise TypeError(f"held_out should be a tensor or an array but is of type {type(held_out).__name__}")
    with torch.no_grad():
        drawn = noise.made(noise.like)
    if x.shape[1:] != drawn.shape[1:] or len(x) < _LEAST:
        raise ValueError(
            f"held_out should have shape (m, {', '.join(map(str, drawn.shape[1:]))}) with m ≥ {_LEAST}, as "
            f"draws have, but has {tuple(x.shape)}"
        )
    return x.to(drawn)


def _calibration(real: Tensor, fake: Tensor, others: Tensor, seed: int) -> ScoreCalibration:
    """Calibrate on scores up to the greatest of other draws: above it nothing is known of the ratio."""
    for scores, of in ((real, "held-out data"), (fake, "draws"), (others, "draws")):
        _require_finite(scores, of)
    return calibrated(real, fake, up_to=float(others.max()), seed=seed)


def _require_finite(scores: Tensor, of: str) -> None:
    bad = ~scores.isfinite()
    if bad.any():
        raise ValueError(
            f"scores should be finite but are {float(scores[bad][0])} at {int(bad.sum())} of {len(scores)} "
            f"{of}"
        )


def _bound(log_bound: float, tried: Trial) -> float:
    greatest = float(tried.scores.max())
    if not greatest <= log_bound + 1e-6 * (1 + abs(greatest)):
        raise ValueError(
            f"log_bound should be at least the greatest score of a draw, {greatest:.6g}, but is {log_bound}"
        )
    return float(log_bound)
