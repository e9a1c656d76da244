"""Autoencoders on MNIST: small codes beside principal components, pictures restored, what keeps from copying.

Each part writes a section of its own. Each training has a run folder, is resumed from there and not repeated
once it has ended.
"""

import argparse
import json
import math
import re
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn

from probgen import data, evaluation, fit, models, nets, objectives, plots
from probgen.core import Objective, seeded
from probgen.data.corruptions import Corruption
from probgen.training import schedules
from tests.benchmarks.results import RESULTS, cpu_seconds, record

CODES = {2: 0.039, 8: 0.021, 32: 0.0125}
"""Code sizes, and the error per pixel to be reached within a minute of one core."""

SIDE = (28, 28)
RESTORED: dict[str, Corruption] = {
    "noise, σ = 0.25": data.GaussianNoise(0.25),
    "noise, σ = 0.5": data.GaussianNoise(0.5),
    "half the height and width": data.Pooling(SIDE, 2),
    "a quarter of the height and width": data.Pooling(SIDE, 4),
    "half the pixels masked": data.Masking(0.5),
}
GAIN = 2.0
"""Decibels above the linear optimum to be reached."""

COPYING = 1024
"""Units of a code that is larger than the picture."""

LINEAR = "nothing else, linear, to the end"

COMMON = (
    "grey MNIST, 60,000 pictures to learn from, 10,000 to test on, squared error by a normal law of one "
    "learned scale, SiLU, Adam, a learning rate that falls by a cosine to a hundredth, one thread of a core "
    "that others used too; CPU seconds are those of the training, graph included."
)
OF_CODES = (
    "`python -m tests.benchmarks.autoencoders codes --epochs {}`: " + COMMON + " 784-256-128-d and back, a "
    "sigmoid at the end, batches of 128, learning rate 2e-3 at first. Principal components are of the same "
    "training pictures."
)
OF_RESTORATION = (
    "`python -m tests.benchmarks.autoencoders restoration --epochs {}`: " + COMMON + " Batches of 64, "
    "corrupted afresh at each look, learning rate 3e-3 at first, 1e-3 from a quarter of the size. Encoder "
    "and decoder are `nets.ResidualConvNet` of 32 maps and a block of dilation 2, a sigmoid at the end, but "
    "none from a quarter, where it ended at black pictures (9.9 dB) by either rate; the code is 8 maps of "
    "14 x 14 numbers, of 7 x 7 where those are seen. dB is −10 log10 of the mean squared error over pixels "
    "and test pictures, the test corruption drawn once; what is restored is clipped to [0, 1]. The linear "
    "optimum (the best linear map and a constant, from moments of the training pictures) is of the same "
    "pictures. 'As it is' is the input clipped to [0, 1], each pixel of small pictures repeated. The gain is "
    "that over the linear optimum as it is, and clipped to [0, 1]. (Fully connected, 512-256 hidden units on "
    "both sides of a code of 256, a quarter of the size came to 20.1 dB by 8 epochs of batches of 128, and "
    "the rows above it to 21.0, 18.9 and 23.2.) Dilation and learning rate were chosen among six pairs by "
    "120 steps at σ = 0.25 on 1,000 of the test pictures. What is not in the table was not run."
)
OF_COPYING = (
    "`python -m tests.benchmarks.autoencoders copying --epochs {}`: " + COMMON + " One layer to a code of "
    "1,024 numbers, more than the 784 pixels, one layer back, batches of 128, learning rate 2e-3 at first; "
    "a penalty has weight 1 beside nats per picture. Columns: the test pictures through the autoencoder; "
    "the same with noise, σ = 0.25, to be restored (14.8 dB as they are, clipped; 20.8 by the linear "
    "optimum, clipped); and pictures with their pixels permuted, the same way for all, which only a copier "
    "gives back. dB as in the section before, clipped to [0, 1]. The linear code is at its optimum, found by "
    "linear algebra: 1,024 random combinations of the pixels and back by their pseudo-inverse, dB limited by "
    "rounding."
)


def autoencoder(inputs: int, code: int, hidden: tuple[int, ...]) -> models.Autoencoder:
    decoder = nn.Sequential(nets.MLP(code, 784, hidden=hidden[::-1]), nn.Sigmoid())
    encoder = nets.PointHead(nets.MLP(inputs, code, hidden=hidden))
    return models.Autoencoder(encoder, nets.NormalHead(decoder, scale="shared"))


def restorer(seen: tuple[int, int]) -> models.Autoencoder:
    """Return an autoencoder from pictures of a size to pictures, whose code has 8 numbers a place."""
    code = (8, min(seen[0], 14), min(seen[1], 14))
    encoder = nets.PointHead(nets.ResidualConvNet(seen, code, dilations=[2]))
    last = nn.Identity() if seen == (7, 7) else nn.Sigmoid()
    decoder = nn.Sequential(nets.ResidualConvNet(code, SIDE, dilations=[2]), last)
    model = models.Autoencoder(encoder, nets.NormalHead(decoder, scale="shared"))
    return model.to(memory_format=torch.channels_last)


