"""VQ-VAE: bits per dimension by a uniform and by a learned prior, beside the VAE's bound; use of the codes.

Each training has a run folder, is resumed from there and not repeated once it has ended.
"""

import argparse
import json
import math
from collections.abc import Iterator
from pathlib import Path

import torch

from probgen import evaluation, recipes
from probgen.core import Pair, seeded
from probgen.models import VQVAE
from probgen.recipes import Task
from tests.benchmarks.results import cpu_seconds, record

PARTICLES, ROWS = 200, 1000
"""Of the VAE's importance-weighted likelihood, and test rows that it is of."""

PROTOCOL = (
    "`python -m tests.benchmarks.vq_vae {}`: the recipes `vq-vae`, `fsq-vae` and `vae` with the nets and "
    "budgets of the task{}, a tenth of the training rows held out to choose weights, one thread of a core "
    "that others used too; CPU seconds are those of all stages. Of test rows, in nats a datum: −log p(x | "
    "z) at the codes z of x, −log p(z), and their sum, minus a bound on log p(x), which in bits is divided "
    "by the number of pixels. For the VAE the three are the parts of minus its ELBO (one draw a row), and "
    "beside it −log p(x) by {} importance-weighted draws for the first {} test rows. The uniform prior is "
    "T log K, that of the codes of the same model. Codes are counted over all training rows, an epoch: "
    "their perplexity, how many of the K never occur, and, beside it, the mean perplexity of batches of "
    "128. MNIST is binarised, afresh in training and once for the test. K, T, d, the levels and the passes "
    "were chosen on held-out digits, not on test rows; {} seed{}."
)
HEAD = (
    "| data | model | −log p(x \\| z) | −log p(z) | sum | bits a pixel | −log p(x) | CPU s |\n"
    + "|---" * 8
    + "|"
)
CODES = "\n| data | codes | perplexity of an epoch | of batches | never used |\n" + "|---" * 5 + "|"


@torch.enable_grad()
def trained(
    name: str, task: Task, folder: Path, *, seed: int, steps: int | None
) -> tuple[recipes.Recipe, float]:
    """Train a recipe or go on; return it and the CPU seconds that the training took."""
    known = folder / "cpu.json"
    with seeded(seed):
        recipe = recipes.make(name, task)
    start = cpu_seconds()
    recipes.train(recipe, task, seed=seed, folder=folder, resume=True, steps=steps, progress=False)
    if not known.exists():
        known.write_text(json.dumps(cpu_seconds() - start))
    recipe.model.eval()
    return recipe, json.loads(known.read_text())


def row(data: str, model: str, likelihood: float, prior: float, size: int, rest: str) -> str:
    total = likelihood + prior
    bits = total / size / math.log(2)
    return f"| {data} | {model} | {likelihood:.2f} | {prior:.2f} | {total:.2f} | {bits:.3f} | {rest} |"


@torch.no_grad()
def of_codes(
    name: str, data: str, task: Task, runs: Path, *, seed: int, steps: int | None
) -> tuple[list[str], str]:
    """Return the rows of a VQ-VAE or FSQ-VAE by both priors, and that of its codes."""
    recipe, seconds = trained(name, task, runs / f"{data}-{name}-{seed}", seed=seed, steps=steps)
    model = recipe.model
    assert isinstance(model, VQVAE)
    x = task.test.x
    codes = model.encode(x).mean
    likelihood = -float(model.decode(codes).log_prob(x).mean())
    learned, uniform = -float(model.prior().log_prob(codes).mean()), model.steps * math.log(model.size)
    rows = [
        row(data, f"{name}, uniform prior", likelihood, uniform, task.size, "– | –"),
        row(data, f"{name}, learned prior", likelihood, learned, task.size, f"– | {seconds:.0f}"),
    ]
    of_epoch = model.encode(task.train.x).mean
    used = evaluation.code_usage(of_epoch, model.size)
    batches = [evaluation.code_usage(part, model.size).perplexity for part in of_epoch.split(128)[:-1]]
    mean = sum(batches) / len(batches)
    what = f"{name}, {model.steps} of {model.size}"
    return rows, f"| {data} | {what} | {used.perplexity:.1f} | {mean:.1f} | {used.dead} |"


@torch.no_grad()
def of_vae(data: str, task: Task, runs: Path, *, seed: int, steps: int | None) -> str:
    """Return the row of a VAE."""
    recipe, seconds = trained("vae", task, runs / f"{data}-vae-{seed}", seed=seed, steps=steps)
    pair = recipe.model
    assert isinstance(pair, Pair)
    x = task.test.x
    with seeded(seed):
        law = pair.encode(x)
        z = law.sample()
        likelihood = -float(pair.decode(z).log_prob(x).mean())
        kl = float(torch.distributions.kl_divergence(law, pair.prior().expand(law.batch_shape)).mean())
    evidence = evaluation.log_likelihood(pair, x[:ROWS], particles=PARTICLES, seed=seed).value
    return row(data, "vae", likelihood, kl, task.size, f"{-evidence:.2f} | {seconds:.0f}")


def tables(runs: Path, *, names: list[str], seeds: int, steps: int | None) -> Iterator[str]:
    """Give the tables as they grow."""
    rows, codes = [HEAD], [CODES]
    for data in names:
        task = recipes.load(data).holding_out()
        for seed in range(seeds):
            for name in ("vq-vae", "fsq-vae"):
                own, used = of_codes(name, data, task, runs, seed=seed, steps=steps)
                rows += own
                codes.append(used)
                yield "\n".join(rows + codes)
            rows.append(of_vae(data, task, runs, seed=seed, steps=steps))
            yield "\n".join(rows + codes)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=Path, default=Path("runs/vq_vae"), help="where trainings are kept")
    parser.add_argument("--data", nargs="*", default=["digits", "mnist"], help="data sets")
    parser.add_argument("--steps", type=int, default=None, help="of each stage, in the place of its own")
    parser.add_argument("--seeds", type=int, default=1, help="trainings of each")
    given = parser.parse_args()
    torch.set_num_threads(1)
    named = f"--data {' '.join(given.data)} --seeds {given.seeds}"
    named += "" if given.steps is None else f" --steps {given.steps}"
    said = "" if given.steps is None else f" but {given.steps:,} steps a stage"
    many = "one" if given.seeds == 1 else str(given.seeds)
    protocol = PROTOCOL.format(named, said, PARTICLES, f"{ROWS:,}", many, "" if given.seeds == 1 else "s")
    title = f"VQ-VAE on {' and '.join(given.data)}"
    for text in tables(given.runs, names=given.data, seeds=given.seeds, steps=given.steps):
        record(title, protocol, text)


if __name__ == "__main__":
    main()
