"""Draws per second by rejection and by table: ``python -m tests.benchmarks.rejection_speed [--threads 2]``.

The same laws are drawn by probgen, by SciPy's UNU.RAN and by torch, in turn within each round; the best round
counts, since whatever else the machine does only adds time.
"""

import argparse
import math
import time
import warnings
from collections.abc import Callable
from functools import partial

import numpy as np
import scipy.stats.sampling as unuran
import torch
from torch.distributions import constraints

from probgen.sampling import DiscreteInverse, Empirical
from probgen.sampling.adaptive_rejection import AdaptiveRejection
from probgen.sampling.ratio_of_uniforms import RatioOfUniforms
from probgen.sampling.transformed_rejection import TransformedDensityRejection
from tests.benchmarks.results import append

Draw = Callable[[int], object]
ROUNDS = 7


class Density:
    """A density as SciPy takes it: scalar functions, and the integral where a method asks for it."""

    def __init__(self, log_pdf: Callable[[float], float], slope: Callable[[float], float]) -> None:
        self.log_pdf, self.slope = log_pdf, slope

    def pdf(self, x: float) -> float:
        return math.exp(self.log_pdf(x))

    def dpdf(self, x: float) -> float:
        return self.slope(x) * self.pdf(x)


LAWS = {
    "normal": (
        lambda x: -(x**2) / 2,
        constraints.real,
        Density(lambda x: -x * x / 2, lambda x: -x),
        {"mode": 0.0, "pdf_area": math.sqrt(2 * math.pi), "domain": (-math.inf, math.inf)},
    ),
    "Gamma(2.5)": (
        lambda x: 1.5 * x.log() - x,
        constraints.positive,
        Density(
            lambda x: 1.5 * math.log(x) - x if x > 0 else -math.inf, lambda x: 1.5 / x - 1 if x > 0 else 0.0
        ),
        {"mode": 1.5, "pdf_area": math.gamma(2.5), "domain": (0.0, math.inf)},
    ),
    "Cauchy": (
        lambda x: -torch.log1p(x**2),
        constraints.real,
        Density(lambda x: -math.log1p(x * x), lambda x: -2 * x / (1 + x * x)),
        {"mode": 0.0, "pdf_area": math.pi, "domain": (-math.inf, math.inf)},
    ),
}


def started(build: Callable[[], Draw], n: int) -> tuple[float, Draw]:
    """Return the time of set-up and a first call in seconds, the best of three, and what draws."""
    times = []
    for _ in range(3):
        start = time.perf_counter()
        draw = build()
        draw(n)
        times.append(time.perf_counter() - start)
    return min(times), draw


def race(contenders: dict[str, tuple[Callable[[], Draw], int]], law: str) -> list[str]:
    """Let the contenders draw in turn; return a row of the table for each."""
    ready = {name: (*started(build, n), n) for name, (build, n) in contenders.items()}
    best = dict.fromkeys(ready, math.inf)
    for _ in range(ROUNDS):
        for name, (_, draw, n) in ready.items():
            start = time.perf_counter()
            draw(n)
            best[name] = min(best[name], (time.perf_counter() - start) / n)
    first = next(iter(best.values()))
    rows = []
    for name, seconds in best.items():
        begun, _, n = ready[name]
        set_up = max(0.0, begun - n * seconds) * 1e3
        rows.append(
            f"| {law} | {name} | {set_up:.3g} | {seconds * 1e9:.3g} | {1e-6 / seconds:.3g} "
            f"| {seconds / first:.2f} |"
        )
    return rows


def sampler(build: Callable[[], object]) -> Callable[[], Draw]:
    """Return what sets up a torch law and draws from it."""

    def set_up() -> Draw:
        law = build()
        return lambda n: law.sample((n,))

    return set_up


