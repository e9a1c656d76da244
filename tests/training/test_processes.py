"""Two processes over gloo: the step of one process, shares without overlap, one checkpoint, no hang."""

import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

PRELUDE = """
import json, os, sys
from pathlib import Path
import torch
from functools import partial
from lightning_fabric import Fabric
from torch import nn
from probgen.models import GAN
from probgen.objectives import SVI, Contest
from probgen.training import Callback, fit
from tests.training.test_fit import x_of
from tests.training.test_training import Reconstruction
from tests.training.test_turns import AroundCentre
from tests.pairs import LinearGaussian

folder = Path(sys.argv[1])
fabric = Fabric(accelerator="cpu", devices=2, strategy="ddp")
fabric.launch()
rank = fabric.global_rank
torch.manual_seed(4 + rank)  # the first process's weights count
sgd = partial(torch.optim.SGD, lr=0.05, momentum=0.9)
options = {"batch_size": 64, "optimizer": sgd, "seed": 1, "progress": False, "fabric": fabric}
"""


def launched(script, folder, *, expected=0):
    """Run a script in two processes and return what each wrote to folder/RANK.json."""
    path = folder / "script.py"
    path.write_text(PRELUDE + script)
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
    command = [*torchrun, str(path), str(folder)]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(__file__).parents[2])}
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=240, check=False)
    assert (ended.returncode == 0) == (expected == 0), ended.stderr
    written = [folder / f"{rank}.json" for rank in range(2)]
    return [json.loads(path.read_text()) for path in written if path.exists()], ended.stderr


SAME_STEP = """
class Seen(Reconstruction):
    def __init__(self):
        super().__init__()
        self.norm = nn.BatchNorm1d(3, affine=False)
        self.rows, self.noise = [], []

    def forward(self, *batch):
        if self.training:
            self.rows += batch[0][:, 0].tolist()
            self.norm(batch[0])  # a buffer that each process would move in its own way
            self.noise.append(float(torch.rand(())))
        return super().forward(*batch)

out = {}
cases = {"plain": {}, "accumulated": {"accumulate": 2}, "clipped": {"max_gradient_norm": 0.1}}
for name, more in cases.items():
    torch.manual_seed(4 + rank)
    objective = Seen()
    history = fit(objective, x_of(), epochs=3, compile="eager", validation=x_of(50, 2), **options, **more)
    out[name] = {
        "weights": torch.cat([p.detach().flatten() for p in objective.parameters()]).tolist(),
        "buffers": [float(b.double().sum()) for b in objective.buffers()],
        "rows": objective.rows if name == "plain" else [],
        "noise": objective.noise,
        "train": history.values("error"), "validation": history.values("error", "validation"),
    }
centred = AroundCentre()
fit(centred, x_of()[:, :1], epochs=2, compile="graph", accumulate=2, **options)
out["centred"] = [float(centred.weight.detach()), float(centred.net[1].centre)]
graph = SVI(LinearGaussian())
fit(graph, x_of(), epochs=3, compile="graph", **options)
out["svi"] = torch.cat([p.detach().flatten() for p in graph.parameters()]).tolist()
gan = GAN(nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3)), nn.Linear(3, 1), noise=2)
contest = Contest(gan, loss="hinge", r1=0.1, discriminator_steps=1, average=0.5)
fit(contest, x_of(), steps=8, compile="graph", **(options | {"optimizer": contest.adam(0.01)}))
out["contest"] = [float(value.double().sum()) for value in contest.state_dict().values()]

def svi():
    torch.manual_seed(4)
    return SVI(LinearGaussian())

run = folder / "run"
uncut = svi()
fit(uncut, x_of(), epochs=4, compile="graph", checkpoint=run.with_name("uncut"), **options)
fit(svi(), x_of(), epochs=2, compile="graph", checkpoint=run, **options)
resumed = svi()
fit(resumed, x_of(), epochs=4, compile="graph", checkpoint=run, resume=True, **options)
out["resumed"] = all(torch.equal(a, b) for a, b in zip(uncut.parameters(), resumed.parameters()))

class End(Callback):
    def on_step_end(self, objective, history):
        return rank == 1 and history.step == 3
history = fit(svi(), x_of(), steps=100, callbacks=[End()], **options)
out["ended"] = [history.ended, history.step]
class Varied(Reconstruction):
    def forward(self, *batch):
        loss, _ = super().forward(*batch)
        rows = len(batch[0])
        terms = {"rows": torch.tensor(float(rows)), "ten": torch.tensor(10.0), "one": torch.tensor(1.0)}
        names = ["rows", "ten"] if rank == 0 else ["one", "rows"] if rows != 4 else []
        return loss, {name: terms[name] for name in names}

class Again(Callback):
    def on_step_end(self, objective, history):
        if history.step == 2:
            try:
                fit(Varied(), x_of(), epochs=1, checkpoint=folder / "varied", resume=True, **options)
            except ValueError as error:
                out["refused"] = str(error)

varied = {"checkpoint": folder / "varied", "resume": True, "validation": x_of(50, 2), **options}
fit(Varied(), x_of(), steps=3, callbacks=[Again()], **varied)
history = fit(Varied(), x_of(), epochs=2, **varied)
both = [(term, split) for term in ("rows", "ten", "one") for split in ("train", "validation")]
out["terms"] = {f"{term} {split}": history.values(term, split) for term, split in both}

(folder / f"{rank}.json").write_text(json.dumps(out))
fabric.barrier()
os._exit(0)  # gloo's threads may abort the interpreter as it ends (torch 2.13); all is written by now
"""


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    folder = tmp_path_factory.mktemp("two")
    written, _ = launched(SAME_STEP, folder)
    return folder, written


