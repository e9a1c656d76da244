"""Markov chains beside NumPyro, BlackJAX, emcee and Pyro: effective draws per second, and how cost grows.

Run as ``PROBGEN_DATA=... python -m tests.benchmarks.mcmc [--only posteriors|mixture|growth] [--names ...]
[--samplers ...] [--figure FILE]``, with jax, numpyro, blackjax, emcee and optax; it uses two CPU cores.

The effective sample size is the least of ArviZ's bulk and tail sizes of all numbers of the reference draws.
Seconds count all, from the data to the draws; what building, recording and compiling took of them is shown
apart: for peers on JAX, a run of 20 + 1 steps beforehand, compiled anew in the run that counts.
"""

import argparse
import logging
import os
import time
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path

import arviz
import numpy as np
import pyro
import torch
from torch import Tensor

from probgen import Density
from probgen.sampling import run, sample
from probgen.sampling.graphs import Recorded, wrapper
from probgen.sampling.metropolis import fixed
from probgen.sampling.random_walk import random_walk_kernel
from tests.benchmarks import mcmc_jax
from tests.benchmarks.results import append
from tests.posteriors import NAMES, posterior, reference

PARTS = ("posteriors", "mixture", "growth")
SLOW = ("eight_schools", "kilpisjarvi")
"""The posteriors on which Pyro's own samplers run: a minute or more each."""
Named = dict[str, np.ndarray]


class Recording:
    """Counts the seconds that recording and compiling take."""

    def __init__(self) -> None:
        self.seconds, make = 0.0, Recorded._make

        def timed(recorded: Recorded, *args) -> bool:
            start = time.perf_counter()
            made = make(recorded, *args)
            self.seconds += time.perf_counter() - start
            return made

        Recorded._make = timed


def ours(name: str, recording: Recording, **options) -> tuple[Named, float]:
    recording.seconds, start = 0.0, time.perf_counter()
    density = posterior(name)
    built = time.perf_counter() - start
    chains = sample(density, generator=torch.Generator().manual_seed(1), **options)
    drawn = {site: chains[site].numpy() for site in (*chains.names, *chains.derived())}
    return drawn, built + recording.seconds


def peer(name: str, recording: Recording, *, sampler: Callable, **options) -> tuple[Named, float]:
    start = time.perf_counter()
    sampler(name, **options | {"warmup": 20, "draws": 1})
    beforehand = time.perf_counter() - start
    return sampler(name, **options), beforehand


def of_pyro(
    name: str, recording: Recording, *, kernel: Callable, warmup: int, draws: int
) -> tuple[Named, float]:
    from pyro.infer import MCMC

    model, args, kwargs = posterior(name)._given
    pyro.set_rng_seed(0)
    mcmc = MCMC(kernel(model), num_samples=draws, warmup_steps=warmup, disable_progbar=True)
    mcmc.run(*args, **kwargs)
    drawn = {site: x[None].numpy() for site, x in mcmc.get_samples().items()}
    if "tau" in drawn:
        drawn["theta"] = drawn["mu"][..., None] + drawn["tau"][..., None] * drawn["t"]
    return drawn, 0.0


def samplers() -> dict[str, Callable[[str, Recording], tuple[Named, float]]]:
    """Return the samplers by name, each a function of a posterior's name that gives draws and set-up time."""
    from pyro.infer import NUTS
    from pyro.infer.mcmc import RandomWalkKernel

    def vectorised(sampler: Callable, chains: int, warmup: int = 500, draws: int = 1000) -> Callable:
        return partial(peer, sampler=sampler, chains=chains, warmup=warmup, draws=draws)

    return {
        "probgen hmc": partial(ours, chains=64, warmup=500, draws=1000),
        "probgen random walk": partial(
            ours, method="random_walk", chains=256, warmup=1000, draws=200, thin=20
        ),
        "NumPyro NUTS, 8": vectorised(mcmc_jax.numpyro_nuts, 8),
        "NumPyro NUTS, 64": vectorised(mcmc_jax.numpyro_nuts, 64),
        "BlackJAX NUTS, 8": vectorised(mcmc_jax.blackjax_nuts, 8),
        "BlackJAX ChEES, 64": vectorised(mcmc_jax.blackjax_chees, 64),
        "emcee, 64": vectorised(mcmc_jax.emcee_walkers, 64, warmup=1000, draws=4000),
        "Pyro NUTS": partial(of_pyro, kernel=NUTS, warmup=200, draws=300),
        "Pyro RandomWalkKernel": partial(of_pyro, kernel=RandomWalkKernel, warmup=1000, draws=4000),
    }


