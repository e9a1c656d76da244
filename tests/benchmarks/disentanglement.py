"""Disentanglement on sprites: four VAEs over seeds, by every score of ``probgen.evaluation``.

Each training has a run folder, is resumed from there and not repeated once it has ended; so are its scores.
"""

import argparse
import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from probgen import Objective, data, evaluation, fit, models, nets, objectives, plots
from probgen.core import seeded
from probgen.training import schedules
from tests.benchmarks.results import cpu_seconds, record

LATENT = 10
STEPS, BATCH = 2_500, 64
ROWS = 4_000
"""Rows that trees, machines and neighbours are given; laws are averaged over all pictures."""

CENTRE = 11_656
"""An ellipse in the middle, from which traversals start."""

METHODS: dict[str, Callable[[models.VAE], Objective]] = {
    "VAE": lambda vae: objectives.SVI(vae),
    "β-VAE, β = 4": lambda vae: objectives.SVI(vae, objectives.BetaELBO(4.0)),
    "β-TCVAE, β = 6": lambda vae: objectives.Sum(
        {"svi": objectives.SVI(vae), "tc": objectives.TotalCorrelation(vae)}, {"tc": 5.0}
    ),
    "DIP-VAE-II, λ = 10": lambda vae: objectives.Sum(
        {"svi": objectives.SVI(vae), "dip": objectives.DIP(vae, "II", off_diagonal=10.0)}
    ),
}

PROTOCOL = (
    "`python -m tests.benchmarks.disentanglement --seeds {}`: all {:,} pictures of `data.Sprites` with every "
    "second place across and down (16 each), 3 shapes, 6 sizes and 5 turns of 0 to 74 degrees, every second "
    "pixel of them (32x32). MLPs 1024-128-128-10 and back, SiLU, Bernoulli pixels, Adam, {:,} batches of {}, "
    "learning rate 2e-3 falling by a cosine to 1e-4, weights of the recipes, one thread of a core that "
    "others used too: the published numbers are of convolutional nets, 64x64 pixels and a hundred times as "
    "many steps, and are not to be compared. Factors are all five; MIG of densities leaves the shape out, as "
    "its authors do (500 draws, q(z) over all pictures). The others are of means: MIG in 20 bins and "
    "FactorVAE's and β-VAE's scores of all pictures (2,000 points each for the rule and its score), DCI (20 "
    "trees), SAP (sizes and places as continuous) and InfoMEC of {:,} random ones. Nothing was chosen by "
    "these scores. Means and standard deviations over seeds. 'Methods' is the share of the variance of a "
    "score over all runs that lies between the methods' means (η²), beside what it would be on average if "
    "methods did not matter, (methods − 1) / (runs − 1), and the p-value of 2,000 permutations of the runs."
)


def small_sprites() -> tuple[Tensor, Tensor]:
    """Return every second pixel of sprites at every second place, turned by 0 to 74 degrees: 32x32.

    A square is itself at a quarter turn: so nearly all pictures are different.
    """
    sprites = data.Sprites()
    kept = [range(3), range(6), range(0, 10, 2), range(0, 32, 2), range(0, 32, 2)]
    classes = torch.cartesian_prod(*map(torch.tensor, kept))
    whole = sprites.index(classes).split(4096)
    pictures = [sprites[index].reshape(-1, 64, 64)[:, ::2, ::2].flatten(1) for index in whole]
    places = [classes[:, i].unique(return_inverse=True)[1] for i in range(len(kept))]
    return torch.cat(pictures), torch.stack(places, 1)


def train(method: str, seed: int, pictures: Tensor, folder: Path, *, steps: int) -> tuple[models.VAE, float]:
    """Train or go on; return the model and the CPU seconds that its training took."""
    with seeded(seed):
        encoder = nets.NormalHead(nets.MLP(pictures.shape[1], LATENT, hidden=(128, 128)))
        decoder = nets.BernoulliHead(nets.MLP(LATENT, pictures.shape[1], hidden=(128, 128)))
        vae = models.VAE(encoder, decoder)
    known, start = folder / "cpu.json", cpu_seconds()
    history = fit(
        METHODS[method](vae),
        pictures,
        steps=steps,
        batch_size=BATCH,
        optimizer=partial(torch.optim.Adam, lr=2e-3, fused=True),
        schedules={"lr": schedules.cosine(2e-3, 1e-4, steps=steps)},
        compile="graph",
        checkpoint=folder,
        resume=True,
        seed=seed,
        progress=False,
    )
    if history.ended != "finished":
        raise SystemExit(f"{folder} was interrupted: the same command goes on with it")
    if not known.exists():
        known.write_text(json.dumps(cpu_seconds() - start))
    return vae, json.loads(known.read_text())


