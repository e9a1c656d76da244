"""Links of a graph that were set apart, ranked by a graph VAE and by scores that are computed."""

import argparse
import time

import torch
from torch import Tensor

from probgen import data, recipes
from probgen.data import LinkSplit
from probgen.evaluation import adamic_adar, degree_product, katz, link_prediction, low_rank
from probgen.recipes import Rows, Task
from tests.benchmarks.results import record

FIRST = 100
"""Seed of the first split; sizes of the recipe were chosen on splits of seeds 0 to 3."""

SHARES = (0.1, 0.5, 0.9)
"""Of the weight of a link from which on Katz's sum over walks has no limit."""

AIR = "Routes as bokeh_sampledata 2026.1 has them: whether any airline flew between two airports. "

GRAPHS = {
    "les-miserables": ("les Misérables", "persons", "", (4, 8), ("networkx",)),
    "air-routes": ("air routes", "airports", AIR, (4, 8, 16), ("bokeh_sampledata",)),
}
"""Its name, its nodes, what is said of it alone, ranks of the singular value decomposition, its package."""

PROTOCOL = """Of {links:,} links between {nodes} {persons} of {title} a tenth is set apart, {k}, with {k}
pairs that are not linked and {k} more whose ends have about the degrees of the ends of links; none of
these is seen in training, in either direction. {splits} splits, of seeds from {first} on. The area under the
ROC curve (AUC) and the average precision (AP) of links against {k} pairs of either kind; mean and standard
deviation over splits, which share the graph and are not independent. `graph-vae`: the recipe, one training a
split, and the mean probability of a link over 100 draws of the guide. Its sizes (16 coordinates, 1,000 steps)
and that half of the coordinates repel were chosen among some ten settings by the AUC of four splits of les
Misérables and two of the air routes, of other seeds. {more}Adamic-Adar and the degree product have no
settings; of the singular value decomposition some ranks are shown, and of Katz's sum over walks, each link
of a walk a factor, some shares of 1/λ, the largest factor that has a sum. Run by
`python -m tests.benchmarks.graphs --data {name}`."""


def scores_of_recipe(name: str, split: LinkSplit, seed: int) -> Tensor:
    """Train the recipe on a split and return the probability of each link."""
    rows = Rows(split.x.unsqueeze(0), seen=split.seen.unsqueeze(0))
    task = Task(name, "graph", rows, rows)
    torch.manual_seed(seed)
    recipe = recipes.make("graph-vae", task)
    recipes.train(recipe, task, seed=seed, progress=False)
    (found,) = recipe.model.link_probabilities(rows.x, rows.seen, draws=100, seed=seed)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", choices=list(GRAPHS), default="les-miserables")
    parser.add_argument("--splits", type=int, default=10)
    given = parser.parse_args()
    torch.set_num_threads(1)
    title, persons, more, ranks, packages = GRAPHS[given.data]
    x = data.graph(given.data).x
    measured: dict[str, list[list[float]]] = {}
    seconds = 0.0
    for seed in range(FIRST, FIRST + given.splits):
        split = data.split_links(x, test=0.1, seed=seed)
        start = time.process_time()
        learned = scores_of_recipe(given.data, split, seed)
        seconds += time.process_time() - start
        scores = {
            "graph-vae": learned,
            "Adamic-Adar": adamic_adar(split.x),
            **{f"Katz, {share} of 1/λ": katz(split.x, share) for share in SHARES},
            **{f"SVD, rank {rank}": low_rank(split.x, rank) for rank in ranks},
            "degree product": degree_product(split.x),
        }
        for name, found in scores.items():
            row = [
                value
                for others in (split.test.uniform, split.test.matched)
                for value in link_prediction(found, split.test.links, others)
            ]
            measured.setdefault(name, []).append(row)
        print(seed, {name: round(rows[-1][0], 3) for name, rows in measured.items()}, flush=True)
    lines = [
        "| | AUC, uniform pairs | AP, uniform | AUC, pairs of like degrees | AP, like degrees |",
        "|---|---|---|---|---|",
    ]
    for name, rows in measured.items():
        found = torch.tensor(rows, dtype=torch.float64)
        cells = [f"{m:.3f} ± {s:.3f}" for m, s in zip(found.mean(0), found.std(0), strict=True)]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    ours = torch.tensor(measured["graph-vae"])
    others = {name: torch.tensor(rows) for name, rows in measured.items() if name != "graph-vae"}
    lines += [""]
    for column, pairs in ((0, "uniform pairs"), (2, "pairs of like degrees")):
        best = max(others, key=lambda name: float(others[name][:, column].mean()))
        paired = ours[:, column] - others[best][:, column]
        lines.append(
            f"Against {pairs} the best of the others is {best}; `graph-vae` has a larger AUC than it in "
            f"{int((paired > 0).sum())} of {given.splits} splits (mean difference {paired.mean():+.3f})."
        )
    lines.append(f"A training takes {seconds / given.splits:.1f} s of the processor.")
    protocol = PROTOCOL.format(
        name=given.data, title=title, persons=persons, more=more, nodes=len(x), links=int(x.sum()) // 2,
        k=len(split.test.links), splits=given.splits, first=FIRST,
    )  # fmt: skip
    record(f"Graph: links of {title}", protocol, "\n".join(lines), packages=packages)


if __name__ == "__main__":
    main()