def alone(**options):
    from tests.training.test_training import trained

    return trained(
        batch_size=64,
        epochs=3,
        optimizer=lambda parameters: torch.optim.SGD(parameters, lr=0.05, momentum=0.9),
        **options,
    )


def test_two_processes_take_the_steps_of_one(two):
    from tests.training.test_fit import x_of

    _, written = two
    for name, options in {
        "plain": {},
        "accumulated": {"accumulate": 2},
        "clipped": {"max_gradient_norm": 0.1},
    }.items():
        objective, history = alone(validation=x_of(50, 2), **options)
        expected = torch.cat([p.detach().flatten() for p in objective.parameters()])
        for process in written:
            torch.testing.assert_close(torch.tensor(process[name]["weights"]), expected, rtol=1e-5, atol=1e-6)
            assert process[name]["train"] == pytest.approx(history.values("error"), rel=1e-5)
            assert process[name]["validation"] == pytest.approx(
                history.values("error", "validation"), rel=1e-5
            )


def test_what_moves_once_a_step_moves_by_the_rows_of_all_processes(two):
    from probgen.training import fit
    from tests.training.test_fit import x_of
    from tests.training.test_turns import AroundCentre

    _, written = two
    sgd = lambda parameters: torch.optim.SGD(parameters, lr=0.05, momentum=0.9)  # noqa: E731
    alone = AroundCentre()
    fit(alone, x_of()[:, :1], epochs=2, batch_size=64, optimizer=sgd, seed=1, progress=False)
    expected = [float(alone.weight.detach()), float(alone.net[1].centre)]
    for process in written:
        assert process["centred"] == pytest.approx(expected, rel=1e-5)


def test_shares_do_not_overlap_and_are_all_of_the_data(two):
    from tests.training.test_fit import x_of

    _, (first, second) = two
    for epoch in range(3):
        mine, other = (
            process["plain"]["rows"][epoch * 100 : (epoch + 1) * 100] for process in (first, second)
        )
        assert sorted(mine + other) == sorted(x_of()[:, 0].tolist())


