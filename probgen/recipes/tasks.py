"""Data sets by name, as tasks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from probgen import data
from probgen.data.targets import Target
from probgen.recipes.task import Rows, Task

TARGET_TRAIN = 10_000
"""Exact draws that methods learn a two-dimensional target from."""


def load(name: str, *, device: torch.device | str = "cpu", seed: int = 0) -> Task:
    """Return the data set called ``name`` as a task on a device.

    MNIST is binarised, x ~ Bernoulli(grey): the test images and the training images that are compared once,
    with the same noise each time; models learn from fresh noise. The ``seed`` is that of the exact draws of a
    two-dimensional target. Raises ValueError for a name that is not known.
    """
    where = torch.device(device)
    if name in data.TARGETS:
        return _plane(data.target(name), where, seed)
    if name not in _REAL:
        raise ValueError(f"there is no data set {name!r}: {data.suggest(name, [*_REAL, *data.TARGETS])}")
    return _REAL[name](where)


def _digits(device: torch.device) -> Task:
    images = data.digits()
    levels = f"{images.levels} grey levels, 0, 1/{images.levels - 1}, ..., 1"
    facts = _facts(images) | {"pixels": f"{levels}; each method draws such levels"}
    train = _rows(images.train, images.train_labels, device)
    test = _rows(images.test, images.test_labels, device)
    return _images(images, train, test, facts, images.levels)


def _mnist(device: torch.device) -> Task:
    images = data.mnist()
    facts = _facts(images) | {"pixels": "0 or 1, drawn from Bernoulli(grey level)"}
    # The file's first half is neater than its second; any first part of this order is a fair sample.
    order = torch.randperm(len(images.test), generator=torch.Generator().manual_seed(0))
    test = _rows(images.test[order], images.test_labels[order], device)
    train = _rows(images.train, images.train_labels, device)
    noise = torch.Generator(device).manual_seed(0)
    train = Rows(data.binarise(train.x, generator=noise), grey=train.x, labels=train.labels)
    test = Rows(data.binarise(test.x, generator=noise), labels=test.labels)
    return _images(images, train, test, facts, levels=2)


def _diabetes(device: torch.device) -> Task:
    return _table(data.diabetes(), device)


_REAL: dict[str, Callable[[torch.device], Task]] = {"digits": _digits, "mnist": _mnist, "diabetes": _diabetes}


def _table(table: data.Table, device: torch.device) -> Task:
    train, test = (
        Rows(table.distances(codes).to(device), codes=codes.to(device)) for codes in (table.train, table.test)
    )
    facts = {
        "data": f"{table.name}, version {table.version}",
        "distances": "numbers in standard deviations of the training rows, categories one-hot",
    }
    return Task(table.name, "table", train, test, facts=facts | table.facts, table=table)


def _plane(target: Target, device: torch.device, seed: int) -> Task:
    generator = torch.Generator(device).manual_seed(seed)
    train, test = (
        Rows(target.sample(n, generator=generator, dtype=torch.float32, device=device))
        for n in (TARGET_TRAIN, 2 * TARGET_TRAIN)
    )
    facts = {
        "data": f"{target.name}, version {target.version}: {target.what}",
        "exact draws": "train and test",
    }
    return Task(target.name, "plane", train, test, facts=facts, target=target)


def _facts(images: data.Images) -> dict[str, Any]:
    return {"data": f"{images.name}, version {images.version}", "classes": "10 digits"}


def _rows(x: torch.Tensor, labels: torch.Tensor, device: torch.device) -> Rows:
    return Rows(x.to(device), labels=labels.to(device))


def _images(images: data.Images, train: Rows, test: Rows, facts: dict[str, Any], levels: int) -> Task:
    return Task(
        images.name, "images", train, test, facts=facts, image_shape=images.image_shape, levels=levels
    )
