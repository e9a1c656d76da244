"""The trainer: minimises any objective, and can be stopped, resumed and trusted."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.optim import Adam, Optimizer
from tqdm import tqdm

from probgen.core import Objective, seeded
from probgen.data import Source, source
from probgen.data.batches import share
from probgen.inference import checkpoint as checkpoints
from probgen.inference.callbacks import Callback, Listeners
from probgen.inference.capture import CapturedLoss
from probgen.inference.history import History
from probgen.inference.planned import Plan
from probgen.inference.processes import Processes
from probgen.inference.run import Run, check_dtype

if TYPE_CHECKING:
    from lightning_fabric import Fabric

SAVE_SECONDS = 10.0
"""Least wall time between two checkpoints of a training; its end is always saved."""

AGREE = 20
"""Steps after which several processes agree on whether to save or to stop."""


def fit(
    objective: Objective,
    data: Any,
    *,
    epochs: int | None = None,
    steps: int | None = None,
    batch_size: int | None = None,
    optimizer: Optimizer | Callable[[Iterable[nn.Parameter]], Optimizer] | None = None,
    validation: Any | None = None,
    schedules: Mapping[str, Plan] | None = None,
    patience: int | None = None,
    accumulate: int = 1,
    max_gradient_norm: float | None = None,
    compile: str = "auto",
    fabric: Fabric | None = None,
    checkpoint: str | Path | None = None,
    resume: bool = False,
    callbacks: Sequence[Callback] = (),
    seed: int | None = None,
    progress: bool = True,
) -> History:
    r"""Minimise an objective over data by stochastic gradient steps.

    Every epoch visits the data once, in a fresh random order. A report (the mean of each term since the last
    one, and the validation terms) is made at the end of each epoch with ``epochs``, and a hundred times in
    all with ``steps``. The objective is left in evaluation mode; a part of it that learns nothing and was in
    evaluation mode stays in it throughout. Ctrl-C ends the training after the step at hand and returns what
    there is.

    With ``fabric=Fabric(devices=2, strategy="ddp")`` several processes train together, each with its own
    share of every batch and its own noise; the weights are the first one's at the start and the same in all
    of them ever after. A loss that is a mean over data then has the gradient that one process would find; a
    loss that is not, such as MMD, is the mean of what it is on each share. One process writes the checkpoint,
    in a folder that all of them see; a run is resumed by as many processes as it had. If one of them fails,
    all end with an error.

    Args:
        objective: what to minimise: ``SVI(pair)``, a moment-matching objective, your own.
        data: a tensor (n, \*event), or a tuple of equally long ones (data, then context), on the objective's
            device; a ``Dataset`` or ``DataLoader``; :class:`probgen.data.MemoryMapped` arrays;
            :class:`probgen.data.Ragged` sequences: see :func:`probgen.data.source`.
        epochs, steps: how long, in passes over the data or in optimizer steps; give exactly one.
        batch_size: data per step, over all processes, 128 if not given; the last batch of an epoch may be
            smaller, and is left out where a part of it would have fewer rows than the ``least_rows`` of an
            objective that needs several. A ``DataLoader`` has its own.
        optimizer: a torch optimizer over the objective's parameters, or a function that makes one from them;
            fused Adam with learning rate 1e-3 by default.
        validation: held-out data of the same form, evaluated at each report on the same noise.
        schedules: by name, a function of the step: ``"lr"`` sets the learning rate, any other name the
            objective's buffer of that name. ``"lr"`` may be a torch scheduler of the optimizer given; it
            counts optimizer steps, and a ``ReduceLROnPlateau`` sees what ``patience`` judges, at reports.
        patience: end after this many reports without better weights, and keep the best. Weights are judged
            by ``objective.judge`` on the validation data: by the unweighted ELBO for SVI, by the loss else.
        accumulate: cut each batch into this many parts, whose gradients are added up: less memory, and the
            same step where the loss is a mean over data.
        max_gradient_norm: a gradient with a larger 2-norm is scaled down to it; the term ``gradient_norm`` is
            the norm before.
        compile: ``"eager"``, ``"graph"`` (the captured ATen graph), ``"compile"`` (that graph under
            torch.compile), ``"cudagraph"`` (as a CUDA graph) or ``"auto"``: where the loss can be captured,
            "cudagraph" on a CUDA device, elsewhere "compile" from 50,000 steps on and "graph" below.
        fabric: Lightning's Fabric: devices and processes, loggers for the reports, and
            ``precision="bf16-mixed"``. The objective, and data that are tensors, are moved to its device.
        checkpoint: the run folder for the last and the best checkpoint.
        resume: go on from the last checkpoint in that folder, if there is one, to the same bits as if the
            training had never stopped.
        callbacks: called as the training goes, see :class:`Callback`.
        seed: of all randomness in the training, torch's global state being put back at the end; where not
            given, that state is used and moved.
        progress: show a progress bar.

    Raises:
        ValueError: for NaN or infinite data, an empty data set, settings that exclude each other, a run
            folder that is in use (without ``resume``) or damaged, or a loss or weight that is not finite;
            the last good checkpoint stands.
        TypeError: for an objective, optimizer or data of the wrong type, or data of another dtype than the
            objective's weights.
    """
    if not isinstance(objective, Objective):
        raise TypeError(
            f"objective should be a probgen.Objective, such as SVI(pair), but is a {type(objective).__name__}"
        )
    _check_options(accumulate=accumulate, max_gradient_norm=max_gradient_norm)
    processes = Processes(fabric)
    least = _least_rows(objective, processes.world * accumulate), _least_rows(objective, processes.world)
    rows = source(data, least_rows=least[0])
    held_out = None if validation is None else source(validation, name="validation", least_rows=least[1])
    if patience is not None and held_out is None:
        raise ValueError("patience needs validation data, on which a better loss is judged")
    size = _batch_size(rows, batch_size)
    total, interval = _length(epochs, steps, rows, size)
    folder = _run_folder(checkpoint, resume=resume)
    if processes.device is not None:
        objective.to(processes.device)
        rows = _moved(rows, processes.device, least[0])
        held_out = held_out and _moved(held_out, processes.device, least[1])
    _check_alike(objective, rows, "data")
    _check_alike(objective, held_out, "validation")

    with seeded(seed), _interruptible() as interrupted:
        run = Run(
            objective,
            _optimizer(objective, optimizer),
            rows,
            size,
            schedules or {},
            accumulate=accumulate,
            max_gradient_norm=max_gradient_norm,
            compile=compile,
            processes=processes,
        )
        if folder is not None and checkpoints.exists(folder):
            run.load(folder)
        loss_of = CapturedLoss(
            objective, run.compile, steps=total, batch_size=_rows_at_once(size, processes, accumulate)
        )
        run.compile = loss_of.mode
        history = run.history
        history.folder = folder
        listeners = Listeners(callbacks, objective, history)
        shown = progress and processes.rank == 0
        told: list[str] = []  # what was found to be wrong on the way

        def out_of_patience() -> bool:
            return patience is not None and run.reports_since_best >= patience

        def epoch_ended() -> bool:
            (listeners.asked,) = processes.any(listeners.tell("on_epoch_end"))
            return listeners.asked

        start = saved = time.perf_counter() - history.seconds
        bar = tqdm(total=total, initial=history.step, disable=not shown, unit="step", dynamic_ncols=True)
        listeners.tell("on_fit_start")
        try:
            for batch in () if out_of_patience() else run.batches(total, epoch_ended=epoch_ended):
                run.take_step(loss_of, batch)
                bar.update()
                history.seconds = time.perf_counter() - start
                listeners.tell("on_step_end")
                reported = history.step % interval == 0 or history.step == total
                if reported:
                    run.report(held_out)
                    bar.set_postfix(run.latest())
                    if shown and not told and history.collapsed(reports=5):
                        told = history.diagnose()
                        bar.write("\n".join(told))
                    listeners.tell("on_report")
                if processes.world == 1 or reported or history.step % AGREE == 0:
                    due = folder is not None and history.seconds + start - saved > SAVE_SECONDS
                    cut, listeners.asked, due = processes.any(interrupted.is_set(), listeners.asked, due)
                    if cut or listeners.asked or out_of_patience():
                        break
                    if due:
                        assert folder is not None
                        run.save(folder)
                        saved = time.perf_counter()
            if out_of_patience() or listeners.asked:
                history.ended = "stopped early"
            elif history.step >= total:
                history.ended = "finished"
            run.finish(loss_of)
            if folder is not None:
                run.save(folder)
        finally:
            bar.close()
            objective.eval()
    if patience is not None and history.ended != "interrupted":
        run.restore_best()
    listeners.tell("on_fit_end")
    processes.close_loggers(history.ended)
    if shown and folder is not None:
        tqdm.write(f"{history.ended} at step {history.step}: the run is in {folder}")
    if shown:
        for finding in history.diagnose():
            if finding not in told:
                tqdm.write(finding)
    return history


def _check_options(*, accumulate: int, max_gradient_norm: float | None) -> None:
    _at_least_one("accumulate", accumulate)
    if max_gradient_norm is not None and not max_gradient_norm > 0:
        raise ValueError(f"max_gradient_norm should be above 0 but got {max_gradient_norm}")


def _at_least_one(name: str, value: int) -> None:
    if not isinstance(value, int):
        raise TypeError(f"{name} should be an integer but got {value!r}")
    if value < 1:
        raise ValueError(f"{name} should be at least 1 but got {value}")


def _batch_size(data: Source, batch_size: int | None) -> int | None:
    if batch_size is not None:
        _at_least_one("batch_size", batch_size)
        if data.own_batches:
            raise ValueError(f"a DataLoader has its own batch_size: leave out batch_size={batch_size}")
    return None if data.own_batches else batch_size or 128


def _least_rows(objective: Objective, parts: int) -> int:
    """Return how many rows a batch needs that is cut into parts; those of one row may be fewer."""
    return objective.least_rows * parts if objective.least_rows > 1 else 1


def _rows_at_once(batch_size: int | None, processes: Processes, accumulate: int) -> int | None:
    """Return the rows in one pass of a full batch."""
    if batch_size is None:
        return None
    mine = share(batch_size, processes.shard)
    return -(-(mine.stop - mine.start) // accumulate)


def _length(epochs: int | None, steps: int | None, data: Source, batch_size: int | None) -> tuple[int, int]:
    """Return the number of steps in all and between two reports."""
    if (epochs is None) == (steps is None):
        raise ValueError(f"give exactly one of epochs and steps, but got epochs={epochs} and steps={steps}")
    if steps is not None:
        _at_least_one("steps", steps)
        return steps, max(1, steps // 100)
    assert epochs is not None
    _at_least_one("epochs", epochs)
    per_epoch = data.steps(batch_size)
    if per_epoch is None:
        raise ValueError("data that are a stream have no epochs of known length: give steps")
    return epochs * per_epoch, per_epoch


def _moved(data: Source, device: torch.device, least_rows: int) -> Source:
    """Return data that lie in tensors with their tensors on a device, other data as they are."""
    if not data.tensors:
        return data
    return source(tuple(tensor.to(device) for tensor in data.tensors), least_rows=least_rows)


def _optimizer(
    objective: Objective, optimizer: Optimizer | Callable[[Iterable[nn.Parameter]], Optimizer] | None
) -> Optimizer:
    parameters = [p for p in objective.parameters() if p.requires_grad]
    if not parameters:
        raise ValueError(f"{type(objective).__name__} should have parameters to learn but has none")
    if optimizer is None:
        return Adam(parameters, lr=1e-3, fused=True)
    made = optimizer if isinstance(optimizer, Optimizer) else optimizer(parameters)
    if not isinstance(made, Optimizer):
        raise TypeError(
            "optimizer should be a torch.optim.Optimizer, or a function from the parameters to one, but "
            f"{type(optimizer).__name__} gave a {type(made).__name__}"
        )
    held = {id(p) for group in made.param_groups for p in group["params"]}
    if held.isdisjoint(map(id, parameters)):
        raise ValueError(f"optimizer should hold parameters of {type(objective).__name__} but holds none")
    return made


def _check_alike(objective: Objective, data: Source | None, name: str) -> None:
    tensors = () if data is None else data.tensors
    devices = {str(t.device) for t in (*objective.parameters(), *objective.buffers(), *tensors)}
    if len(devices) > 1:
        raise ValueError(
            f"objective and {name} should be on one device but are on {' and '.join(sorted(devices))}"
        )
    if tensors:
        check_dtype(objective, tensors[0], name)


def _run_folder(checkpoint: str | Path | None, *, resume: bool) -> Path | None:
    if checkpoint is None:
        if resume:
            raise ValueError("resume needs the run folder: checkpoint='runs/...'")
        return None
    folder = Path(checkpoint)
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"checkpoint should be a folder but {folder} is a file")
    if checkpoints.exists(folder) and not resume:
        raise ValueError(f"the run folder {folder} holds a run: pass resume=True or choose another folder")
    return folder


@contextmanager
def _interruptible() -> Iterator[threading.Event]:
    """Turn the first Ctrl-C into an event, so that a step is never cut in two; a second one interrupts."""
    event = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield event
        return
    before = signal.getsignal(signal.SIGINT)

    def on_interrupt(*_: Any) -> None:
        event.set()
        signal.signal(signal.SIGINT, before)

    signal.signal(signal.SIGINT, on_interrupt)
    try:
        yield event
    finally:
        signal.signal(signal.SIGINT, before)
