"""Kinds of convolutions: what each costs, how far it sees, and what it brings on the same work.

Each training has a run folder, is resumed from there and not repeated once it has ended.
"""

import argparse
import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from torch import nn

from probgen import data, evaluation, models, nets, objectives
from probgen.core import seeded
from tests.benchmarks.autoencoders import SIDE, through, train
from tests.benchmarks.results import record

MAPS, BATCH = 32, 64
NOISE = data.GaussianNoise(0.25)
CODE = (8, 14, 14)

LAYERS: dict[str, Callable[[], nn.Module]] = {
    "standard, 3 x 3": lambda: nn.Conv2d(MAPS, MAPS, 3, padding=1),
    "dilated by 2": lambda: nn.Conv2d(MAPS, MAPS, 3, padding=2, dilation=2),
    "depthwise separable": lambda: nets.SeparableConv(MAPS, MAPS),
    "separable and dilated by 2": lambda: nets.SeparableConv(MAPS, MAPS, dilation=2),
    "standard, 5 x 5": lambda: nn.Conv2d(MAPS, MAPS, 5, padding=2),
    "stride 2, halves": lambda: nn.Conv2d(MAPS, MAPS, 3, stride=2, padding=1),
    "transposed 4 x 4, doubles": lambda: nn.ConvTranspose2d(MAPS, MAPS, 4, stride=2, padding=1),
}
BLOCKS: dict[str, dict[str, object]] = {
    "standard": {"dilations": [1]},
    "dilated by 2": {"dilations": [2]},
    "dilated by 4": {"dilations": [4]},
    "depthwise separable": {"dilations": [1], "separable": True},
    "separable and dilated by 2": {"dilations": [2], "separable": True},
}
DENSE = (96, 196)
"""Hidden units of the fully connected net, and its code."""

PROTOCOL = (
    "`python -m tests.benchmarks.convolutions --steps {}`. First layers by themselves, 32 maps to 32, on "
    "batches of 64 pictures of 14 x 14: parameters, multiplications and receptive field by `nets.cost`, and "
    "the CPU time of a step, forward and backward, the median of 15 rounds of 10 steps in turn. Then "
    "autoencoders that see grey MNIST with noise, σ = 0.25, and restore it: `nets.ResidualConvNet` of 32 "
    "maps with one block of two such layers on each side of a code of 8 maps of 14 x 14 numbers, a "
    "convolution of stride 2 at the start and a transposed one at the end, a sigmoid; beside them an MLP "
    "784-96-196-96-784. Each has {} steps of 64 pictures by Adam, learning rate 3e-3 falling by a cosine "
    "to a hundredth; dB is −10 log10 of the mean squared error over pixels and 10,000 test pictures (the "
    "linear optimum, clipped, has 20.8). The receptive field is that of a restored pixel in the "
    "middle. One thread of a core that others used too; in its CPU time "
    "the MLP could take seven steps for one of the standard net."
)


class Flat(nn.Module):
    """A layer of maps, as a net of flat ones."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layer(x.reshape(-1, MAPS, 14, 14)).flatten(1)


def layers() -> Iterator[str]:
    """Give the rows of the table of layers."""
    yield (
        "| layer | parameters | multiplications | sees | CPU ms a step | of the standard |\n"
        + "|---" * 6
        + "|"
    )
    made = {name: make().to(memory_format=torch.channels_last) for name, make in LAYERS.items()}
    x = torch.randn(BATCH, MAPS, 14, 14).to(memory_format=torch.channels_last).requires_grad_()
    took: dict[str, list[float]] = {name: [] for name in made}
    for _ in range(16):
        for name, layer in made.items():
            start = time.process_time()
            for _ in range(10):
                layer(x).sum().backward()
            took[name].append((time.process_time() - start) * 100)
    standard, *_ = took.values()
    for name, layer in made.items():
        side = layer(x).shape[-1]
        parameters, products, (rows, columns) = nets.cost(Flat(layer), (MAPS, 14, 14), (MAPS, side, side))
        ms = statistics.median(took[name][1:])
        ratio = statistics.median(
            one / other for one, other in zip(took[name][1:], standard[1:], strict=True)
        )
        yield f"| {name} | {parameters:,} | {products:,} | {rows} x {columns} | {ms:.1f} | {ratio:.2f} |"


def networks(runs: Path, steps: int) -> Iterator[str]:
    """Give the rows of the table of networks as they are found."""
    heads = "blocks | parameters | multiplications | sees | CPU ms a step | dB"
    yield f"\n| {heads} |\n" + "|---" * 6 + "|"
    images = data.mnist()
    with seeded(1):
        seen = NOISE(images.test)
    rows_of = data.Corrupted(images.train, NOISE)
    for number, (name, options) in enumerate({**BLOCKS, "none: fully connected": None}.items()):
        with seeded(0):
            if options is None:
                hidden, code = DENSE
                encoder: nn.Module = nets.MLP(784, code, hidden=hidden)
                decoder: nn.Module = nets.MLP(code, 784, hidden=hidden)
            else:
                encoder = nets.ResidualConvNet(SIDE, CODE, channels=MAPS, **options)
                decoder = nets.ResidualConvNet(CODE, SIDE, channels=MAPS, **options)
            law = nets.NormalHead(nn.Sequential(decoder, nn.Sigmoid()), scale="shared")
            model = models.Autoencoder(nets.PointHead(encoder), law).to(memory_format=torch.channels_last)
        parameters, products, (rows, columns) = nets.cost(nn.Sequential(encoder, decoder), SIDE, SIDE)
        loss, folder = objectives.Reconstruction(model), runs / f"blocks-{number}"
        epochs = steps * BATCH / len(images.train)
        seconds = train(loss, rows_of, folder, epochs=epochs, batch_size=BATCH, rate=3e-3)
        found = evaluation.psnr(through(model, seen), images.test)
        said = f"{parameters:,} | {products:,} | {rows} x {columns}"
        yield f"| {name} | {said} | {seconds / steps * 1000:.0f} | {found:.2f} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--runs", type=Path, default=Path("runs/convolutions"), help="where trainings are kept"
    )
    parser.add_argument("--steps", type=int, default=200, help="of each training")
    given = parser.parse_args()
    torch.set_num_threads(1)
    rows = list(layers())
    for row in networks(given.runs, given.steps):
        rows.append(row)
        record("Convolutions", PROTOCOL.format(given.steps, given.steps), "\n".join(rows))


if __name__ == "__main__":
    main()
