"""Eleven posteriors of posteriordb, written as Pyro models, against their reference draws.

Run as ``PROBGEN_DATA=... python -m tests.benchmarks.posteriors [--method NAME] [--only NAME ...]``. Means and
standard deviations of every number are held against those of 10,000 reference draws, in combined standard
errors: of the mean, our Monte-Carlo error and sd/√10,000; of the sd, our error and sd/√20,000.
"""

import argparse
import math
import time

from probgen.sampling import sample
from tests.benchmarks.results import record
from tests.posteriors import NAMES, posterior, reference


def row(name: str, *, method: str, chains: int, warmup: int, draws: int, thin: int) -> dict[str, object]:
    start = time.perf_counter()
    density = posterior(name)
    drawn = sample(
        density,
        method=method,
        chains=chains,
        warmup=warmup,
        draws=draws,
        thin=thin,
        seed=1,
        progress=False,
    )
    seconds = time.perf_counter() - start
    table, of_mean, of_sd = drawn.summary(), [], []
    for key, expected in reference(name).items():
        label = key if "[" not in key else f"{key[:-1].split('[')[0]}[{int(key[:-1].split('[')[1]) - 1}]"
        ours, sd = table.loc[label], float(expected.std())
        of_mean.append((ours["mean"] - float(expected.mean())) / math.hypot(ours.mcse_mean, sd / 100))
        of_sd.append((ours["sd"] - sd) / math.hypot(ours.mcse_sd, sd / math.sqrt(20_000)))
    return {
        "posterior": name.split("-")[0],
        "dim": density.dim,
        "worst mean": float(max(map(abs, of_mean))),
        "worst sd": float(max(map(abs, of_sd))),
        "R-hat": float(table.r_hat.max()),
        "ESS": int(table[["ess_bulk", "ess_tail"]].min(axis=1).min()),
        "seconds": seconds,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--method", default="random_walk")
    parser.add_argument("--only", nargs="*", default=[])
    for name, default in (("chains", 128), ("warmup", 1000), ("draws", 200), ("thin", 20)):
        parser.add_argument(f"--{name}", type=int, default=default)
    options = vars(parser.parse_args())
    only = options.pop("only")
    names = [name for name in NAMES if not only or any(part in name for part in only)]
    rows = []
    for name in names:
        rows.append(row(name, **options))
        print(rows[-1], flush=True)
    head = [" | ".join(rows[0]), " | ".join("---" for _ in rows[0])]
    body = [" | ".join(f"{x:.4g}" if isinstance(x, float) else str(x) for x in r.values()) for r in rows]
    table = "\n".join(f"| {line} |" for line in head + body)
    protocol = ", ".join(f"{key} {value}" for key, value in options.items())
    record(
        "Posteriors of posteriordb from Pyro models", f"{protocol}; worst in combined standard errors.", table
    )


if __name__ == "__main__":
    main()
