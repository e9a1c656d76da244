"""What judges of draws see: copies among real digits, and distances in features from few draws.

python -m tests.benchmarks.draws
"""

import torch

from probgen import data
from probgen.evaluation import (
    authenticity,
    classifier_features,
    data_copying_test,
    frechet_distance,
    kernel_distance,
    nearest_neighbour_ratio,
)
from tests.benchmarks.results import record

REPEATS = 40
SHARES = (0.0, 0.05, 0.1, 0.2, 0.5, 1.0)
SIZES = (80, 160, 320)


def main() -> None:
    """Write both tables."""
    images = data.digits()
    features = classifier_features(images.train, images.train_labels, scale=None)
    everything = images.test[torch.randperm(len(images.test), generator=torch.Generator().manual_seed(0))]
    protocol = (
        f"Digits, real held-out ones in the place of draws, over {REPEATS} random splits in halves. Copies: "
        "a share of the draws replaced by training digits; means, and how often the test of copying rejects "
        f"at 5 %. Distances: n draws against n others, in {features}; means and standard deviations over "
        "splits."
    )
    record(
        "Judges of draws",
        protocol,
        "\n\n".join([_copies(images.train, everything), _sizes(everything, features)]),
    )


def _copies(train: torch.Tensor, rows: torch.Tensor) -> str:
    lines = ["| copies | z | rejected | neighbour ratio | authenticity |", "|---|---|---|---|---|"]
    for share in SHARES:
        found = []
        for seed in range(REPEATS):
            generator = torch.Generator().manual_seed(seed)
            draws, held_out = rows[torch.randperm(len(rows), generator=generator)].chunk(2)
            copies = round(share * len(draws))
            some = torch.randperm(len(train), generator=generator)[:copies]
            draws = torch.cat([train[some], draws[copies:]])
            test = data_copying_test(draws, train, held_out, scale=None, seed=seed)
            ratio = nearest_neighbour_ratio(draws, train, held_out, scale=None)
            found.append((test.z, float(test.p_value < 0.05), ratio, authenticity(draws, train, scale=None)))
        z, rejected, ratio, share_new = torch.tensor(found).mean(0).tolist()
        lines.append(f"| {share:.0%} | {z:.2f} | {rejected:.0%} | {ratio:.3f} | {share_new:.3f} |")
    return "\n".join(lines)


def _sizes(rows: torch.Tensor, features: object) -> str:
    lines = ["| n | Fréchet | extrapolated | kernel | its standard errors |", "|---|---|---|---|---|"]
    mapped = features(rows)
    for n in SIZES:
        found = []
        for seed in range(REPEATS):
            order = torch.randperm(len(rows), generator=torch.Generator().manual_seed(seed))
            x, y = mapped[order[:n]], mapped[order[n : 2 * n]]
            found.append((*frechet_distance(x, y), *kernel_distance(x, y)))
        mean, deviation = torch.tensor(found).mean(0).tolist(), torch.tensor(found).std(0).tolist()
        cells = [f"{m:.3f} ± {s:.3f}" for m, s in zip(mean[:3], deviation[:3], strict=True)]
        lines.append(f"| {n} | {' | '.join(cells)} | {mean[3]:.3f} |")
    return "\n".join(lines)


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
