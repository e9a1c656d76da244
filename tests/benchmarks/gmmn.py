"""Moment-matching networks on MNIST, by the papers' protocol: Parzen windows of 10,000 draws.

Each training has a run folder, is resumed from there and not repeated once it has ended.
"""

import argparse
from functools import partial
from pathlib import Path

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from probgen import data, fit, mmd, models, nets, objectives, plots
from probgen.core import GenerativeModel, Objective, seeded
from probgen.evaluation import parzen_log_likelihood
from probgen.training import schedules
from tests.benchmarks.results import record

VARIANCES = 2, 5, 10, 20, 40, 80  # of the kernel's Gaussians, in Li, Swersky and Zemel's code
TRAIN = 55_000  # of the 60,000 training images; the last 5,000 choose the bandwidth of the window
DRAWS = 10_000
WIDTHS = [width / 100 for width in range(10, 30)]
PUBLISHED = {"GMMN": "147 ± 2", "GMMN+AE": "282 ± 2"}
PROTOCOL = (
    "`python -m tests.benchmarks.gmmn --pixel-steps {} --code-steps {}`: mean log-likelihood of the 10,000 "
    "test images under a Gaussian Parzen window on 10,000 draws, σ in 0.10, 0.11, ..., 0.29 the best for the "
    "last 5,000 training images; ± is the standard error over test images. Networks learn from the other "
    "55,000 by Adam, whose learning rate falls by a cosine to a hundredth. GMMN: the paper's network (noise "
    "10, ReLU 64-256-256-1024, sigmoid) and kernel, batches of 500, learning rate 2e-3, layers in bf16 and "
    "distances in float32. GMMN+AE: an autoencoder 784-512-10-512-784, ReLU, codes without a sigmoid, 3,000 "
    "steps of 200, learning rate 1e-3; for its codes, noise 10, ReLU 256-256-256, batches of 250, learning "
    "rate 2e-3, bandwidths 1/4, 1/2 and 1 of the median. Training: seconds on a core, not alone on it. "
    "Published: Li, Swersky and Zemel (2015)."
)


def pixels() -> tuple[models.GMMN, mmd.Kernel]:
    """The network of the paper, and its kernel."""
    net = nets.MLP(10, 784, hidden=(64, 256, 256, 1024), activation=nn.ReLU)
    model = models.GMMN(nn.Sequential(net, nn.Sigmoid()), noise=10)
    return model, mmd.Gaussian([variance**0.5 for variance in VARIANCES])


def autoencoder() -> models.GMMNAutoencoder:
    """An autoencoder of ten codes, and a network for these codes."""
    decoder = nn.Sequential(nets.MLP(10, 784, hidden=(512,), activation=nn.ReLU), nn.Sigmoid())
    return models.GMMNAutoencoder(
        nets.MLP(784, 10, hidden=(512,), activation=nn.ReLU),
        nets.NormalHead(decoder, scale="shared"),
        nets.MLP(10, 10, hidden=(256, 256, 256), activation=nn.ReLU),
        noise=10,
    )


def train(
    objective: Objective,
    x: Tensor,
    folder: Path,
    *,
    steps: int,
    batch_size: int,
    rate: float = 2e-3,
    fabric: Fabric | None = None,
) -> float:
    """Fit an objective by Adam on a cosine schedule, or go on with it; return the seconds that it took."""
    history = fit(
        objective,
        x,
        steps=steps,
        batch_size=batch_size,
        optimizer=partial(torch.optim.Adam, lr=rate, fused=True),
        schedules={"lr": schedules.cosine(rate, 0.01 * rate, steps=steps)},
        compile="graph" if fabric is None else "eager",
        fabric=fabric,
        checkpoint=folder,
        resume=True,
        seed=0,
    )
    return history.seconds


