"""The posteriors of posteriordb by Markov chains: effective draws per CPU second, beside five other packages.

Run as ``PROBGEN_DATA=... python -m tests.benchmarks.mcmc_posteriors [--names ...] [--samplers ...]
[--cap 60] [--found FILE] [--table]``, with jax, numpyro, blackjax, emcee and optax. Each sampler runs on
each posterior in a process of its own, on one core, and ends after ``--cap`` CPU seconds. What was measured
is kept in FILE, so that a second call goes on where the first ended; ``--table`` appends the table to
RESULTS.md.

The effective sample size is the least of ArviZ's bulk and tail sizes of all numbers of the reference draws.
Seconds are those of the processor, so that other work on the machine does not count; they hold all, from the
data to the draws, recording and compilation included, but not Python's imports.
"""

import argparse
import json
import logging
import multiprocessing
import os
import signal
import statistics
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import arviz
import numpy as np
import pyro
import torch

from probgen.capture.recorded_function import Recorded
from probgen.sampling import sample
from tests.benchmarks.results import cpu_seconds, record
from tests.posteriors import NAMES, posterior, reference

Named = dict[str, np.ndarray]
PACKAGES = ("jax", "numpyro", "blackjax", "emcee", "arviz")


class OutOfTime(Exception):
    """The sampler has used its CPU seconds."""


@contextmanager
def capped(seconds: float) -> Iterator[None]:
    """Raise where this process uses more than so many CPU seconds, at the next line of Python."""

    def end(*_: object) -> None:
        raise OutOfTime

    signal.signal(signal.SIGPROF, end)
    signal.setitimer(signal.ITIMER_PROF, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)


def ours(name: str, **options: object) -> tuple[Named, float]:
    seconds, make = 0.0, Recorded._make

    def timed(recorded: Recorded, *args: object) -> bool:
        nonlocal seconds
        start = cpu_seconds()
        made = make(recorded, *args)
        seconds += cpu_seconds() - start
        return made

    Recorded._make = timed
    start = cpu_seconds()
    density = posterior(name)
    seconds += cpu_seconds() - start
    chains = sample(density, generator=torch.Generator().manual_seed(1), progress=False, **options)
    return {site: chains[site].numpy() for site in (*chains.names, *chains.derived())}, seconds


def on_jax(name: str, *, sampler: str, **options: int) -> tuple[Named, float]:
    """Run a sampler on JAX; its set-up is what JAX reports of tracing, lowering and compiling."""
    import jax

    from tests.benchmarks import mcmc_jax  # here, since a process with JAX's threads cannot be forked

    found = []
    jax.monitoring.register_event_duration_secs_listener(
        lambda event, seconds, **_: found.append(seconds) if "/compile/" in event else None
    )
    wall, start = time.perf_counter(), cpu_seconds()
    drawn = getattr(mcmc_jax, sampler)(name, **options)
    share = (cpu_seconds() - start) / (time.perf_counter() - wall)
    return drawn, sum(found) * min(share, 1.0)


def of_pyro(name: str, *, kernel: Callable, warmup: int, draws: int) -> tuple[Named, float]:
    """Run Pyro until its time is over; the seconds of its warm-up count as set-up."""
    from pyro.infer import MCMC

    density = posterior(name)
    model, args, kwargs = density._given
    pyro.set_rng_seed(0)
    kernel, kept, set_up = kernel(model), [], []

    def note(_: object, params: Named, stage: str, __: int) -> None:
        if stage == "Sample":
            set_up.append(cpu_seconds())
            kept.append({site: kernel.transforms[site].inv(x) if site in kernel.transforms else x
                         for site, x in params.items()})  # fmt: skip

    start = cpu_seconds()
    mcmc = MCMC(kernel, num_samples=draws, warmup_steps=warmup, disable_progbar=True, hook_fn=note)
    try:
        mcmc.run(*args, **kwargs)
    except OutOfTime:
        if len(kept) < 20:
            raise
    drawn = {site: torch.stack([values[site] for values in kept])[None].detach() for site in kept[0]}
    drawn |= density.derived(drawn)
    return {site: x.numpy() for site, x in drawn.items()}, set_up[0] - start


