"""What a recipe learns from, and what depends on it: sizes of nets, the likelihood, the budget."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from probgen import data, mmd, nets
from probgen.data.targets import Target

KINDS = ("images", "plane", "table", "music", "text", "video", "graph", "molecules")
"""Of data. Pictures, flat, in grey levels or black and white; points of the plane; tables. Sequences of
notes, x (n, T, 88) of 0 and 1, with lengths; texts as tokens (n, T), int64, which tell their own end; films
(n, T, 1, height, width); graphs by their adjacency (n, nodes, nodes), often a single one; molecules as
matrices of atoms and bonds (n, atoms, atoms), int64."""

SEQUENCES = ("music", "text", "video")
"""Kinds of which a datum goes on in time: judged by likelihood a step."""

LARGE = 2000
"""Pixels from which a picture is large."""

FEW = 1000
"""Training pictures up to which those in grey levels are learned by heart in a hundred looks at each.

Of 698 digits a VAE of 16 coordinates has 94 nats on 200 others after 600 steps of 100, and after 2,000 steps
of 128 it has 122; one with a flow as its prior has 98 after 700 steps, and 236 after 2,000."""

FEW_LEVELS = 33
"""Grey levels up to which each has a probability of its own; of more, neighbours have like ones."""

SMALL = 10**6
"""Numbers in the training data below which a second thread does not pay."""


class Budget(NamedTuple):
    """How long a training goes on: optimizer steps, rows of a batch, and the learning rate at the start."""

    steps: int
    batch_size: int
    learning_rate: float


class Sizes(NamedTuple):
    """What suits a kind of data: coordinates of a code, widths of layers, the budget of a likelihood."""

    latent: int
    hidden: Sequence[int]
    budget: Budget


SIZES = {
    "plane": Sizes(2, (128, 128), Budget(6000, 500, 3e-3)),
    "table": Sizes(4, (128, 128), Budget(3000, 64, 2e-3)),
    "images": Sizes(16, (256,), Budget(2000, 128, 2e-3)),
    "few images": Sizes(16, (256,), Budget(700, 100, 2e-3)),
    "binary images": Sizes(32, (400, 400), Budget(9400, 128, 1e-3)),
    "large binary images": Sizes(10, (256, 256), Budget(4000, 128, 1e-3)),
    "music": Sizes(32, (200,), Budget(3000, 32, 3e-3)),
    "text": Sizes(32, (256,), Budget(3000, 64, 3e-3)),
    "video": Sizes(16, (128,), Budget(2000, 32, 3e-3)),
    "graph": Sizes(16, (32,), Budget(1000, 1, 1e-2)),
    "molecules": Sizes(32, (256,), Budget(3000, 64, 3e-3)),
}

MULTIPLE = 16
"""Steps of which the padded length of a batch of sequences is a multiple, so that few shapes occur."""


@dataclass(frozen=True)
class Rows:
    r"""Rows of a data set.

    Args:
        x: what draws are compared with, shape (n, \*event).
        grey: of pictures that are made black and white, the grey levels before, in [0, 1].
        labels: classes 0, 1, ..., int64, shape (n,); −1 where missing.
        codes: of a table, its rows as coded, NaN where a value is missing, as it then is in x.
        attributes: numbers that describe each datum, shape (n, k).
        lengths: of sequences that are padded, how many steps each has, int64, shape (n,).
        seen: of graphs, which pairs of nodes are data, boolean, shape (n, nodes, nodes).
    """

    x: Tensor
    grey: Tensor | None = None
    labels: Tensor | None = None
    codes: Tensor | None = None
    attributes: Tensor | None = None
    lengths: Tensor | None = None
    seen: Tensor | None = None

    def __len__(self) -> int:
        return len(self.x)

    def __repr__(self) -> str:
        others = ("grey", "labels", "codes", "attributes", "lengths", "seen")
        words = [f"{len(self)} x {tuple(self.x.shape[1:])}"]
        words += [name for name in others if getattr(self, name) is not None]
        return f"Rows({', '.join(words)})"

    @property
    def fresh(self) -> Any:
        """What a likelihood learns from: x, codes of a table, or pixels drawn afresh at each look.

        Of sequences with lengths batches are (padded, lengths), and those of like lengths share one; of
        graphs they are (x, seen).
        """
        if self.codes is not None:
            return self.codes
        if self.lengths is not None:
            return data.Ragged(self.sequences(), multiple=MULTIPLE)
        if self.seen is not None:
            return (self.x, self.seen)
        return self.x if self.grey is None else data.Binarised(self.grey)

    @property
    def smooth(self) -> Tensor:
        """What a distance learns from: x, or the grey levels before it was made black and white."""
        return self.x if self.grey is None else self.grey

    @property
    def complete(self) -> Tensor:
        """x of the rows in which nothing is missing."""
        return self.x if self.codes is None else self.x[~self.codes.isnan().any(1)]

    def sequences(self) -> list[Tensor]:
        r"""Return sequences with lengths one by one, shape (steps, \*event) each."""
        if self.lengths is None:
            raise ValueError("sequences should have lengths but these rows have none")
        return [row[:length] for row, length in zip(self.x, self.lengths.tolist(), strict=True)]

    @property
    def inside(self) -> Tensor:
        """Which steps of padded sequences are data, boolean, shape (n, T)."""
        if self.lengths is None:
            raise ValueError("sequences should have lengths but these rows have none")
        return nets.inside(self.lengths, self.x.shape[1])

    def part(self, rows: slice | Tensor) -> Rows:
        """Return some of the rows."""
        others = (self.grey, self.labels, self.codes, self.attributes, self.lengths, self.seen)
        return Rows(self.x[rows], *(None if column is None else column[rows] for column in others))


@dataclass(frozen=True)
class Task:
    """A data set, split, on one device, with what recipes ask of it.

    Args:
        name, kind: of the data; the kind is one of :data:`KINDS`.
        train, test: rows to learn from, and rows that no method sees.
        held_out: rows to choose the best weights on.
        facts: for the record.
        image_shape: height and width of a picture.
        levels: the number of values that a pixel takes.
        target: of points in the plane, the law that they are drawn from.
        table: what the columns of a table are.
        vocabulary: of texts, what their tokens are.
        matrix: of molecules, what the numbers in their matrices are.
    """

    name: str
    kind: str
    train: Rows
    test: Rows
    held_out: Rows | None = None
    facts: dict[str, Any] = field(default_factory=dict)
    image_shape: tuple[int, int] | None = None
    levels: int = 0
    target: Target | None = None
    table: data.Table | None = None
    vocabulary: data.Vocabulary | None = None
    matrix: data.BondMatrix | None = None

    def __repr__(self) -> str:
        return (
            f"Task({self.name!r}, {self.kind}: {len(self.train)} rows to learn from and {len(self.test)} "
            f"that no method sees, {tuple(self.train.x.shape[1:])} each)"
        )

    def holding_out(self) -> Task:
        """Return the task with the last tenth of its training rows held out, or as it is if some are.

        A graph is one row and stays as it is.
        """
        if self.held_out is not None or self.kind == "graph":
            return self
        rows = len(self.train) * 9 // 10
        return replace(self, train=self.train.part(slice(rows)), held_out=self.train.part(slice(rows, None)))

    @property
    def size(self) -> int:
        """The number of coordinates of a datum, of music of a step; of texts the steps."""
        return self.train.x.shape[-1 if self.kind == "music" else 1]

    def classes(self, recipe: str, *, missing: bool = False) -> int:
        """Return the number of classes of all rows; ``missing``: the recipe learns where some have no label.

        Raises ValueError where there are no labels that suit the recipe.
        """
        labels = self.train.labels
        if labels is None or not bool((labels >= 0).any()):
            raise ValueError(f"the recipe {recipe!r} needs labels but {self.name!r} has none")
        without = int((labels < 0).sum())
        if without and not missing:
            raise ValueError(
                f"the recipe {recipe!r} needs a label of each row but {without} of {self.name!r} have none: "
                "'m2' learns from few"
            )
        everywhere = (rows.labels for rows in (self.train, self.held_out, self.test) if rows is not None)
        return max(int(some.max()) for some in everywhere if some is not None) + 1

    @property
    def symbols(self) -> data.Vocabulary:
        """The vocabulary of texts; raise ValueError where there is none."""
        if self.vocabulary is None:
            raise ValueError(f"{self.name!r} should have a vocabulary but is {self.kind!r} without one")
        return self.vocabulary

    @property
    def bonds(self) -> data.BondMatrix:
        """What the matrices of molecules mean; raise ValueError where there are none."""
        if self.matrix is None:
            raise ValueError(f"{self.name!r} should have a bond matrix but is {self.kind!r} without one")
        return self.matrix

    @property
    def missing(self) -> bool:
        """Whether some values of a table are missing."""
        return self.table is not None and bool(self.table.train.isnan().any())

    @property
    def device(self) -> torch.device:
        """Where the data lie."""
        return self.train.x.device

    @property
    def few_images(self) -> bool:
        """Whether these are pictures in grey levels, so few that a long training learns them by heart."""
        return self.kind == "images" and self.levels != 2 and len(self.train) <= FEW

    @property
    def sizes(self) -> Sizes:
        """What suits data of this kind."""
        if self.levels != 2:
            return SIZES["few images" if self.few_images else self.kind]
        return SIZES["binary images" if self.size < LARGE else "large binary images"]

    def encoder(self, latent: int, head: Callable[[nn.Module], nn.Module] = nets.NormalHead) -> nn.Module:
        """Return a conditional from data to a law of their codes, normal or what ``head`` makes of a net."""
        if self.table is None:
            net: nn.Module = nets.MLP(self.size, latent, hidden=self.sizes.hidden)
        else:
            inputs = nets.MixedInput(self.table.kinds)
            net = nets.Joined(nets.MLP(inputs.width, latent, hidden=self.sizes.hidden), inputs)
        return head(net).to(self.device)

    def decoder(self, latent: int) -> nn.Module:
        """Return a conditional from codes to data, with the likelihood that suits them."""
        if self.table is not None:
            kinds = self.table.kinds
            width = nets.MixedHead.width(kinds, scale="shared")
            net = nets.MLP(latent, width, hidden=self.sizes.hidden)
            return nets.MixedHead(net, kinds, scale="shared").to(self.device)
        return self.likelihood(nets.MLP(latent, self.size, hidden=self.sizes.hidden))

    def likelihood(self, net: nn.Module) -> nn.Module:
        """Return the law that suits data other than tables, by the numbers of a net of probgen.nets.

        Pixels are Bernoulli, categorical of up to 33 grey levels, and of more, as 256, discretised logistic;
        what is not a picture is normal.
        """
        if self.levels == 2:
            head: nn.Module = nets.BernoulliHead(net)
        elif self.kind == "images" and self.levels <= FEW_LEVELS:
            head = nets.CategoricalHead(net, self.levels)
        elif self.kind == "images":
            head = nets.DiscretisedLogisticHead(net, self.levels)
        else:
            head = nets.NormalHead(net, scale="shared")
        return head.to(self.device)

    def generator(self, inputs: int, *, hidden: Sequence[int]) -> nn.Module:
        """Return a net from so many numbers to data, or to grey levels where these are rounded to data."""
        net: nn.Module = nets.MLP(inputs, self.size, hidden=hidden)
        return (nn.Sequential(net, nn.Sigmoid()) if self.kind == "images" else net).to(self.device)

    def from_grey(self, draws: Tensor) -> Tensor:
        """Turn what a :meth:`generator` returns into data.

        Black and white pixels are drawn from Bernoulli(grey); of more levels the nearest is taken.
        """
        if self.kind != "images":
            return draws
        if self.levels == 2:
            return data.binarise(draws)
        return (draws * (self.levels - 1)).round() / (self.levels - 1)

    def padded(self, draws: Tensor) -> Tensor:
        """Return drawn sequences (n, t, ...) with zeros behind them, as many steps as the rows have."""
        missing = self.train.x.shape[1] - draws.shape[1]
        return torch.cat([draws, draws.new_zeros(len(draws), missing, *draws.shape[2:])], 1)

    def from_codes(self, codes: Tensor) -> Tensor:
        """Turn what a likelihood learns from, coded rows of a table or data themselves, into data."""
        return codes if self.table is None else self.table.distances(codes).to(self.train.x)

    def to_codes(self, x: Tensor) -> Tensor:
        """Turn data into what a likelihood learns from."""
        return x if self.table is None else self.table.from_distances(x)


def gaussian_kernel(x: Tensor, scales: Sequence[float]) -> mmd.Kernel:
    """Return Gaussian kernels, their bandwidths in units of the median distance of two rows of x."""
    median = mmd.median_bandwidth(x[:1000], x[1000:2000] if len(x) > 1000 else x[:1])
    return mmd.Gaussian([scale * median for scale in scales])


def settle_threads(task: Task) -> None:
    """Let small tasks run on one thread: threads that wait for each other cost more than they bring."""
    if task.train.x.numel() < SMALL and task.device.type == "cpu":
        torch.set_num_threads(1)
