"""Draws of a trained GAN before and after its discriminator corrects them, on laws whose modes are known."""

import argparse
from collections.abc import Sequence
from pathlib import Path
from statistics import mean

import torch

from probgen import data
from probgen.evaluation import mode_coverage
from probgen.sampling import Refined, refine
from tests.benchmarks.contest import HELD_OUT, trained
from tests.benchmarks.results import cpu_seconds, record

DRAWS = 10_000
METHODS = ("rejection", "metropolis", "hmc")
ROWS = ("generator", "rejection, not calibrated", *METHODS, "exact draws")
STEPS = {"grid": None, "ring": 4000}

PROTOCOL = (
    "`python -m tests.benchmarks.refinement`: the recipe `r3gan` on the grid of 25 (its {budget:,} steps) "
    "and the ring of 8 (4,000 steps), of these {targets}, {seeds}, as the benchmark of contests trains; then "
    "`sampling.refine` with {held_out:,} held-out points, by which scores are calibrated, and, in one row, "
    "without. {draws:,} draws of each: the share within three standard deviations of a mode (exact draws: "
    "98.9 %), modes with at least a quarter of their mass, and KL(found ‖ true) of the modes' shares; "
    "means over seeds, the worst in brackets. The calibration is "
    "held to be wrong where its test on data that it did not see has p < .001. CPU seconds are those of a "
    "refinement with its {draws:,} draws, one thread; of the generator, those of its training. "
)


def judged(draws: torch.Tensor, target: data.Target) -> dict[str, float]:
    found = mode_coverage(draws, target.modes, target.mode_scale)
    return {"modes": found.found, "quality": found.high_quality, "kl": found.kl}


def of_seed(name: str, seed: int, folder: Path, methods: Sequence[str]) -> dict[str, dict[str, float]]:
    """Return the figures of each row of one training."""
    target = data.target(name)
    recipe, task, known = trained(name, "r3gan", seed, steps=STEPS[name], runs=folder)
    gan = recipe.model
    found = {"generator": judged(gan.sample(DRAWS, seed=seed), target) | {"seconds": known["seconds"]}}
    found["exact draws"] = judged(target.sample(DRAWS, seed=1000 + seed), target)
    options = {"rejection, not calibrated": ("rejection", {"loss": "relativistic"})}
    options |= {method: (method, {"held_out": task.test.x}) for method in methods}
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
    parser.add_argument("--runs", type=Path, default=Path("runs/contest"), help="where trainings are kept")
    parser.add_argument(
        "--seeds", type=int, nargs="+", default=[1000, 1001, 1002], help="of trainings and draws"
    )
    parser.add_argument("--note", default="", help="what else the protocol should say")
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=list(METHODS))
    parser.add_argument("--targets", nargs="+", choices=list(STEPS), default=list(STEPS))
    given = parser.parse_args()
    torch.set_num_threads(1)
    given.runs.mkdir(parents=True, exist_ok=True)
    head = ["target", "draws of", "high quality (worst)", "modes (worst)", "KL of shares (worst)"]
    head += ["acceptance", "slope", "calibration wrong", "R-hat (worst)", "CPU s"]
    rows = ["| " + " | ".join(head) + " |", "|---" * len(head) + "|"]
    for name in given.targets:
        found = [of_seed(name, seed, given.runs, given.methods) for seed in given.seeds]
        rows += [line(name, row, [one[row] for one in found]) for row in ROWS if row in found[0]]
    protocol = PROTOCOL.format(
        budget=9_000,
        targets=" and ".join(given.targets),
        seeds="seeds " + ", ".join(map(str, given.seeds)),
        held_out=HELD_OUT,
        draws=DRAWS,
    )
    record("Draws refined by the discriminator", (protocol + given.note).strip(), "\n".join(rows))


if __name__ == "__main__":
    main()
