"""The likelihood of digits under a VAE: importance sampling, annealing, a bracket, gaps of its guide."""

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from probgen import evaluation, fit, models, nets, objectives, recipes
from probgen.training import schedules
from tests.benchmarks.results import cpu_seconds, record

ROWS = 40
LENGTHS = (10, 50, 150)

PROTOCOL = (
    "`python -m tests.benchmarks.likelihoods --out FOLDER`: a VAE of the 8x8 digits (16 codes, 256 hidden "
    "units, categorical pixels of 17 levels), {} steps of Adam on 90 % of the training pictures, with a "
    f"diagonal guide and with `nets.MultivariateNormalHead`; log p(x) in nats of the first {ROWS} test "
    "pictures. ± is the standard error over pictures, the same pictures everywhere, so that differences "
    "between rows are far surer. Annealing has 16 chains of 5 leapfrog steps; ESS is the mean effective "
    "number of these 16; CPU seconds are those of one thread of a core that others used too, the finding of "
    f"step sizes included. The bracket is of {ROWS} pictures that the VAE has drawn, whose log p(x) is "
    "another. Gaps are of the test pictures, local laws by 300 steps of Adam."
)


def trained(task: recipes.Task, head: Any, steps: int) -> models.VAE:
    torch.manual_seed(0)
    latent = task.sizes.latent
    vae = models.VAE(task.encoder(latent, head), task.decoder(latent))
    fit(
        objectives.SVI(vae),
        task.train.fresh,
        steps=steps,
        batch_size=128,
        optimizer=torch.optim.Adam(vae.parameters(), lr=2e-3),
        schedules={"lr": schedules.cosine(2e-3, 1e-4, steps=steps)},
        seed=0,
        progress=False,
    )
    return vae


def rows_of(vae: models.VAE, x: torch.Tensor) -> dict[str, Callable[[], str]]:
    """Return what is measured, by its name in the table."""

    def sampled(particles: int) -> str:
        found = evaluation.log_likelihood(vae, x, particles=particles, seed=0)
        return f"{found.value:.2f} ± {found.stderr:.2f} | "

    def annealed(start: Any, temperatures: int) -> str:
        found = evaluation.annealed_log_likelihood(vae, x, temperatures=temperatures, start=start, seed=0)
        return f"{found.value:.2f} ± {found.stderr:.2f} | {float(found.ess.mean()):.1f}"

    def bracket(temperatures: int) -> str:
        found = evaluation.bracketed_log_likelihood(vae, ROWS, temperatures=temperatures, seed=0)
        values = f"{found.lower.value:.2f} to {found.upper.value:.2f}"
        return f"{values}, apart {found.gap.value:.3f} ± {found.gap.stderr:.3f} | "

    def gaps(covariance: Any) -> str:
        found = evaluation.inference_gaps(vae, x, covariance=covariance, steps=300, temperatures=50, seed=0)
        named = ("guide", "local", "refined", "evidence", "approximation", "amortisation", "refinement")
        return ", ".join(f"{k} {getattr(found, k).value:.2f}" for k in named) + " | "

    parts: dict[str, Callable[[], str]] = {}
    for k in (10, 100, 1000):
        parts[f"importance sampling, K = {k}"] = lambda k=k: sampled(k)
    for start in ("prior", "guide"):
        for t in LENGTHS:
            parts[f"annealing from the {start}, T = {t}"] = lambda start=start, t=t: annealed(start, t)
    for t in LENGTHS:
        parts[f"bracket on draws of the VAE, T = {t}"] = lambda t=t: bracket(t)
    for kind in ("diagonal", "dense"):
        parts[f"gaps, local laws {kind}"] = lambda kind=kind: gaps(kind)
    return parts


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder of what was measured, to go on from")
    parser.add_argument("--steps", type=int, default=2000)
    options = parser.parse_args()
    torch.set_num_threads(1)
    options.out.mkdir(parents=True, exist_ok=True)
    task = recipes.load("digits").holding_out()
    x = task.test.x[:ROWS]
    lines = ["| guide | estimate | log p(x) | ESS | CPU s |", "|---|---|---|---|---|"]
    for name, head in (("diagonal", nets.NormalHead), ("full", nets.MultivariateNormalHead)):
        weights = options.out / f"{name}.pt"
        if not weights.exists():
            torch.save(trained(task, head, options.steps).state_dict(), weights)
        latent = task.sizes.latent
        vae = models.VAE(task.encoder(latent, head), task.decoder(latent))
        vae.load_state_dict(torch.load(weights, weights_only=True))
        for what, measure in rows_of(vae, x).items():
            known = options.out / f"{name} {what}.json"
            if not known.exists():
                start = cpu_seconds()
                found = measure()
                known.write_text(json.dumps(f"{found} | {cpu_seconds() - start:.0f}"))
                print(name, what, json.loads(known.read_text()), flush=True)
            lines.append(f"| {name} | {what} | {json.loads(known.read_text())} |")
    record("Likelihoods of a VAE", PROTOCOL.format(options.steps), "\n".join(lines))


if __name__ == "__main__":
    main()
