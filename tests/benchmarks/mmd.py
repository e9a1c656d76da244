"""Time, memory and accuracy of MMD: ``python -m tests.benchmarks.mmd [--parts peers ...] [--device cuda]``.

Each case runs in a process of its own, so that its peak memory is its own, and is cut off after some time.
Peers run where they are installed (``pip install geomloss``, ``pip install pykeops``; both compile C++).
"""

import argparse
import importlib.util
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import torch

from probgen.mmd import Gaussian, mmd2_loss, mmd_test
from tests.benchmarks.results import RESULTS, record

BANDWIDTHS = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0)
REPEATS, ENOUGH = 3, 40.0  # a case is not repeated once it has taken so many seconds


def samples(n: int, d: int, device: str) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    x, y = (torch.randn(n, d, generator=generator).to(device) for _ in range(2))
    return x, y + 0.2


def dense_loss(
    x: torch.Tensor, y: torch.Tensor, widths: Sequence[float] = BANDWIDTHS, *, direct: bool = False
) -> torch.Tensor:
    """The expression that one writes first: whole matrices, autograd; ``direct`` subtracts point by point."""
    n, m = len(x), len(y)
    z = torch.cat([x, y])
    squares = z.square().sum(1)
    squared = (squares[:, None] + squares - 2 * z @ z.T).clamp_min(0)
    if direct:
        squared = (z[:, None] - z).square().sum(2)
    kernel = sum(torch.exp(squared * (-0.5 / width**2)) for width in widths) / len(widths)
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
    "probgen": (our_loss, None),
    "dense autograd": (dense_loss, None),
    "geomloss": (geomloss_loss, "geomloss"),
    "KeOps": (keops_loss, "pykeops"),
}


def timed(call: Callable[[], object], device: str) -> dict[str, float]:
    """Seconds by the clock and of the processor: medians over a few repeats."""
    seconds, of_processor = [], []
    while len(seconds) < REPEATS and sum(seconds) < ENOUGH:
        start, at = time.perf_counter(), time.process_time()
        call()
        if device != "cpu":
            torch.cuda.synchronize()
        seconds.append(time.perf_counter() - start)
        of_processor.append(time.process_time() - at)
    medians = {"seconds": statistics.median(seconds), "processor": statistics.median(of_processor)}
    return medians | {"repeats": len(seconds)}


def in_use(device: str) -> float:
    """The memory in use in GB, of the process or of the GPU, from which its peak is counted anew."""
    if device != "cpu":
        torch.cuda.reset_peak_memory_stats()
        return torch.cuda.memory_allocated() / 1e9
    Path("/proc/self/clear_refs").write_text("5")
    return _status("VmRSS")


def peak(device: str) -> float:
    """The peak of the memory in GB since then."""
    return torch.cuda.max_memory_allocated() / 1e9 if device != "cpu" else _status("VmHWM")


def _status(name: str) -> float:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(float(line.split()[1]) for line in lines if line.startswith(name)) * 1024 / 1e9


def loss_case(name: str, n: int, d: int, device: str, *, learns: bool) -> dict[str, float]:
    loss, _ = LOSSES[name]
    x, y = samples(n, d, device)
    slope = torch.zeros(1)

    def step() -> None:
        nonlocal slope
        if learns:
            (slope,) = torch.autograd.grad(loss(x, y), y)
        else:
            loss(x, y)

    few_x, few_y = x[:64], y[:64].clone().requires_grad_(learns)
    few = loss(few_x, few_y)  # whatever is compiled or loaded at first
    if learns:
        few.backward()
    y.requires_grad_(learns)
    before = in_use(device)
    found = timed(step, device)
    return found | {"memory": peak(device) - before, "slope": float(slope.double().norm())}


def gradient_case(n: int, d: int, device: str) -> dict[str, float]:
    """Relative errors of gradients, from dense float64 ones."""
    x, y = samples(n, d, device)
    (truth,) = torch.autograd.grad(dense_loss(x.double(), z := y.double().requires_grad_()), z)
    found = {}
    for dtype in (torch.float64, torch.float32):
        z = y.to(dtype).requires_grad_()
        (slope,) = torch.autograd.grad(our_loss(x.to(dtype), z), z)
        found[str(dtype).removeprefix("torch.")] = float((slope - truth).norm() / truth.norm())
    return found