def quality(name: str, drawn: Named) -> tuple[float, float]:
    """Return the least effective sample size and the largest R-hat of a posterior's numbers."""
    sizes, r_hats = [], []
    for key in reference(name):
        site, _, index = key.rstrip("]").partition("[")
        x = drawn[site][..., int(index) - 1] if index else drawn[site]
        sizes += [arviz.ess(x, method="bulk"), arviz.ess(x, method="tail")]
        r_hats.append(arviz.rhat(x) if len(x) > 1 else arviz.rhat(x.reshape(2, -1)))
    return float(np.min(sizes)), float(np.max(r_hats))


def of_posteriors(names: list[str], chosen: list[str]) -> str:
    recording = Recording()
    rows = ["| posterior | sampler | ESS | R-hat | s | set-up s | ESS/s | ESS/s after set-up | ours / this |"]
    rows.append("|---" * 9 + "|")
    for name in names:
        rate_of_ours = float("nan")
        for label, sampler in samplers().items():
            if not any(part.lower() in label.lower() for part in chosen):
                continue
            if label.startswith("Pyro") and not name.startswith(SLOW):
                continue
            start = time.perf_counter()
            drawn, set_up = sampler(name, recording)
            seconds = time.perf_counter() - start
            if "probgen" not in label and not label.startswith("Pyro"):
                seconds -= set_up  # the run beforehand
            size, r_hat = quality(name, drawn)
            rate = size / seconds
            rate_of_ours = rate if label == "probgen hmc" else rate_of_ours
            after = f"{size / (seconds - set_up):.0f}" if seconds > set_up else "–"
            rows.append(
                f"| {name.split('-')[0]} | {label} | {size:.0f} | {r_hat:.3f} | {seconds:.1f} | {set_up:.1f} "
                f"| {rate:.0f} | {after} | {rate_of_ours / rate:.1f} |"
            )
            print(rows[-1], flush=True)
    return "\n".join(rows)


def four_normals(x: Tensor) -> Tensor:
    means = torch.tensor([-6.0, -2.0, 2.0, 6.0], device=x.device)
    return (-0.5 * (x.unsqueeze(-1) - means) ** 2).logsumexp(-1)


def of_mixture(chains: int = 10**6, steps: int = 1000) -> str:
    """Compare a million random walks, compiled, with the same in JAX."""
    density = Density(four_normals, dtype=torch.float32)
    start = time.perf_counter()
    theirs = mcmc_jax.mixture_walk(chains, steps)()
    seconds = {"JAX": time.perf_counter() - start}
    start = time.perf_counter()
    kernel = random_walk_kernel(density, wrap=wrapper("compile", calls=steps))
    drawn = run(
        fixed(density, kernel, 2.0),
        torch.zeros(chains, 1),
        draws=1,
        thin=steps,
        generator=torch.Generator().manual_seed(0),
    )
    seconds["probgen"] = time.perf_counter() - start
    spread = {"JAX": float(theirs.std()), "probgen": float(drawn["position"].std())}
    rows = ["| | s | M steps/s | sd of the last draws (21^½ = 4.583) |", "|---|---|---|---|"]
    rows += [
        f"| {k} | {s:.1f} | {chains * steps / s / 1e6:.0f} | {spread[k]:.3f} |" for k, s in seconds.items()
    ]
    return "\n".join(rows)


def step_seconds(density: Density, chains: int, *, method: str, steps: int) -> float:
    """Return the seconds of one step of all chains, from the difference of a long and a short run."""
    times = []
    for draws in (1, 1 + steps):
        start = time.perf_counter()
        generator = torch.Generator().manual_seed(0)
        sample(
            density,
            method=method,
            chains=chains,
            warmup=20,
            thin=draws,
            draws=1,
            compile="graph",
            generator=generator,
        )
        times.append(time.perf_counter() - start)
    return (times[1] - times[0]) / steps


