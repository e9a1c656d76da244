"""Is a guide the posterior? Its draws and importance weights against Markov chains on the same target."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from probgen.core import Pair, check_count, evaluating, seed_of, seeded, takes_missing
from probgen.data import check_data
from probgen.evaluation.likelihood.importance import check_pair, weighted_draws
from probgen.evaluation.posterior.independent_draws import integrated_time, numbers, thinned
from probgen.evaluation.posterior.pareto import pareto_k
from probgen.evaluation.posterior.shared_draws import jointly_weighted_draws, shares_sites
from probgen.mmd import mmd_test
from probgen.sampling import Chains

if TYPE_CHECKING:
    import pandas as pd

POINTS = 250
"""Draws of a posterior, and of the guide, that a test compares: its cost grows with their square."""

_FEW = 100
"""Draws that weights are to be worth where their largest are tied, so that no tail can be fitted."""


class GuideAgainstChains(NamedTuple):
    """What :func:`guide_against_chains` found.

    Attributes:
        rows: a row per datum: ``k_hat``, the shape of the tail of the weights p(x, z) / q(z | x), as
            :func:`pareto_k` gives it (+inf where ties leave no tail to fit); ``ess``, (Σ w)² / Σ w²
            of these weights as a share of their number; ``p_value`` of the MMD test.
        numbers: a row per number of z, of the datum ``row``: ``mean`` and ``sd`` of the chains; ``shift``,
            the guide's mean less theirs, in their standard deviations, with its standard error ``stderr``;
            and ``sd_ratio``, the guide's standard deviation over theirs.
        particles: draws of the guide per datum.
        of_chains: what ``chains.diagnose()`` says. Chains that have not converged are no measure of a guide.
    """

    rows: pd.DataFrame
    numbers: pd.DataFrame
    particles: int
    of_chains: list[str]

    def failures(self, *, alpha: float = 0.01) -> list[str]:
        """Say in words where guide and chains differ, and where the guide's tails are too light.

        Where guide and chains have the same laws, a difference is found with probability ``alpha`` at most;
        where they have not, ``alpha`` bounds the expected share of rows named wrongly (Benjamini–Hochberg).
        """

        import scipy.stats

        if not 0 < alpha < 1:
            raise ValueError(f"alpha should be between 0 and 1 but got {alpha}")
        found = [f"The chains are to be looked at first. {finding}" for finding in self.of_chains]
        limit = min(1 - 1 / math.log10(self.particles), 0.7)
        fitted = (self.rows.k_hat < math.inf) | (self.rows.ess * self.particles < _FEW)
        heavy = self.rows.k_hat[fitted & (self.rows.k_hat > limit)]
        if len(heavy):
            found.append(
                f"k-hat is above {limit:.2f} for {len(heavy)} of {len(self.rows)} rows, the largest "
                f"{heavy.max():.2f} at row {heavy.idxmax()}: the guide leaves out a part of the posterior, "
                f"and importance sampling from it is not to be trusted. Use a richer guide, or the chains."
            )
        adjusted = scipy.stats.false_discovery_control(self.rows.p_value)
        wrong = self.rows.index[adjusted <= alpha]
        if len(wrong):
            labels = self.numbers[self.numbers.row.isin(wrong)]
            shifted, spread = labels["shift"].abs().idxmax(), int(labels.sd_ratio.map(_fold).argmax())
            found.append(
                f"The guide's law is not that of the chains for {len(wrong)} of {len(self.rows)} rows (MMD "
                f"test): the means are up to {labels['shift'].abs().max():.2g} posterior standard deviations "
                f"off ({shifted}), and the guide's standard deviation is {labels.sd_ratio.iloc[spread]:.2g} "
                f"times that of the chains at {labels.index[spread]}."
            )
        return found


def guide_against_chains(
    pair: Pair,
    x: Tensor,
    chains: Chains,
    *context: Tensor,
    particles: int = 4000,
    permutations: int | None = None,
    seed: int | None = None,
    generator: torch.Generator | None = None,
) -> GuideAgainstChains:
    r"""Hold a guide q(z | x) against Markov chains on the posterior p(z | x), for each row of x.

    Three views, each of which sees what the others may not. The importance weights p(x, z) / q(z | x) of
    the guide's draws need no chains: the shape k̂ of their upper tail tells whether the guide covers the
    posterior (PSIS). An MMD test compares up to 250 of the chains' draws, so far apart as to be about
    independent, with as many of the guide's. Means and standard deviations say how large a difference is.

    Where latent sites stand outside of the plate of the data, as in a hierarchical model, there is one
    posterior of all sites together, and one row.

    Args:
        pair: the model/guide pair, run in evaluation mode and left in its own.
        x: the data, (n, \*event), of which ``chains`` sampled ``pair.posterior(x, *context)`` or, where sites
            are shared, ``Density.from_model(pair.model, x)``.
        chains: with the sites of the guide, as ``sampling.sample(pair.posterior(x))`` returns them; discrete
            sites that they leave out are summed out of the guide too.
        context: what else model and guide are given.
        particles: draws of the guide for each row, at least 250.
        permutations: of each test; max(1000, 200 n) where not given, enough to find a single row of n.
        seed, generator: of the guide's draws and the permutations, one at most; seed 0 where not given.

    Raises:
        ValueError: for chains of other sites or another number of rows, chains that are not finite, too few
            particles or draws, and a guide that is a point or has no draw in the support of a posterior.

    See Yao, Vehtari, Simpson and Gelman (2018), Yes, but did it work? Evaluating variational inference;
    Gretton et al. (2012), A kernel two-sample test.
    """

    import pandas as pd

    check_pair(pair)
    particles, seed = check_count("particles", particles), seed_of(seed, generator, default=0)
    if not isinstance(chains, Chains):
        raise TypeError(
            f"chains should be Chains, as sampling.sample returns them, but is a {type(chains).__name__}"
        )
    if particles < POINTS:
        raise ValueError(f"particles should be at least {POINTS} but got {particles}")
    if not isinstance(x, Tensor):
        raise TypeError(
            f"x should be the tensor of the rows whose posterior was sampled but is a {type(x).__name__}"
        )
    check_data((x, *context), name="x", missing=takes_missing(pair))
    # Draws z ~ q(z | x) with their log p(z, x) and log q, and draws of the chains thinned to be independent.
    with torch.no_grad(), seeded(seed), evaluating(pair):
        shared = shares_sites(pair, (x, *context))
        if shared:
            guide, log_p, log_q = jointly_weighted_draws(pair, (x, *context), particles)
        else:
            guide, log_p, log_q = weighted_draws(pair, (x, *context), particles, drawn=chains.names)
    _check_chains(chains, guide, shared=shared)
    numbers_of = _moments(chains, guide, shared=shared)
    posterior = _independent(chains, shared=shared)
    if shared:
        guide = {name: value[:, None] for name, value in guide.items()}  # one row
    _check_weights(log_p, log_q)
    # Weights p / q: their tail and their effective number say whether q covers p; magnitudes bound the
    # rounding in their logarithms.
    log_weights, magnitude = log_p - log_q, (log_p.abs() + log_q.abs()).nan_to_num(posinf=0.0).mean(0)
    k_hat, shares = pareto_k(log_weights, magnitude=magnitude), log_weights.double().softmax(0)
    ess = 1 / (particles * shares.square().sum(0))
    # Row by row, a two-sample test of q against the chains, in units of the posterior's spread.
    generator = torch.Generator(x.device).manual_seed(seed)
    count = max(1000, 200 * len(k_hat)) if permutations is None else permutations
    p_values = [
        mmd_test(
            *_standardised(posterior, guide, row), permutations=count, scale=None, generator=generator
        ).p_value
        for row in range(len(k_hat))
    ]
    rows = pd.DataFrame({"k_hat": k_hat.tolist(), "ess": ess.tolist(), "p_value": p_values})
    return GuideAgainstChains(rows, numbers_of, particles, chains.diagnose())


def _check_weights(log_p: Tensor, log_q: Tensor) -> None:
    for name, bad in (
        ("log q(z | x)", ~torch.isfinite(log_q)),
        ("log p(x, z)", log_p.isnan() | (log_p == torch.inf)),
        ("log p(x, z)", (log_p == -torch.inf).all(0, keepdim=True)),
    ):
        if bad.any():
            draw, row = bad.nonzero()[0].tolist()
            value = float((log_q if "q" in name else log_p)[draw, row])
            raise ValueError(
                f"{name} should be finite but is {value} at draw {draw} of the guide for row {row} of x: "
                f"the guide's law should have the support of the model's prior"
            )


def _check_chains(chains: Chains, guide: dict[str, Tensor], *, shared: bool) -> None:
    if set(chains.names) != set(guide):
        raise ValueError(
            f"chains should have the sites of the guide, {sorted(guide)}, but have {sorted(chains.names)}"
        )
    for name, value in guide.items():
        if chains[name].shape[2:] != value.shape[1:]:
            inner = ", ".join(("chains", "draws", *map(str, value.shape[1:])))
            rows = "" if shared else " a row for each of x,"
            raise ValueError(
                f"chains of site {name!r} should have shape ({inner}),{rows} but have "
                f"{tuple(chains[name].shape)}"
            )
        if not torch.isfinite(chains[name]).all():
            chain, draw = (~torch.isfinite(chains[name])).nonzero()[0, :2].tolist()
            raise ValueError(
                f"chains of site {name!r} should be finite but hold NaN or infinite values at draw {draw} of "
                f"chain {chain}: see chains.diagnose()"
            )


def _independent(chains: Chains, *, shared: bool) -> dict[str, Tensor]:
    """Return draws that are two autocorrelation times apart, at most so many as are tested."""
    sites = {name: chains[name].unsqueeze(2) if shared else chains[name] for name in chains.names}
    step = 2 * max(map(integrated_time, sites.values()))
    draws = thinned(sites, step)
    count = len(next(iter(draws.values())))
    if count < 20:
        raise ValueError(
            f"chains should have at least 20 draws that are about independent but have {count}, one in {step}"
        )
    some = torch.linspace(0, count - 1, min(count, POINTS)).long()
    return {name: value[some.to(value.device)] for name, value in draws.items()}


def _standardised(posterior: dict[str, Tensor], guide: dict[str, Tensor], row: int) -> tuple[Tensor, Tensor]:
    """Return a row's draws from both, each number divided by its standard deviation in the two together."""
    parts = []
    for name, draws in posterior.items():
        both = torch.cat([draws[:, row].double(), guide[name][: len(draws), row].double()])
        both = both.reshape(len(both), -1)
        spread = both.std(0)
        parts.append((both - both.mean(0)) / torch.where(spread > _noise(draws, both), spread, torch.inf))
    together = torch.cat(parts, 1)
    return together[: len(draws)], together[len(draws) :]


