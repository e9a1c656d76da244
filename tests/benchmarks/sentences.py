"""Verse lines as codes: bounds, what the codes hold, who speaks; counting and a network without codes beside.

A training has a run folder, is resumed from there and not repeated once it has ended; Ctrl-C ends it there.
Rows that were measured are kept in the folder too.
"""

import argparse
import json
import math
from pathlib import Path

import torch
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import Tensor

from probgen import Pair, data, recipes
from probgen.core import seeded
from probgen.evaluation import active_units, log_likelihoods
from probgen.models import NGram
from probgen.objectives import SVI, kl_parts
from probgen.recipes import Recipe, Task
from tests.benchmarks.results import cpu_seconds, record

NAMES = ("gru", "sentence-vae")
SOME, PARTICLES, DRAWS, SPEAKERS = 500, 100, 5, 10
"""Test lines whose likelihood is estimated, with so many draws each; draws of the ELBO; speakers to tell."""

PROTOCOL = (
    "`python -m tests.benchmarks.sentences`, a row at a time by `--recipes`, `--steps`: "
    "`data.verse_lines()`, each line by itself, END counted; two whole plays, {lines:,} lines, are test, the "
    "last tenth of the others chooses the best weights. Bits are Σ −log₂ p of lines over Σ characters: exact "
    "of Kneser-Ney (D = 0.9) and of `gru`; of `sentence-vae` an upper bound by −ELBO "
    f"({DRAWS} draws), and by importance sampling with {PARTICLES} draws for each of {SOME} test lines drawn "
    "at random, on which the others are shown too. KL, and the mutual information of line and code by the "
    "aggregate posterior of 2,000 test lines (at most log 2,000 = 7.6), in nats a line; active units by "
    "Var_x(E[z | x]) > .01 of test lines. Speakers: of the test lines of the "
    f"{SPEAKERS} who speak most there, {{told:,}}, four fifths drawn at random teach a logistic regression "
    "on posterior means, its penalty chosen by five parts of these, which is asked of the last fifth; beside "
    "it TF-IDF of words, and who speaks most. "
    "Codes are what such a model is for; its bits are to be no better than those of the network without. "
    "Of the KL of `sentence-vae` 8 nats are free. After 1,000 steps it had 2.555 bits of 500 lines with a KL "
    "of 7.92 nats and 6.12 of information; with the KL annealed from a weight of 0.1 to 1 in the place of "
    "free bits 2.528, 1.37 and 1.34. "
    "One seed; one thread of a core that others used too; CPU seconds are those of training, with its looks "
    "at validation."
)
HEAD = (
    "| model | steps | bits | bits, {} lines | KL | information | active | speaker told | CPU s |\n"
    + "|---" * 9
    + "|"
).format(SOME)


def bits(log_p: Tensor, characters: Tensor) -> float:
    """Return bits a character of log-probabilities of lines, in nats."""
    return -float(log_p.double().sum() / characters.sum()) / math.log(2)


def lengths(x: Tensor) -> Tensor:
    return (x != data.PAD).sum(-1)


def some_lines(x: Tensor) -> Tensor:
    """Return the lines whose likelihood is estimated."""
    return x[torch.randperm(len(x), generator=torch.Generator().manual_seed(0))[:SOME]]


def told_speakers(lines: data.Sentences) -> tuple[Tensor, Tensor, Tensor]:
    """Return the test lines of those who speak most there, who it is, and which lines teach."""
    labels = lines.test_labels
    assert labels is not None
    counts = labels[labels >= 0].bincount()
    most = counts.topk(SPEAKERS).indices
    chosen = torch.isin(labels, most)
    teach = torch.rand(int(chosen.sum()), generator=torch.Generator().manual_seed(0)) < 0.8
    return lines.test[chosen], labels[chosen], teach


def accuracy(features: object, labels: Tensor, teach: Tensor, classifier: object) -> float:
    """Return how often a classifier that has learned from some rows is right about the others."""
    rows = teach.numpy()
    classifier.fit(features[rows], labels[teach])  # type: ignore[attr-defined, index]
    return float(classifier.score(features[~rows], labels[~teach]))  # type: ignore[attr-defined, index]


def probe() -> GridSearchCV:
    """Return a logistic regression whose penalty is chosen by five parts of what teaches it."""
    return GridSearchCV(
        LogisticRegression(max_iter=2000), {"C": [1e-5, 1e-4, 1e-3, 1e-2, 0.1, 1.0, 10.0, 100.0]}
    )


