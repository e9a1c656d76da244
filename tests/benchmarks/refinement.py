"""Draws of a trained GAN before and after its discriminator corrects them, on laws whose modes are known."""

import argparse
import json
from pathlib import Path
from statistics import mean

import torch

from probgen import data, recipes
from probgen.evaluation import mode_coverage
from probgen.models import GAN
from probgen.recipes.task import Task
from probgen.recipes.training import restore
from probgen.sampling import Refined, refine
from tests.benchmarks.results import cpu_seconds, record

DRAWS = 10_000
METHODS = ("rejection", "metropolis", "hmc")
ROWS = ("generator", "rejection, not calibrated", *METHODS, "exact draws")
STEPS = {"grid": None, "ring": 3000}

PROTOCOL = (
    "`python -m tests.benchmarks.refinement`: the recipe `r3gan` on the grid of 25 (its {budget:,} steps) "
    "and the ring of 8 (3,000 steps), {seeds}; then `sampling.refine` with {held_out:,} held-out points, by "
    "which scores are calibrated, and, in one row, without. {draws:,} draws of each: the share within three "
    "standard deviations of a mode (exact draws: 98.9 %), modes with at least a quarter of their mass, and "
    "KL(found ‖ true) of the modes' shares; means over seeds, the worst in brackets. The calibration is held "
    "to be wrong where its test on data that it did not see has p < .001. CPU seconds are those of a "
    "refinement with its {draws:,} draws, one thread; of the generator, those of its training."
)


def trained(name: str, seed: int, folder: Path) -> tuple[GAN, Task, float]:
    """Train with a seed, once; return the model and the CPU seconds."""
    known = folder / f"{name}-{seed}.json"
    task, start = recipes.load(name, seed=seed), cpu_seconds()
    torch.manual_seed(seed)
    recipe, run = recipes.make("r3gan", task), folder / f"run-{name}-{seed}"
    if known.exists():
        restore(recipe, run, seed=seed)
    else:
        recipes.train(recipe, task, seed=seed, steps=STEPS[name], folder=run, progress=False)
        known.write_text(json.dumps(cpu_seconds() - start))
    return recipe.model, task, json.loads(known.read_text())


def judged(draws: torch.Tensor, target: data.Target) -> dict[str, float]:
    found = mode_coverage(draws, target.modes, target.mode_scale)
    return {"modes": found.found, "quality": found.high_quality, "kl": found.kl}


def of_seed(name: str, seed: int, folder: Path) -> dict[str, dict[str, float]]:
    """Return the figures of each row of one training."""
    target = data.target(name)
    gan, task, seconds = trained(name, seed, folder)
    found = {"generator": judged(gan.sample(DRAWS, seed=seed), target) | {"seconds": seconds}}
    found["exact draws"] = judged(target.sample(DRAWS, seed=1000 + seed), target)
    options = {"rejection, not calibrated": ("rejection", {"loss": "relativistic"})}
    options |= {method: (method, {"held_out": task.test.x}) for method in METHODS}
    for row, (method, given) in options.items():
        start = cpu_seconds()
        refined: Refined = refine(gan, method=method, seed=seed, **given)
        draws = refined.sample(DRAWS, seed=seed)
        spent = cpu_seconds() - start
        report = refined.report()
        found[row] = judged(draws, target) | {
            "acceptance": report.acceptance,
            "seconds": spent,
            "r_hat": report.r_hat,
            "beyond": report.beyond,
        }
        if report.calibration is not None:
            found[row] |= {
                "slope": report.calibration.slope.value,
                "z": report.calibration.z,
                "p_value": report.calibration.p_value,
            }
        print(name, seed, row, found[row], *report.findings, sep="\n  ", flush=True)
    return found


def line(name: str, row: str, found: list[dict[str, float]]) -> str:
    """Return a row of the table: means over seeds, and the worst."""

    def of(key: str) -> list[float]:
        return [one[key] for one in found if key in one]

    quality, kl = of("quality"), of("kl")
    cells = [name, row, f"{mean(quality):.2%} ({min(quality):.2%})", f"{min(of('modes'))}"]
    cells.append(f"{mean(kl):.4f} ({max(kl):.4f})")
    cells.append(f"{mean(of('acceptance')):.2f}" if of("acceptance") else "")
    cells.append(f"{mean(of('slope')):.2f}" if of("slope") else "")
    wrong = [p < 1e-3 for p in of("p_value")]
    cells.append(f"{sum(wrong)} of {len(wrong)}" if wrong else "")
    cells.append(f"{max(of('r_hat')):.3f}" if row == "hmc" else "")
    cells.append(f"{mean(of('seconds')):.1f}" if of("seconds") else "")
    return "| " + " | ".join(cells) + " |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=Path, default=Path("runs/refinement"), help="where trainings are kept")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2], help="of trainings and draws")
    parser.add_argument("--train", action="store_true", help="train and stop")
    given = parser.parse_args()
    torch.set_num_threads(1)
    given.runs.mkdir(parents=True, exist_ok=True)
    if given.train:
        for seed in given.seeds:
            for name in STEPS:
                print(name, seed, trained(name, seed, given.runs)[2], flush=True)
        return
    head = ["target", "draws of", "high quality (worst)", "modes (worst)", "KL of shares (worst)"]
    head += ["acceptance", "slope", "calibration wrong", "R-hat (worst)", "CPU s"]
    rows = ["| " + " | ".join(head) + " |", "|---" * len(head) + "|"]
    for name in STEPS:
        found = [of_seed(name, seed, given.runs) for seed in given.seeds]
        rows += [line(name, row, [one[row] for one in found]) for row in ROWS]
    protocol = PROTOCOL.format(
        budget=12_000,
        seeds="seeds " + ", ".join(map(str, given.seeds)),
        held_out=len(recipes.load("grid").test.x),
        draws=DRAWS,
    )
    record("Draws refined by the discriminator", protocol, "\n".join(rows))


if __name__ == "__main__":
    main()
