"""Contests on pictures: digits beside moment matching, Parzen windows on MNIST, stacks of three digits.

``python -m tests.benchmarks.contest_digits digits parzen stacked``: parts may be left out. Each training's
figures are kept in ``--runs`` and not computed again; ``--seeds`` begin at ``--first``.
"""

import argparse
import json
import math
from collections.abc import Callable
from pathlib import Path
from statistics import mean, stdev

import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, cross_entropy

from probgen import data, evaluation, mmd, nets, plots, recipes
from probgen.core import seeded
from probgen.recipes import Rows, Task
from tests.benchmarks.gmmn import DRAWS, TRAIN, WIDTHS, centroids
from tests.benchmarks.results import cpu_seconds, record

Found = dict[str, float]
METHODS = ("gan", "r3gan", "wgan-gp", "gmmn")
COLUMNS = {
    "mmd2": "MMD², 1e-3",
    "energy": "energy distance, 1e-3",
    "c2st": "told from data",
    "precision": "precision",
    "recall": "recall",
    "coverage": "coverage",
    "nn_ratio": "neighbour ratio",
    "seconds": "CPU s",
}
OF_DIGITS = (
    "`python -m tests.benchmarks.contest_digits digits --seeds {seeds} --first {first}`: recipes as "
    "`probgen compare digits` trains them, on 898 pictures, 899 draws against the 899 that no method "
    "sees; measures as there (MMD² and energy distance unbiased, times 1,000). Each cell is the mean over "
    "{seeds} seeds ± their standard deviation, and the least and the most. CPU seconds are those of a "
    "training on one thread."
)
OF_PARZEN = (
    "`python -m tests.benchmarks.contest_digits parzen --steps {steps}`: mean log-likelihood of the "
    "10,000 test pictures of MNIST under a Gaussian Parzen window on 10,000 draws, σ in 0.10, 0.11, ..., "
    "0.29 the best for the last 5,000 training pictures; ± is the standard error over test pictures. The "
    "recipe `gan` as it is on digits, but {steps:,} steps on the other 55,000 grey pictures. Published: "
    "Goodfellow and others (2014), Makhzani and others (2015), whose networks and budgets are far larger. "
    "Centroids of k-means, which no one would take for good draws, score above real pictures."
)
OF_STACKED = (
    "`python -m tests.benchmarks.contest_digits stacked --steps {steps}`: three digits of MNIST, each "
    "made 14 × 14 by means of 2 × 2, one above the other: 1,000 classes. The recipe `gan` as it is on "
    "digits, but {steps:,} steps on 60,000 stacks of training pictures. Of 26,000 draws a network tells "
    "the class of each digit (784 steps of 256 on training pictures; right for {accuracy:.2%} of test "
    "pictures). Found: classes that any draw has, and those with a quarter of the draws that are due (6.5 "
    "of 26); KL(found ‖ uniform) of the classes' shares in nats. Stacks of test pictures by the same "
    "network are the floor. At full size and with convolutions, Lin and others (2018) have 99 classes "
    "and KL 3.40 for a DCGAN, 1,000 and 0.06 for PacDCGAN2, by any draw."
)


def kept(file: Path, compute: Callable[[], Found]) -> Found:
    """Return what a file holds, computed first where there is none."""
    if not file.exists():
        file.write_text(json.dumps(compute()))
    return json.loads(file.read_text())


def trained(name: str, task: Task, seed: int, steps: int | None) -> tuple[recipes.Recipe, float]:
    """Train a recipe with a seed; return it and the CPU seconds."""
    start = cpu_seconds()
    with seeded(seed):
        recipe = recipes.make(name, task)
    recipes.train(recipe, task, seed=seed, steps=steps, progress=False)
    return recipe, cpu_seconds() - start


def judged(draws: Tensor, task: Task, seed: int) -> Found:
    """Return the measures of draws that ``probgen compare`` has of pictures."""
    train, test = task.train.x, task.test.x
    kernel = mmd.Gaussian(mmd.bandwidth_grid(test[::2], test[1::2]))
    among = evaluation.precision_recall(test, draws, scale=None)
    return {
        "mmd2": 1e3 * mmd.mmd2(draws, test, kernel).value,
        "energy": 1e3 * mmd.energy_distance(draws, test, scale=None).value,
        "c2st": evaluation.classifier_two_sample(draws, test, seed=seed).accuracy,
        "precision": among.precision,
        "recall": among.recall,
        "coverage": evaluation.density_coverage(test, draws, scale=None).coverage,
        "nn_ratio": evaluation.nearest_neighbour_ratio(draws, train, test, scale=None),
    }


