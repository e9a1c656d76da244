"""One kind of work by the code of two checkouts, in turn: whether a change has made anything slower.

``python -m tests.benchmarks.two_trees ../before`` runs a process of each tree in turn, and writes the ratios
of their processor time to RESULTS.md.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import torch

from tests.benchmarks.results import record

HERE = Path(__file__).resolve().parents[2]


def median_seconds(work: Callable[[], object], repeats: int) -> float:
    """Return the median processor time of a call, after one that does not count."""
    work()
    found = []
    for _ in range(repeats):
        start = time.process_time()
        work()
        found.append(time.process_time() - start)
    return statistics.median(found)


def works() -> dict[str, tuple[Callable[[], object], int]]:
    """Return what is timed, with how often a process repeats it; the public names of both trees alone."""
    import probgen as pg
    from probgen import mmd, models, nets, sampling

    normal = sampling.InverseCDF(log_prob=lambda x: -0.5 * x * x)
    normal.sample((10**6,))  # its tables are made
    gamma = sampling.Gamma(torch.tensor(2.5), torch.tensor(1.0))
    levels = torch.linspace(0.001, 0.999, 10**5, dtype=torch.float64)
    categories, empirical = sampling.DiscreteInverse(torch.rand(1000)), sampling.Empirical(torch.randn(10**5))
    rejection = sampling.TransformedDensityRejection(lambda x: -0.5 * x * x)
    x, y = torch.randn(2, 3000, 20)
    density = pg.Density(
        lambda v: -0.5 * (v**2).sum(-1),
        support=torch.distributions.constraints.real_vector,
        event_shape=(20,),
    )
    walk, hmc = sampling.random_walk(density, scale=0.5), sampling.hmc(density, scale=0.3, steps=5)
    start, pictures = torch.zeros(1000, 20), (torch.rand(2000, 784) > 0.5).float()

    def loss_with_gradient() -> None:
        z = x.clone().requires_grad_()
        mmd.mmd2_loss(z, y, mmd.Gaussian([1.0, 2.0, 4.0])).backward()

    def training() -> None:
        encoder = nets.NormalHead(nets.MLP(784, 20, hidden=[400]))
        vae = models.VAE(encoder, nets.BernoulliHead(nets.MLP(20, 784, hidden=[400])))
        options = {"batch_size": 128, "seed": 0, "progress": False, "compile": "graph"}
        pg.fit(pg.SVI(vae), pictures, steps=300, **options)

    return {
        "10⁶ draws of a normal law by its log-density": (lambda: normal.sample((10**6,)), 7),
        "10⁵ quantiles of a Gamma law": (lambda: gamma.icdf(levels), 5),
        "10⁶ draws from 1,000 categories": (lambda: categories.sample((10**6,)), 7),
        "10⁶ draws from 10⁵ samples": (lambda: empirical.sample((10**6,)), 7),
        "10⁶ draws by transformed rejection": (lambda: rejection.sample((10**6,)), 5),
        "MMD² of 3,000 and 3,000 points, with its gradient": (loss_with_gradient, 5),
        "two-sample test, fused, 300 and 300 points": (
            lambda: mmd.mmd_test(x[:300], y[:300], method="fuse", permutations=500),
            5,
        ),
        "random walk, 1,000 chains, 300 steps, 20 dimensions": (
            lambda: sampling.run(walk, start, draws=300),
            3,
        ),
        "HMC, 1,000 chains, 100 draws of 5 steps": (lambda: sampling.run(hmc, start, draws=100), 3),
        "300 steps of a 784-400-20 VAE, its capture counted": (training, 1),
    }


def in_tree(tree: Path) -> dict[str, float]:
    """Run all works in a process of its own, by the code of a tree."""
    environment = os.environ | {"PYTHONPATH": str(tree), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(Path(__file__).resolve()), "--works"]
    ended = subprocess.run(command, env=environment, cwd=tree, capture_output=True, text=True, check=True)
    return json.loads(ended.stdout.splitlines()[-1])


def main() -> None:
    """Compare a tree with this one."""
    parser = argparse.ArgumentParser()
    parser.add_argument("before", type=Path)
    parser.add_argument("--rounds", type=int, default=6)
    options = parser.parse_args()
    found = [(in_tree(options.before), in_tree(HERE)) for _ in range(options.rounds)]
    rows = ["| work | before, ms | now, ms | now / before |", "|---|---|---|---|"]
    for name in found[0][0]:
        before, now = ([each[tree][name] for each in found] for tree in (0, 1))
        ratios = sorted(b / a for a, b in zip(before, now, strict=True))
        rows.append(
            f"| {name} | {1e3 * statistics.median(before):.1f} | {1e3 * statistics.median(now):.1f} | "
            f"{statistics.median(ratios):.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f}) |"
        )
    commits = [
        subprocess.run(
            ["git", "rev-parse", "--short", "HEAD"], cwd=tree, capture_output=True, text=True, check=True
        ).stdout.strip()
        for tree in (options.before, HERE)
    ]
    protocol = (
        f"The same work by the code of two commits, {commits[0]} and {commits[1]}, in processes of their "
        f"own, in turn, {options.rounds} rounds, one thread: medians of processor time, and the median, "
        "least and largest ratio of a round."
    )
    record("Before and after", protocol, "\n".join(rows))


if __name__ == "__main__":
    if "--works" in sys.argv:
        warnings.simplefilter("ignore")
        torch.set_num_threads(1)
        print(json.dumps({name: median_seconds(*work) for name, work in works().items()}))
    else:
        main()
