"""Data sets by name, as tasks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import torch

from probgen import data
from probgen.data.targets import Target
from probgen.recipes.task import Rows, Task

TARGET_TRAIN = 10_000
"""Exact draws that methods learn a two-dimensional target from."""


FILMS = 2000
"""Films of moving digits to learn from; a quarter as many are test."""


MOST_PIXELS = 64 * 64
"""Most pixels of a user's own pictures: the nets here are fully connected."""


def load(
    name: str | Path, *, device: torch.device | str = "cpu", seed: int = 0, kinds: str | None = None
) -> Task:
    """Return the data set called ``name``, or a file or folder of the user's own, as a task on a device.

    A file is read by :func:`probgen.data.read`. Of a table with missing values only whole rows are compared,
    while models that can learn from all rows; pictures keep their grey levels.

    MNIST is binarised, x ~ Bernoulli(grey): the test images and the training images that are compared once,
    with the same noise each time; models learn from fresh noise. The ``seed`` is that of the exact draws of a
    two-dimensional target, and of the links of a graph that are test; ``kinds`` names those of a table's
    columns where they are found wrong, as in "town=categorical,visits=real,id=none". A table whose rows are
    the links of a graph says so by "from=node,to=node", the columns that name their ends. Raises ValueError
    for a name that is not known and no file, and for data that no recipe suits.
    """
    where = torch.device(device)
    if is_file(name):
        return _own(Path(name), where, seed, kinds)
    if kinds is not None:
        raise ValueError(f"kinds are those of columns of a table of one's own but {str(name)!r} is none")
    name = str(name)
    if name in data.TARGETS:
        return _plane(data.target(name), where, seed)
    if name in data.GRAPHS:
        return _graph(data.graph(name), where, seed)
    if name not in _REAL:
        hint = data.suggest(name, [*_REAL, *data.GRAPHS, *data.TARGETS])
        raise ValueError(f"there is no data set {name!r}: {hint}, or name a file")
    return _REAL[name](where)


def is_file(name: str | Path) -> bool:
    """Say whether ``name`` means a file or folder of the user's own, and no data set."""
    if str(name) in (*_REAL, *data.GRAPHS, *data.TARGETS):
        return False
    return Path(name).suffix != "" or Path(name).name != str(name) or Path(name).exists()


def short_name(name: str) -> str:
    """Return a name for folders: of a file of the user's own what stands before its suffix."""
    return Path(name).resolve().stem if is_file(name) else name


def kinds_named(words: str) -> dict[Any, str | None]:
    """Return kinds by column, as data.read takes them, from "town=categorical,id=none"."""
    kinds: dict[Any, str | None] = {}
    for part in words.split(","):
        column, equals, kind = (piece.strip() for piece in part.rpartition("="))
        if not equals or not column or not kind:
            raise ValueError(f"kinds should be written as town=categorical,id=none but hold {part.strip()!r}")
        kinds[column] = None if kind == "none" else kind
    return kinds


def _own(path: Path, device: torch.device, seed: int, kinds: str | None) -> Task:
    """Return a user's own data as a task."""
    named = {} if kinds is None else kinds_named(kinds)
    if "node" in named.values():
        return _own_graph(path, named, device, seed)
    found = data.read(path, kinds=named or None)
    about = {"file": str(path.resolve()), "SHA-256": data.digest_of(path)}
    if isinstance(found, data.Table):
        task = _table(found, device)
        if len(task.train.complete) < 8 or len(task.test.complete) < 8:
            raise ValueError(
                f"{path} should have 8 whole rows to learn from and 8 to test on, to be compared, but has "
                f"{len(task.train.complete)} and {len(task.test.complete)}"
            )
        return replace(task, facts=about | task.facts)
    if kinds is not None:
        raise ValueError(f"kinds are those of columns of a table but {path} is none")
    if isinstance(found, data.Text):
        task = _sentences(found.lines(), device, about | {"lines": "each a sequence; the last tenth is test"})
        if len(task.train) < 8 or len(task.test) < 8:
            raise ValueError(
                f"{path} should have 8 lines to learn from and 8 more, the last tenth, to test on, but has "
                f"{len(task.train)} and {len(task.test)}"
            )
        return task
    if not isinstance(found, data.Images):
        raise ValueError(f"{path} holds sequences, which no recipe suits yet: read it with data.read")
    return _pictures(found, device, about)


