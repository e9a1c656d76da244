"""Autoencoders on MNIST: small codes beside principal components, restoration beside the linear optimum.

Each training has a run folder, is resumed from there and not repeated once it has ended.
"""

import argparse
import json
from collections.abc import Iterator
from functools import partial
from itertools import chain
from pathlib import Path

import torch
from torch import Tensor, nn

from probgen import data, fit, models, nets, objectives, plots
from probgen.core import seeded
from probgen.data.corruptions import Corruption
from probgen.training import schedules
from tests.benchmarks.results import cpu_seconds, record

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

PROTOCOL = (
    "`python -m tests.benchmarks.autoencoders --code-epochs {} --epochs {}`: grey MNIST, 60,000 pictures to "
    "learn from, 10,000 to test on, squared error by a normal law of one learned scale whose mean passes a "
    "sigmoid, SiLU, Adam, batches of 128, learning rate 2e-3 falling by a cosine to a hundredth, one thread "
    "of a core that others used too; CPU seconds are those of the training, graph included. Codes: "
    "784-256-128-d and back. Restoration: 512-256 hidden units on both sides of a code of 256, corrupted "
    "afresh at each look; dB is −10 log10 of the mean squared error over pixels and test pictures, the test "
    "corruption drawn once. Principal components and the linear optimum (the best linear map and a constant, "
    "from moments of the training pictures) are of the same training pictures. 'As it is' is the input "
    "clipped to [0, 1], each pixel of small pictures repeated. The gain is that over the linear optimum as "
    "it is, and clipped to [0, 1]. What is not in the tables was not run."
)


def autoencoder(inputs: int, code: int, hidden: tuple[int, ...]) -> models.Autoencoder:
    decoder = nn.Sequential(nets.MLP(code, 784, hidden=hidden[::-1]), nn.Sigmoid())
    encoder = nets.PointHead(nets.MLP(inputs, code, hidden=hidden))
    return models.Autoencoder(encoder, nets.NormalHead(decoder, scale="shared"))


def train(model: models.Autoencoder, x: data.Indexable, folder: Path, *, epochs: int) -> float:
    """Train or go on; return the CPU seconds that the training took in all."""
    steps, known = epochs * -(-len(x) // 128), folder / "cpu.json"
    before = json.loads(known.read_text()) if known.exists() else 0.0
    start = cpu_seconds()
    history = fit(
        objectives.Reconstruction(model),
        x,
        steps=steps,
        batch_size=128,
        optimizer=partial(torch.optim.Adam, lr=2e-3, fused=True),
        schedules={"lr": schedules.cosine(2e-3, 2e-5, steps=steps)},
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


def decibels(error: Tensor) -> float:
    """Return the peak signal-to-noise ratio of pixels in [0, 1]."""
    return -10 * float(error.square().mean().log10())


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


def codes(images: data.Images, runs: Path, *, epochs: int) -> Iterator[str]:
    """Give the rows of the table of codes as they are found."""
    yield "| coordinates | principal components | autoencoder | to reach | CPU s |\n" + "|---" * 5 + "|"
    for code, goal in CODES.items():
        with seeded(0):
            model = autoencoder(784, code, (256, 128))
        seconds = train(model, images.train, runs / f"code-{code}", epochs=epochs)
        error = float((model.decode(model.encode(images.test).mean).mean - images.test).square().mean())
        linear = by_principal_components(images.train, images.test, code)
        yield f"| {code} | {linear:.4f} | {error:.4f} | {goal} | {seconds:.0f} |"


def restoration(images: data.Images, runs: Path, *, epochs: int) -> Iterator[str]:
    """Give the rows of the table of restored pictures as they are found, and draw some of each."""
    head = "seen | as it is, dB | linear optimum | the same, clipped | autoencoder | gain | to reach | CPU s"
    yield f"\n| {head} |\n" + "|---" * 8 + "|"
    for number, (name, corruption) in enumerate(RESTORED.items()):
        with seeded(1):
            seen = corruption(images.test)
        with seeded(0):
            model = autoencoder(seen.shape[1], 256, (512, 256))
        rows_of = data.Corrupted(images.train, corruption)
        seconds = train(model, rows_of, runs / f"restored-{number}", epochs=epochs)
        restored = model.decode(model.encode(seen).mean).mean
        as_it_is, shown = seen.clamp(0, 1), seen
        if isinstance(corruption, data.Pooling):
            shown = seen.reshape(-1, *corruption.small_shape)
            spread = torch.ones(corruption.factor, corruption.factor)
            as_it_is = torch.kron(shown, spread).flatten(1)
        linear = by_the_best_linear_map(images.train, corruption, seen)
        given, best, clipped, found = (
            decibels(x - images.test) for x in (as_it_is, linear, linear.clamp(0, 1), restored)
        )
        gain = f"{found - best:.1f}, {found - clipped:.1f} | {GAIN:g}"
        numbers = f"{given:.1f} | {best:.1f} | {clipped:.1f} | {found:.1f} | {gain}"
        pictures = {"original": images.test, "seen": shown, "restored": restored}
        figure = plots.reconstructions(pictures, image_shape=SIDE, columns=16)
        figure.savefig(runs / f"restored-{number}.png", dpi=110)
        yield f"| {name} | {numbers} | {seconds:.0f} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--runs", type=Path, default=Path("runs/autoencoders"), help="where trainings are kept"
    )
    parser.add_argument("--code-epochs", type=int, default=10, help="of the trainings of small codes")
    parser.add_argument("--epochs", type=int, default=8, help="of the trainings that restore")
    given = parser.parse_args()
    torch.set_num_threads(1)
    images = data.mnist()
    protocol, rows = PROTOCOL.format(given.code_epochs, given.epochs), []
    tables = codes(images, given.runs, epochs=given.code_epochs)
    for row in chain(tables, restoration(images, given.runs, epochs=given.epochs)):
        rows.append(row)
        record("Autoencoders on MNIST", protocol, "\n".join(rows))


if __name__ == "__main__":
    main()