def train(
    objective: Objective,
    x: data.Indexable,
    folder: Path,
    *,
    epochs: float,
    batch_size: int = 128,
    rate: float = 2e-3,
) -> float:
    """Train or go on; return the CPU seconds that the training took in all."""
    steps, known = math.ceil(epochs * len(x) / batch_size), folder / "cpu.json"
    before = json.loads(known.read_text()) if known.exists() else 0.0
    start = cpu_seconds()
    history = fit(
        objective,
        x,
        steps=steps,
        batch_size=batch_size,
        optimizer=partial(torch.optim.Adam, lr=rate, fused=True),
        schedules={"lr": schedules.cosine(rate, rate / 100, steps=steps)},
        compile="graph",
        checkpoint=folder,
        resume=True,
        seed=0,
        progress=False,
    )
    if history.ended != "finished":
        raise SystemExit(f"{folder} was interrupted: the same command goes on with it")
    if not known.exists():
        before = cpu_seconds() - start
        known.write_text(json.dumps(before))
    return before


def through(model: models.Autoencoder, seen: Tensor) -> Tensor:
    """Return what the autoencoder makes of pictures, some at a time."""
    return torch.cat([model.decode(model.encode(part).mean).mean for part in seen.split(500)])


def by_principal_components(x: Tensor, test: Tensor, code: int) -> float:
    """Return the error per pixel of test pictures on the first components of x."""
    centre = x.double().mean(0)
    centred = x.double() - centre
    _, axes = torch.linalg.eigh(centred.T @ centred)
    kept, away = axes[:, -code:], test.double() - centre
    return float((away - away @ kept @ kept.T).square().mean())


def by_the_best_linear_map(x: Tensor, corruption: Corruption, seen: Tensor) -> Tensor:
    """Return pictures restored by the linear map, and constant, of least squared error."""
    x, centre = x.double(), x.double().mean(0)
    covariance = (x - centre).T @ (x - centre) / len(x)
    if isinstance(corruption, data.GaussianNoise):
        middle, across = centre, covariance
        own = covariance + corruption.scale**2 * torch.eye(784, dtype=torch.float64)
    elif isinstance(corruption, data.Masking):
        kept = 1 - corruption.share
        middle, across = kept * centre, kept * covariance
        second = x.square().mean(0)  # E x²: of a pixel with itself, masked or not, kept · E x² − kept² (E x)²
        own = kept**2 * covariance
        own = own - own.diagonal().diag() + (kept * second - kept**2 * centre.square()).diag()
        own = own + 1e-9 * torch.eye(784, dtype=torch.float64)  # pixels that are 0 in all pictures
    else:
        small = corruption(x)
        middle = small.mean(0)
        across = (x - centre).T @ (small - middle) / len(x)
        own = (small - middle).T @ (small - middle) / len(x)
        own = own + 1e-9 * torch.eye(len(own), dtype=torch.float64)
    return centre + (seen.double() - middle) @ torch.linalg.solve(own, across.T)


def codes(images: data.Images, runs: Path, epochs: float, wanted: Callable[[str], bool]) -> Iterator[str]:
    """Give the rows of the table of codes as they are found."""
    yield "| coordinates | principal components | autoencoder | to reach | CPU s |\n" + "|---" * 5 + "|"
    for code, goal in CODES.items():
        if not wanted(str(code)):
            continue
        with seeded(0):
            model = autoencoder(784, code, (256, 128))
        loss = objectives.Reconstruction(model)
        seconds = train(loss, images.train, runs / f"code-{code}", epochs=epochs)
        error = float((through(model, images.test) - images.test).square().mean())
        linear = by_principal_components(images.train, images.test, code)
        yield f"| {code} | {linear:.4f} | {error:.4f} | {goal} | {seconds:.0f} |"


def restoration(
    images: data.Images, runs: Path, epochs: float, wanted: Callable[[str], bool]
) -> Iterator[str]:
    """Give the rows of the table of restored pictures as they are found, and draw some of each."""
    head = "seen | as it is, dB | linear optimum | the same, clipped | autoencoder | gain | to reach | CPU s"
    yield f"| {head} |\n" + "|---" * 8 + "|"
    for number, (name, corruption) in enumerate(RESTORED.items()):
        if not wanted(name):
            continue
        with seeded(1):
            seen = corruption(images.test)
        with seeded(0):
            model = restorer(corruption.small_shape if isinstance(corruption, data.Pooling) else SIDE)
        rows_of, folder = data.Corrupted(images.train, corruption), runs / f"restored-{number}"
        loss = objectives.Reconstruction(model)
        rate = 1e-3 if isinstance(corruption, data.Pooling) and corruption.factor == 4 else 3e-3
        seconds = train(loss, rows_of, folder, epochs=epochs, batch_size=64, rate=rate)
        restored = through(model, seen).clamp(0, 1)
        as_it_is, shown = seen.clamp(0, 1), seen
        if isinstance(corruption, data.Pooling):
            shown = seen.reshape(-1, *corruption.small_shape)
            spread = torch.ones(corruption.factor, corruption.factor)
            as_it_is = torch.kron(shown, spread).flatten(1)
        linear = by_the_best_linear_map(images.train, corruption, seen)
        given, best, clipped, found = (
            evaluation.psnr(x, images.test) for x in (as_it_is, linear, linear.clamp(0, 1), restored)
        )
        gain = f"{found - best:.1f}, {found - clipped:.1f} | {GAIN:g}"
        numbers = f"{given:.1f} | {best:.1f} | {clipped:.1f} | {found:.1f} | {gain}"
        pictures = {"original": images.test, "seen": shown, "restored": restored}
        figure = plots.reconstructions(pictures, image_shape=SIDE, columns=16)
        figure.savefig(runs / f"restored-{number}.png", dpi=110)
        yield f"| {name} | {numbers} | {seconds:.0f} |"