def continuous(draws: int) -> list[str]:
    rows = []
    for name, (log_prob, support, density, known) in LAWS.items():
        ours = partial(partial, log_prob=log_prob, support=support, dtype=torch.float64)
        theirs = {"domain": known["domain"], "random_state": 1}
        contenders: dict[str, tuple[Callable[[], Draw], int]] = {
            "TransformedDensityRejection": (sampler(ours(TransformedDensityRejection)), draws),
            "SciPy TransformedDensityRejection": (
                lambda d=density, t=theirs: unuran.TransformedDensityRejection(d, **t).rvs,
                draws,
            ),
            "RatioOfUniforms": (sampler(ours(RatioOfUniforms)), draws // 10),
            "SciPy SimpleRatioUniforms": (
                lambda d=density, k=known: unuran.SimpleRatioUniforms(d, **k, random_state=1).rvs,
                draws // 100,
            ),
        }
        if name != "Cauchy":
            contenders["AdaptiveRejection"] = (sampler(ours(AdaptiveRejection)), draws // 10)
        rows += race(contenders, name)
    return rows


def by_search(probs: torch.Tensor) -> Draw:
    law = DiscreteInverse(probs)
    return lambda n: law.icdf(torch.rand(n, dtype=torch.float64))


def discrete(draws: int, sizes: list[int]) -> list[str]:
    rows = []
    for k in sizes:
        probs = torch.rand(k, dtype=torch.float64, generator=torch.Generator().manual_seed(1)) ** 4 + 1e-9
        vector = (probs / probs.sum()).numpy()
        contenders = {
            "DiscreteInverse.sample": (sampler(partial(DiscreteInverse, probs)), draws),
            "DiscreteInverse.icdf": (partial(by_search, probs), draws // 10),
        }
        if k < 2**24:
            contenders |= {
                "torch.multinomial": (
                    lambda p=probs: partial(torch.multinomial, p, replacement=True),
                    draws // 10,
                ),
                "SciPy alias": (lambda v=vector: unuran.DiscreteAliasUrn(v, random_state=1).rvs, draws),
                "SciPy guide table": (
                    lambda v=vector: unuran.DiscreteGuideTable(v, random_state=1).rvs,
                    draws,
                ),
            }
        rows += race(contenders, f"{k:,} categories")
    values = torch.randn(1000, dtype=torch.float64)
    random = np.random.default_rng(1)
    contenders = {
        "Empirical": (sampler(partial(Empirical, values)), draws),
        "NumPy choice": (lambda: partial(random.choice, values.numpy()), draws),
    }
    return rows + race(contenders, "1,000 values")


def many_laws(count: int, each: int) -> list[str]:
    """Draw from a thousand Gamma laws, set up at once; SciPy's are set up and drawn from one by one."""
    shapes = torch.linspace(1, 100, count, dtype=torch.float64)

    def ours() -> Draw:
        law = TransformedDensityRejection(lambda x: (shapes - 1) * x.log() - x, support=constraints.positive)
        return lambda n: law.sample((n // count,))

    def theirs() -> Draw:
        laws = []
        for shape in shapes.tolist():
            density = Density(
                lambda x, a=shape: (a - 1) * math.log(x) - x - math.lgamma(a) if x > 0 else -math.inf,
                lambda x, a=shape: (a - 1) / x - 1 if x > 0 else 0.0,
            )
            laws.append(
                unuran.TransformedDensityRejection(
                    density, domain=(0.0, math.inf), center=max(shape - 1, 0.1), random_state=1
                )
            )
        return lambda n: [law.rvs(n // count) for law in laws]

    contenders = {
        "TransformedDensityRejection": (ours, count * each),
        "SciPy, one by one": (theirs, count * each),
    }
    return race(contenders, f"{count:,} Gamma laws")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--draws", type=int, default=10**7)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--sizes", type=int, nargs="+", default=[10, 1000, 100_000, 1_000_000, 2**24 + 3])
    parser.add_argument("--dry", action="store_true", help="print and do not append to RESULTS.md")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    warnings.simplefilter("error")
    head = "| law | drawn by | set-up, ms | ns per draw | M draws/s | time against the first |"
    rows = [
        *continuous(options.draws),
        *many_laws(1000, options.draws // 1000),
        *discrete(options.draws, options.sizes),
    ]
    body = "\n".join([head, "|---" * 6 + "|", *rows])
    protocol = (
        f"`python -m tests.benchmarks.rejection_speed`: {options.draws:,} draws in float64 a call, a tenth "
        f"or a hundredth of it for the slow ones, the best of {ROUNDS} rounds in which the contenders take "
        f"turns. Set-up is the best of three times of set-up and a first call, less the time of a later "
        f"call. SciPy draws on one thread, and our blocks are too small for a second."
    )
    if options.dry:
        print(body)
    else:
        append("rejection and discrete draws", protocol, body, packages=("scipy",))


if __name__ == "__main__":
    main()
