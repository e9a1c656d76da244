"""A million random walks beside compiled JAX, and how the cost of a step grows.

Run as ``python -m tests.benchmarks.mcmc [--only mixture|growth] [--chains 1000000] [--steps 1000]
[--threads 1] [--figure FILE]``, the mixture with jax and what the module mcmc_jax needs. Both run in this
process, on as many cores as threads; seconds are those of the processor, so that other work on the machine
does not count. The posteriors of posteriordb have a module of their own, mcmc_posteriors.
"""

import argparse
import os
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from probgen import Density
from probgen.capture.recorded_function import wrapper
from probgen.core import Transition
from probgen.sampling import run
from probgen.sampling.markov.moves.hmc import hmc_kernel, leapfrog
from probgen.sampling.markov.moves.metropolis import fixed
from probgen.sampling.markov.moves.random_walk import random_walk_kernel
from tests.benchmarks.results import cpu_seconds, record

PARTS = ("mixture", "growth")
LEAPS = 5
"""Leapfrog steps of a trajectory where the cost of a step is measured."""


def four_normals(x: Tensor) -> Tensor:
    means = torch.tensor([-6.0, -2.0, 2.0, 6.0], device=x.device)
    return (-0.5 * (x.unsqueeze(-1) - means) ** 2).logsumexp(-1)


def walked(chains: int, steps: int) -> Tensor:
    """Return where compiled random walks are after so many steps."""
    density = Density(four_normals, dtype=torch.float32)
    transition = fixed(density, random_walk_kernel(density, wrap=wrapper("compile", calls=steps)), 2.0)
    generator = torch.Generator().manual_seed(0)
    return run(transition, torch.zeros(chains, 1), draws=1, thin=steps, generator=generator)["position"]


def of_mixture(chains: int, steps: int) -> str:
    """Compare random walks, compiled, with the same in JAX: what a first step costs, and each later one."""
    from tests.benchmarks import mcmc_jax

    of: dict[str, Callable[[int], np.ndarray]] = {
        "JAX": lambda steps: mcmc_jax.mixture_walk(chains, steps)(),
        "probgen": lambda steps: walked(chains, steps).numpy(),
    }
    rows = ["| | CPU s | of them compilation and first step | ns a step and chain | sd of the last draws |"]
    rows.append("|---" * 5 + "|")
    for name, walk in of.items():
        times, spread = [cpu_seconds()], 0.0
        for count in (1, 1, 1 + steps):
            spread = float(walk(count).std())
            times.append(cpu_seconds())
        first, again, many = np.diff(times)
        total, each = first + many - again, 1e9 * (many - again) / steps / chains
        rows.append(f"| {name} | {total:.1f} | {first:.1f} | {each:.1f} | {spread:.3f} |")
        print(rows[-1], flush=True)
    return "\n".join(rows)


def step_seconds(transition: Transition, position: Tensor, steps: int) -> float:
    """Return the CPU seconds of one step of all chains."""
    generator = torch.Generator().manual_seed(0)
    first = run(transition, position, draws=1, thin=2, generator=generator)
    start = time.process_time()
    run(transition, first.state, draws=1, thin=steps, generator=generator)
    return (time.process_time() - start) / steps


def transitions(density: Density, scale: float) -> tuple[Transition, Transition]:
    """Return a random walk and Hamiltonian Monte Carlo, recorded."""
    wrap = wrapper("graph", calls=1000)
    hmc = hmc_kernel(density, leapfrog(density, wrap=wrap), steps=LEAPS, jitter=0.2)
    return fixed(density, random_walk_kernel(density, wrap=wrap), scale), fixed(density, hmc, scale)


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
    rows = [
        "| grows | n | random walk, ms a step | HMC of five leapfrog steps, ms a step |",
        "|---" * 4 + "|",
    ]
    lines: dict[str, list[tuple[int, float, float]]] = {}
    for axis, cases in axes.items():
        for n, density, chains in cases:
            steps = max(2, min(200, 10**6 // max(n, chains)))
            start = torch.zeros(chains, density.dim)
            walk, hmc = (step_seconds(one, start, steps) for one in transitions(density, 0.1 / n**0.5))
            lines.setdefault(axis, []).append((n, walk, hmc))
            rows.append(f"| {axis} | {n:,} | {1e3 * walk:.3g} | {1e3 * hmc:.3g} |")
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
        axis.loglog(n, 1e3 * np.array(hmc), "s-", label="HMC, 5 leapfrog steps")
        axis.set_xlabel(title)
    axis.legend()
    drawing.axes[0].set_ylabel("CPU milliseconds a step")
    drawing.savefig(figure)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", nargs="*", default=PARTS, choices=PARTS)
    parser.add_argument("--chains", type=int, default=10**6, help="of the mixture")
    parser.add_argument("--steps", type=int, default=1000, help="of the mixture")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--figure", type=Path, help="where to save the plot of growth")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: options.threads])
    torch.set_num_threads(options.threads)
    os.environ["TORCHINDUCTOR_CACHE_DIR"] = tempfile.mkdtemp()  # nothing is compiled beforehand
    if "mixture" in options.only:
        protocol = (
            f"`python -m tests.benchmarks.mcmc --only mixture`: {options.chains:,} chains x "
            f"{options.steps:,} random-walk steps on four normals, float32, compiled, compilation counted; "
            f"{options.threads} thread(s) each, in turn in one process. The exact sd is 21^½ = 4.583."
        )
        table = of_mixture(options.chains, options.steps)
        record("Markov chains: a mixture", protocol, table, packages=("jax",))
    if "growth" in options.only:
        protocol = (
            "`python -m tests.benchmarks.mcmc --only growth`: CPU milliseconds of one step of all chains, "
            f"recorded graphs, float32, {options.threads} thread(s)."
        )
        record("Markov chains: growth", protocol, of_growth(options.figure))


if __name__ == "__main__":
    main()