def shown(pictures: dict[str, Tensor], shape: tuple[int, int], file: Path) -> None:
    """Draw the first of each side by side."""
    plots.image_grid(pictures, image_shape=shape).savefig(file)


def digits(given: argparse.Namespace) -> None:
    """Each recipe's measures over seeds, beside those of other real digits and of copies."""
    task = recipes.load("digits")
    x, test = task.train.x, task.test.x
    seeds = range(given.first, given.first + given.seeds)

    def of_seed(name: str, seed: int) -> Found:
        recipe, seconds = trained(name, task, seed, given.steps)
        draws = recipe.sample(len(test), seed=seed)
        shown({"real": test, name: draws}, (8, 8), given.runs / f"digits-{name}-{seed}.png")
        return judged(draws, task, seed) | {"seconds": seconds}

    def copies(seed: int) -> Found:
        generator = torch.Generator().manual_seed(seed)
        return judged(x[torch.randint(len(x), (len(test),), generator=generator)], task, seed)

    steps = "" if given.steps is None else f"-{given.steps}"
    found = {
        name: [
            kept(given.runs / f"digits-{name}{steps}-{seed}.json", lambda n=name, s=seed: of_seed(n, s))
            for seed in seeds
        ]
        for name in given.methods
    }
    found["copies of training pictures"] = [copies(seed) for seed in seeds]
    found["training pictures"] = [judged(x, task, given.first)]
    lines = ["| | " + " | ".join(COLUMNS.values()) + " |", "|---" * (len(COLUMNS) + 1) + "|"]
    for name, rows in found.items():
        cells = [spread([row[key] for row in rows if key in row]) for key in COLUMNS]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    record("Contests: digits", OF_DIGITS.format(seeds=given.seeds, first=given.first), "\n".join(lines))


def spread(values: list[float]) -> str:
    """Return mean, standard deviation, and the range in brackets."""
    if len(values) < 2:
        return f"{values[0]:.3g}" if values else "–"
    return f"{mean(values):.3g} ± {stdev(values):.2g} [{min(values):.3g}, {max(values):.3g}]"


def parzen(given: argparse.Namespace) -> None:
    """Parzen windows by the papers' protocol: the GAN, real pictures, centroids."""
    images, steps = data.mnist(), given.steps or 3000
    x, validation = images.train[:TRAIN], images.train[TRAIN:]
    task = Task("mnist", "images", Rows(x), Rows(images.test), image_shape=(28, 28), levels=256)

    def of(draws: Tensor) -> Found:
        window = evaluation.parzen_log_likelihood(
            draws, images.test, validation=validation, bandwidths=WIDTHS
        )
        return {"nats": window.value, "error": window.stderr, "width": window.bandwidth}

    def of_gan() -> Found:
        recipe, seconds = trained("gan", task, given.first, steps)
        draws = recipe.sample(DRAWS, seed=given.first)
        shown({"real": images.test, "gan": draws}, (28, 28), given.runs / f"parzen-{steps}.png")
        return of(draws) | {"seconds": seconds}

    random = torch.Generator().manual_seed(0)
    found = {
        "true samples: training pictures": kept(
            given.runs / "parzen-true.json", lambda: of(x[torch.randperm(TRAIN, generator=random)[:DRAWS]])
        ),
        "k-means: 10,000 centroids": kept(
            given.runs / "parzen-means.json", lambda: of(centroids(x, count=DRAWS))
        ),
        "gan": kept(given.runs / f"parzen-{steps}.json", of_gan),
    }
    lines = ["| 10,000 draws | nats | ± SE | σ | training, CPU s |", "|---" * 5 + "|"]
    for name, row in found.items():
        seconds = f"{row['seconds']:.0f}" if "seconds" in row else "–"
        lines.append(f"| {name} | {row['nats']:.1f} | {row['error']:.1f} | {row['width']:.2f} | {seconds} |")
    lines += ["| GAN, published | 225 | 2 | | |", "| AAE, published | 340 | 2 | | |"]
    record("Contests: Parzen windows on MNIST", OF_PARZEN.format(steps=steps), "\n".join(lines))


