"""Level, power and time of tests: ``python -m tests.benchmarks.mmd_tests [--parts level ...] [--only KSD]``.

Peers run where they are installed: ``pip install git+https://github.com/antoninschrab/mmdfuse`` (and mmdagg).
"""

import argparse
import importlib.util
import math
import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor

from probgen.evaluation import classifier_two_sample
from probgen.mmd import Energy, Gaussian, deep_kernel_test, ksd_test, mmd_test, relative_mmd_test
from tests.benchmarks.results import record

LEVEL = 0.05
DECADES = torch.logspace(-3, 3, 5)
Draw = Callable[[torch.Generator], tuple[Tensor, Tensor]]


def normal(n: int, d: int, rng: torch.Generator) -> Tensor:
    return torch.randn(n, d, generator=rng)


def ar1(chains: int, draws: int, d: int, correlation: float, rng: torch.Generator) -> Tensor:
    """Stationary chains with law N(0, 1)^d and autocorrelations ρ^h."""
    noise = torch.randn(draws, chains, d, generator=rng)
    values = [noise[0]]
    for innovation in noise[1:]:
        values.append(correlation * values[-1] + math.sqrt(1 - correlation**2) * innovation)
    return torch.stack(values, 1)


def wild_bootstrap(x: Tensor, y: Tensor, rng: torch.Generator, length: float = 20.0) -> float:
    """The p-value of Chwialkowski, Sejdinovic and Gretton (2014), with AR(1) multipliers."""
    chains, points = x.flatten(0, 1).double(), y.double()
    n, m, decay, draws = len(chains), len(points), math.exp(-1 / length), 199
    kernel = Gaussian(1.5)
    gram = kernel(torch.cdist(*(torch.cat([chains, points]),) * 2).square())
    steps = torch.randn(n, draws, generator=rng, dtype=torch.float64)
    process = [steps[0]]
    for step in steps[1:]:
        process.append(decay * process[-1] + math.sqrt(1 - decay**2) * step)
    of_x, of_y = torch.stack(process), torch.randn(m, draws, generator=rng, dtype=torch.float64)
    multipliers = torch.cat([(of_x - of_x.mean(0)) / n, -(of_y - of_y.mean(0)) / m])
    signs = torch.cat([torch.full((n, 1), 1 / n), torch.full((m, 1), -1 / m)]).double()
    observed, null = ((gram @ w * w).sum(0) for w in (signs, multipliers))
    return (int((null >= observed).sum()) + 1) / (draws + 1)


def independent(method: str) -> Callable[..., float]:
    return lambda x, y, rng: mmd_test(x, y, method=method, permutations=199, generator=rng).p_value


def blocks(x: Tensor, y: Tensor, rng: torch.Generator) -> float:
    return mmd_test(x, y, kernels=Gaussian(1.5), method="block", permutations=199, generator=rng).p_value


def as_points(x: Tensor, y: Tensor, rng: torch.Generator) -> float:
    x = x.flatten(0, 1)
    return mmd_test(x, y, kernels=Gaussian(1.5), permutations=199, generator=rng).p_value


def learned(x: Tensor, y: Tensor, rng: torch.Generator) -> float:
    return deep_kernel_test(x, y, steps=20, permutations=199, generator=rng).p_value


def opposite(x: Tensor, y: Tensor, rng: torch.Generator) -> float:
    """Both samples are as far from the reference, which is the edge of the null hypothesis."""
    reference = normal(100, x.shape[1], rng)
    return relative_mmd_test(x + 0.7, y - 0.7, reference, kernel=Gaussian(1.5)).p_value


def opposite_in_deviations(x: Tensor, y: Tensor, rng: torch.Generator) -> float:
    """As `opposite`, where the columns have other units."""
    reference = normal(100, x.shape[1], rng) * DECADES
    x, y, kernel = x + 0.7 * DECADES, y - 0.7 * DECADES, Gaussian(1.5)
    return relative_mmd_test(x, y, reference, kernel=kernel, scale="pooled").p_value


def energy(x: Tensor, y: Tensor, rng: torch.Generator) -> float:
    return mmd_test(x, y, kernels=Energy(), scale="pooled", permutations=199, generator=rng).p_value


def whole_chains(x: Tensor, y: Tensor, rng: torch.Generator) -> float:
    return mmd_test(x[:, None], y, method="block", permutations=199, generator=rng).p_value


def ksd_in_decades(x: Tensor, _: Tensor, rng: torch.Generator) -> float:
    return ksd_test(x, lambda x: -x / DECADES**2, bootstraps=199, generator=rng).p_value