def _moments(chains: Chains, guide: dict[str, Tensor], *, shared: bool) -> pd.DataFrame:
    import pandas as pd

    table = chains.summary().to_dict("index")
    found = {}
    for name, value in guide.items():
        for label, draws in numbers(name, value):
            mean, sd, error = (table[label][column] for column in ("mean", "sd", "mcse_mean"))
            own, spread = float(draws.double().mean()), float(draws.double().std())
            noise = float(_noise(draws, draws))
            found[label] = {
                "row": 0 if shared else int(label[len(name) + 1 : -1].split(",")[0]),
                "mean": mean,
                "sd": sd,
                "shift": _over(own - mean, sd, 0.0, noise),
                "stderr": _over(math.hypot(error, spread / math.sqrt(len(draws))), sd, 0.0, noise),
                "sd_ratio": _over(spread, sd, 1.0, noise),
            }
    return pd.DataFrame.from_dict(found, orient="index")


def _noise(like: Tensor, values: Tensor) -> Tensor:
    """Return how far numbers of a dtype may spread by rounding alone, by column."""
    epsilon = torch.finfo(like.dtype).eps if like.is_floating_point() else 0.0
    return 64 * epsilon * values.double().abs().amax(0)


def _over(number: float, sd: float, neither: float, noise: float) -> float:
    """Return number / sd, and where both are 0 to rounding, as at a diagonal of ones, what stands for it."""
    if sd > noise:
        return number / sd
    return neither if abs(number) <= noise else math.copysign(math.inf, number)


def _fold(ratio: float) -> float:
    return max(ratio, 1 / ratio) if ratio > 0 else math.inf
