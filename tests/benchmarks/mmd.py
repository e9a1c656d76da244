"""Time and memory of MMD: ``python -m tests.benchmarks.mmd [--device cuda] [--small]``.

Each case runs in a process of its own, so that its peak memory is its own. Peers run where they are installed
(``pip install geomloss``, ``pip install pykeops``).
"""

import argparse
import importlib.util
import json
import resource
import statistics
import subprocess
import sys
import time

import torch

from probgen.mmd import Gaussian, mmd2, mmd2_loss, mmd_test
from tests.benchmarks.results import append

BANDWIDTHS = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0)
REPEATS = 3


def samples(n: int, d: int, device: str) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    x, y = (torch.randn(n, d, generator=generator).to(device) for _ in range(2))
    return x, y + 0.2


def dense_loss(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """The expression that one writes first: whole matrices, autograd."""
    n, m = len(x), len(y)
    z = torch.cat([x, y])
    z = z - z.detach().mean(0)
    squares = z.square().sum(1)
    squared = (squares[:, None] + squares - 2 * z @ z.T).clamp_min(0)
    kernel = sum(torch.exp(squared * (-0.5 / width**2)) for width in BANDWIDTHS) / len(BANDWIDTHS)
    xx, yy, xy = kernel[:n, :n], kernel[n:, n:], kernel[:n, n:]
    within = (xx.sum() - xx.trace()) / (n * (n - 1)) + (yy.sum() - yy.trace()) / (m * (m - 1))
    return within - 2 * xy.mean()


def our_loss(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    return mmd2_loss(x, y, Gaussian(BANDWIDTHS))


def geomloss_loss(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """Twice its kernel norm, a V-statistic, for each bandwidth."""
    from geomloss import SamplesLoss

    backend = "online" if importlib.util.find_spec("pykeops") else "tensorized"
    losses = [SamplesLoss("gaussian", blur=width, backend=backend) for width in BANDWIDTHS]
    return sum(2 * loss(x, y) for loss in losses) / len(losses)


def keops_loss(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    from pykeops.torch import LazyTensor

    def total(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        squared = ((LazyTensor(a[:, None]) - LazyTensor(b[None])) ** 2).sum(-1)
        kernel = sum((squared * (-0.5 / width**2)).exp() for width in BANDWIDTHS) / len(BANDWIDTHS)
        return kernel.sum(1).double().sum()

    n, m = len(x), len(y)
    within = (total(x, x) - n) / (n * (n - 1)) + (total(y, y) - m) / (m * (m - 1))
    return within - 2 * total(x, y) / (n * m)


LOSSES = {
    "dense autograd": (dense_loss, None),
    "probgen": (our_loss, None),
    "geomloss": (geomloss_loss, "geomloss"),
    "KeOps": (keops_loss, "pykeops"),
}


def timed(call, device: str, repeats: int = REPEATS) -> float:
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        call()
        if device != "cpu":
            torch.cuda.synchronize()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def peak(device: str) -> float:
    """The peak memory in GB: of the process less what it had at the start, or of the GPU."""
    if device != "cpu":
        return torch.cuda.max_memory_allocated() / 1e9
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9


def worker(case: str, n: int, d: int, device: str) -> dict[str, object]:
    x, y = samples(n, d, device)
    before = peak(device)
    if case in LOSSES:
        y.requires_grad_()
        slopes = []

        def step() -> None:
            slopes[:] = torch.autograd.grad(LOSSES[case][0](x, y), y)

        seconds = timed(step, device)
        memory = peak(device) - before
        return {"seconds": seconds, "memory": memory, "slope": float(slopes[0].double().norm())}
    if case == "gradients":
        expected, found = (
            torch.autograd.grad(loss(x.double(), z := y.double().requires_grad_()), z)[0]
            for loss in (dense_loss, our_loss)
        )
        return {"difference": float((found - expected).norm() / expected.norm())}
    if case == "exact":
        seconds = timed(lambda: mmd2(x, y, Gaussian(BANDWIDTHS)), device, 1)
    else:
        seconds = timed(lambda: mmd_test(x, y, permutations=1000), device)
    return {"seconds": seconds, "memory": peak(device) - before}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--small", action="store_true", help="a tenth of the points; nothing is recorded")
    parser.add_argument("--worker", nargs=3, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.worker:
        case, n, d = given.worker
        print(json.dumps(worker(case, int(n), int(d), given.device)))
        return

    def run(case: str, n: int, d: int) -> dict[str, float]:
        command = [sys.executable, "-m", "tests.benchmarks.mmd", "--device", given.device, "--worker"]
        ended = subprocess.run([*command, case, str(n), str(d)], capture_output=True, text=True, check=False)
        if ended.returncode:
            raise RuntimeError(f"{case} failed: {ended.stderr[-2000:]}")
        return json.loads(ended.stdout.splitlines()[-1])

    less = 10 if given.small else 1
    n, d = 8000 // less, 32
    rows = ["| forward and backward | s | GB | times probgen's time | gradient's norm |", "|---" * 5 + "|"]
    found = {
        name: run(name, n, d)
        for name, (_, package) in LOSSES.items()
        if package is None or importlib.util.find_spec(package)
    }
    ours = found["probgen"]["seconds"]
    for name, one in found.items():
        ratio = one["seconds"] / ours
        rows.append(
            f"| {name} | {one['seconds']:.2f} | {one['memory']:.3f} | {ratio:.1f} | {one['slope']:.7g} |"
        )
    difference = run("gradients", 2000 // less, d)["difference"]
    rows += [
        "",
        f"Relative difference of the gradients from dense float64 ones, n = 2,000: {difference:.1e}.",
    ]
    rows += ["", "| | s | GB |", "|---" * 3 + "|"]
    for name, case, size, dimensions in (
        ("mmd2, n = m = 100,000, d = 8, 6 bandwidths, every pair", "exact", 100_000, 8),
        ("mmd_test, n = m = 2,000, d = 32, 5 bandwidths, 1,000 permutations", "test", 2000, 32),
    ):
        one = run(case, size // less, dimensions)
        rows.append(f"| {name} | {one['seconds']:.2f} | {one['memory']:.3f} |")
    protocol = (
        f"`python -m tests.benchmarks.mmd --device {given.device}`: n = m = 8,000, d = 32, float32, "
        f"6 bandwidths, gradient to y; each case in its own process, median of {REPEATS} (of 1 at "
        "n = 100,000); memory is the peak beyond what the process had with the data. geomloss is a "
        "V-statistic for each bandwidth in turn."
    )
    if given.small:
        print("\n".join(rows))
    else:
        append("MMD", protocol, "\n".join(rows))


if __name__ == "__main__":
    main()