def halved(x: Tensor) -> Tensor:
    """Return pictures of 28 × 28 as 14 × 14, by means of 2 × 2."""
    return avg_pool2d(x.reshape(-1, 1, 28, 28), 2).flatten(1)


def stacks(x: Tensor, count: int, seed: int) -> Tensor:
    """Return so many stacks of three pictures drawn with replacement."""
    generator = torch.Generator().manual_seed(seed)
    return x[torch.randint(len(x), (count, 3), generator=generator)].flatten(1)


def classifier(x: Tensor, labels: Tensor) -> nn.Module:
    """Return a network that tells digits of 14 × 14."""
    with seeded(0):
        net = nets.MLP(196, 10, hidden=(256, 256))
        optimizer = torch.optim.Adam(net.parameters(), lr=2e-3, fused=True)
        plan = torch.optim.lr_scheduler.OneCycleLR(optimizer, 4e-3, total_steps=784)
        for _ in range(784):
            rows = torch.randint(len(x), (256,))
            loss = cross_entropy(net(x[rows]), labels[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            plan.step()
    return net


@torch.no_grad()
def classes(net: nn.Module, draws: Tensor) -> Found:
    """Return how many of the thousand classes there are, and the divergence of their shares."""
    told = net(draws.reshape(-1, 196)).argmax(1).reshape(-1, 3)
    counts = (told @ torch.tensor([100, 10, 1])).bincount(minlength=1000)
    shares = counts.double() / len(draws)
    return {
        "any": int((counts > 0).sum()),
        "quarter": int((counts >= len(draws) / 4000).sum()),
        "kl": float(torch.special.xlogy(shares, 1000 * shares).sum()),
    }


def stacked(given: argparse.Namespace) -> None:
    """The thousand classes of three digits."""
    images, steps = data.mnist(), given.steps or 3000
    x, test = halved(images.train), halved(images.test)
    net = classifier(x, images.train_labels)
    with torch.no_grad():
        accuracy = float((net(test).argmax(1) == images.test_labels).double().mean())
    task = Task(
        "stacked", "images", Rows(stacks(x, 60_000, 0)), Rows(stacks(test, 1000, 1)),
        image_shape=(42, 14), levels=1021,  # means of four levels of 256 are of 1,021
    )  # fmt: skip

    def of_gan(name: str) -> Found:
        recipe, seconds = trained(name, task, given.first, steps)
        draws = recipe.sample(26_000, seed=given.first)
        looks = {"real": task.train.x, name: draws}
        tall = {key: rows[:200].reshape(-1, 42 * 14) for key, rows in looks.items()}
        shown(tall, (42, 14), given.runs / f"stacked-{name}-{steps}.png")
        return classes(net, draws) | {"seconds": seconds}

    found = {
        name: kept(given.runs / f"stacked-{name}-{steps}.json", lambda n=name: of_gan(n))
        for name in given.methods
        if name != "gmmn"
    }
    found["test pictures: the floor"] = classes(net, stacks(test, 26_000, 2)) | {"seconds": math.nan}
    lines = ["| 26,000 draws | any draw | a quarter of its mass | KL | training, CPU s |", "|---" * 5 + "|"]
    for name, row in found.items():
        seconds = "–" if math.isnan(row["seconds"]) else f"{row['seconds']:.0f}"
        lines.append(f"| {name} | {row['any']} | {row['quarter']} | {row['kl']:.4f} | {seconds} |")
    record("Contests: three digits", OF_STACKED.format(steps=steps, accuracy=accuracy), "\n".join(lines))


def main() -> None:
    parts = {"digits": digits, "parzen": parzen, "stacked": stacked}
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("parts", nargs="+", choices=parts, help="what to measure")
    parser.add_argument(
        "--runs", type=Path, default=Path("runs/contest-digits"), help="where figures are kept"
    )
    parser.add_argument("--seeds", type=int, default=10, help="trainings of each recipe on digits")
    parser.add_argument(
        "--first", type=int, default=100, help="the first seed: none that settings were tuned on"
    )
    parser.add_argument("--steps", type=int, default=None, help="of a training, in the place of its own")
    parser.add_argument("--methods", nargs="+", default=METHODS, help="recipes")
    given = parser.parse_args()
    torch.set_num_threads(1)
    given.runs.mkdir(parents=True, exist_ok=True)
    for part in given.parts:
        parts[part](given)


if __name__ == "__main__":
    main()