def scores(vae: models.VAE, pictures: Tensor, factors: Tensor) -> dict[str, float]:
    """Return every score of a model, and how well it reconstructs."""
    law = vae.encode(pictures)
    means = law.mean
    some = torch.randperm(len(means), generator=torch.Generator().manual_seed(0))[:ROWS]
    points = {"train": 2000, "test": 2000}
    told = evaluation.infomec(means[some], factors[some])
    trees = evaluation.dci(means[some], factors[some], trees=20)
    vote = evaluation.factor_vae_score(means, factors, **points)
    pixels = torch.stack([law.mean for law in map(vae.decode, means[some].split(1000))]).flatten(0, 1)
    return {
        "squared error": float((pixels - pictures[some]).square().sum(1).mean()),
        "active": vote.active,
        "MIG": evaluation.mutual_information_gap(law, factors[:, 1:], draws=500).score,
        "MIG, bins": evaluation.binned_mutual_information_gap(means, factors).score,
        "DCI D": trees.disentanglement,
        "DCI C": trees.completeness,
        "DCI I": trees.informativeness,
        "SAP": evaluation.sap_score(means[some], factors[some], continuous=[1, 3, 4]).score,
        "FactorVAE": vote.score,
        "β-VAE": evaluation.beta_vae_score(means, factors, **points),
        "InfoM": told.modularity,
        "InfoC": told.compactness,
        "InfoE": told.explicitness,
    }


def share_of_methods(table: pd.DataFrame, score: str) -> tuple[float, float]:
    """Return η², the share of a score's variance between methods, and its p-value by permutations."""
    values, groups = table[score].to_numpy(), pd.factorize(table["method"])[0]

    def share(values: np.ndarray) -> float:
        means = np.bincount(groups, values) / np.bincount(groups)
        return float(means[groups].var() / values.var())

    source = np.random.default_rng(0)
    own = share(values)
    others = np.array([share(source.permutation(values)) for _ in range(2000)])
    return own, float((1 + (others >= own - 1e-12).sum()) / (1 + len(others)))


def tables(found: pd.DataFrame) -> str:
    """Return the table of means and deviations, and that of methods against seeds."""
    names = [name for name in found.columns if name not in ("method", "seed")]
    methods = list(dict.fromkeys(found["method"]))
    head = f"| score | {' | '.join(methods)} | methods, η² | p |\n" + "|---" * (len(methods) + 3) + "|\n"
    rows = []
    for name in names:
        by = found.groupby("method")[name]
        cells = [f"{by.mean()[m]:.3g} ± {by.std()[m]:.2g}" for m in methods]
        varies = name != "CPU s" and found[name].std() > 0
        share = "{:.2f} | {:.4f}".format(*share_of_methods(found, name)) if varies else " | "
        rows.append(f"| {name} | {' | '.join(cells)} | {share} |")
    expected = (len(methods) - 1) / (len(found) - 1)
    runs = ", ".join(f"{count} of {m}" for m, count in found.groupby("method", sort=False).size().items())
    said = f"Runs: {runs}. η² on average, if methods did not matter: {expected:.2f}."
    return head + "\n".join(rows) + f"\n\n{said}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=Path, default=Path("runs/disentanglement"))
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=STEPS)
    given = parser.parse_args()
    torch.set_num_threads(1)
    pictures, factors = small_sprites()
    found: list[dict[str, Any]] = []
    best, kept = -1.0, given.runs / "traversals.png"
    for seed in range(given.seeds):
        for number, method in enumerate(METHODS):
            folder = given.runs / f"{number}-{seed}"
            vae, seconds = train(method, seed, pictures, folder, steps=given.steps)
            known = folder / "scores.json"
            if not known.exists():
                known.write_text(json.dumps(scores(vae, pictures, factors)))
            row = {"method": method, "seed": seed} | json.loads(known.read_text()) | {"CPU s": seconds}
            found.append(row)
            print(row, flush=True)
            if "TCVAE" in method and row["MIG"] > best:
                best, start = row["MIG"], vae.encode(pictures[CENTRE : CENTRE + 1]).mean[0]
                plots.traversals(vae.decode, start, image_shape=(32, 32)).savefig(kept, dpi=110)
        if seed:
            protocol = PROTOCOL.format(seed + 1, len(pictures), given.steps, BATCH, ROWS)
            table = tables(pd.DataFrame(found))
            record("Disentanglement on sprites", protocol, table, packages=("scikit-learn",))


if __name__ == "__main__":
    main()