def accuracy(n: int, d: int) -> str:
    """Errors in float32 where it is hard, from float64 with distances by direct subtraction."""
    x, y = samples(n, d, "cpu")
    half = torch.cat([x[: n // 2], y[: n // 2]])
    cases = {
        "as they are, σ = 1 … 32": (x, y, BANDWIDTHS),
        "common offset of 1,000, σ = 1 … 32": (x + 1000, y + 1000, BANDWIDTHS),
        "half of the points of y equal points of x": (x, half, BANDWIDTHS),
        "all points twice": (x.repeat(2, 1), y.repeat(2, 1), BANDWIDTHS),
        "narrow kernel, σ = 0.3, half of the points equal": (x, half, (0.3,)),
        "tiny kernel, σ = 0.001, half of the points equal": (x, half, (0.001,)),
        "wide kernel, σ = 1,000": (x, y, (1000.0,)),
    }
    rows = [
        "| samples in float32 | MMD² | error, probgen | error, dense | gradient, probgen | gradient, dense |",
        "|---" * 6 + "|",
    ]
    for name, (one, other, widths) in cases.items():
        found = []
        for loss, dtype in (
            (lambda a, b, w=widths: dense_loss(a, b, w, direct=True), torch.float64),
            (lambda a, b, w=widths: mmd2_loss(a, b, Gaussian(w)), torch.float32),
            (lambda a, b, w=widths: dense_loss(a, b, w), torch.float32),
        ):
            z = other.to(dtype).requires_grad_()
            value = loss(one.to(dtype), z)
            (slope,) = torch.autograd.grad(value, z)
            found.append((value.item(), slope.double()))
        (truth, exact), *both = found
        values = [f"{abs(value - truth):.0e}" for value, _ in both]
        slopes = [
            f"{float((slope - exact).norm() / exact.norm()):.0e}" if exact.norm() > 1e-30 else "–"
            for _, slope in both
        ]
        rows.append(f"| {name} | {truth:.3e} | {' | '.join(values)} | {' | '.join(slopes)} |")
    return "\n".join(rows)


def worker(case: str, n: int, d: int, device: str) -> dict[str, float]:
    if case == "gradients":
        return gradient_case(n, d, device)
    if case == "test":
        x, y = samples(n, d, device)
        before = in_use(device)
        found = timed(lambda: mmd_test(x, y, permutations=1000), device)
        return found | {"memory": peak(device) - before}
    name, learns = case.removesuffix(", value"), not case.endswith(", value")
    return loss_case(name, n, d, device, learns=learns)


class Cases:
    """Runs cases, each in a process of its own."""

    def __init__(self, device: str, cap: float, less: int) -> None:
        self.device, self.cap, self.less = device, cap, less

    def run(self, case: str, n: int, d: int) -> dict[str, float] | None:
        """Return what a case found, None if it was cut off."""
        command = [sys.executable, "-m", "tests.benchmarks.mmd", "--device", self.device, "--worker"]
        given = [*command, case, str(n // self.less), str(d)]
        try:
            ended = subprocess.run(given, capture_output=True, text=True, check=False, timeout=self.cap)
        except subprocess.TimeoutExpired:
            return None
        if ended.returncode:
            raise RuntimeError(f"{case} failed: {ended.stderr[-2000:]}")
        found = json.loads(ended.stdout.splitlines()[-1])
        print(case, n, d, found, flush=True)
        return found

    def cells(self, case: str, n: int, d: int) -> str:
        found = self.run(case, n, d)
        if found is None:
            return f"> {self.cap:.0f}, cut off | – | –"
        return f"{found['seconds']:.2f} | {found['processor']:.2f} | {found['memory']:.3f}"

    def peers(self) -> str:
        n, d = 8000, 32
        rows = ["| | s | processor s | GB | times ours, processor s | gradient's norm |", "|---" * 6 + "|"]
        ours = 1.0
        for name, (_, package) in LOSSES.items():
            if package is not None and not importlib.util.find_spec(package):
                continue
            found = self.run(name, n, d)
            if found is None:
                rows.append(f"| {name} | > {self.cap:.0f}, cut off | – | – | – | – |")
                continue
            ours = found["processor"] if name == "probgen" else ours
            rows.append(
                f"| {name} | {found['seconds']:.2f} | {found['processor']:.2f} | {found['memory']:.3f} | "
                f"{found['processor'] / ours:.1f} | {found['slope']:.6g} |"
            )
        errors = self.run("gradients", 2000, d) or {}
        said = ", ".join(f"{error:.1e} in {dtype}" for dtype, error in errors.items())
        return "\n".join([*rows, "", f"Relative error of the gradient, n = 2,000: {said}."])

    def large(self) -> str:
        rows = ["| | s | processor s | GB |", "|---" * 4 + "|"]
        for name, case, n, d in (
            ("`mmd2_loss`, n = m = 100,000, value", "probgen, value", 100_000, 32),
            ("`mmd2_loss`, n = m = 100,000, value and gradient", "probgen", 100_000, 32),
            ("`mmd_test`, n = m = 2,000, 1,000 permutations", "test", 2000, 32),
        ):
            rows.append(f"| {name} | {self.cells(case, n, d)} |")
        return "\n".join(rows)

    def growth(self) -> str:
        import matplotlib.pyplot as plt

        rows = ["| n = m | d | s | processor s | GB | ns a pair |", "|---" * 6 + "|"]
        figure, axes = plt.subplots(1, 2, figsize=(7, 2.8), layout="constrained")
        over_n, over_d = [2000, 4000, 8000, 16000, 32000], [8, 32, 128, 512]
        for axis, sizes in zip(axes, ([(n, 32) for n in over_n], [(4000, d) for d in over_d]), strict=True):
            drawn = []
            for n, d in sizes:
                found = self.run("probgen", n, d)
                if found is None:
                    rows.append(f"| {n:,} | {d} | > {self.cap:.0f}, cut off | – | – | – |")
                    continue
                pair = found["processor"] / (2 * (n / self.less) ** 2) * 1e9
                rows.append(
                    f"| {n:,} | {d} | {found['seconds']:.2f} | {found['processor']:.2f} | "
                    f"{found['memory']:.3f} | {pair:.1f} |"
                )
                drawn.append((n if axis is axes[0] else d, found["processor"], found["memory"]))
            at, seconds, memory = zip(*drawn, strict=True)
            axis.loglog(at, seconds, "o-", label="processor s")
            axis.loglog(at, memory, "s--", label="GB")
            axis.minorticks_off()
            axis.set_xticks(at, [f"{size:,}" for size in at])
            axis.set_xlabel("n = m, d = 32" if axis is axes[0] else "d, n = m = 4,000")
        axes[0].legend()
        if self.less == 1:
            figure.savefig(RESULTS.parent / "mmd.png", dpi=100)
            rows += ["", "![Time and memory of the loss and its gradient](mmd.png)"]
        return "\n".join(rows)

    def accuracy(self) -> str:
        return accuracy(600 // self.less, 10)


PROTOCOLS = {
    "peers": "`mmd2_loss` and its gradient to y: n = m = 8,000, d = 32, float32, 6 bandwidths (1 to 32). "
    "geomloss is a V-statistic for each bandwidth in turn, by its KeOps backend where KeOps is installed.",
    "large": "n = m = 100,000: d = 32, float32, the same 6 bandwidths, every pair. The test: float64, 5 "
    "bandwidths.",
    "growth": "As `peers`, with n and d as said. Of the 2n² pairs, symmetry saves half of "
    "those within x and within y, which the last column counts all the same.",
    "accuracy": "n = m = 600, d = 10. Absolute errors of MMD² and relative ones of its gradient, of "
    "`mmd2_loss` and of the dense expression (Gram expansion, not centred), both in float32, from "
    "float64 with distances by subtraction.",
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--parts", nargs="+", default=list(PROTOCOLS), choices=PROTOCOLS)
    parser.add_argument("--cap", type=float, default=240.0, help="seconds after which a case is cut off")
    parser.add_argument("--small", action="store_true", help="a tenth of the points; nothing is recorded")
    parser.add_argument("--worker", nargs=3, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.worker:
        case, n, d = given.worker
        print(json.dumps(worker(case, int(n), int(d), given.device)))
        return
    cases = Cases(given.device, given.cap, 10 if given.small else 1)
    for part in given.parts:
        body = getattr(cases, part)()
        protocol = (
            f"`python -m tests.benchmarks.mmd --parts {part} --device {given.device} --cap {given.cap:.0f}`. "
            f"{PROTOCOLS[part]} "
        )
        if part != "accuracy":
            protocol += (
                f"Each case in a process of its own, median of {REPEATS} repeats, of fewer where they take "
                f"more than {ENOUGH:.0f} s; memory is the peak beyond what the process had with the data."
            )
        if given.small:
            print(body)
        else:
            record(f"MMD: {part}", protocol, body)


if __name__ == "__main__":
    main()