def _own_graph(path: Path, kinds: dict[Any, str | None], device: torch.device, seed: int) -> Task:
    """Return the graph whose links a CSV names as a task, the columns of kind "node" being their ends."""
    ends = [column for column, kind in kinds.items() if kind == "node"]
    if len(ends) != 2 or len(kinds) != 2:
        raise ValueError(
            "a file of links should have two columns of kind 'node', the ends of a link, and no kinds of "
            f"others, but kinds are {kinds}"
        )
    task = _graph(data.graph(path, ends=(ends[0], ends[1])), device, seed)
    return replace(task, facts={"file": str(path.resolve()), "SHA-256": data.digest_of(path)} | task.facts)


def _pictures(images: data.Images, device: torch.device, about: dict[str, Any]) -> Task:
    height, width = images.image_shape
    if height * width > MOST_PIXELS:
        raise ValueError(
            f"pictures should have at most {MOST_PIXELS:,} pixels but those of {images.name!r} have "
            f"{width}x{height}: make them smaller"
        )
    some, all_known = bool((images.train_labels >= 0).any()), bool((images.test_labels >= 0).all())
    # A folder has its pictures class by class; any first part of this order is a fair sample of them.
    source = torch.Generator().manual_seed(0)
    first, second = (torch.randperm(len(rows), generator=source) for rows in (images.train, images.test))
    train = Rows(
        images.train[first].to(device), labels=images.train_labels[first].to(device) if some else None
    )
    test = Rows(
        images.test[second].to(device), labels=images.test_labels[second].to(device) if all_known else None
    )
    facts = {"pixels": f"{images.levels} grey levels", "size": f"{width}x{height}"}
    return _images(images, train, test, about | facts, images.levels)


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


def _sprites(device: torch.device) -> Task:
    images = data.sprites()
    facts = {
        "data": f"{images.name}, version {images.version}, drawn here",
        "classes": "3 shapes, of 6 sizes, 40 orientations and 32x32 places",
        "pixels": "0 or 1",
    }
    attributes = data.Sprites().attributes(data.split_of_sprites()).to(device).split(len(images.train))
    train, test = (
        replace(_rows(x, labels, device), attributes=own)
        for x, labels, own in zip(images[:2], images[2:4], attributes, strict=True)
    )
    return _images(images, train, test, facts, images.levels)


def _diabetes(device: torch.device) -> Task:
    return _table(data.diabetes(), device)


def _chorales(device: torch.device) -> Task:
    """The three parts are those of the source; all are padded to the longest chorale."""
    found = data.chorales()
    parts = (found.train, found.valid, found.test)
    longest = max(len(chorale) for part in parts for chorale in part)
    train, valid, test = (padded(part, longest, device) for part in parts)
    facts = {
        "data": f"{found.name}, version {found.version}",
        "parts": f"{len(train)} chorales to learn from, {len(valid)} to choose on, {len(test)} to test on",
        "steps": f"quarter notes, {', '.join(f'{sum(map(len, part)):,}' for part in parts)} of them",
    }
    return Task(found.name, "music", train, test, valid, facts)


def padded(sequences: list[torch.Tensor], steps: int, device: torch.device) -> Rows:
    """Return sequences as rows of so many steps, with their lengths."""
    x = torch.stack([torch.cat([s, s.new_zeros(steps - len(s), *s.shape[1:])]) for s in sequences])
    return Rows(x.to(device), lengths=torch.tensor([len(s) for s in sequences], device=device))


def _moving_digits(device: torch.device) -> Task:
    return films(digits=1, device=device)