def samplers() -> dict[str, Callable[[str], tuple[Named, float]]]:
    """Return the samplers by name, each a function of a posterior's name that gives draws and set-up time."""
    from pyro.infer import NUTS
    from pyro.infer.mcmc import RandomWalkKernel

    def peer(sampler: str, chains: int, warmup: int = 500, draws: int = 1000) -> Callable:
        return partial(on_jax, sampler=sampler, chains=chains, warmup=warmup, draws=draws)

    return {
        "probgen hmc": partial(ours, chains=64, warmup=500, draws=1000),
        "NumPyro NUTS, 64": peer("numpyro_nuts", 64),
        "NumPyro NUTS, 8": peer("numpyro_nuts", 8),
        "Pyro NUTS": partial(of_pyro, kernel=NUTS, warmup=200, draws=300),
        "probgen random walk": partial(
            ours, method="random_walk", chains=256, warmup=1000, draws=200, thin=20
        ),
        "Pyro RandomWalkKernel": partial(of_pyro, kernel=RandomWalkKernel, warmup=1000, draws=4000),
        "emcee, 64": peer("emcee_walkers", 64, warmup=1000, draws=4000),
        "BlackJAX ChEES, 64": peer("blackjax_chees", 64),
        "BlackJAX NUTS, 8": peer("blackjax_nuts", 8),
    }


