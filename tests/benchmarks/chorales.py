"""Chorales by Bach, test nats per step: exact hidden Markov models; VRNN and deep Markov model beside them.

A pair's training has a run folder, is resumed from there and not repeated once it has ended.
"""

import argparse
import json
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor

from probgen import SVI, Pair, data, evaluation, fit, nets
from probgen.core import seeded
from probgen.data import Ragged
from probgen.models import VRNN, DeepMarkov, HiddenMarkov
from probgen.objectives import BetaELBO
from probgen.training import schedules
from tests.benchmarks.results import cpu_seconds, record

EVERY, PATIENCE = 5, 3
"""Steps of EM between looks at the validation chorales, and looks without a gain after which it ends."""
WIDTH, LATENT, PARTICLES, DRAWS = 200, 32, 100, 20
NOTES = 88

PROTOCOL = (
    "`python -m tests.benchmarks.chorales {}`: `data.chorales()`, quarter notes, 229/76/77 chorales; Σ "
    "nats of the test chorales over Σ steps. Hidden Markov models: notes independent given one of K "
    "states, EM from steps of the data (`start_at`, `fit_em`, pseudo-count 2), ended on the validation "
    "chorales: exact. Pairs: a GRU of 200, codes of 32, hidden layers of 200; Adam, 3e-3 falling to 1e-4 "
    "by a cosine, the KL's weight from 0.3 to 1 in the first quarter, batches of 32, the best weights by "
    "the validation ELBO of an epoch; ELBO of {} draws, and the bound of a particle filter of {} "
    "particles (resampled at each step for the VRNN, whose steps are independent given x, below half for "
    "the DMM). Asked finally: ELBO 6.65, bound 6.30. One seed; one thread of a core that others used too;"
    " CPU seconds are those of training."
)
HEAD = "| model | steps | −ELBO | −log p(x), bound or exact | CPU s |\n" + "|---" * 5 + "|"


def padded(part: list[Tensor]) -> tuple[Tensor, Tensor]:
    return Ragged(part)[torch.arange(len(part))]


def per_step(nats: Tensor, lengths: Tensor) -> float:
    return -float(nats.double().sum() / lengths.sum())


@torch.enable_grad()
def hidden_markov(states: int, chorales: data.Chorales) -> str:
    """Return the row of an exact hidden Markov model."""
    train, valid, test = map(padded, chorales[:3])
    start = cpu_seconds()
    hmm = HiddenMarkov(states, NOTES)
    hmm.start_at(*train, seed=0)
    best, found, without, steps = float("inf"), float("inf"), 0, 0
    while without < PATIENCE:
        hmm.fit_em(*train, iterations=EVERY)
        steps += EVERY
        with torch.no_grad():
            on_valid, on_test = (per_step(hmm.log_prob(*part), part[1]) for part in (valid, test))
        without = 0 if on_valid < best - 1e-3 else without + 1
        if on_valid < best:
            best, found = on_valid, on_test
    seconds = cpu_seconds() - start
    return f"| HMM, {states} states | {steps} of EM | – | {found:.2f} | {seconds:.0f} |"


def pair_called(name: str) -> Pair:
    if name == "VRNN":
        return VRNN(
            nets.History(nets.GRU(NOTES, WIDTH), dropout=0.5),
            prior=nets.NormalHead(nets.MLP(WIDTH, LATENT, hidden=WIDTH)),
            encoder=nets.NormalHead(nets.Joined(nets.MLP(NOTES + WIDTH, LATENT, hidden=WIDTH))),
            decoder=nets.BernoulliHead(nets.Joined(nets.MLP(LATENT + WIDTH, NOTES, hidden=WIDTH))),
        )
    return DeepMarkov(
        nets.GatedTransition(LATENT, hidden=WIDTH),
        nets.BernoulliHead(nets.MLP(LATENT, NOTES, hidden=WIDTH)),
        reader=nets.GRU(NOTES, WIDTH, backward=True),
        guide_step=nets.NormalHead(nets.Joined(nets.MLP(LATENT + WIDTH, LATENT, hidden=WIDTH))),
        latent=LATENT,
        residual=True,
    )


def of_pair(name: str, chorales: data.Chorales, folder: Path, *, steps: int) -> str:
    """Train a pair or go on, and return its row."""
    known, start = folder / "cpu.json", cpu_seconds()
    with seeded(0):
        pair = pair_called(name)
    looks = {"epochs": max(1, -(-steps // 8))}  # of 8 batches
    total = looks["epochs"] * 8
    plans = {
        "lr": schedules.cosine(3e-3, 1e-4, steps=total),
        "elbo.beta": schedules.linear(0.3, 1.0, steps=max(1, total // 4)),
    }
    history = fit(
        SVI(pair, BetaELBO()), Ragged(chorales.train, multiple=16), **looks, batch_size=32, schedules=plans,
        validation=Ragged(chorales.valid), max_gradient_norm=20.0, checkpoint=folder, resume=True, seed=0,
        progress=False,
    )  # fmt: skip
    if not known.exists():
        known.write_text(json.dumps(cpu_seconds() - start))
    test = padded(chorales.test)
    with torch.no_grad(), seeded(1):
        pair.eval()
        bounds = [-SVI(pair)(*test)[1]["elbo"] for _ in range(DRAWS)]
    elbo = float(torch.stack(bounds).mean()) * len(test[0]) / int(test[1].sum())
    below = 1.0 if name == "VRNN" else 0.5
    values = evaluation.filtered_log_likelihoods(
        pair, *test, particles=PARTICLES, resample_below=below, seed=0
    )
    seconds = json.loads(known.read_text())
    return f"| {name} | {history.step} | {elbo:.2f} | {per_step(values, test[1]):.2f} | {seconds:.0f} |"


def table(states: list[int], pairs: list[str], runs: Path, *, steps: int) -> Iterator[str]:
    """Give the table as it grows."""
    chorales, rows = data.chorales(), [HEAD]
    for count in states:
        rows.append(hidden_markov(count, chorales))
        yield "\n".join(rows)
    for name in pairs:
        rows.append(of_pair(name, chorales, runs / f"{name}-{steps}", steps=steps))
        yield "\n".join(rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=Path, default=Path("runs/chorales"), help="where trainings are kept")
    parser.add_argument("--states", type=int, nargs="*", default=[64, 128, 256], help="of the HMMs")
    parser.add_argument("--pairs", nargs="*", default=["VRNN", "DMM"], choices=["VRNN", "DMM"])
    parser.add_argument("--steps", type=int, default=3000, help="of each pair's training")
    given = parser.parse_args()
    torch.set_num_threads(1)
    named = f"--states {' '.join(map(str, given.states))}"
    named += f" --pairs {' '.join(given.pairs)} --steps {given.steps}" if given.pairs else " --pairs"
    protocol = PROTOCOL.format(named, DRAWS, PARTICLES)
    for text in table(given.states, given.pairs, given.runs, steps=given.steps):
        record("Chorales", protocol, text)


if __name__ == "__main__":
    main()