def test_noise_differs_by_process_and_weights_and_buffers_do_not(two):
    _, (first, second) = two
    assert set(first["plain"]["noise"]).isdisjoint(second["plain"]["noise"])
    for name in ("plain", "accumulated", "clipped"):
        assert first[name]["weights"] == second[name]["weights"]
        assert first[name]["buffers"] == second[name]["buffers"]
    assert first["svi"] == second["svi"]
    assert first["contest"] == second["contest"]  # averages and their running means included


def test_two_processes_write_one_checkpoint_and_resume_from_it(two):
    from probgen.objectives import SVI
    from probgen.training import fit
    from tests.pairs import LinearGaussian
    from tests.training.test_fit import x_of

    folder, written = two
    assert [process["resumed"] for process in written] == [True, True]
    assert len(list((folder / "run").glob("last-*"))) == 1
    options = {"batch_size": 64, "checkpoint": folder / "run", "resume": True, "progress": False}
    sgd = lambda parameters: torch.optim.SGD(parameters, lr=0.05, momentum=0.9)  # noqa: E731
    with pytest.raises(
        ValueError, match=r"should have the number of processes of the run in .*, 2, but got 1"
    ):
        fit(SVI(LinearGaussian()), x_of(), epochs=5, optimizer=sgd, **options)


def test_terms_of_processes_belong_to_their_names(two):
    _, written = two  # each epoch has shares of 32, 32, 32 and 4 rows, the validation of 25
    rows = (3 * 32 * 32 + 4 * 4) / 100
    by_name = {"ten": 10.0, "one": 1.0}
    for process in written:
        terms = process["terms"]
        assert terms["rows train"][-1] == pytest.approx((rows * 100 + 3 * 32 * 32) / 196)
        assert terms["rows validation"] == [25.0] * len(terms["rows validation"])
        for name, value in by_name.items():
            assert set(terms[f"{name} train"]) == {value}
            assert set(terms[f"{name} validation"]) == {value}


def test_a_folder_in_use_is_refused_in_all_processes(two):
    _, written = two
    for process in written:
        assert "is in use by another training (this process)" in process["refused"]


def test_one_process_can_end_the_training_of_all(two):
    _, written = two
    assert [process["ended"] for process in written] == [["stopped early", 3]] * 2


