"""What fit is given: checked, and made into what a training needs."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from inspect import Parameter, signature
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.optim import Adam, Optimizer
from torch.utils.data import DataLoader

from probgen.core import Objective, check_count, check_seed, takes_missing, weights_dtype
from probgen.data import Source, source
from probgen.data.batches import share
from probgen.training import checkpoint as checkpoints
from probgen.training.frozen import Modes
from probgen.training.learned import check_held, check_made
from probgen.training.parameter_groups import pythons
from probgen.training.processes import Processes


class Prepared(NamedTuple):
    """What a training needs, made of what fit is given and checked."""

    optimizer: Optimizer
    rows: Source
    held_out: Source | None
    batch_size: int | None
    least_rows: int
    steps: int
    between_reports: int
    accumulate: int
    max_gradient_norm: float | None
    patience: int | None
    seed: int | None
    folder: Path | None


def prepared(
    processes: Processes,
    objective: Objective,
    data: Any,
    *,
    epochs: int | None,
    steps: int | None,
    batch_size: int | None,
    optimizer: Optimizer | Callable[[Iterable[nn.Parameter]], Optimizer] | None,
    validation: Any | None,
    patience: int | None,
    accumulate: int,
    max_gradient_norm: float | None,
    checkpoint: str | Path | None,
    resume: bool,
    seed: int | None,
    alike: Mapping[str, Any],
) -> Prepared:
    """Check what fit is given and make of it what a training needs, in all processes alike.

    ``alike`` are further settings, by name, that the processes must have in common.
    """
    with processes.together():
        # Numbers, and the objective by itself.
        if not isinstance(objective, Objective):
            raise TypeError(
                "objective should be a probgen.Objective, such as SVI(pair), but is a "
                f"{type(objective).__name__}"
            )
        accumulate, seed = check_count("accumulate", accumulate), check_seed(seed)
        if max_gradient_norm is not None and not max_gradient_norm > 0:
            raise ValueError(f"max_gradient_norm should be above 0 but got {max_gradient_norm}")
        if patience is not None:
            patience = check_count("patience", patience)
            if validation is None:
                raise ValueError("patience needs validation data, on which a better loss is judged")
        check_made(objective)
        checkpoints.check_state(objective, saved=checkpoint is not None)
        # Data, and batches of them that are large enough for each part and process.
        parts = processes.world * accumulate
        needed, judged = rows_needed(objective), rows_needed(objective, training=False)
        missing = takes_missing(objective)
        dtype = weights_dtype(objective)
        whole: dict[str, Any] = {"least_rows": needed.of(parts), "row_multiple": needed.multiple_of(parts)}
        rows = source(data, **whole, missing=missing, dtype=dtype)
        held_out = validation
        if validation is not None:
            least = judged.of(processes.world)
            form: dict[str, Any] = {"least_rows": least, "missing": missing, "dtype": dtype}
            held_out = source(validation, name="validation", **form)
        size = batch_size_of(rows, batch_size)
        check_rows(data, rows, size, needed, parts, processes.world)
        total, interval = length(epochs, steps, rows, size)
        folder = run_folder(checkpoint, resume=resume)
        # All on one device, and only then an optimizer, which holds the weights that are there.
        if processes.device is not None:
            objective.to(processes.device)
            rows = moved(rows, processes.device, **whole, missing=missing)
            held_out = held_out and moved(held_out, processes.device, least_rows=least, missing=missing)
        check_alike(objective, rows, "data")
        check_alike(objective, held_out, "validation")
        made = optimizer_of(objective, optimizer)
    processes.agree(
        in_common(objective, rows, held_out)
        | {"batch_size": size, "batches in an epoch": rows.steps(size), "steps": total}
        | {"steps between reports": interval, "accumulate": accumulate, "seed": seed, "patience": patience}
        | {"max_gradient_norm": max_gradient_norm, "optimizer": type(made).__name__}
        | {"checkpoint": checkpoint and str(folder), "resume": resume}
        | dict(alike)
    )
    return Prepared(
        made, rows, held_out, size, needed.rows, total, interval,
        accumulate, pythons(max_gradient_norm), patience, seed, folder,
    )  # fmt: skip


def batch_size_of(data: Source, batch_size: int | None) -> int | None:
    size = 128 if batch_size is None else check_count("batch_size", batch_size)
    if batch_size is not None and data.own_batches:
        raise ValueError(f"a DataLoader has its own batch_size: leave out batch_size={batch_size}")
    return None if data.own_batches else size


class Rows(NamedTuple):
    """How many rows a batch needs at least, and why, and what they should divide by."""

    rows: int
    why: str
    multiple: int

    def of(self, parts: int) -> int:
        """Return how many a batch needs that is cut into parts; those of one row may be fewer."""
        return self.rows * parts if self.rows > 1 else 1

    def multiple_of(self, parts: int) -> int:
        """Return what the rows of a batch should divide by that is cut into parts."""
        return self.multiple * parts if self.multiple > 1 else 1


def rows_needed(objective: Objective, *, training: bool = True) -> Rows:
    """Return the least rows of an objective; under batch normalisation in training mode two at least."""
    normalised = Modes(objective).batch_normalisation(training=training)
    if normalised is not None and objective.least_rows < 2:
        why = f"since {normalised!r} normalises by the statistics of a batch"
        return Rows(2, why, objective.row_multiple)
    why = f"the least_rows of {type(objective).__name__}"
    return Rows(objective.least_rows, why, objective.row_multiple)


def check_rows(data: Any, rows: Source, batch_size: int | None, needed: Rows, parts: int, world: int) -> None:
    """Raise where batches are known to be too small, or not to divide, before a training starts."""
    least, multiple = needed.of(parts), needed.multiple_of(parts)
    each = f", {{}} for each of {parts} parts" if parts > 1 else ""
    sentence = f"a batch should have at least {least} rows{each.format(needed.rows)}, {needed.why}, but "
    whole = f"a batch should have a multiple of {multiple} rows{each.format(needed.multiple)}, but "
    if least < world:
        least = world
        sentence = f"a batch should have at least {world} rows, one for each of {world} processes, but "
    if batch_size is not None and rows.rows is not None:
        full = min(batch_size, rows.rows)
        if full < least:
            what = "batch_size is" if batch_size <= rows.rows else "the rows of data are"
            raise ValueError(f"{sentence}{what} {full}")
        if batch_size % multiple:
            size = max(batch_size // multiple, 1) * multiple
            raise ValueError(f"{whole}batch_size is {batch_size}: take {size}")
    elif isinstance(data, DataLoader) and rows.batch_size is not None:
        if rows.batch_size < least:
            raise ValueError(f"{sentence}batches of the DataLoader have {rows.batch_size}")
        if rows.batch_size % multiple:
            raise ValueError(f"{whole}batches of the DataLoader have {rows.batch_size}")
        drawn, steps = _length_of(data.sampler), rows.steps()
        last = (drawn or 0) % rows.batch_size
        small, odd = 0 < last < needed.of(parts), last % multiple > 0
        if drawn is not None and (small or odd) and steps == drawn // rows.batch_size + 1:
            raise ValueError(
                f"{sentence if small else whole}the last batch of the DataLoader has {last}: give it "
                "drop_last=True"
            )


def _length_of(sized: Any) -> int | None:
    try:
        return len(sized)
    except (TypeError, NotImplementedError):
        return None


def rows_at_once(batch_size: int | None, processes: Processes, accumulate: int) -> int | None:
    """Return the rows in one pass of a full batch."""
    if batch_size is None:
        return None
    mine = share(batch_size, processes.shard)
    return -(-(mine.stop - mine.start) // accumulate)


def length(epochs: int | None, steps: int | None, data: Source, batch_size: int | None) -> tuple[int, int]:
    """Return the number of steps in all and between two reports."""
    if (epochs is None) == (steps is None):
        raise ValueError(f"give exactly one of epochs and steps, but got epochs={epochs} and steps={steps}")
    if steps is not None:
        steps = check_count("steps", steps)
        return steps, max(1, steps // 100)
    assert epochs is not None
    epochs = check_count("epochs", epochs)
    per_epoch = data.steps(batch_size)
    if per_epoch is None:
        raise ValueError("data that are a stream have no epochs of known length: give steps")
    return epochs * per_epoch, per_epoch


def moved(data: Source, device: torch.device, **form: Any) -> Source:
    """Return data that lie in tensors with their tensors on a device, other data as they are."""
    if not data.tensors:
        return data
    tensors = tuple(tensor.to(device) for tensor in data.tensors)
    return source(tensors, **form)


def optimizer_of(
    objective: Objective, optimizer: Optimizer | Callable[[Iterable[nn.Parameter]], Optimizer] | None
) -> Optimizer:
    parameters = [p for p in objective.parameters() if p.requires_grad]
    if not parameters:
        raise ValueError(f"{type(objective).__name__} should have parameters to learn but has none")
    if optimizer is None:
        return Adam(parameters, lr=1e-3, fused=True)
    made = (
        optimizer(parameters) if callable(optimizer) and not isinstance(optimizer, Optimizer) else optimizer
    )
    if not isinstance(made, Optimizer):
        raise TypeError(
            "optimizer should be a torch.optim.Optimizer, or a function from the parameters to one, but "
            + (f"is {optimizer!r}" if made is optimizer else f"gave a {type(made).__name__}")
        )
    closure = signature(made.step).parameters.get("closure")
    if closure is not None and closure.default is Parameter.empty:
        raise ValueError(
            f"optimizer should step by the gradient of one batch but {type(made).__name__} calls the loss by "
            "itself, several times a step: choose another, such as torch.optim.Adam"
        )
    check_held(objective, made)
    for group in made.param_groups:
        group.update({name: pythons(value) for name, value in group.items()})
    return made


def in_common(objective: Objective, rows: Source, held_out: Source | None) -> dict[str, Any]:
    """Return, by name, what the processes of a training must have in common of objective and data."""
    common: dict[str, Any] = {"class of objective": type(objective).__name__}
    for name, weight in objective.named_parameters():
        common[f"form of weight {name!r}"] = (tuple(weight.shape), weight.dtype, weight.requires_grad)
    for name, buffer in objective.named_buffers():
        common[f"form of buffer {name!r}"] = (tuple(buffer.shape), buffer.dtype)
    for what, data in (("data", rows), ("validation", held_out)):
        common[f"number of rows of {what}"] = data and data.rows
        common[f"form of {what}"] = data and [(tuple(part.shape[1:]), part.dtype) for part in data.tensors]
    return common


def check_alike(objective: Objective, data: Source | None, name: str) -> None:
    tensors = () if data is None else data.tensors
    devices = {str(t.device) for t in (*objective.parameters(), *objective.buffers(), *tensors)}
    if len(devices) > 1:
        raise ValueError(
            f"objective and {name} should be on one device but are on {' and '.join(sorted(devices))}"
        )
    if tensors:
        check_dtype(objective, tensors[0], name)


def check_dtype(module: nn.Module, x: Tensor, name: str) -> None:
    """Raise unless data of a floating-point type have that of the weights; whole numbers may be of any."""
    dtypes = {weight.dtype for weight in module.parameters()}
    if dtypes and x.is_floating_point() and x.dtype not in dtypes:
        wanted = sorted(map(str, dtypes))
        raise TypeError(
            f"{name} should be {' or '.join(wanted)}, as the weights of {type(module).__name__}, but is "
            f"{x.dtype}: convert it with .to({wanted[-1]})"
        )


@contextmanager
def whole_numbers(x: Tensor, name: str) -> Iterator[None]:
    """Say of networks that cannot take x of whole numbers, such as a linear layer, what to do about it.

    Raises:
        TypeError: where they fail over its type.
    """
    try:
        yield
    except RuntimeError as error:
        if x.is_floating_point() or not any(word in str(error) for word in ("dtype", "scalar type", "Long")):
            raise
        raise TypeError(
            f"{name} should be of a type that the networks take but is {x.dtype}: convert it with .float(), "
            f"or begin with an embedding ({str(error).splitlines()[0]})"
        ) from error


def run_folder(checkpoint: str | Path | None, *, resume: bool) -> Path | None:
    if checkpoint is None:
        if resume:
            raise ValueError("resume needs the run folder: checkpoint='runs/...'")
        return None
    try:
        folder = Path(checkpoint)
        there = os.path.lexists(folder)  # False also where the system refuses to look
        if "\0" in str(folder):
            raise ValueError
    except (TypeError, ValueError):
        raise TypeError(f"checkpoint should be the path of a folder but got {checkpoint!r}") from None
    if there and not folder.is_dir():
        raise ValueError(f"checkpoint should be a folder but {folder} is a file")
    if checkpoints.exists(folder) and not resume:
        raise ValueError(f"the run folder {folder} holds a run: pass resume=True or choose another folder")
    return folder