def counting(lines: data.Sentences) -> list[str]:
    """Return the rows of counting, and of who speaks by words."""
    rows = []
    for order in (5, 7):
        start = cpu_seconds()
        model = NGram(lines.vocabulary.size, order=order, steps=1).learn(lines.train)
        seconds = cpu_seconds() - start
        found = [bits(model.log_prob(x), lengths(x)) for x in (lines.test, some_lines(lines.test))]
        cells = f"{found[0]:.3f} | {found[1]:.3f} | – | – | – | – | {seconds:.0f}"
        rows.append(f"| Kneser-Ney, order {order} | – | {cells} |")
    x, labels, teach = told_speakers(lines)
    words = TfidfVectorizer(sublinear_tf=True).fit_transform([str(lines.vocabulary.decode(row)) for row in x])
    of_words = accuracy(words, labels, teach, probe())
    most = float((labels[~teach] == labels[teach].mode().values).double().mean())
    blank = "| – | – | – | – | – | – |"
    return [
        *rows,
        f"| TF-IDF of words {blank} {of_words:.3f} | – |",
        f"| who speaks most {blank} {most:.3f} | – |",
    ]


@torch.no_grad()
def measured(recipe: Recipe, lines: data.Sentences) -> str:
    """Return the cells of a trained recipe."""
    model, x, some = recipe.model.eval(), lines.test, some_lines(lines.test)
    if not isinstance(model, Pair):
        found = [
            bits(torch.cat([model.log_prob(part) for part in rows.split(500)]), lengths(rows))  # type: ignore[operator]
            for rows in (x, some)
        ]
        return f"{found[0]:.3f} | {found[1]:.3f} | – | – | – | –"
    with seeded(1):
        terms = [(len(part), SVI(model)(part)[1]) for _ in range(DRAWS) for part in x.split(500)]
        elbo, kl = (
            sum(n * float(found[name]) for n, found in terms) / DRAWS / len(x) for name in ("elbo", "kl")
        )
        parts = kl_parts(model, x[torch.randperm(len(x))[:2000]])
    weighed = log_likelihoods(model, some, particles=PARTICLES, seed=0)
    active = int(active_units(model, x, seed=0).active.sum())
    chosen, labels, teach = told_speakers(lines)
    codes = model.encode(chosen).mean.numpy()  # type: ignore[operator]
    speaker = accuracy(codes, labels, teach, make_pipeline(StandardScaler(), probe()))
    mean_length = float(lengths(x).double().mean())
    return (
        f"{-elbo / mean_length / math.log(2):.3f} | {bits(weighed, lengths(some)):.3f} | {kl:.2f} | "
        f"{float(parts.mutual_information):.2f} | {active} of {codes.shape[1]} | {speaker:.3f}"
    )


def trained(name: str, task: Task, folder: Path, *, steps: int) -> tuple[Recipe, float] | None:
    """Train a recipe or go on; return it and the seconds of it all, or None where it was interrupted."""
    clock, start = folder / "cpu.json", cpu_seconds()
    torch.manual_seed(0)
    recipe = recipes.make(name, task)
    histories = recipes.train(recipe, task, seed=0, folder=folder, resume=True, steps=steps, progress=False)
    seconds = (json.loads(clock.read_text()) if clock.exists() else 0.0) + cpu_seconds() - start
    clock.write_text(json.dumps(seconds))
    return None if histories[-1].ended == "interrupted" else (recipe, seconds)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=Path, default=Path("runs/sentences"), help="where trainings are kept")
    parser.add_argument("--recipes", nargs="*", default=[], choices=NAMES)
    parser.add_argument("--steps", type=int, default=2000, help="of each recipe's training")
    given = parser.parse_args()
    torch.set_num_threads(1)
    lines, task = data.verse_lines(), recipes.load("verse").holding_out()
    kept = given.runs / "rows.json"
    rows = json.loads(kept.read_text()) if kept.exists() else {}
    for name in given.recipes:
        found = trained(name, task, given.runs / f"{name}-{given.steps}", steps=given.steps)
        if found is None:
            break
        rows[name] = f"| `{name}` | {given.steps} | {measured(found[0], lines)} | {found[1]:.0f} |"
        kept.write_text(json.dumps(rows, indent=1))
    told = len(told_speakers(lines)[0])
    body = [HEAD, *counting(lines), *(rows[name] for name in NAMES if name in rows)]
    record("Text: verse lines as codes", PROTOCOL.format(lines=len(lines.test), told=told), "\n".join(body))


if __name__ == "__main__":
    main()
