"""Contests on laws of the plane: modes found, how well, in which shares; energy distances; CPU seconds.

``python -m tests.benchmarks.contest --target grid --methods r3gan packs plain --seeds 10``. What was trained
is kept in ``--runs`` and not repeated. ``--first`` is the first seed: those that settings were tuned on are
not used.
"""

import argparse
import json
import math
import statistics
from pathlib import Path

import torch
from torch import Tensor, nn

from probgen import data, mmd, nets, recipes
from probgen.core import seeded
from probgen.data.targets.mixtures import RoundMixture
from probgen.evaluation import mode_coverage
from probgen.models import GAN
from probgen.objectives import Contest
from probgen.recipes import Recipe, Rows, Stage, Task
from probgen.recipes.gan import falling
from probgen.recipes.training import restore
from tests.benchmarks.results import cpu_seconds, record

TRAINED, HELD_OUT, DRAWS = 100_000, 20_000, 10_000
TRANSFER = ("grid of 16", "two-moons", "swiss-roll")
"""Laws that nothing was tuned on."""

PLAIN = {"packs": 4, "plain": 1}
"""Contests by cross-entropy without a penalty, with so many data to a look of the discriminator."""


def law(name: str) -> data.Target:
    """Return a law by name: one of the library's, or the grid of another size, spacing and width."""
    if name != "grid of 16":
        return data.target(name)
    side = torch.arange(4, dtype=torch.float64) - 1.5
    places, weights = torch.cartesian_prod(side, side), torch.full((16,), 1 / 16, dtype=torch.float64)
    mixture = RoundMixture(places, weights, 0.04)

    def centre(n: int, generator: torch.Generator | None, dtype: torch.dtype, device: torch.device) -> Tensor:
        return places.to(device, dtype)[torch.randint(16, (n,), generator=generator, device=device)]

    return mixture.target("grid of 16", "16 Gaussians of sd .04, a unit apart", centre, separate=True)


def task_of(target: data.Target, seed: int) -> Task:
    """Return a task of exact draws, as recipes.load makes it of the library's laws, but with more of them."""
    generator = torch.Generator().manual_seed(seed)
    sizes = (TRAINED, HELD_OUT)
    train, test = (Rows(target.sample(n, generator=generator, dtype=torch.float32)) for n in sizes)
    return Task(target.name, "plane", train, test, target=target)


def made(method: str, task: Task) -> Recipe:
    """Return a recipe, or of the nets and the budget of r3gan a contest without penalties."""
    if method not in PLAIN:
        return recipes.make(method, task)
    pack, whole = PLAIN[method], recipes.make("r3gan", task)
    stage = whole.stages[0]
    assert isinstance(stage, Stage)
    x, hidden = task.train.x, (128, 128, 128)
    centre, unit = x.mean(0), x.var(0).mean().sqrt()
    units = nets.Affine(centre.repeat(pack), unit / 3)
    net = nets.MLP(pack * task.size, 1, hidden=hidden, activation=nn.ReLU)
    model = GAN(whole.model.generator, nn.Sequential(units.inverse(), net), noise=whole.model.noise)
    objective = Contest(model, loss="cross-entropy", pack=pack, average=0.995)
    rates = {"generator": 1e-3, "discriminator": 1e-3}
    budget = stage.budget._replace(learning_rate=1e-3)
    own = stage._replace(
        objective=objective,
        budget=budget,
        schedules=lambda steps: falling(rates, steps),
        optimizer=objective.adam(1e-3, betas=(0.5, 0.9)),
    )
    return Recipe(model, [own])


def trained(
    target: str, method: str, seed: int, *, steps: int | None, runs: Path
) -> tuple[Recipe, Task, dict[str, float]]:
    """Train with one seed and judge draws, or take up what was trained before."""
    kept = "" if steps is None else f"-{steps}"
    run = runs / f"{target.replace(' ', '-')}-{method}{kept}-{seed}"
    known, task, begun = run.with_suffix(".json"), task_of(law(target), seed), cpu_seconds()
    with seeded(seed):
        recipe = made(method, task)
    if known.exists():
        restore(recipe, run, seed=seed)
        return recipe, task, json.loads(known.read_text())
    recipes.train(recipe, task, seed=seed, steps=steps, folder=run, progress=False)
    found = {"seconds": cpu_seconds() - begun}
    found |= judged(recipe.sample(DRAWS, seed=seed + 1), task)
    known.write_text(json.dumps(found))
    print(known.name, known.read_text(), flush=True)
    return recipe, task, found


def judged(draws: Tensor, task: Task) -> dict[str, float]:
    """Return the figures of draws: of modes where the law has some that are known, and a distance."""
    target = task.target
    assert target is not None
    found = {"energy": float(mmd.energy_distance(draws.double(), task.test.x[:DRAWS].double()).value)}
    if target.modes is None or target.mode_scale is None:
        return found
    modes = mode_coverage(draws, target.modes, target.mode_scale)
    # Draws of a round normal law are half within σ √(2 ln 2) of its mean; few draws elsewhere move it little.
    nearest = torch.cdist(draws.double(), target.modes.to(draws).double()).min(1).values
    width = float(nearest.median()) / (float(target.mode_scale) * math.sqrt(2 * math.log(2)))
    return found | {"modes": modes.found, "quality": modes.high_quality, "kl": modes.kl, "width": width}


