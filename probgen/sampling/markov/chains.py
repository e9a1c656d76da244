"""Draws of many chains, named, with their statistics and what is wrong with them."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from probgen.core import Density, Evaluations, ModelDensity, PairDensity, Transition, seed_of
from probgen.sampling.markov import arviz_groups, diagnosis
from probgen.sampling.markov import chains_from_elsewhere as elsewhere
from probgen.sampling.markov.dependence import of_ranks
from probgen.sampling.markov.moves.saved_states import saved

if TYPE_CHECKING:
    import pandas as pd


@saved
class RunState(NamedTuple):
    """What :func:`run` needs to go on where it stopped: the chains' state and the generator's."""

    state: Any
    generator_state: Tensor

    def __repr__(self) -> str:
        return f"RunState({type(self.state).__name__})"


class Chains:
    r"""Draws of many chains: ``chains["site"]`` has shape [chain, draw, \*batch, \*event], constrained.

    The sites of ``pyro.deterministic`` are there by name too.

    Args:
        draws: by site name.
        statistics: by name, shape [chain, draw, \*batch]: ``log_prob`` on the unconstrained scale and
            ``acceptance``, the mean probability of accepting a proposal since the draw before; of some
            transitions ``divergent``, how often a proposal diverged, and ``energy``; of tempered ones
            how often neighbouring levels swapped, ``swapped`` [chain, draw, pair], and ``round_trip``;
            ``evaluations`` and ``gradients``, how often the log-density and its gradient were evaluated
            since the draw before (the leapfrog steps of "hmc").
        state: continues the run; none where the draws are another program's.
        density: what was drawn from.
        target_acceptance: the acceptance for which the transition was tuned, where it was.
        interrupted: the run was stopped from the keyboard.

    Attributes:
        transition: how the chains moved, where a run made them: ``run(chains.transition, chains.state,
            draws=..., density=chains.density)`` goes on.
        warm_up: log-densities and gradients that were evaluated for all chains together before the first
            draw: to find starting points and to tune.
    """

    transition: Transition | None = None
    warm_up = Evaluations()

    def __init__(
        self,
        draws: dict[str, Tensor],
        *,
        statistics: dict[str, Tensor] | None = None,
        state: RunState | None = None,
        density: Density | None = None,
        target_acceptance: float | None = None,
        interrupted: bool = False,
    ) -> None:
        self._draws = draws
        self._derived: dict[str, Tensor] = {}
        self.statistics = statistics or {}
        self.state = RunState(None, torch.empty(0)) if state is None else state
        self.density = density
        self.target_acceptance = target_acceptance
        self.interrupted = interrupted

    @classmethod
    def from_arrays(
        cls, draws: Any, *, statistics: Mapping[str, Any] | None = None, name: str = "x"
    ) -> Chains:
        r"""Return chains of arrays, NumPy's or torch's: by site, or of one site, (chains, draws, \*event).

        Args:
            draws: a mapping from the names of the sites, or the array of one.
            statistics: as of :class:`Chains`, where they are known: ``log_prob``, ``divergent``, ``energy``.
            name: of the one site.

        Raises:
            ValueError, TypeError: for arrays of other shapes, or not of numbers.

        >>> Chains.from_arrays({"mu": np.zeros((4, 100))})
        Chains(4 chains x 100 draws; mu: ())
        """
        known = {} if statistics is None else elsewhere.of_arrays(statistics, "log_prob")
        return cls(elsewhere.of_arrays(draws, name), statistics=known)

    @classmethod
    def from_arviz(cls, data: Any) -> Chains:
        """Return the chains of ArviZ's ``InferenceData`` or ``DataTree``: PyMC's, NumPyro's, Stan's, ...

        Of ``sample_stats`` the log-density, acceptance, divergences and energy are taken.

        Raises:
            ValueError: for data without a group ``posterior``.
        """
        draws, statistics = elsewhere.of_arviz(data)
        return cls(draws, statistics=statistics)

    @classmethod
    def from_csv(cls, paths: str | Path | Sequence[str | Path]) -> Chains:
        """Return the chains of CSV files, a file a chain, or of a file that says which row is of which.

        Files of CmdStan are read with their comments, their statistics (``lp__``, ``divergent__``, ...) and
        their matrices (``x.1.2``), less a saved warm-up. Other tables are wide, a column for each number
        (``mu``, ``theta[0]``, ``x[1,2]``), or long, with columns ``variable`` and ``value``; columns
        ``chain`` and ``draw`` (or ``.chain`` and ``.iteration``, as R's posterior writes) tell their place.

        Raises:
            ValueError: for files that are no such table, with what is wrong.
        """
        draws, statistics = elsewhere.of_csv(paths)
        return cls(draws, statistics=statistics)

    @property
    def shape(self) -> torch.Size:
        """The number of chains, and of draws in each."""
        return next(iter(self._draws.values())).shape[:2]

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the sites."""
        return tuple(self._draws)

    def __getitem__(self, name: str) -> Tensor:
        if name in self._draws:
            return self._draws[name]
        if name not in self.derived():
            raise KeyError(f"{name!r} is not a site of these chains: {[*self._draws, *self._derived]}")
        return self._derived[name]

    def derived(self) -> dict[str, Tensor]:
        """Return the draws of the sites of ``pyro.deterministic``; none where not all sites were kept."""
        model = self._model()
        if model is not None and model.derived_names and not self._derived:
            self._derived = model.derived(self._draws)
        return self._derived

    def __repr__(self) -> str:
        chains, draws = self.shape
        shapes = ", ".join(f"{name}: {tuple(value.shape[2:])}" for name, value in self._draws.items())
        note = ", interrupted" if self.interrupted else ""
        return f"Chains({chains} chains x {draws} draws; {shapes}{note})"

    def to_arviz(
        self,
        *,
        log_likelihood: bool = True,
        log_prior: bool = True,
        posterior_predictive: bool = True,
        prior: int = 500,
        coords: Mapping[str, Any] | None = None,
        dims: Mapping[str, Sequence[str]] | None = None,
        seed: int | None = None,
        generator: torch.Generator | None = None,
    ) -> Any:
        """Return the draws for ArviZ: ``InferenceData`` before ArviZ 1, an xarray ``DataTree`` from 1 on.

        The groups are ``posterior``, with the sites of ``pyro.deterministic``, ``sample_stats`` and, for the
        draws from a Pyro model or a pair's posterior of which all sites were kept, ``observed_data``,
        ``log_likelihood``, ``log_prior``, ``posterior_predictive``, ``prior`` and ``prior_predictive``. So
        ``az.loo``, ``az.plot_ppc`` and ``az.psens`` take it. What is not known, as of discrete sites that are
        summed out, or of improper priors, is left out, which is logged. A site with the name of a dimension,
        ``chain``, ``draw`` or another site's ``x_dim_0``, which xarray cannot hold, has an underscore at its
        end, which is logged too.

        Args:
            log_likelihood, log_prior, posterior_predictive: whether to add these, a number for each draw and
                observation, or for each draw and number of a site.
            prior: how many draws of the prior, and of data from it, to add; 0 for none.
            coords: labels along dimensions, by dimension.
            dims: names of the dimensions of sites, less chain and draw: ``{"effect": ["school"]}``.
            seed, generator: of the predictions, one at most; seed 0 where not given.

        Raises:
            ValueError: for dims of no site, of another number, or of other lengths than their coords.
        """
        statistics = {elsewhere.OF_ARVIZ.get(name, name): value for name, value in self.statistics.items()}
        if "diverging" in statistics:
            statistics["diverging"] = statistics["diverging"] > 0
        groups: dict[str, dict[str, Tensor]] = {"posterior": self._draws | self.derived()}
        if statistics:
            groups["sample_stats"] = statistics
        model = self._model()
        if model is not None:
            wanted = {
                "log_likelihood": log_likelihood,
                "log_prior": log_prior,
                "posterior_predictive": posterior_predictive,
            }
            groups |= arviz_groups.of_model(
                model, self._draws, wanted, prior, seed_of(seed, generator, default=0)
            )
        return arviz_groups.written(groups, coords or {}, dims or {})

    def summary(self) -> pd.DataFrame:
        """Return a row per number: mean, sd, Monte-Carlo errors, bulk and tail ESS, rank-normalised R-hat.

        R-hat is NaN of a single chain, and of what never varies.

        See Vehtari et al. (2021), Rank-normalization, folding, and localization: An improved R-hat.
        """
        columns = ["mean", "sd", "mcse_mean", "mcse_sd", "ess_bulk", "ess_tail", "r_hat"]
        sites = self._draws | self.derived()
        plain = {f"_{i}": value for i, value in enumerate(sites.values())}  # any name will do for a site
        data = arviz_groups.written({"posterior": plain}, {}, {})
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore", RuntimeWarning)
            table = arviz_groups.import_arviz().summary(data, kind="all", round_to="none")
        table.index = [
            list(sites)[int(place)] + (bracket + inside)
            for place, bracket, inside in (label[1:].partition("[") for label in table.index)
        ]
        return table[columns]

    def nested_r_hat(self, superchains: int) -> dict[str, Tensor]:
        r"""Return the nested R-hat of each site, (\*batch, \*event): see :func:`diagnosis.nested_r_hat`."""
        return {name: diagnosis.nested_r_hat(x, superchains=superchains) for name, x in self._draws.items()}

    def autocorrelation(self, name: str) -> Tensor:
        r"""Return the autocorrelation of a site, all chains pooled, (lags, \*batch, \*event)."""
        return diagnosis.autocorrelation(self[name])

    def diagnose(self) -> list[str]:
        """Say in plain words what is wrong with the chains and what to try; empty where nothing was found."""
        chains, draws = self.shape
        found = []
        if chains == 1:
            found.append(
                "There is one chain, and one cannot disagree with itself: R-hat is not known. Take several, "
                "from places of their own (chains=16)."
            )
        if self.interrupted:
            found.append(
                f"The run was interrupted after {draws} draws a chain; run(..., chains.state) goes on."
            )
        found += diagnosis.of_moves(self.statistics, self.target_acceptance, self._draws)
        found += diagnosis.of_energy(self.statistics)
        found += diagnosis.of_swaps(self.statistics)
        if self.density is not None:
            found += diagnosis.of_ends(self._draws, self.density.at_ends(self._draws))
        if self.state.state is not None:
            found += of_ranks(self.density, self.state.state.position)
        found += diagnosis.of_values(self._draws | self.derived())
        if draws < 4:
            return [*found, f"R-hat and ESS need at least 4 draws a chain but there are {draws}."]
        return (
            found + diagnosis.of_draws(self._draws, self._settled()) + diagnosis.of_agreement(self.summary())
        )

    def _settled(self) -> dict[str, Tensor]:
        """Return which numbers of continuous sites are the same at all positions."""
        density = self.density
        if density is None:
            return {}
        apart = torch.linspace(-1, 1, 3, dtype=density.dtype, device=density.device)
        shape = (3, *density.batch_shape, density.dim)
        values = density.constrain(apart.reshape(-1, *[1] * (len(shape) - 1)).expand(shape).contiguous())
        return {name: (x == x[0]).all(0) for name, x in values.items() if x.is_floating_point()}

    def _model(self) -> ModelDensity | PairDensity | None:
        """Return the density, where it is a model's or a pair's and all its sites were kept."""
        model = self.density
        known = isinstance(model, ModelDensity | PairDensity) and set(model.names) <= set(self._draws)
        return model if known else None  # type: ignore[return-value]