def films(*, digits: int, device: torch.device | str = "cpu", redrawn: bool = False) -> Task:
    """Return films of so many moving digits as a task: the test's are of MNIST's test pictures."""

    def rows(n: int, part: Literal["train", "test"], seed: int) -> Rows:
        generator = torch.Generator().manual_seed(seed)
        x = data.moving_digits(n, generator=generator, part=part, digits=digits, redrawn=redrawn)
        return Rows(x.to(device))

    facts = {
        "data": f"films of {digits} of MNIST's digits, drawn here",
        "frames": "20 of 32x32, pixels 0 or 1",
        "walls": "left in any direction" if redrawn else "mirrors",
    }
    train, test = rows(FILMS, "train", 0), rows(FILMS // 4, "test", 1)
    return Task("moving-digits", "video", train, test, facts=facts)


def _verse(device: torch.device) -> Task:
    facts = {"lines": "spoken in nine plays by Shakespeare, each a sequence; two whole plays are test"}
    return _sentences(data.verse_lines(), device, facts)


def _molecules(device: torch.device) -> Task:
    return _sentences(data.smiles(), device, {"attributes": "logP, qed, SAS"})


def _molecule_graphs(device: torch.device) -> Task:
    found = data.molecules()
    facts = {
        "data": f"{found.name}, version {found.version}",
        "graphs": f"at most {found.matrix.atoms} atoms of {len(found.matrix.kinds)} kinds, without hydrogens",
        "left out": f"{found.left_out:,} with more atoms, or that do not come back from their graph",
    }
    train, test = (Rows(x.to(device)) for x in (found.train, found.test))
    return Task("zinc-graphs", "molecules", train, test, facts=facts, matrix=found.matrix)


def _sentences(found: data.Sentences, device: torch.device, facts: dict[str, Any]) -> Task:
    """Return sequences of tokens that end as a task, in the order that they are in."""
    train, test = (
        Rows(
            x.to(device),
            labels=None if labels is None else labels.to(device),
            attributes=None if attributes is None else attributes.to(device),
        )
        for x, labels, attributes in (
            (found.train, found.train_labels, found.train_attributes),
            (found.test, found.test_labels, found.test_attributes),
        )
    )
    about = {
        "data": f"{found.name}, version {found.version}",
        "tokens": f"{found.vocabulary.size}, END and PAD counted; at most {found.train.shape[1]} a sequence",
    }
    return Task(found.name, "text", train, test, facts=about | facts, vocabulary=found.vocabulary)


_REAL: dict[str, Callable[[torch.device], Task]] = {
    "digits": _digits,
    "mnist": _mnist,
    "sprites": _sprites,
    "diabetes": _diabetes,
    "chorales": _chorales,
    "moving-digits": _moving_digits,
    "verse": _verse,
    "zinc": _molecules,
    "zinc-graphs": _molecule_graphs,
}


def _graph(found: data.Graph, device: torch.device, seed: int) -> Task:
    """Return a graph as a task: to learn from without the links of test, which are set apart as pairs."""
    split = data.split_links(found.x, seed=seed)
    asked = torch.zeros_like(split.seen)
    for pairs in split.test:
        asked[pairs[:, 0], pairs[:, 1]] = True
    train, test = (
        Rows(x.unsqueeze(0).to(device), seen=seen.unsqueeze(0).to(device))
        for x, seen in ((split.x, split.seen), (found.x, asked | asked.T))
    )
    k, links = len(split.test.links), int(found.x.sum()) // 2
    facts = {
        "data": f"{found.name}, version {found.version}",
        "graph": f"{len(found.nodes)} nodes, {links} links",
        "test": f"{k} links, {k} pairs without one and {k} of like degrees, which are not seen in training",
    }
    return Task(found.name, "graph", train, test, facts=facts)


def _table(table: data.Table, device: torch.device) -> Task:
    train, test = (
        Rows(table.distances(codes).to(device), codes=codes.to(device)) for codes in (table.train, table.test)
    )
    facts = {
        "data": f"{table.name}, version {table.version}",
        "distances": "numbers in standard deviations of the training rows, categories one-hot",
        "likelihood": "of rows as coded: real numbers in standard deviations, positive in geometric means",
    }
    said = {k: _listed(v) if isinstance(v, dict) else v for k, v in table.facts.items()}
    if train.codes is not None and bool(train.codes.isnan().any()):
        said["compared"] = (
            f"the {len(train.complete)} and {len(test.complete)} rows of train and test in which nothing is "
            "missing; models that can learn from all"
        )
    return Task(table.name, "table", train, test, facts=facts | said, table=table)


def _listed(facts: dict[str, Any]) -> str:
    return "; ".join(f"{key}: {value}" for key, value in facts.items())


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