def ksd(method: str) -> Callable[..., float]:
    """The KSD test of draws against N(0, 1)^d; the second sample has no part in it."""
    return lambda x, _, rng: ksd_test(x, torch.neg, method=method, bootstraps=199, generator=rng).p_value


def metropolis(chains: int, draws: int, d: int, rng: torch.Generator) -> Tensor:
    """Stationary random-walk Metropolis chains with law N(0, 1)^d."""
    z, kept = normal(chains, d, rng), []
    for _ in range(draws):
        proposal = z + 2.4 / math.sqrt(d) * normal(chains, d, rng)
        log_ratio = (z.square() - proposal.square()).sum(1) / 2
        accepted = torch.rand(chains, generator=rng).log() < log_ratio
        z = torch.where(accepted[:, None], proposal, z)
        kept.append(z)
    return torch.stack(kept, 1)


def classifier(x: Tensor, y: Tensor, rng: torch.Generator) -> float:
    return classifier_two_sample(x, y, seed=int(torch.randint(2**31, (), generator=rng))).p_value


POINTS: dict[str, Draw] = {
    "20 and 60 points, d = 2": lambda rng: (normal(20, 2, rng), normal(60, 2, rng)),
    "ties: 25 and 25 points of {−1, 1}³": lambda rng: (
        normal(25, 3, rng).sign(),
        normal(25, 3, rng).sign(),
    ),
    "30 and 30 points, d = 500": lambda rng: (normal(30, 500, rng), normal(30, 500, rng)),
    "heavy tails: 40 and 30 points, Cauchy": lambda rng: tuple(
        normal(n, 1, rng) / normal(n, 1, rng) for n in (40, 30)
    ),
}
CHAINS: dict[str, Draw] = {
    "AR(1), ρ = 0.5, 2 × 400 draws and 200 points": lambda rng: (
        ar1(2, 400, 2, 0.5, rng),
        normal(200, 2, rng),
    ),
    "AR(1), ρ = 0.9, 8 × 400 draws and 200 points": lambda rng: (
        ar1(8, 400, 2, 0.9, rng),
        normal(200, 2, rng),
    ),
    "AR(1), ρ = 0.9, 20 × 50 draws and 200 points": lambda rng: (
        ar1(20, 50, 2, 0.9, rng),
        normal(200, 2, rng),
    ),
}
KSD_POINTS: dict[str, Draw] = {
    "50 draws, d = 2": lambda rng: (normal(50, 2, rng),) * 2,
    "200 draws, d = 10": lambda rng: (normal(200, 10, rng),) * 2,
}
KSD_CHAINS: dict[str, Draw] = {
    "AR(1), ρ = 0.5, 2 × 400 draws": lambda rng: (ar1(2, 400, 2, 0.5, rng),) * 2,
    "AR(1), ρ = 0.9, 8 × 400 draws": lambda rng: (ar1(8, 400, 2, 0.9, rng),) * 2,
    "AR(1), ρ = 0.9, 20 × 50 draws": lambda rng: (ar1(20, 50, 2, 0.9, rng),) * 2,
    "random-walk Metropolis, 20 × 50 draws, d = 2": lambda rng: (metropolis(20, 50, 2, rng),) * 2,
}
CLASSIFIER_POINTS: dict[str, Draw] = {
    "50 and 50 points, d = 2": lambda rng: (normal(50, 2, rng), normal(50, 2, rng)),
    "100 and 300 points, d = 10": lambda rng: (normal(100, 10, rng), normal(300, 10, rng)),
    "ties: 50 and 50 points of {−1, 1}³": lambda rng: (normal(50, 3, rng).sign(), normal(50, 3, rng).sign()),
}
UNITS = "60 and 40 points, columns of sds 0.001, 0.03, 1, 30 and 1000"
IN_UNITS: dict[str, Callable[..., float]] = {
    **{name: independent(name) for name in ("permutation", "aggregated", "fuse", "gamma", "spectral")},
    "energy distance": energy,
    "block": whole_chains,
    "deep kernel": learned,
    "relative, at equal distance": opposite_in_deviations,
    "KSD independent": ksd_in_decades,
    "classifier": classifier,
}
HUNDRED = "100 and 80 points, d = 2"
WARNINGS = {"permutation of draws": as_points, "wild bootstrap, length 20": wild_bootstrap}
OTHERS = {
    "gamma": independent("gamma"),
    "spectral": independent("spectral"),
    "deep kernel": learned,
    "relative, at equal distance": opposite,
}
LEVELS: dict[tuple[str, str], tuple[Callable[..., float], Draw]] = {
    **{
        (name, case): (independent(name), draw)
        for case, draw in POINTS.items()
        for name in ("permutation", "aggregated", "fuse")
    },
    **{
        (name, HUNDRED): (test, lambda rng: (normal(100, 2, rng), normal(80, 2, rng)))
        for name, test in OTHERS.items()
    },
    **{
        (name, case): (test, draw)
        for case, draw in CHAINS.items()
        for name, test in {"block": blocks, **WARNINGS}.items()
    },
    **{("KSD independent", case): (ksd("independent"), draw) for case, draw in KSD_POINTS.items()},
    **{("KSD block", case): (ksd("block"), draw) for case, draw in KSD_CHAINS.items()},
    **{("classifier", case): (classifier, draw) for case, draw in CLASSIFIER_POINTS.items()},
    **{
        (name, UNITS): (test, lambda rng: (normal(60, 5, rng) * DECADES, normal(40, 5, rng) * DECADES))
        for name, test in IN_UNITS.items()
    },
}


