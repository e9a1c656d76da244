"""Draws of many chains, named, with their statistics and what is wrong with them."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

if TYPE_CHECKING:
    import pandas as pd


class RunState(NamedTuple):
    """What :func:`run` needs to go on where it stopped: the chains' state and the generator's."""

    state: Any
    generator_state: Tensor


class Chains:
    r"""Draws of many chains: ``chains["site"]`` has shape [chain, draw, \*batch, \*event], constrained.

    Args:
        draws: by site name.
        statistics: by name, shape [chain, draw, \*batch]: ``log_prob`` on the unconstrained scale and
            ``acceptance``, the mean probability of accepting a proposal since the draw before.
        state: continues the run.
        target_acceptance: the acceptance for which the transition was tuned, where it was.
        interrupted: the run was stopped from the keyboard.
    """

    def __init__(
        self,
        draws: dict[str, Tensor],
        *,
        statistics: dict[str, Tensor],
        state: RunState,
        target_acceptance: float | None = None,
        interrupted: bool = False,
    ) -> None:
        self._draws = draws
        self.statistics = statistics
        self.state = state
        self.target_acceptance = target_acceptance
        self.interrupted = interrupted

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the sites."""
        return tuple(self._draws)

    def __getitem__(self, name: str) -> Tensor:
        if name not in self._draws:
            raise KeyError(f"{name!r} is not a site of these chains: {list(self._draws)}")
        return self._draws[name]

    def __repr__(self) -> str:
        chains, draws = self.statistics["log_prob"].shape[:2]
        shapes = ", ".join(f"{name}: {tuple(value.shape[2:])}" for name, value in self._draws.items())
        note = ", interrupted" if self.interrupted else ""
        return f"Chains({chains} chains x {draws} draws; {shapes}{note})"

    def to_arviz(self) -> Any:
        """Return the draws for ArviZ: ``InferenceData`` before ArviZ 1, an xarray ``DataTree`` from 1 on."""
        arviz = _import_arviz()
        groups = {
            "posterior": {name: _array(value) for name, value in self._draws.items()},
            "sample_stats": {
                "lp": _array(self.statistics["log_prob"]),
                "acceptance_rate": _array(self.statistics["acceptance"]),
            },
        }
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="More chains|Found chain dimension")
            return arviz.from_dict(groups) if _major(arviz) >= 1 else arviz.from_dict(**groups)

    def summary(self) -> pd.DataFrame:
        """Return a row per number: mean, sd, Monte-Carlo error, bulk and tail ESS, rank-normalised R-hat.

        See Vehtari et al. (2021), Rank-normalization, folding, and localization: An improved R-hat.
        """
        columns = ["mean", "sd", "mcse_mean", "ess_bulk", "ess_tail", "r_hat"]
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore", RuntimeWarning)
            table = _import_arviz().summary(self.to_arviz(), kind="all", round_to="none")
        return table[columns]

    def diagnose(self) -> list[str]:
        """Say in plain words what is wrong with the chains and what to try; empty where nothing was found."""
        found = []
        draws = self.statistics["log_prob"].shape[1]
        if self.interrupted:
            found.append(
                f"The run was interrupted after {draws} draws a chain; run(..., chains.state) goes on."
            )
        found += self._acceptance_findings()
        if draws < 4:
            return [*found, f"R-hat and ESS need at least 4 draws a chain but there are {draws}."]
        table = self.summary()
        apart = table[table.r_hat > 1.01]
        if len(apart):
            worst = apart.r_hat.idxmax()
            found.append(
                f"R-hat is above 1.01 for {len(apart)} of {len(table)} numbers, the largest {worst}: "
                f"{apart.r_hat.max():.3f}. The chains disagree, or each is too short to agree (about 100 "
                f"effective draws a chain are needed): use a longer warm-up and more draws; if it stays, the "
                f"target may have separate modes."
            )
        few = table[table[["ess_bulk", "ess_tail"]].min(axis=1) < 400]
        if len(few):
            ess = few[["ess_bulk", "ess_tail"]].min(axis=1)
            found.append(
                f"The effective sample size is below 400 for {len(few)} of {len(table)} numbers, the "
                f"smallest {ess.idxmin()}: {ess.min():.0f}. Take more draws or more chains, or thin less."
            )
        return found

    def _acceptance_findings(self) -> list[str]:
        found = []
        log_prob = self.statistics["log_prob"]
        stuck = (log_prob == log_prob[:, :1]).all(1).flatten()
        if log_prob.shape[1] > 1 and stuck.any():
            found.append(
                f"{int(stuck.sum())} of {len(stuck)} chains never moved. Their starting points may lie where "
                f"the density is a spike or the scale is too large: give init=, or a longer warm-up."
            )
        acceptance = float(self.statistics["acceptance"].to(torch.float64).mean())
        target = self.target_acceptance
        if target is not None and not target / 2 < acceptance < (1 + target) / 2:
            found.append(
                f"The acceptance is {acceptance:.3f} but the scale was tuned for {target}. The chains were "
                f"still on their way when tuning ended: use a longer warm-up."
            )
        elif acceptance < 0.05 or acceptance > 0.95:
            low = acceptance < 0.05
            found.append(f"The acceptance is {acceptance:.3f}: use a {'smaller' if low else 'larger'} scale.")
        return found


def _array(value: Tensor) -> np.ndarray:
    return value.detach().cpu().numpy()


def _major(arviz: Any) -> int:
    return int(arviz.__version__.split(".")[0])


def _import_arviz() -> Any:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=FutureWarning, message=r"\s*ArviZ is undergoing")
        import arviz
    return arviz