def normal(dim: int) -> Density:
    return Density(
        lambda x: -0.5 * (x**2).sum(-1),
        support=torch.distributions.constraints.real_vector,
        event_shape=(dim,),
        dtype=torch.float32,
    )


def regression(n: int) -> Density:
    x = torch.randn(n, 5, generator=torch.Generator().manual_seed(0))
    y = x.sum(-1)
    return Density(
        lambda b: -0.5 * ((y - b @ x.mT) ** 2).sum(-1),
        support=torch.distributions.constraints.real_vector,
        event_shape=(5,),
        dtype=torch.float32,
    )


def of_growth(figure: Path | None) -> str:
    """Return and plot the seconds of a step against chains, dimension and data."""
    axes = {
        "chains (dim 10)": [(n, normal(10), n) for n in (1, 10, 100, 1000, 10**4, 10**5, 10**6)],
        "dimension (64 chains)": [(d, normal(d), 64) for d in (1, 10, 100, 1000)],
        "data (64 chains)": [(n, regression(n), 64) for n in (10, 100, 1000, 10**4, 10**5)],
    }
    rows, lines = ["| grows | n | random walk, ms/step | hmc, ms/step |", "|---|---|---|---|"], {}
    for axis, cases in axes.items():
        for n, density, chains in cases:
            steps = 20 if max(n, chains) >= 10**5 else 100
            found = [step_seconds(density, chains, method=m, steps=steps) for m in ("random_walk", "hmc")]
            lines.setdefault(axis, []).append((n, *found))
            rows.append(f"| {axis} | {n} | {1e3 * found[0]:.3g} | {1e3 * found[1]:.3g} |")
            print(rows[-1], flush=True)
    if figure is not None:
        plotted(lines, figure)
    return "\n".join(rows)


def plotted(lines: dict[str, list[tuple[int, float, float]]], figure: Path) -> None:
    from matplotlib.figure import Figure

    drawing = Figure(figsize=(10, 3), layout="constrained")
    for axis, (title, points) in zip(drawing.subplots(1, 3, sharey=True), lines.items(), strict=True):
        n, walk, hmc = zip(*points, strict=True)
        axis.loglog(n, 1e3 * np.array(walk), "o-", label="random walk")
        axis.loglog(n, 1e3 * np.array(hmc), "s-", label="HMC")
        axis.set_xlabel(title)
    axis.legend()
    drawing.axes[0].set_ylabel("milliseconds a step")
    drawing.savefig(figure)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", nargs="*", default=PARTS, choices=PARTS)
    parser.add_argument("--names", nargs="*", default=[""], help="parts of posteriors' names")
    parser.add_argument("--samplers", nargs="*", default=[""], help="parts of samplers' names")
    parser.add_argument("--chains", type=int, default=10**6, help="of the mixture")
    parser.add_argument("--figure", type=Path, help="where to save the plot of growth")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    logging.getLogger("arviz").setLevel(logging.ERROR)
    packages = ("jax", "numpyro", "blackjax", "emcee", "arviz")
    torch.set_num_threads(min(2, os.cpu_count() or 1))
    if "posteriors" in options.only:
        names = [name for name in NAMES if any(part in name for part in options.names)]
        table = of_posteriors(names, options.samplers)
        protocol = (
            "Least bulk or tail ESS over all numbers, per second of the whole run, float64, 1,000 draws a "
            "chain after 500 steps of warm-up; emcee 1,000 + 4,000, "
            "probgen's random walk 256 chains x 200 draws, thinned by 20, after 1,000."
        )
        append("Markov chains: posteriors of posteriordb", protocol, table, packages=packages)
    if "mixture" in options.only:
        protocol = f"{options.chains:,} chains x 1,000 random-walk steps, four normals, float32, compiled."
        append("Markov chains: a mixture", protocol, of_mixture(options.chains), packages=("jax",))
    if "growth" in options.only:
        append("Markov chains: growth", "Recorded graphs, float32.", of_growth(options.figure))


if __name__ == "__main__":
    main()