def copier() -> models.Autoencoder:
    """Return a linear autoencoder, its code larger than the picture, that is at an optimum: D E = 1."""
    encoder, decoder = nn.Linear(784, COPYING, bias=False), nn.Linear(COPYING, 784, bias=False)
    with torch.no_grad():
        decoder.weight.copy_(torch.linalg.pinv(encoder.weight.double()))
    return models.Autoencoder(nets.PointHead(encoder), nets.NormalHead(decoder, scale="shared"))


def copying(images: data.Images, runs: Path, epochs: float, wanted: Callable[[str], bool]) -> Iterator[str]:
    """Give the rows of the table of what a code larger than the picture learns."""
    yield "| learned with | test pictures, dB | with noise | permuted | CPU s |\n" + "|---" * 5 + "|"
    noise = data.GaussianNoise(0.25)
    with seeded(1):
        noisy, permuted = noise(images.test), images.test[:, torch.randperm(784)]

    def row(name: str, model: models.Autoencoder, seconds: str) -> str:
        clean, of_noisy, of_permuted = (
            evaluation.psnr(through(model, seen).clamp(0, 1), target)
            for seen, target in ((images.test, images.test), (noisy, images.test), (permuted, permuted))
        )
        return f"| {name} | {clean:.1f} | {of_noisy:.1f} | {of_permuted:.1f} | {seconds} |"

    if wanted(LINEAR):
        with seeded(0):
            yield row(LINEAR, copier(), "–")
    kept_by: dict[str, Callable[[nn.Module], Objective] | None] = {
        "nothing else": None,
        "noise, σ = 0.25": None,
        "small codes (L1)": objectives.AbsoluteCodes,
        "small slopes (contraction)": objectives.Contraction,
    }
    for number, (name, penalty) in enumerate(kept_by.items()):
        if not wanted(name):
            continue
        with seeded(0):
            encoder = nets.PointHead(nn.Sequential(nn.Linear(784, COPYING), nn.SiLU()))
            decoder = nets.NormalHead(nets.MLP(COPYING, 784, hidden=()), scale="shared")
            model = models.Autoencoder(encoder, decoder)
        loss: Objective = objectives.Reconstruction(model)
        if penalty is not None:
            loss = objectives.Sum({"restored": loss, "penalty": penalty(model)})
        rows_of = data.Corrupted(images.train, noise) if name.startswith("noise") else images.train
        seconds = train(loss, rows_of, runs / f"copying-{number}", epochs=epochs)
        yield row(name, model, f"{seconds:.0f}")


PARTS = {
    "codes": ("Autoencoders on MNIST: small codes", OF_CODES, codes, 10),
    "restoration": ("Autoencoders on MNIST: pictures restored", OF_RESTORATION, restoration, 1),
    "copying": ("Autoencoders on MNIST: what keeps a large code from copying", OF_COPYING, copying, 1),
}
"""What the benchmark measures: a section, its protocol, what gives its rows, and the epochs of a training."""


def first_cell(row: str) -> str:
    return row.split("|")[1].strip()


def rows_before(title: str) -> dict[str, str]:
    """Return the rows of a section as they stand, by their first cells, the head and its line in one."""
    section = RESULTS.read_text(encoding="utf-8").partition(f"## {title}\n")[2]
    head, line, *rows = re.findall(r"(?m)^\|.*$", section.partition("\n## ")[0])
    return {first_cell(row): row for row in (f"{head}\n{line}", *rows)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("part", choices=PARTS, help="of the benchmark")
    parser.add_argument(
        "--runs", type=Path, default=Path("runs/autoencoders"), help="where trainings are kept"
    )
    parser.add_argument("--only", nargs="+", help="rows, by their first cells; the others stay as they are")
    parser.add_argument("--epochs", type=float, help="of each training, where not those of the protocol")
    given = parser.parse_args()
    torch.set_num_threads(1)
    title, protocol, rows_of, usual = PARTS[given.part]
    epochs = usual if given.epochs is None else given.epochs
    rows = {} if given.only is None else rows_before(title)
    for row in rows_of(
        data.mnist(), given.runs, epochs, lambda name: given.only is None or name in given.only
    ):
        rows[first_cell(row)] = row
        record(title, protocol.format(f"{epochs:g}"), "\n".join(rows.values()))


if __name__ == "__main__":
    main()