def level(repeats: int, only: list[str] | None) -> str:
    rows = ["| samples | test | rejected at 5 % | refused |", "|---" * 4 + "|"]
    for number, ((name, case), (test, draw)) in enumerate(LEVELS.items()):
        if only and not any(words in f"{name}, {case}" for words in only):
            continue
        of_this = repeats // 10 if name in WARNINGS else repeats
        rng = torch.Generator().manual_seed(number)
        rejected = refused = 0
        for _ in range(of_this):
            try:
                rejected += test(*draw(rng), rng) <= LEVEL
            except ValueError as error:
                if "draw more" not in str(error):
                    raise
                refused += 1
        share = rejected / (of_this - refused)
        error = math.sqrt(max(share * (1 - share), 1e-4) / (of_this - refused))
        rows.append(f"| {case} | {name} | {100 * share:.1f} ± {100 * error:.1f} % | {refused} of {of_this} |")
        print(rows[-1], flush=True)
    return "\n".join(rows)


def two_modes(n: int, sd: float, rng: torch.Generator) -> Tensor:
    return 10 * normal(n, 1, rng).sign() + sd * normal(n, 1, rng)


def wavy(n: int, d: int, waves: int, rng: torch.Generator) -> Tensor:
    """Points with density 1 + Π sin(2π · waves · z) on the unit cube."""
    kept: list[Tensor] = []
    while sum(map(len, kept)) < n:
        z = torch.rand(4 * n, d, generator=rng)
        density = 1 + torch.sin(2 * math.pi * waves * z).prod(1)
        kept.append(z[2 * torch.rand(4 * n, generator=rng) < density])
    return torch.cat(kept)[:n]


ALTERNATIVES: dict[str, Callable[[int, torch.Generator], tuple[Tensor, Tensor]]] = {
    "mean + 0.15, d = 10": lambda n, rng: (normal(n, 10, rng), normal(n, 10, rng) + 0.15),
    "scale × 1.08, d = 20": lambda n, rng: (normal(n, 20, rng), 1.08 * normal(n, 20, rng)),
    "two far modes, width 1 or 0.6": lambda n, rng: (two_modes(n, 1.0, rng), two_modes(n, 0.6, rng)),
    "uniform or three waves, d = 1": lambda n, rng: (torch.rand(n, 1, generator=rng), wavy(n, 1, 3, rng)),
    "uniform or waves, d = 2": lambda n, rng: (torch.rand(n, 2, generator=rng), wavy(n, 2, 1, rng)),
}


def contenders() -> dict[str, Callable[..., float]]:
    """Tests that return a p-value (mmdagg a decision: 0 or 1)."""
    found: dict[str, Callable[..., float]] = {
        f"probgen, {name}": independent(name) for name in ("permutation", "aggregated", "fuse")
    }
    if importlib.util.find_spec("mmdfuse"):
        import jax
        from mmdfuse import mmdfuse

        def fuse(x: Tensor, y: Tensor, rng: torch.Generator) -> float:
            key = jax.random.PRNGKey(int(torch.randint(2**31, (), generator=rng)))
            return float(mmdfuse(x.numpy(), y.numpy(), key, number_permutations=199, return_p_val=True)[1])

        found["mmdfuse"] = fuse
    if importlib.util.find_spec("mmdagg"):
        from mmdagg.np import mmdagg

        def aggregated(x: Tensor, y: Tensor, rng: torch.Generator) -> float:
            seed = int(torch.randint(2**31, (), generator=rng))
            return 1.0 - mmdagg(x.double().numpy(), y.double().numpy(), B1=199, B2=199, seed=seed)

        found["mmdagg"] = aggregated
    return found


