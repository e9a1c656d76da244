"""Is a posterior sampler, or a guide, right on average? Tests with data drawn from the model itself."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from pyro import poutine
from torch import Tensor

from probgen.core import Density, ModelDensity, Transition, check_count, seed_of, seeded
from probgen.evaluation.posterior.independent_draws import integrated_time, numbers, thinned
from probgen.sampling import Chains

if TYPE_CHECKING:
    import pandas as pd

_NULL = 20_000
"""Simulated ranks by which a p-value is found: its least value is one over this."""

Draws = Chains | Mapping[str, Tensor]


class Calibration(NamedTuple):
    r"""What simulation-based calibration found.

    Attributes:
        ranks: by quantity, (simulations, \*shape): how many of ``draws`` posterior draws are below the truth.
        draws: posterior draws that a truth is ranked among.
        table: a row per number: the p-value of uniform ranks, the mean rank as a share, and the spread of
            ranks as a multiple of that of uniform ones.
    """

    ranks: dict[str, Tensor]
    draws: int
    table: pd.DataFrame

    def failures(self, *, alpha: float = 0.01) -> list[str]:
        """Say which numbers are not calibrated; where all are, something is said with probability ``alpha``.

        The p-values are held against ``alpha`` divided by their number (Bonferroni).
        """
        _check_alpha(alpha)
        wrong = self.table[self.table.p_value < alpha / len(self.table)]
        return [f"{name}: p = {row.p_value:.2g}; {_shape(row)}." for name, row in wrong.iterrows()]


def simulation_based_calibration(
    model: Callable[..., Any],
    *args: Any,
    infer: Callable[[ModelDensity, dict[str, Tensor]], Draws],
    observed: Collection[str] = (),
    simulations: int = 500,
    thin: int | None = None,
    seed: int | None = None,
    generator: torch.Generator | None = None,
    **kwargs: Any,
) -> Calibration:
    r"""Test whether posteriors of a model are right: truths drawn from the prior, ranked among their draws.

    For each simulation, latent values and data are drawn from the model, and a posterior given the data. The
    rank of a truth among L independent posterior draws is uniform on 0 ... L where the posterior is exact.
    Beside every latent number the log joint density is ranked, which also sees a posterior that ignores the
    data. All data sets are a batch of one density, so a sampler runs once for all of them.

    Args:
        model, args, kwargs: a Pyro model with proper priors, and what it is called with; of its data only the
            shapes matter.
        infer: gives the posterior draws from a density with ``batch_shape`` (simulations,) and the data by
            site, (simulations, \*shape): :class:`~probgen.sampling.Chains`, or independent draws by site,
            (draws, simulations, \*shape), as of a guide.
        observed: names of the sites that are data, where the model does not observe them by itself.
        simulations: their number, at least 20.
        thin: of chains, every so many draws are ranked among; by default the sum of the autocorrelations.
        seed, generator: of the simulations and the ties, one at most; seed 0 where not given.

    Raises:
        ValueError: for an improper prior, too few simulations, draws of other sites or shapes, and numbers
            that are not finite among the model's draws or the posterior's.

    See Talts et al. (2018), Validating Bayesian inference algorithms with simulation-based calibration;
    Modrák et al. (2023) for the log joint density; Säilynoja et al. (2022) for the test.
    """

    import pandas as pd

    simulations, seed = check_count("simulations", simulations, least=20), seed_of(seed, generator, default=0)
    density = _observing(model, args, kwargs, observed, seed)
    truths, data = density.simulate(simulations, seed=seed)
    family = density.given(data)
    _require_finite(truths | data, "the model's draws")
    posterior = _pooled(infer(family, data), thin)
    _check_draws(posterior, truths)
    joint = _free_name("log_joint", truths)
    with torch.no_grad():
        truths[joint] = family.log_prob({n: x.unsqueeze(0) for n, x in truths.items()}).squeeze(0)
        posterior[joint] = family.log_prob({n: posterior[n] for n in family.names})
    for value, whose in ((truths[joint], "the model's draws"), (posterior[joint], "the posterior's draws")):
        if value.isnan().any():
            raise ValueError(f"the log joint density should be a number at {whose} but is NaN at some")
    count = len(posterior[joint])
    with seeded(seed):
        ranks = {name: _ranks(truth, posterior[name]) for name, truth in truths.items()}
    null = _null(simulations, count, seed)
    rows = {
        label: _row(rank, count, null)
        for name, value in ranks.items()
        for label, rank in numbers(name, value)
    }
    return Calibration(ranks, count, pd.DataFrame.from_dict(rows, orient="index"))


class JointTest(NamedTuple):
    """What Geweke's test found: ``table`` has a row per number, with distance and p-value of two samples."""

    table: pd.DataFrame

    def failures(self, *, alpha: float = 0.01) -> list[str]:
        """Say which numbers differ; of a right sampler something is said with probability ``alpha``."""
        _check_alpha(alpha)
        wrong = self.table[self.table.p_value < alpha / len(self.table)]
        return [
            f"{name}: p = {row.p_value:.2g}; after the transition its law is {row.distance:.3f} from the "
            f"model's (Kolmogorov–Smirnov distance)."
            for name, row in wrong.iterrows()
        ]


