"""What a second process gains: ``python -m tests.benchmarks.processes [--device cuda]``.

The same training (784-400-20 VAE, binarised MNIST) by one process and by two that share every batch, in turn.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from lightning_fabric import Fabric

from probgen import SVI, data, fit
from probgen.training import Callback
from tests.benchmarks.results import record
from tests.benchmarks.svi_step import probgen_vae

BATCHES = (128, 512, 2048)
BLOCK, BLOCKS, TURNS = 50, 5, 3
CASES = {"one process, one thread": (1, 1), "one process, two threads": (1, 2), "two processes": (2, 1)}


class Clock(Callback):
    """The milliseconds per step of each block of steps but the first, which captures."""

    def __init__(self):
        self.times, self.start = [], 0.0

    def on_step_end(self, objective, history):
        if history.step % BLOCK == 0:
            now = time.perf_counter()
            if self.start:
                self.times.append((now - self.start) / BLOCK * 1e3)
            self.start = now


def worker(out: Path, device: str, processes: int) -> None:
    """Train at each batch size and write the median times of the first process."""
    torch.manual_seed(0)
    fabric = Fabric(accelerator=device, devices=processes, strategy="ddp" if processes > 1 else "auto")
    fabric.launch()
    x = data.binarise(data.mnist().train, generator=torch.Generator().manual_seed(0))
    medians = {}
    for batch_size in BATCHES:
        clock = Clock()
        options = {"steps": BLOCK * (BLOCKS + 1), "batch_size": batch_size, "progress": False, "seed": 0}
        fit(SVI(probgen_vae(400, 20, "cpu")), x, fabric=fabric, callbacks=[clock], compile="graph", **options)
        medians[batch_size] = statistics.median(clock.times)
    if fabric.is_global_zero:
        out.write_text(json.dumps(medians))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--worker", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--processes", type=int, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.worker:
        worker(given.worker, given.device, given.processes)
        return
    times = {name: {batch: [] for batch in BATCHES} for name in CASES}
    with TemporaryDirectory() as folder:
        for _ in range(TURNS):
            for name, (processes, threads) in CASES.items():
                out = Path(folder) / "out.json"
                command = [sys.executable, "-m", "tests.benchmarks.processes", "--device", given.device]
                command += ["--worker", str(out), "--processes", str(processes)]
                subprocess.run(command, check=True, env=os.environ | {"OMP_NUM_THREADS": str(threads)})
                for batch, median in json.loads(out.read_text()).items():
                    times[name][int(batch)].append(median)
    base = next(iter(CASES))
    rows = ["| | " + " | ".join(f"batch {batch}, ms | speed-up" for batch in BATCHES) + " |"]
    rows.append("|---" * (1 + 2 * len(BATCHES)) + "|")
    for name in CASES:
        cells = []
        for batch in BATCHES:
            median, alone = (statistics.median(times[case][batch]) for case in (name, base))
            cells.append(f"{median:.2f} | {alone / median:.2f}")
        rows.append(f"| {name} | " + " | ".join(cells) + " |")
    protocol = (
        f"`python -m tests.benchmarks.processes`: median step of {TURNS} runs in turn, {BLOCKS} blocks of "
        f"{BLOCK} steps each after one that captures, compile='graph'; the batch is that of all processes "
        "together."
    )
    record(f"Two processes on {given.device}", protocol, "\n".join(rows), packages=("lightning-fabric",))


if __name__ == "__main__":
    main()
