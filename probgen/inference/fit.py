"""The trainer: minimises any objective, and can be stopped, resumed and trusted."""

from __future__ import annotations

import math
import signal
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from torch import Tensor, nn
from torch.optim import Adam, Optimizer
from tqdm import tqdm

from probgen.core import Objective, seeded
from probgen.data import check_data
from probgen.inference import checkpoint as checkpoints
from probgen.inference.capture import CapturedLoss
from probgen.inference.history import History
from probgen.inference.run import Run
from probgen.inference.schedules import Schedule

SAVE_SECONDS = 10.0
"""Least wall time between two checkpoints of a training; its end is always saved."""


def fit(
    objective: Objective,
    data: Any,
    *,
    epochs: int | None = None,
    steps: int | None = None,
    batch_size: int = 128,
    optimizer: Optimizer | Callable[[Iterable[nn.Parameter]], Optimizer] | None = None,
    validation: Any | None = None,
    schedules: Mapping[str, Schedule] | None = None,
    patience: int | None = None,
    compile: str = "auto",
    checkpoint: str | Path | None = None,
    resume: bool = False,
    seed: int | None = None,
    progress: bool = True,
) -> History:
    r"""Minimise an objective over data by stochastic gradient steps.

    Every epoch visits the data once, in a fresh random order. A report (the mean of each term since the last
    one, and the validation terms) is made at the end of each epoch with ``epochs``, and a hundred times in
    all with ``steps``. The objective is left in evaluation mode. Ctrl-C ends the training after the step at
    hand and returns what there is.

    Args:
        objective: what to minimise: ``SVI(pair)``, a moment-matching objective, your own.
        data: a tensor (n, \*event), or a tuple of equally long ones (data, then context), on the objective's
            device; anything with a length that is indexed by a tensor of rows will do.
        epochs, steps: how long, in passes over the data or in optimizer steps; give exactly one.
        batch_size: data per step; the last batch of an epoch may be smaller.
        optimizer: a torch optimizer over the objective's parameters, or a function that makes one from them;
            fused Adam with learning rate 1e-3 by default.
        validation: held-out data of the same form, evaluated at each report on the same noise.
        schedules: by name, a function of the step: ``"lr"`` sets the learning rate, any other name the
            objective's buffer of that name.
        patience: end after this many reports without better weights, and keep the best. Weights are judged
            by ``objective.judge`` on the validation data: by the unweighted ELBO for SVI, by the loss else.
        compile: ``"eager"``, ``"graph"`` (the captured ATen graph), ``"compile"`` (that graph under
            torch.compile) or ``"auto"``, which is "graph" where the loss can be captured.
        checkpoint: the run folder for the last and the best checkpoint.
        resume: go on from the last checkpoint in that folder, if there is one, to the same bits as if the
            training had never stopped.
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
    columns = check_data(data)
    held_out = None if validation is None else check_data(validation, name="validation")
    total, interval = _length(epochs, steps, batch_size, len(columns[0]))
    _check_alike(objective, columns, "data")
    _check_alike(objective, held_out or (), "validation")
    if patience is not None and held_out is None:
        raise ValueError("patience needs validation data, on which a better loss is judged")
    folder = _run_folder(checkpoint, resume=resume)

    with seeded(seed), _interruptible() as interrupted:
        loss_of = CapturedLoss(objective, compile)
        run = Run(objective, _optimizer(objective, optimizer), columns, batch_size, schedules or {})
        if folder is not None and checkpoints.exists(folder):
            run.load(folder)
        history = run.history
        history.folder = folder

        def out_of_patience() -> bool:
            return patience is not None and run.reports_since_best >= patience

        start = saved = time.perf_counter() - history.seconds
        bar = tqdm(total=total, initial=history.step, disable=not progress, unit="step", dynamic_ncols=True)
        try:
            for batch in () if out_of_patience() else run.batches(total):
                run.take_step(loss_of, batch)
                bar.update()
                history.seconds = time.perf_counter() - start
                if history.step % interval == 0 or history.step == total:
                    run.report(held_out)
                    bar.set_postfix(run.latest())
                if interrupted.is_set() or out_of_patience():
                    break
                if folder is not None and history.seconds + start - saved > SAVE_SECONDS:
                    run.save(folder)
                    saved = time.perf_counter()
            if out_of_patience():
                history.ended = "stopped early"
            elif history.step >= total:
                history.ended = "finished"
            if folder is not None:
                run.save(folder)
        finally:
            bar.close()
            objective.eval()
    if patience is not None and history.ended != "interrupted":
        run.restore_best()
    if progress and folder is not None:
        tqdm.write(f"{history.ended} at step {history.step}: the run is in {folder}")
    if progress:
        for finding in history.diagnose():
            tqdm.write(finding)
    return history


def _length(epochs: int | None, steps: int | None, batch_size: int, rows: int) -> tuple[int, int]:
    """Return the number of steps in all and between two reports."""
    if (epochs is None) == (steps is None):
        raise ValueError(f"give exactly one of epochs and steps, but got epochs={epochs} and steps={steps}")
    for name, value in (("epochs", epochs), ("steps", steps), ("batch_size", batch_size)):
        if value is not None and value < 1:
            raise ValueError(f"{name} should be at least 1 but got {value}")
    if steps is not None:
        return steps, max(1, steps // 100)
    per_epoch = math.ceil(rows / batch_size)
    return (epochs or 0) * per_epoch, per_epoch


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


def _check_alike(objective: Objective, columns: tuple[Any, ...], name: str) -> None:
    devices = {str(t.device) for t in (*objective.parameters(), *objective.buffers())}
    devices |= {str(column.device) for column in columns if isinstance(column, Tensor)}
    if len(devices) > 1:
        raise ValueError(
            f"objective and {name} should be on one device but are on {' and '.join(sorted(devices))}"
        )
    dtypes = {p.dtype for p in objective.parameters()}
    if dtypes and columns and isinstance(columns[0], Tensor) and columns[0].dtype not in dtypes:
        wanted = " or ".join(sorted(map(str, dtypes)))
        raise TypeError(f"{name} should be {wanted}, as the objective's weights, but is {columns[0].dtype}")


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