REFUSED = """
import probgen.training.checkpoint as checkpoints
from probgen.data import MemoryMapped
from torch.utils.data import DataLoader, Dataset, IterableDataset
from tests.training.test_fit import Square

class Stream(IterableDataset):
    def __init__(self, batches, rows=16):
        self.batches, self.rows = batches, rows
    def __iter__(self):
        return (x_of(self.rows) for _ in range(self.batches))

class Breaks(Dataset):
    def __len__(self):
        return 64
    def __getitem__(self, i):
        if rank == 1 and i == 20:
            raise RuntimeError("a file is missing")
        return torch.zeros(3)

def stream(batches, rows=16):
    return DataLoader(Stream(batches, rows), batch_size=None)

class Wide(Square):
    def __init__(self):
        super().__init__()
        self.location = nn.Parameter(torch.zeros(3 + rank))

def full(*_, **__):
    raise OSError("No space left on device")

x, mine = x_of(64), (lambda first, second: first if rank == 0 else second)
cases = {
    "number of rows of data": {"data": mine(x, x[:40])},
    "number of rows of validation": {"validation": mine(x, x[:40])},
    "form of data": {"data": mine(x, (x, x))},
    "batch_size": {"batch_size": mine(16, 8)},
    "steps": {"steps": mine(4, 5)},
    "seed": {"seed": mine(1, 2)},
    "accumulate": {"accumulate": mine(1, 2)},
    "patience": {"patience": mine(1, 2), "validation": x},
    "optimizer": {"optimizer": mine(torch.optim.SGD, torch.optim.Adam)},
    "optimizer's lr": {"optimizer": partial(torch.optim.SGD, lr=mine(0.1, 0.2))},
    "names of schedules": {"schedules": mine({}, {"lr": lambda step: 0.1})},
    "checkpoint": {"checkpoint": mine(folder / "one", None)},
    "class of objective": {"objective": mine(Square, Reconstruction)()},
    "form of weight 'location'": {"objective": Wide()},
    "validation": {"validation": mine(x, None)},
    "bad row": {"data": mine(x, x.masked_fill(x == x[3, 0], torch.nan))},
    "no rows": {"data": x[:1]},
    "few rows": {"batch_size": 1},
    "type": {"data": mine(x.double(), x)},
    "folder": {"checkpoint": folder / "script.py" / "run"},
    "stream": {"data": stream(mine(5, 2)), "batch_size": None, "steps": 40},
    "thin stream": {"data": stream(5, 1), "batch_size": None},
    "thin loader": {"data": DataLoader(x, batch_size=1), "batch_size": None},
    "rows of a file": {"data": MemoryMapped(mine(x, x[:40]).numpy())},
    "missing file": {"data": Breaks(), "steps": 40},
    "full disk": {"checkpoint": folder / "full"},
    "nothing": {"data": stream(3, 5), "batch_size": None, "steps": 5, "validation": x[:1]},
    "small last batch": {"data": x[:5], "batch_size": 4},
}
told = {}
save = checkpoints._save
for name, case in cases.items():
    checkpoints._save = full if name == "full disk" else save
    given = {**options, "objective": Square(), "data": x, "steps": 4, "batch_size": 16, **case}
    try:
        told[name] = fit(given.pop("objective"), given.pop("data"), compile="eager", **given).ended
    except Exception as error:
        told[name] = f"{type(error).__name__}: {error}"
(folder / f"{rank}.json").write_text(json.dumps(told))
fabric.barrier()
os._exit(0)
"""


def test_processes_that_differ_all_end_with_a_sentence_and_none_waits(tmp_path):
    own = {
        "validation": "ValueError: all processes should have the same number of rows of validation but",
        "bad row": "ValueError: (process 1 of 2 cannot go on: )?data should be finite but row",
        "no rows": "ValueError: a batch should have at least 2 rows, one for each of 2 processes, but the",
        "few rows": "ValueError: a batch should have at least 2 rows, .* processes, but batch_size is 1",
        "type": "TypeError: (process 0 of 2 cannot go on: )?data should be torch.float32",
        "folder": "ValueError: .*should be one that can be written, but is not",
        "stream": "ValueError: all processes should have the same number of batches but in some of them the",
        "thin stream": "ValueError: the first batch should have at least 2 rows, one for each of 2 processes",
        "thin loader": "ValueError: a batch should have at least 2 rows, one .* batches of the DataLoader",
        "rows of a file": "ValueError: all processes should have the same number of rows of data",
        "missing file": "RuntimeError: a file is missing|ValueError: batch . of an epoch could not be loaded",
        "full disk": "OSError: (process 0 of 2 cannot go on: )?the checkpoint of step 4 cannot be written",
        "nothing": "finished",
        "small last batch": "finished",
    }
    start = time.monotonic()
    written, _ = launched(REFUSED, tmp_path)
    assert len(written) == 2
    for process in written:
        for name, found in process.items():
            sentence = own.get(name, f"ValueError: all processes should have the same {name} but process 0")
            assert re.match(sentence, found), (name, found)
    assert time.monotonic() - start < 120


CRASH = """
class Crash(Callback):
    def on_step_end(self, objective, history):
        if rank == 1 and history.step == 5:
            raise RuntimeError("planted")
fit(Reconstruction(), x_of(), steps=10**6, callbacks=[Crash()], **options)
"""


def test_a_process_that_fails_ends_the_others_with_an_error(tmp_path):
    start = time.monotonic()
    _, stderr = launched(CRASH, tmp_path, expected=1)
    assert "planted" in stderr
    assert time.monotonic() - start < 120
