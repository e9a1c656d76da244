"""What is wrong with chains: numbers, and findings in plain words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    import pandas as pd

_WIDENING = 1.5
"""How much wider than in their first third chains may lie in their last."""
_INSIDE = 0.35
"""The share of their last third that is then within the quartiles of their first, about, instead of half."""

_SELDOM = 0.1
"""The share of swaps below which two levels of tempered chains hardly meet."""

_FAR = 1e12
"""Chains that come so far have run away."""

_AT_ENDS, _FEW = 3e-4, 3
"""The share, and the number, of draws at an end of a support from which they are told."""

_IMPROPER = "the density may be improper, so that chains drift for ever; see that all priors are proper"


def autocorrelation(draws: Tensor) -> Tensor:
    r"""Return the autocorrelation ρ_k at lags k = 0, 1, ..., pooled over chains.

    ρ_k = Σ_t (x_t − x̄)(x_{t+k} − x̄) / Σ_t (x_t − x̄)², numerator and denominator summed over chains, x̄ the
    mean of all chains: chains that disagree stay correlated at all lags. NaN where nothing varies.

    Args:
        draws: shape (chains, draws, \*event).

    Returns:
        shape (draws, \*event).

    Raises:
        ValueError: for draws of another shape, or that are not finite.

    >>> autocorrelation(torch.tensor([[1.0, -1.0, 1.0, -1.0]]))
    tensor([ 1.0000, -0.7500,  0.5000, -0.2500])
    """
    _check_draws(draws)
    n = draws.shape[1]
    x = draws.detach().to(torch.float64)
    x = x - x.mean((0, 1))
    largest = x.abs().amax((0, 1))
    x = x / torch.where(largest > 0, largest, 1)  # so that squares keep their digits in any units
    spectrum = torch.fft.rfft(x, 2 * n, dim=1)
    products = torch.fft.irfft(spectrum.abs() ** 2, 2 * n, dim=1)[:, :n].sum(0)
    return (products / products[0]).to(_real(draws))


def nested_r_hat(draws: Tensor, *, superchains: int) -> Tensor:
    r"""Return the nested R-hat of many short chains, √(1 + B / W).

    Chains 0 ... M − 1 are the first superchain, and so on; the chains of a superchain have to start at one
    point. B is the variance of the superchains' means, W the mean over superchains of the variance of their
    chains' means plus the mean variance within chains. It is near 1 where the law of one draw has forgotten
    the starting points, though each chain be short: with M chains a superchain, √(1 + 1/M) or less. It is
    NaN where nothing varies.

    Args:
        draws: shape (chains, draws, \*event).
        superchains: their number, at least 2, which divides the chains.

    Raises:
        ValueError: for another number, where each superchain is one chain of one draw, and for draws of
            another shape or that are not finite.

    See Margossian et al. (2024), Nested R-hat.
    """
    _check_draws(draws)
    chains = len(draws)
    if superchains != int(superchains) or superchains < 2 or chains % superchains:
        raise ValueError(
            f"superchains should be at least 2 and divide the {chains} chains but got {superchains}"
        )
    x = draws.detach().to(torch.float64).reshape(superchains, -1, *draws.shape[1:])
    if x.shape[1] * x.shape[2] < 2:
        raise ValueError(
            f"a superchain should hold at least two draws, of one chain or of several, but the {superchains} "
            f"superchains are a chain of one draw each: take fewer superchains or more draws"
        )
    of_chains = x.mean(2)
    within = x.var(2).mean(1) if x.shape[2] > 1 else torch.zeros_like(of_chains[:, 0])
    if x.shape[1] > 1:
        within = within + of_chains.var(1)
    between = of_chains.mean(1).var(0)
    return (1 + between / within.mean(0)).sqrt().to(_real(draws))


def energy_share(energy: Tensor) -> Tensor:
    r"""Return Σ (E_t − E_{t−1})² / Σ (E_t − Ē)² of each chain, (chains, \*batch): E-BFMI.

    See Betancourt (2016), Diagnosing suboptimal cotangent disintegrations in Hamiltonian Monte Carlo.
    """
    energy = energy.detach().to(torch.float64)
    return energy.diff(dim=1).square().sum(1) / (energy - energy.mean(1, keepdim=True)).square().sum(1)


def of_moves(
    statistics: Mapping[str, Tensor], target: float | None, draws: Mapping[str, Tensor]
) -> list[str]:
    """Say which chains are stuck, and whether the acceptance is what it was tuned for."""
    found = []
    known = "log_prob" in statistics  # not of every other program's chains
    log_prob = statistics["log_prob"] if known else torch.zeros(next(iter(draws.values())).shape[:2])
    # Stuck: where it started, all along. Halted: where it ended, for half the run. Flat: moving, at one
    # height.
    stuck = _where(log_prob, draws, 0).all(1)
    halted = _where(log_prob, draws, -1)[:, log_prob.shape[1] // 2 :].all(1) & ~stuck
    flat = (log_prob == log_prob[:, :1]).all(1) & ~stuck
    if log_prob.shape[1] > 1 and stuck.any():
        found.append(
            f"{int(stuck.sum())} of {stuck.numel()} chains never moved. Their starting points may lie where "
            f"the density is a spike or the scale is too large: give init=, or a longer warm-up."
        )
    if log_prob.shape[1] >= 20 and halted.any():
        found.append(
            f"{int(halted.sum())} of {halted.numel()} chains stood still for the last half of their draws. "
            f"They are where the density is a spike for the scale of the steps: use a smaller scale."
        )
    if known and flat.any() and any(value.is_floating_point() for value in draws.values()):
        found.append(
            f"The log-density is the same at all draws of {int(flat.sum())} of {flat.numel()} chains, though "
            f"they move. It is flat there: {_IMPROPER}."
        )
    # A tuned scale is judged by what it was tuned for, another by what is usual.
    if "acceptance" not in statistics:
        return found
    acceptance = float(statistics["acceptance"].to(torch.float64).mean())
    if target is not None and not target / 2 < acceptance < (1 + target) / 2:
        found.append(
            f"The acceptance is {acceptance:.3f} but the scale was tuned for {target}. The chains were "
            f"still on their way when tuning ended: use a longer warm-up."
        )
    elif target is None and not 0.05 <= acceptance <= 0.95:
        low = acceptance < 0.05
        found.append(f"The acceptance is {acceptance:.3f}: use a {'smaller' if low else 'larger'} scale.")
    if "not_finite" in statistics and (count := int(statistics["not_finite"].sum())):
        found.append(
            f"The log-density was NaN or +inf at {count} proposals, which were refused. Draws next to such "
            f"places are not to be trusted: find the operation that overflows, or use float64."
        )
    return found


def of_energy(statistics: Mapping[str, Tensor]) -> list[str]:
    """Say whether trajectories diverged, and whether the energy is explored."""
    found = []
    if "divergent" in statistics and (count := int(statistics["divergent"].sum())):
        chains = int((statistics["divergent"].sum(1) > 0).sum())
        found.append(
            f"{count} {'trajectory' if count == 1 else 'trajectories'} diverged, of {chains} "
            f"{'chain' if chains == 1 else 'chains'}: "
            f"the steps are too long for the curvature somewhere, and draws from there are missing. Use a "
            f"higher target acceptance, or write the model in other variables (non-centred); where the "
            f"density ends at a wall, as where data bound a parameter, use method='random_walk'."
        )
    if "energy" in statistics and statistics["energy"].shape[1] >= 20:
        low = energy_share(statistics["energy"]) < 0.3
        if low.any():
            found.append(
                f"The energy moves slowly in {int(low.sum())} of {low.numel()} chains (E-BFMI below 0.3): "
                f"the tails are heavy or the scale varies from place to place. Write the model otherwise."
            )
    return found


def of_swaps(statistics: Mapping[str, Tensor]) -> list[str]:
    """Say whether tempered chains travel between the target and the flattest level."""
    if "round_trip" not in statistics or statistics["round_trip"].shape[1] < 20:
        return []
    trips, swapped = statistics["round_trip"], statistics["swapped"].to(torch.float64).mean((0, 1))
    swapped = swapped.reshape(len(swapped), -1).amin(-1)
    total, chains = int(trips.sum((0, 1)).min()), len(trips)
    found = []
    if total < chains:
        least = int(swapped.argmin())
        found.append(
            f"There were {total} round trips between the target and the flattest level in {chains} chains, "
            f"{total / chains:.2g} each where it should be several; levels {least} and {least + 1} swap "
            f"least. The weights of separate modes are not to be trusted: take more draws, a longer warm-up "
            f"or a ladder of more levels."
        )
    if (swapped < _SELDOM).any():
        pairs = ", ".join(
            f"{k} and {k + 1} ({float(swapped[k]):.3f})" for k in torch.where(swapped < _SELDOM)[0].tolist()
        )
        found.append(
            f"Levels {pairs} swap at fewer than {_SELDOM:.0%} of the steps: use a ladder with more levels "
            f"there. If a ladder of equal swaps cannot be found, modes have very different widths: give "
            f"tempered a reference."
        )
    return found


def of_values(draws: Mapping[str, Tensor]) -> list[str]:
    """Say which sites, derived ones among them, are not finite."""
    found = []
    for name, value in draws.items():
        lost = ~torch.isfinite(value)
        if lost.any():
            chain, draw = lost.nonzero()[0, :2].tolist()
            found.append(
                f"{name} is not finite in {int(lost.sum())} places, the first at draw {draw} of chain "
                f"{chain}: its draws are lost."
            )
    return found


def of_draws(draws: Mapping[str, Tensor], settled: Mapping[str, Tensor]) -> list[str]:
    """Say which sites never vary, or spread as the chains go on.

    Next to an end of a support, where logarithms vary by tens, a range varies by chance: chains spread only
    where less of their last third lies within the quartiles of the first, too. ``settled`` says by site which
    numbers the support leaves no choice, as the zeros of a Cholesky factor.
    """
    found = []
    for name, value in draws.items():
        x = value.detach().to(torch.float64).flatten(2) if value.dim() > 2 else value.double().unsqueeze(-1)
        if not x.isfinite().all():
            continue
        # The same number in all chains, unless the support leaves no choice.
        constant = (x == x[:1, :1]).all(0).all(0)
        stuck = constant & ~settled[name].flatten() if name in settled else constant
        if stuck.any():
            found.append(
                f"{name} has the same value in all draws of all chains, in {int(stuck.sum())} of "
                f"{len(constant)} coordinates."
            )
        farthest = float(x.abs().max())
        if value.is_floating_point() and farthest > _FAR:
            found.append(
                f"{name} is as far out as {farthest:.2g}: {_IMPROPER}, or write {name} in larger units."
            )
        # Chains of an improper or unfinished run widen: the spread of the last third against the first.
        third = x.shape[1] // 3
        if third < 10:
            continue
        first, last = (part.flatten(0, 1) for part in (x[:, :third], x[:, -third:]))
        (low, high), (lower, higher) = _quartiles(first), _quartiles(last)
        wider = torch.where(constant, 1.0, (higher - lower) / (high - low)).nan_to_num(1.0)
        inside = ((last >= low) & (last <= high)).double().mean(0)
        widening = torch.where(inside < _INSIDE, wider, 1.0).max()
        if widening > _WIDENING:
            found.append(
                f"{name} spreads as the chains go on: in their last third it lies {float(widening):.1f} "
                f"times as wide as in the first. The chains are still on their way and need a longer "
                f"warm-up, or {_IMPROPER}."
            )
    return found


def of_ends(draws: Mapping[str, Tensor], at_ends: Mapping[str, Tensor]) -> list[str]:
    r"""Say which sites lie where rounding hides an end of their support: flags (chains, draws, \*batch)."""
    found = []
    for name, flags in at_ends.items():
        counts = flags.sum((0, 1)).max()
        share = float(counts) / flags.shape[:2].numel()
        if counts >= _FEW and share > _AT_ENDS:
            dtype = str(draws[name].dtype).removeprefix("torch.")
            found.append(
                f"{share:.2g} of the draws of {name} lie at an end of its support, where {dtype} tells no "
                f"places apart. If the density grows towards that end, what lies beyond is lost and means "
                f"are wrong: use a wider dtype, put that end at 0 (as 1 - x for x), or give the law as a "
                f"distribution."
            )
    return found


def of_agreement(table: pd.DataFrame) -> list[str]:
    """Say where R-hat is above 1.01 or the effective sample size below 400, in a summary."""
    found = []
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


def _check_draws(draws: Tensor) -> None:
    if draws.dim() < 2 or not draws.shape[:2].numel():
        raise ValueError(
            f"draws should have shape (chains, draws, *event), one at least, but have {tuple(draws.shape)}"
        )
    if not torch.isfinite(draws).all():
        chain, draw = (~torch.isfinite(draws)).nonzero()[0, :2].tolist()
        raise ValueError(f"draws should be finite but are not at draw {draw} of chain {chain}")


def _real(draws: Tensor) -> torch.dtype:
    """Return the type in which numbers about draws are given: float64 for whole numbers."""
    return draws.dtype if draws.is_floating_point() else torch.float64


def _quartiles(x: Tensor) -> tuple[Tensor, Tensor]:
    """Return the first and the third quartile of draws (n, coordinates)."""
    ordered = x.sort(0).values
    return ordered[len(ordered) // 4], ordered[3 * len(ordered) // 4]


def _where(log_prob: Tensor, draws: Mapping[str, Tensor], index: int) -> Tensor:
    """Say which draws are where the first draw of their chain is, or the last, in the shape of log_prob."""
    same = log_prob == log_prob[:, [index]]
    for value in draws.values():
        there = value == value[:, [index]]
        same &= there.reshape(*log_prob.shape, -1).all(-1)
    return same
