"""Moving digits, squared error of forecasts by horizon: the video VAE, its twin, and what needs no training.

A training has a run folder, is resumed from there and not repeated once it has ended; Ctrl-C ends it there.
Rows that were measured are kept in the folder too.
"""

import argparse
import json
from pathlib import Path

import torch
from torch import Tensor

from probgen import recipes
from probgen.recipes import Recipe, Task
from probgen.recipes.tasks import films
from tests.benchmarks.results import cpu_seconds, record

SEEN, HORIZONS = 10, (1, 2, 5, 10)
DRAWS = 20
NAMES = ("conv-lstm", "video-vae")
HEAD = (
    "| digits | forecast | steps | "
    + " | ".join(f"frame {h}" for h in HORIZONS)
    + " | mean of 10 | CPU s |\n"
    "|" + "---|" * (len(HORIZONS) + 5)
)
PROTOCOL = (
    "`python -m tests.benchmarks.video`, a row at a time by `--digits`, `--recipes`, `--steps`: "
    "`data.moving_digits`, 32×32, 20 frames, walls that mirror, 2,000 films of MNIST's training digits and "
    "{films} of test digits. Ten frames are seen and ten forecast; the squared error is the sum over the "
    "1,024 pixels of a frame, a mean over films, of the frame so many after the last seen. 'copy-last' "
    "repeats the last frame, 'mean' says the mean of training frames. `conv-lstm` is the twin without codes; "
    "of `video-vae` there are the mean of {draws} draws and the best of them film by film, by the error of "
    "all ten frames, which looks at the answer and is no forecast. Both learn by the bound of the next "
    "frame, given true frames, and forecast by feeding back their means. Asked: half of copy-last. One seed, "
    "the last weights; that the pixels' bias begins at the log-odds of the mean pixel, and the rate at 3e-3, "
    "was chosen by the training loss of 60 steps on films of one digit: before, by 1e-3 and torch's first "
    "bias, the twin's memory saturated and said the mean after 900 steps (28.5), and the VAE had 29.2; one "
    "thread of two cores that others used too; CPU seconds are those of training."
)


def errors(forecast: Tensor, truth: Tensor) -> Tensor:
    r"""Return squared errors (\*batch, n, T), summed over pixels."""
    return (forecast - truth).square().flatten(-3).sum(-1)


def row(digits: int, name: str, steps: str, found: Tensor, seconds: str) -> str:
    """Return a row of errors by horizon, (n, T)."""
    means = found.mean(0)
    cells = [f"{float(means[horizon - 1]):.1f}" for horizon in HORIZONS]
    middle = found.mean(1)
    whole = f"{float(middle.mean()):.1f} ± {float(middle.std()) / len(middle) ** 0.5:.1f}"
    return f"| {digits} | {name} | {steps} | {' | '.join(cells)} | {whole} | {seconds} |"


def untrained(digits: int, task: Task) -> list[str]:
    """Return rows of what needs no training."""
    seen, truth = task.test.x[:, :SEEN], task.test.x[:, SEEN:]
    forecasts = {
        "copy-last": seen[:, -1:].expand_as(truth),
        "mean": task.train.x.mean((0, 1)).expand_as(truth),
    }
    return [row(digits, name, "–", errors(found, truth), "–") for name, found in forecasts.items()]


def trained(name: str, task: Task, folder: Path, *, steps: int) -> tuple[Recipe, float] | None:
    """Train a recipe or go on; return it and the seconds of it all, or None where it was interrupted."""
    clock, start = folder / "cpu.json", cpu_seconds()
    torch.manual_seed(0)
    recipe = recipes.make(name, task)
    histories = recipes.train(recipe, task, seed=0, folder=folder, resume=True, steps=steps, progress=False)
    seconds = (json.loads(clock.read_text()) if clock.exists() else 0.0) + cpu_seconds() - start
    clock.write_text(json.dumps(seconds))
    return None if histories[-1].ended == "interrupted" else (recipe, seconds)


def forecasts(digits: int, name: str, recipe: Recipe, task: Task, steps: int, seconds: float) -> list[str]:
    """Return rows of a model: its mean and, where it draws, the best of its draws."""
    truth, draws = task.test.x[:, SEEN:], DRAWS if name == "video-vae" else 1
    mean, best = [], []
    for some, true in zip(task.test.x.split(50), truth.split(50), strict=True):
        drawn = recipe.model.forecast(some[:, :SEEN], steps=truth.shape[1], draws=draws, seed=0)  # type: ignore[operator]
        mean.append(errors(drawn.mean(0), true))
        each = errors(drawn, true)
        chosen = each.mean(2).argmin(0)
        best.append(each[chosen, torch.arange(len(true))])
    rows = [row(digits, f"`{name}`", str(steps), torch.cat(mean), f"{seconds:.0f}")]
    if draws > 1:
        rows[0] = row(digits, f"`{name}`, mean of {draws}", str(steps), torch.cat(mean), f"{seconds:.0f}")
        rows.append(row(digits, f"`{name}`, best of {draws}", str(steps), torch.cat(best), "–"))
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=Path, default=Path("runs/video"), help="where trainings are kept")
    parser.add_argument("--digits", type=int, default=1)
    parser.add_argument("--recipes", nargs="*", default=[], choices=NAMES)
    parser.add_argument("--steps", type=int, default=600, help="of each recipe's training")
    given = parser.parse_args()
    torch.set_num_threads(1)
    task = films(digits=given.digits)
    kept = given.runs / "rows.json"
    rows = json.loads(kept.read_text()) if kept.exists() else {}
    rows[f"{given.digits} untrained"] = untrained(given.digits, task)
    for name in given.recipes:
        found = trained(name, task, given.runs / f"{name}-{given.digits}-{given.steps}", steps=given.steps)
        if found is None:
            break
        rows[f"{given.digits} {name}"] = forecasts(given.digits, name, found[0], task, given.steps, found[1])
        print(*rows[f"{given.digits} {name}"], sep="\n", flush=True)
    kept.parent.mkdir(parents=True, exist_ok=True)
    kept.write_text(json.dumps(rows, indent=1))
    order = ["untrained", *NAMES]
    keys = sorted(rows, key=lambda key: (int(key.split()[0]), order.index(key.split()[1])))
    lines = [line for key in keys for line in rows[key]]
    record("Moving digits", PROTOCOL.format(films=len(task.test), draws=DRAWS), "\n".join([HEAD, *lines]))


if __name__ == "__main__":
    main()