def reference(target: str, method: str, seed: int) -> dict[str, float]:
    """Judge draws that no training gives: exact ones, and one Gaussian of the law's mean and covariance."""
    task = task_of(law(target), seed)
    x = task.test.x[DRAWS:]
    if method == "one Gaussian":
        fitted = torch.distributions.MultivariateNormal(x.mean(0), x.T.cov())
        with seeded(seed):
            x = fitted.sample((DRAWS,))
    return judged(x, task) | {"seconds": 0.0}


def line(name: str, found: list[dict[str, float]], modes: int) -> str:
    """Return a row of the table."""
    energy = [1e4 * row["energy"] for row in found]
    cells = [name]
    if modes:
        quality, kl = [100 * row["quality"] for row in found], [row["kl"] for row in found]
        cells += [
            f"{sum(row['modes'] == modes for row in found)} of {len(found)}",
            f"{statistics.mean(row['modes'] for row in found):.1f}",
            f"{statistics.mean(quality):.1f}",
            f"{min(quality):.1f}",
            f"{max(quality):.1f}",
            f"{statistics.mean(kl):.4f}",
            f"{max(kl):.4f}",
            f"{statistics.mean(row['width'] for row in found):.2f}",
        ]
    seconds = statistics.mean(row["seconds"] for row in found)
    cells += [f"{statistics.mean(energy):.1f}", f"{max(energy):.1f}", f"{seconds:.0f}"]
    return f"| {' | '.join(cells)} |"


NAMES = {
    "packs": "PacGAN: packs of 4, cross-entropy, no penalty",
    "plain": "the plain game: cross-entropy, no penalty",
}


def table(target: str, given: argparse.Namespace) -> str:
    """Return the table of one law, training what is not trained yet."""
    modes = law(target).modes
    heads = ["", "energy distance, mean, 1e-4", "worst", "CPU s"]
    if modes is not None:
        heads[1:1] = ["all modes", "modes", "high quality, mean %", "worst", "best"]
        heads[6:6] = ["KL, mean", "worst", "width"]
    lines = [f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
    seeds, count = range(given.first, given.first + given.seeds), 0 if modes is None else len(modes)
    for method in given.methods:
        own = seeds if method not in NAMES or given.plain_seeds is None else seeds[: given.plain_seeds]
        found = [trained(target, method, seed, steps=given.steps, runs=given.runs)[2] for seed in own]
        lines.append(line(NAMES.get(method, f"`{method}`"), found, count))
    for method in ("exact draws", "one Gaussian"):
        lines.append(line(method, [reference(target, method, seed) for seed in seeds], count))
    return "\n".join(lines)


def protocol(given: argparse.Namespace, targets: list[str], asked: str) -> str:
    what = "; ".join(f"{name}: {law(name).what}" for name in targets)
    budget = "as `probgen train` trains it" if given.steps is None else f"for {given.steps:,} steps"
    options = "".join(
        f" --{name.replace('_', '-')} {value}"
        for name, value in (("plain_seeds", given.plain_seeds), ("steps", given.steps))
        if value is not None
    )
    return (
        f"`python -m tests.benchmarks.contest --target {asked} --methods {' '.join(given.methods)} --seeds "
        f"{given.seeds} --first {given.first}{options}`. "
        f"{what}. Each method {budget}, on {TRAINED:,} exact draws of its own for each seed; one thread of a "
        "core that others used too; the games without penalty have the nets, noise, batches and steps of "
        f"`r3gan`, rates of 1e-3 and β of .5 and .9, a single setting each. Of {DRAWS:,} draws: "
        "a mode is found with a quarter of its mass within 3 standard deviations, 'high quality' is the "
        "share of draws within 3 standard deviations of a mode, of which modes that are too narrow have more "
        "than exact draws, KL (nats) is that of the modes' shares, of all draws, and 'width' the median "
        "distance from the nearest mode over that of exact draws, 1 where modes are as wide as they should "
        "be; the energy "
        "distance is the unbiased one to as many exact draws. Exact draws are the ceiling; one Gaussian of "
        "the law's mean and covariance is the floor. "
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--target", default="grid", help="a law of the library, or 'transfer'")
    parser.add_argument("--methods", nargs="+", default=["r3gan"])
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--first", type=int, default=1000)
    parser.add_argument("--plain-seeds", type=int, help="of what is no recipe, if they are fewer")
    parser.add_argument("--steps", type=int, help="of each training, in the place of the recipe's own")
    parser.add_argument("--runs", type=Path, default=Path("runs/contest"))
    parser.add_argument("--note", default="", help="what else the protocol should say")
    given = parser.parse_args()
    torch.set_num_threads(1)
    given.runs.mkdir(parents=True, exist_ok=True)
    targets = list(TRANSFER) if given.target == "transfer" else [given.target]
    bodies = [table(target, given) for target in targets]
    if len(targets) > 1:
        bodies = [f"### {name}\n\n{body}" for name, body in zip(targets, bodies, strict=True)]
    text = protocol(given, targets, given.target) + given.note
    record(f"Contests: {given.target}", text.strip(), "\n\n".join(bodies))


if __name__ == "__main__":
    main()
