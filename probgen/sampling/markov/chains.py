"""Draws of many chains, named, with their statistics and what is wrong with them."""

from __future__ import annotations

import logging
import warnings
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from probgen.core import Density, ModelDensity, Transition
from probgen.sampling.markov import diagnosis
from probgen.sampling.markov.dependence import of_ranks
from probgen.sampling.markov.moves.saved_states import saved

if TYPE_CHECKING:
    import pandas as pd

logger = logging.getLogger("probgen")

_ARVIZ = {"log_prob": "lp", "acceptance": "acceptance_rate", "divergent": "diverging"}


@saved
class RunState(NamedTuple):
    """What :func:`run` needs to go on where it stopped: the chains' state and the generator's."""

    state: Any
    generator_state: Tensor


class Chains:
    r"""Draws of many chains: ``chains["site"]`` has shape [chain, draw, \*batch, \*event], constrained.

    The sites of ``pyro.deterministic`` are there by name too.

    Args:
        draws: by site name.
        statistics: by name, shape [chain, draw, \*batch]: ``log_prob`` on the unconstrained scale and
            ``acceptance``, the mean probability of accepting a proposal since the draw before; of some
            transitions ``divergent``, how often a proposal diverged, and ``energy``; of tempered ones
            how often neighbouring levels swapped, ``swapped`` [chain, draw, pair], and ``round_trip``.
        state: continues the run.
        density: what was drawn from.
        target_acceptance: the acceptance for which the transition was tuned, where it was.
        interrupted: the run was stopped from the keyboard.

    Attributes:
        transition: how the chains moved, where a run made them: ``run(chains.transition, chains.state,
            draws=..., density=chains.density)`` goes on.
    """

    transition: Transition | None = None

    def __init__(
        self,
        draws: dict[str, Tensor],
        *,
        statistics: dict[str, Tensor],
        state: RunState,
        density: Density | None = None,
        target_acceptance: float | None = None,
        interrupted: bool = False,
    ) -> None:
        self._draws = draws
        self._derived: dict[str, Tensor] = {}
        self.statistics = statistics
        self.state = state
        self.density = density
        self.target_acceptance = target_acceptance
        self.interrupted = interrupted

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
        chains, draws = self.statistics["log_prob"].shape[:2]
        shapes = ", ".join(f"{name}: {tuple(value.shape[2:])}" for name, value in self._draws.items())
        note = ", interrupted" if self.interrupted else ""
        return f"Chains({chains} chains x {draws} draws; {shapes}{note})"

    def to_arviz(
        self, *, log_likelihood: bool = True, posterior_predictive: bool = True, seed: int | None = 0
    ) -> Any:
        """Return the draws for ArviZ: ``InferenceData`` before ArviZ 1, an xarray ``DataTree`` from 1 on.

        The groups are ``posterior``, with the sites of ``pyro.deterministic``, ``sample_stats`` and, for the
        draws from a Pyro model of which all sites were kept, ``observed_data``, ``log_likelihood`` and
        ``posterior_predictive``. The latter two are left out where discrete sites are summed out, which is
        logged. A site with the name of a dimension, ``chain``, ``draw`` or another site's ``x_dim_0``, which
        xarray cannot hold, has an underscore at its end, which is logged too.

        Args:
            log_likelihood, posterior_predictive: whether to add these, one number per draw and observation.
            seed: of the predictions.
        """
        posterior = self._draws | self.derived()
        statistics = {_ARVIZ.get(name, name): value for name, value in self.statistics.items()}
        if "diverging" in statistics:
            statistics["diverging"] = statistics["diverging"] > 0
        groups: dict[str, dict[str, Tensor]] = {"posterior": posterior, "sample_stats": statistics}
        model = self._model()
        if model is not None and model.observed:
            if model.enumerates and (log_likelihood or posterior_predictive):
                logger.info(
                    "log_likelihood and posterior_predictive are left out: discrete sites are summed out"
                )
            elif log_likelihood:
                groups["log_likelihood"] = model.log_likelihood(self._draws)
            if posterior_predictive and not model.enumerates:
                groups["posterior_predictive"] = model.predict(self._draws, seed=seed)
            groups["observed_data"] = model.observed
        return _to_arviz(_apart_from_dimensions(groups))

    def summary(self) -> pd.DataFrame:
        """Return a row per number: mean, sd, Monte-Carlo errors, bulk and tail ESS, rank-normalised R-hat.

        See Vehtari et al. (2021), Rank-normalization, folding, and localization: An improved R-hat.
        """
        columns = ["mean", "sd", "mcse_mean", "mcse_sd", "ess_bulk", "ess_tail", "r_hat"]
        sites = self._draws | self.derived()
        plain = {f"_{i}": value for i, value in enumerate(sites.values())}  # any name will do for a site
        data = _to_arviz({"posterior": plain})
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore", RuntimeWarning)
            table = _import_arviz().summary(data, kind="all", round_to="none")
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
        log_prob = self.statistics["log_prob"]
        found = []
        if self.interrupted:
            found.append(
                f"The run was interrupted after {log_prob.shape[1]} draws a chain; run(..., chains.state) "
                f"goes on."
            )
        found += diagnosis.of_moves(self.statistics, self.target_acceptance, self._draws)
        found += diagnosis.of_energy(self.statistics)
        found += diagnosis.of_swaps(self.statistics)
        if self.density is not None:
            found += diagnosis.of_ends(self._draws, self.density.at_ends(self._draws))
        if self.state.state is not None:
            found += of_ranks(self.density, self.state.state.position)
        found += diagnosis.of_values(self._draws | self.derived())
        if log_prob.shape[1] < 4:
            return [*found, f"R-hat and ESS need at least 4 draws a chain but there are {log_prob.shape[1]}."]
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

    def _model(self) -> ModelDensity | None:
        """Return the density, where it is a model's and all its sites were kept."""
        model = self.density
        return model if isinstance(model, ModelDensity) and set(model.names) <= set(self._draws) else None


def _apart_from_dimensions(groups: dict[str, dict[str, Tensor]]) -> dict[str, dict[str, Tensor]]:
    """Return the groups with other names for sites that are called as a dimension is."""
    shapes: dict[str, int] = {}
    for values in groups.values():
        shapes |= {name: max(value.dim(), shapes.get(name, 0)) for name, value in values.items()}
    dimensions = {"chain", "draw"} | {f"{name}_dim_{i}" for name, dims in shapes.items() for i in range(dims)}
    taken, renamed = dimensions | set(shapes), {}
    for name in shapes.keys() & dimensions:
        other = f"{name}_"
        while other in taken:
            other += "_"
        taken.add(other)
        renamed[name] = other
        logger.info(f"site {name!r} is written as {other!r}, since a dimension has its name")
    return {
        group: {renamed.get(name, name): value for name, value in values.items()}
        for group, values in groups.items()
    }


def _to_arviz(groups: dict[str, dict[str, Tensor]]) -> Any:
    arviz = _import_arviz()
    arrays = {
        group: {name: value.detach().cpu().numpy() for name, value in values.items()}
        for group, values in groups.items()
    }
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="More chains|Found chain dimension")
        return arviz.from_dict(arrays) if _major(arviz) >= 1 else arviz.from_dict(**arrays)


def _major(arviz: Any) -> int:
    return int(arviz.__version__.split(".")[0])


def _import_arviz() -> Any:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=FutureWarning, message=r"\s*ArviZ is undergoing")
        import arviz
    return arviz
