"""What the commands work on: a data set, split, with what is known of it."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from probgen import data
from probgen.data.targets import Target

TARGET_TRAIN = 10_000
"""Exact draws that methods learn a two-dimensional target from."""

SMALL = 10**6
"""Numbers in the training data below which a second thread does not pay."""


class Problem(NamedTuple):
    """Training and test data on one device, and how to learn from them.

    ``train`` and ``test`` are what is compared. ``grey`` holds the training images before binarisation and
    ``levels`` is the number of values that a pixel takes; both are for images alone.
    """

    name: str
    train: Tensor
    test: Tensor
    facts: dict[str, Any]
    image_shape: tuple[int, int] | None = None
    levels: int = 0
    grey: Tensor | None = None
    labels: Tensor | None = None
    target: Target | None = None


def settle_threads(problem: Problem) -> None:
    """Let small problems run on one thread: threads that wait for each other cost more than they bring."""
    if problem.train.numel() < SMALL and problem.train.device.type == "cpu":
        torch.set_num_threads(1)


def names() -> list[str]:
    """Return the names that :func:`load` knows."""
    return [entry.name for entry in data.listing()]


def load(name: str, *, device: torch.device, seed: int = 0) -> Problem:
    """Load a data set by name onto a device.

    MNIST is binarised, x ~ Bernoulli(grey): the test images and the training images that are compared once,
    with the same noise each time; models learn from fresh noise.
    """
    if name in data.TARGETS:
        return _plane(data.target(name), device, seed)
    if name not in names():
        raise ValueError(f"there is no data set {name!r}: {data.suggest(name, names())}")
    images = data.digits() if name == "digits" else data.mnist()
    facts = {"data": f"{name}, version {images.version}", "classes": "10 digits"}
    train, test, labels = (x.to(device) for x in (images.train, images.test, images.test_labels))
    levels, grey = images.levels, None
    if name == "mnist":
        # The file's first half is neater than its second; any first part of this order is a fair sample.
        order = torch.randperm(len(test), generator=torch.Generator().manual_seed(0)).to(device)
        test, labels = test[order], labels[order]
        noise = torch.Generator(device).manual_seed(0)
        grey, levels = train, 2
        train, test = data.binarise(train, generator=noise), data.binarise(test, generator=noise)
        facts["pixels"] = "0 or 1, drawn from Bernoulli(grey level)"
    else:
        facts["pixels"] = f"{levels} grey levels, 0, 1/{levels - 1}, ..., 1; each method draws such levels"
    return Problem(name, train, test, facts, images.image_shape, levels, grey, labels)


def _plane(target: Target, device: torch.device, seed: int) -> Problem:
    generator = torch.Generator(device).manual_seed(seed)
    train, test = (
        target.sample(n, generator=generator, dtype=torch.float32, device=device)
        for n in (TARGET_TRAIN, 2 * TARGET_TRAIN)
    )
    facts = {
        "data": f"{target.name}, version {target.version}: {target.what}",
        "exact draws": "train and test",
    }
    return Problem(target.name, train, test, facts, target=target)