def centroids(x: Tensor, *, count: int, rounds: int = 3) -> Tensor:
    """Centres of k-means, Lloyd's algorithm from points of x."""
    centres = x[torch.randperm(len(x), generator=torch.Generator().manual_seed(0))[:count]]
    for _ in range(rounds):
        norms = centres.square().sum(1)
        nearest = torch.cat(
            [torch.addmm(norms, part, centres.T, alpha=-2).argmin(1) for part in x.split(1000)]
        )
        sizes = nearest.bincount(minlength=count)[:, None]
        means = torch.zeros_like(centres).index_add_(0, nearest, x) / sizes
        centres = torch.where(sizes > 0, means, centres)
    return centres


@torch.no_grad()
def walks(model: models.GMMN, *, rows: int = 10, steps: int = 10) -> Tensor:
    """Draws along straight lines between two points of noise, a line in each row."""
    generator = torch.Generator().manual_seed(1)
    start, end = 2 * torch.rand(2, rows, 1, len(model.low), generator=generator) - 1
    along = torch.linspace(0, 1, steps)[:, None]
    return model.generator((start + (end - start) * along).flatten(0, 1))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=Path, default=Path("runs/gmmn"), help="where the trainings are kept")
    parser.add_argument("--pixel-steps", type=int, default=40_000, help="of GMMN; the paper's number")
    parser.add_argument("--code-steps", type=int, default=40_000, help="of GMMN in code space")
    given = parser.parse_args()
    images = data.mnist()
    x, validation = images.train[:TRAIN], images.train[TRAIN:]

    with seeded(0):
        gmmn, kernel = pixels()
        ae = autoencoder()
    matching = objectives.MomentMatching(gmmn, kernel)
    seconds = {
        "GMMN": train(
            matching,
            x,
            given.runs / "pixels",
            steps=given.pixel_steps,
            batch_size=500,
            fabric=Fabric(accelerator="cpu", devices=1, precision="bf16-mixed"),
        )
    }
    reconstruction = objectives.Reconstruction(ae)
    to_code = train(reconstruction, x, given.runs / "autoencoder", steps=3000, batch_size=200, rate=1e-3)
    codes = ae.encode(x).mean
    width = mmd.median_bandwidth(codes[:1000], codes[1000:2000])
    matching = objectives.MomentMatching(ae.codes, mmd.Gaussian([width / 4, width / 2, width]))
    in_codes = train(matching, codes, given.runs / "codes", steps=given.code_steps, batch_size=250)
    seconds["GMMN+AE"] = to_code + in_codes
    trained: dict[str, GenerativeModel] = {"GMMN": gmmn, "GMMN+AE": ae}

    random = torch.Generator().manual_seed(0)
    samples = {
        "true samples: training images": x[torch.randperm(TRAIN, generator=random)[:DRAWS]],
        "memoriser: training images, with replacement": x[torch.randint(TRAIN, (DRAWS,), generator=random)],
        "k-means: 10,000 centroids": centroids(x, count=DRAWS),
        "training images through the autoencoder": ae.decode(codes[:DRAWS]).mean,
    } | {name: model.sample(DRAWS, seed=0) for name, model in trained.items()}
    rows = ["| 10,000 draws | nats | ± SE | σ | published | training, s |", "|---" * 6 + "|"]
    for name, draws in samples.items():
        found = parzen_log_likelihood(draws, images.test, validation=validation, bandwidths=WIDTHS)
        numbers = f"{found.value:.1f} | {found.stderr:.1f} | {found.bandwidth:.2f}"
        time = f"{seconds[name]:.0f}" if name in seconds else "–"
        rows.append(f"| {name} | {numbers} | {PUBLISHED.get(name, '–')} | {time} |")
        print(rows[-1], flush=True)

    pictures = {"real": images.test[:100]} | {
        name: model.sample(100, seed=1) for name, model in trained.items()
    }
    pictures["GMMN, along lines of noise"] = walks(gmmn)
    pictures["GMMN+AE, the same"] = ae.decode(walks(ae.codes)).mean
    plots.image_grid(pictures, image_shape=images.image_shape).savefig(given.runs / "gmmn.png", dpi=130)
    record(
        "Moment-matching networks on MNIST",
        PROTOCOL.format(given.pixel_steps, given.code_steps),
        "\n".join(rows),
    )


if __name__ == "__main__":
    main()