def quality(name: str, drawn: Named) -> tuple[float, float]:
    """Return the least effective sample size and the largest R-hat of a posterior's numbers."""
    sizes, r_hats = [], []
    for key in reference(name):
        site, _, index = key.rstrip("]").partition("[")
        x = drawn[site][..., int(index) - 1] if index else drawn[site]
        sizes += [arviz.ess(x, method="bulk"), arviz.ess(x, method="tail")]
        r_hats.append(arviz.rhat(x) if len(x) > 1 else arviz.rhat(x[:, : x.shape[1] // 2 * 2].reshape(2, -1)))
    return float(np.min(sizes)), float(np.max(r_hats))


def measured(name: str, label: str, cap: float) -> dict[str, float]:
    """Return what a sampler did on a posterior; only its seconds where it was cut off."""
    if "probgen" not in label and not label.startswith("Pyro"):
        from tests.benchmarks import mcmc_jax  # noqa: F401  (an import, which does not count)
    wall, start = time.perf_counter(), cpu_seconds()
    try:
        with capped(cap):
            drawn, set_up = samplers()[label](name)
    except OutOfTime:
        return {"seconds": cpu_seconds() - start}
    seconds, wall = cpu_seconds() - start, time.perf_counter() - wall
    ess, r_hat = quality(name, drawn)
    return {"ess": ess, "r_hat": r_hat, "seconds": seconds, "set_up": set_up, "wall": wall}


def child(name: str, label: str, cap: float, out: multiprocessing.SimpleQueue) -> None:
    warnings.simplefilter("ignore")
    logging.getLogger("arviz").setLevel(logging.ERROR)
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    torch.set_num_threads(1)
    try:
        out.put(measured(name, label, cap))
    except Exception as error:  # what a peer may raise is its result
        out.put({"failed": f"{type(error).__name__}: {error}".split("\n")[0]})


def in_a_process(name: str, label: str, cap: float) -> dict[str, float]:
    """Measure in a process of its own, which is ended where it does not end itself."""
    context = multiprocessing.get_context("fork")
    out = context.SimpleQueue()
    process = context.Process(target=child, args=(name, label, cap, out))
    process.start()
    start = time.perf_counter()
    while process.is_alive() and out.empty():
        time.sleep(0.5)
        used = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
        if sum(map(int, used[11:15])) / os.sysconf("SC_CLK_TCK") > cap + 30:
            break
    found = {"seconds": cap, "wall": time.perf_counter() - start} if out.empty() else out.get()
    process.kill()
    process.join()
    return found


def rate(label: str, row: dict[str, float]) -> float:
    """Return the effective draws per second, at most: a run that was cut off gets the number of its draws.

    Pyro's own have one chain, stopped early, and are not charged with their warm-up.
    """
    if "ess" in row:
        return row["ess"] / (row["seconds"] - (row["set_up"] if label.startswith("Pyro") else 0))
    return float(label.rpartition(", ")[2]) * 1000 / row["seconds"] if "," in label else float("nan")


def table(found: dict[str, dict[str, float]], names: list[str]) -> str:
    """Return the rows and what they say of the targets."""
    head = ("posterior", "sampler", "ESS", "R-hat", "CPU s", "of them set-up", "ESS/s", "ours / this")
    rows = ["| " + " | ".join(head) + " |", "|---" * len(head) + "|"]
    ratios: dict[str, list[float]] = {}
    for name in names:
        of = {label: found[f"{name}: {label}"] for label in samplers() if f"{name}: {label}" in found}
        rates = {label: rate(label, row) for label, row in of.items() if "failed" not in row}
        for label, row in of.items():
            short = f"| {name.split('-')[0]} | {label} | "
            if "failed" in row:
                rows.append(f"{short}does not run: {row['failed']} |" + " |" * 5)
                continue
            base = rates.get("probgen random walk" if "Random" in label else "probgen hmc", float("nan"))
            ratio = base / rates[label]
            if "ess" not in row:
                bounds = f"> {row['seconds']:.0f}, cut off | – | < {rates[label]:.3g} | > {ratio:.3g}"
                rows.append(f"{short}– | – | {bounds} |")
                continue
            ratios.setdefault(label, []).append(ratio)
            rows.append(
                f"{short}{row['ess']:.0f} | {row['r_hat']:.3f} | {row['seconds']:.1f} | {row['set_up']:.1f} "
                f"| {rates[label]:.3g} | {ratio:.3g} |"
            )
        theirs = [value for label, value in rates.items() if label.startswith("NumPyro")]
        if theirs and "probgen hmc" in rates:
            ratios.setdefault("the better of NumPyro's, at least", []).append(
                rates["probgen hmc"] / max(theirs)
            )
    rows.append("")
    for label, values in ratios.items():
        middle, n = statistics.median(values), len(values)
        rows.append(
            f"- {label}: ours / this {min(values):.3g} to {max(values):.3g}, median {middle:.3g} of {n}."
        )
    return "\n".join(rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--names", nargs="*", default=[""], help="parts of posteriors' names")
    parser.add_argument("--samplers", nargs="*", default=[""], help="how samplers' names begin")
    parser.add_argument("--cap", type=float, default=60.0, help="CPU seconds of a run")
    parser.add_argument("--found", type=Path, default=Path("mcmc_posteriors.json"))
    parser.add_argument("--table", action="store_true")
    options = parser.parse_args()
    names = [name for name in NAMES if any(part in name for part in options.names)]
    found = json.loads(options.found.read_text()) if options.found.exists() else {}
    for label in samplers():
        if not any(label.lower().startswith(part.lower()) for part in options.samplers):
            continue
        for name in names:
            key = f"{name}: {label}"
            if key not in found:
                found[key] = in_a_process(name, label, options.cap)
                options.found.write_text(json.dumps(found, indent=1))
                print(key, found[key], flush=True)
    if options.table:
        protocol = (
            "`python -m tests.benchmarks.mcmc_posteriors`: least bulk or tail ESS over all numbers per CPU "
            "second of the whole run, one core and one process each, float64, 500 steps of warm-up and 1,000 "
            f"draws a chain; cut off after {options.cap:.0f} CPU s."
        )
        record("Markov chains: posteriors of posteriordb", protocol, table(found, names), packages=PACKAGES)


if __name__ == "__main__":
    main()
