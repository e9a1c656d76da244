"""Features in which labelled data, such as pictures, are compared: the last hidden layer of a classifier."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from probgen.core import check_count, seed_of, seeded, taking_arrays, tensor_of
from probgen.data.missing import check_labels
from probgen.mmd.pairwise import check_finite
from probgen.mmd.scaling import Scale, units_of
from probgen.nets import MLP, ClassHead
from probgen.objectives import Classification
from probgen.training import fit

HELD_OUT = 5
"""One row in so many is held out, for the accuracy."""

_AT_ONCE = 4096
"""Rows that go through the net at once."""


class ClassifierFeatures(nn.Module):
    r"""What the last hidden layer of a classifier makes of data, shape (n, \*event) to (n, width).

    Features are centred and divided by one number, so that on the rows held out they have the mean 0 and
    the mean square 1.

    Attributes:
        accuracy: of the classifier on the rows held out.
        rows, held_out_rows: how many rows it has learned from, and how many it was held against.
        width: how many features there are.
    """

    accuracy: float
    rows: int
    held_out_rows: int
    centre: Tensor
    units: Tensor
    mean: Tensor
    size: Tensor

    def __init__(self, net: MLP, event: torch.Size, centre: Tensor, units: Tensor) -> None:
        super().__init__()
        self.net, self.classifier = net, ClassHead(net)
        self.width, self.event = net.last.in_features, event
        self.register_buffer("centre", centre)
        self.register_buffer("units", units)
        self.register_buffer("mean", centre.new_zeros(self.width))
        self.register_buffer("size", centre.new_ones(()))

    @torch.no_grad()
    def forward(self, x: Tensor) -> Tensor:
        """Return the features of data."""
        found = [self.net.body(rows) for rows in self.inputs(x).split(_AT_ONCE)]
        return (torch.cat(found) - self.mean) / self.size

    def inputs(self, x: Tensor) -> Tensor:
        """Return data as the net takes them: flat, centred and in units."""
        if x.shape[1:] != self.event:
            raise ValueError(
                f"x should have the event shape {tuple(self.event)} of the features but has "
                f"{tuple(x.shape[1:])}"
            )
        return (x.reshape(len(x), -1).to(self.centre) - self.centre) / self.units

    def __str__(self) -> str:
        return (
            f"{self.width} features of a classifier that learned from {self.rows:,} rows, of accuracy "
            f"{self.accuracy:.3f} on {self.held_out_rows:,} others"
        )


@taking_arrays("x")
def classifier_features(
    x: Tensor,
    labels: Tensor,
    *,
    width: int = 32,
    steps: int = 2000,
    scale: Scale = "auto",
    checkpoint: str | Path | None = None,
    resume: bool = False,
    seed: int | None = None,
    generator: torch.Generator | None = None,
) -> ClassifierFeatures:
    r"""Train a classifier of labelled data, whose last hidden layer is what draws are compared in.

    Distances between pixels see little of what a picture shows. The Fréchet and the kernel inception distance
    take the features of a net trained on ImageNet in their place; these here are of a net that is trained on
    the data themselves, two layers of 2 ``width`` and ``width`` units with Adam in batches of 128. One row in
    five, drawn at random, is held out; the accuracy on these stands with the features, since nothing tells
    laws apart that an unlearned net does not see. Numbers in one net's features compare with one another and
    with no published ones. Data that draws are judged against should not be among ``x``: of rows that it has
    learned from the net is surer than of others.

    Args:
        x: shape (n, \*event); events are flattened.
        labels: classes 0, 1, ..., whole numbers, shape (n,); rows of label −1 are left out.
        width: the number of features. The fewer there are, the fewer draws a Fréchet distance needs.
        steps: of the training.
        scale: what columns are divided by, as for :func:`precision_recall`; None for one number for all.
        checkpoint, resume: as for :func:`probgen.fit`.
        seed, generator: of the rows held out, the first weights and the batches, one at most; seed 0 where
            not given.

    Raises:
        TypeError, ValueError: for data that are not finite, labels that are not whole numbers or do not fit,
            fewer than two classes, and fewer than ten labelled rows.

    Source: Heusel, Ramsauer, Unterthiner, Nessler and Hochreiter (2017) for features of a classifier.

    >>> x = torch.randn(200, 2, generator=torch.Generator().manual_seed(0))
    >>> features = classifier_features(x, (x[:, 0] > 0).long(), width=8, steps=200)
    >>> features(x).shape, features.accuracy > 0.9
    (torch.Size([200, 8]), True)
    """
    check_finite(x=x)
    x = x.detach()
    y = tensor_of(labels, "labels")
    if not isinstance(y, Tensor):
        raise TypeError(f"labels should be a tensor or an array but are of type {type(y).__name__}")
    check_labels(y, len(x))
    width, seed = check_count("width", width), seed_of(seed, generator, default=0)
    known = (y >= 0).nonzero()[:, 0].to(x.device)
    if len(known) < 2 * HELD_OUT:
        raise ValueError(f"labels should be known of at least {2 * HELD_OUT} rows but are of {len(known)}")
    order = torch.randperm(len(known), generator=torch.Generator().manual_seed(seed)).to(x.device)
    held_out, rows = (known[part] for part in order.tensor_split([len(known) // HELD_OUT]))
    y = y.to(x.device).long()
    if int(y.max()) >= len(y):
        raise ValueError(
            f"labels should be classes 0, 1, ..., fewer than the {len(y)} rows, but one is {int(y.max())}"
        )
    if len(y[rows].unique()) < 2:
        raise ValueError("labels should be of at least 2 classes but are of 1")
    with seeded(seed):
        net = MLP(x[0].numel(), int(y.max()) + 1, hidden=(2 * width, width)).to(x)
    found = ClassifierFeatures(net, x.shape[1:], *_centre_and_units(x[rows], scale))
    given = found.inputs(x)
    fit(
        _Classification(found),
        (given[rows], y[rows]),
        steps=steps,
        checkpoint=checkpoint,
        resume=resume,
        seed=seed,
        progress=False,
    )
    with torch.no_grad():
        guessed = found.classifier(given[held_out]).logits.argmax(-1)
        found.mean.copy_(found(x[held_out]).mean(0))
        found.size.copy_(found(x[held_out]).square().mean().sqrt())
    found.accuracy = float((guessed == y[held_out]).double().mean())
    found.rows, found.held_out_rows = len(rows), len(held_out)
    return found


class _Classification(Classification):
    """Keeps the last weights, so that these are the same with a checkpoint as without."""

    def judge(self, terms: Mapping[str, float]) -> None:
        return None


def _centre_and_units(x: Tensor, scale: Scale) -> tuple[Tensor, Tensor]:
    """Return the mean of each column, and what it is divided by: one number for all without a scale."""
    flat = x.reshape(len(x), -1).double()
    units, _ = units_of(scale, x=x)
    centre = flat.mean(0)
    each = (flat - centre).square().mean().sqrt().expand_as(centre) if units is None else units.reshape(-1)
    if not (each > 0).all():
        raise ValueError("x should hold different rows but holds one, again and again")
    return centre.to(x), each.to(x)