def geweke_test(
    model: Callable[..., Any],
    *args: Any,
    transition: Callable[[Density], Transition],
    observed: Collection[str] = (),
    chains: int = 2000,
    rounds: int = 5,
    steps: int = 5,
    seed: int | None = None,
    generator: torch.Generator | None = None,
    **kwargs: Any,
) -> JointTest:
    r"""Test whether a transition keeps the joint law of a model's latent values and data.

    Chains start at draws from the joint law. In each round the data are drawn anew given the latent values,
    and the transition moves these given the data. If it leaves the posterior as it is, the pairs keep their
    law: each latent number and the log joint density are then compared with fresh draws by the two-sample
    Kolmogorov–Smirnov test. The chains are independent, so its p-values are exact.

    Args:
        model, args, kwargs, observed: as for :func:`simulation_based_calibration`.
        transition: makes the transition, fixed before it sees data, for a density of batch shape (chains,).
        chains: how many pairs.
        rounds: how often the data are drawn anew.
        steps: steps of the transition in a round.
        seed, generator: of everything, one at most; seed 0 where not given.

    Raises:
        ValueError: for an improper prior, counts below 1, and draws that are not finite.

    See Geweke (2004), Getting it right: joint distribution tests of posterior simulators.
    """

    import pandas as pd
    import scipy.stats

    for name, value in {"chains": chains, "rounds": rounds, "steps": steps}.items():
        check_count(name, value)
    seed = seed_of(seed, generator, default=0)
    density = _observing(model, args, kwargs, observed, seed)
    values, data = density.simulate(chains, seed=seed)
    fresh, fresh_data = density.simulate(chains, seed=seed + 1)
    _require_finite(values | data | fresh | fresh_data, "the model's draws")
    generator = torch.Generator(density.device).manual_seed(seed)
    for round_ in range(rounds):
        if round_:
            data = density.predict(values, seed=seed + 1 + round_)
        family = density.given(data)
        init, step = transition(family)
        with torch.no_grad():
            state = init(family.unconstrain({n: x.unsqueeze(0) for n, x in values.items()}))
            for _ in range(steps):
                state, _ = step(state, generator)
            values = {n: x.squeeze(0) for n, x in family.constrain(state.position).items()}
        _require_finite(values, "draws after the transition")
    rows = {}
    for (label, end), (_, start) in zip(
        _joint(family, values), _joint(density.given(fresh_data), fresh), strict=True
    ):
        distance, p_value = scipy.stats.ks_2samp(end.cpu().numpy(), start.cpu().numpy())[:2]
        rows[label] = {"p_value": float(p_value), "distance": float(distance)}
    return JointTest(pd.DataFrame.from_dict(rows, orient="index"))


def _observing(
    model: Callable[..., Any],
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    observed: Collection[str],
    seed: int,
) -> ModelDensity:
    """Return the density of a model that observes its data, drawn by itself where it has none."""
    if observed:
        with seeded(seed), torch.no_grad():
            trace = poutine.trace(model).get_trace(*args, **kwargs)
        for name in observed:
            if name not in trace.nodes:
                raise ValueError(f"observed should name sites of the model but names {name!r}")
        values: dict[str, Any] = {name: trace.nodes[name]["value"] for name in observed}
        model = poutine.condition(model, data=values)
    density = ModelDensity(model, args, kwargs)
    if not density.observed:
        raise ValueError("the model should have data, by obs= or by name in observed=, but has none")
    return density


def _pooled(posterior: Draws, thin: int | None) -> dict[str, Tensor]:
    r"""Return draws by site, (draws, simulations, \*shape), about independent."""
    if not isinstance(posterior, Chains):
        return dict(posterior)
    if thin is None:
        thin = max(integrated_time(posterior[name]) for name in posterior.names)
    return thinned({name: posterior[name] for name in posterior.names}, thin)