def power(repeats: int, n: int) -> str:
    tests = contenders()
    rows = ["| laws | " + " | ".join(tests) + " |", "|---" * (len(tests) + 1) + "|"]
    for number, (case, draw) in enumerate(ALTERNATIVES.items()):
        rng = torch.Generator().manual_seed(number)
        rejected = dict.fromkeys(tests, 0)
        for _ in range(repeats):
            x, y = draw(n, rng)
            for name, test in tests.items():
                rejected[name] += test(x, y, rng) <= LEVEL
        cells = [f"{100 * count / repeats:.0f} %" for count in rejected.values()]
        rows.append(f"| {case} | " + " | ".join(cells) + " |")
        print(rows[-1], flush=True)
    return "\n".join(rows)


def timing(n: int, permutations: int, repeats: int) -> str:
    """Seconds of one test, ten kernels each (and one, for "permutation"), as many permutations for all."""
    rng = torch.Generator().manual_seed(0)
    x, y = normal(n, 10, rng), normal(n, 10, rng)
    calls: dict[str, Callable[[], object]] = {
        f"probgen, {name}": lambda name=name: mmd_test(
            x, y, method=name, permutations=permutations, generator=rng
        )
        for name in ("permutation", "aggregated", "fuse")
    }
    if importlib.util.find_spec("mmdfuse"):
        import jax
        from mmdfuse import mmdfuse

        key = jax.random.PRNGKey(0)
        calls["mmdfuse, compiled before"] = lambda: mmdfuse(
            x.numpy(), y.numpy(), key, number_bandwidths=5, number_permutations=permutations
        ).block_until_ready()
        calls["mmdfuse, compiled before"]()
    if importlib.util.find_spec("mmdagg"):
        from mmdagg.np import mmdagg

        pair = x.double().numpy(), y.double().numpy()
        calls["mmdagg, NumPy"] = lambda: mmdagg(
            *pair, number_bandwidths=5, B1=permutations // 2, B2=permutations // 2
        )
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(repeats):
        for name, call in calls.items():
            start = time.perf_counter()
            call()
            seconds[name].append(time.perf_counter() - start)
    medians = {name: statistics.median(times) for name, times in seconds.items()}
    rows = ["| test | s | times probgen's fuse |", "|---" * 3 + "|"]
    rows += [f"| {name} | {s:.2f} | {s / medians['probgen, fuse']:.1f} |" for name, s in medians.items()]
    return "\n".join(rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--parts", nargs="+", default=["level", "power", "time"])
    parser.add_argument("--only", nargs="+", help='words in rows of the table of levels, such as "KSD block"')
    parser.add_argument("--repeats", type=int, default=2000, help="null repeats; a tenth of them for power")
    parser.add_argument("--small", action="store_true", help="few repeats, few points; nothing is recorded")
    given = parser.parse_args()
    repeats, n, size = (20, 60, 200) if given.small else (given.repeats, 150, 2000)
    parts = {
        "level": lambda: level(repeats, given.only),
        "power": lambda: power(max(repeats // 10, 10), n),
        "time": lambda: timing(size, 1000, 3),
    }
    protocols = {
        "level": f"{repeats} null repeats (a tenth of them for the two tests that are there as a warning), "
        "199 permutations; ± is the standard error of the share itself. Chains are compared under "
        "Gaussian(1.5). Refused: the test said that the chains are too short.",
        "power": f"Rejections at 5 % in {max(repeats // 10, 10)} repeats, n = m = {n}, 199 permutations "
        "(mmdagg: 199 and 199), each package with its own default kernels, the same data for all.",
        "time": f"n = m = {size}, d = 10, 1,000 permutations, ten kernels each (probgen's `permutation`: the "
        "mean of five); medians of 3 rounds in one run. mmdagg's 1,000 are a wild bootstrap's.",
    }
    for part in given.parts:
        body = parts[part]()
        protocol = f"`python -m tests.benchmarks.mmd_tests --parts {part}`: {protocols[part]}"
        if given.small:
            print(body)
        else:
            record(f"Two-sample tests: {part}", protocol, body)


if __name__ == "__main__":
    main()