def _check_draws(posterior: Mapping[str, Tensor], truths: Mapping[str, Tensor]) -> None:
    """Raise unless there are finite draws of every site, equally many."""
    for name, truth in truths.items():
        if name not in posterior or posterior[name].shape[1:] != truth.shape or not len(posterior[name]):
            found = tuple(posterior[name].shape) if name in posterior else "none"
            raise ValueError(
                f"draws of site {name!r} should have shape (draws, {tuple(truth.shape)}) but have {found}"
            )
    counts = {name: len(posterior[name]) for name in truths}
    if len(set(counts.values())) > 1:
        raise ValueError(f"all sites should have the same number of draws but have {counts}")
    _require_finite({name: posterior[name] for name in truths}, "the posterior's draws")


def _require_finite(values: Mapping[str, Tensor], what: str) -> None:
    for name, value in values.items():
        wrong = ~torch.isfinite(value)
        if wrong.any():
            raise ValueError(
                f"{what} of site {name!r} should be finite but {int(wrong.sum())} of {wrong.numel()} numbers "
                f"are NaN or infinite, the first at {wrong.nonzero()[0].tolist()}"
            )


def _free_name(name: str, taken: Mapping[str, Tensor]) -> str:
    while name in taken:
        name += "_"
    return name


def _ranks(truth: Tensor, draws: Tensor) -> Tensor:
    """Count the draws below each truth; ties are broken at random."""
    ties = (draws == truth).sum(0)
    return (draws < truth).sum(0) + (torch.rand(ties.shape, device=ties.device) * (ties + 1)).long()


def _joint(family: ModelDensity, values: Mapping[str, Tensor]) -> list[tuple[str, Tensor]]:
    with torch.no_grad():
        log_joint = family.log_prob({n: x.unsqueeze(0) for n, x in values.items()}).squeeze(0)
    if log_joint.isnan().any():
        raise ValueError("the log joint density should be a number at all draws but is NaN at some")
    sites = {**values, _free_name("log_joint", values): log_joint}
    return [number for name, value in sites.items() for number in numbers(name, value)]


class _Null(NamedTuple):
    """Tails of the numbers of ranks below each level, log-scaled, and sorted statistics of uniform ranks."""

    tails: np.ndarray[Any, Any]
    statistics: np.ndarray[Any, Any]


def _null(simulations: int, draws: int, seed: int) -> _Null:
    import scipy.stats

    levels = np.arange(1, draws + 1) / (draws + 1)
    counts = np.arange(simulations + 1)[:, None]
    law = scipy.stats.binom(simulations, levels)
    tails = np.minimum(law.cdf(counts), law.sf(counts - 1))
    random = np.random.default_rng(seed)
    statistics = [
        _statistic(random.multinomial(simulations, np.full(draws + 1, 1 / (draws + 1)), size=1000), tails)
        for _ in range(_NULL // 1000)
    ]
    return _Null(tails, np.sort(np.concatenate(statistics)))


def _statistic(frequencies: np.ndarray[Any, Any], tails: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Return the smallest binomial tail of the counts below each level, for rows of frequencies of ranks."""
    below = frequencies[:, :-1].cumsum(1)
    return tails[below, np.arange(tails.shape[1])].min(1)


def _row(ranks: Tensor, draws: int, null: _Null) -> dict[str, float]:
    """Return the p-value of uniform ranks, found by simulation and so exact, and how they look."""
    frequencies = np.bincount(ranks.cpu().numpy(), minlength=draws + 1)[None]
    smaller = np.searchsorted(null.statistics, _statistic(frequencies, null.tails)[0], side="right")
    share = ranks.double() / draws
    spread = float(share.std()) / math.sqrt((draws + 2) / (12 * draws))
    return {
        "p_value": (1 + float(smaller)) / (1 + len(null.statistics)),
        "mean_rank": float(share.mean()),
        "spread": spread,
    }


def _shape(row: Any) -> str:
    """Say in words what ranks that are not uniform mean."""
    if abs(row.mean_rank - 0.5) > 0.05:
        return (
            f"the posterior is too {'low' if row.mean_rank > 0.5 else 'high'} (mean rank {row.mean_rank:.2f})"
        )
    if row.spread > 1.05:
        return "the posterior is too narrow, or its draws are not independent"
    return "the posterior is too wide" if row.spread < 0.95 else "the posterior has another shape"


def _check_alpha(alpha: float) -> None:
    if not 0 < alpha < 1:
        raise ValueError(f"alpha should be between 0 and 1 but got {alpha}")
