"""A run folder belongs to one training at a time, and is free as soon as that has ended, however it ended."""

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from probgen.training import Callback, checkpoint, fit
from tests.training.test_fit import Square, x_of

HOLDS = """
import sys
from pathlib import Path
from probgen.training import Callback, fit
from tests.training.test_fit import Square, x_of

class Stay(Callback):
    def on_step_end(self, objective, history):
        if history.step == 3:
            print("training", flush=True)
            sys.stdin.readline()

fit(Square(), x_of(), steps=6, checkpoint=Path(sys.argv[1]), resume=True, progress=False, callbacks=[Stay()])
"""


def train(folder, steps=2, **options):
    return fit(Square(), x_of(), steps=steps, checkpoint=folder, progress=False, **options)


def test_a_second_training_is_refused_until_the_first_is_gone(tmp_path):
    folder = tmp_path / "run"
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(__file__).parents[2])}
    command = [sys.executable, "-c", HOLDS, str(folder)]
    with subprocess.Popen(
        command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as first:
        assert first.stdout.readline() == "training\n"
        where = f"the run folder .*run is in use by another training \\(process {first.pid} on "
        for resume in (False, True):
            with pytest.raises(ValueError, match=where):
                train(folder, resume=resume)
        first.send_signal(signal.SIGKILL)
    history = train(folder, 4, resume=True)
    assert (history.step, history.ended) == (4, "finished")
    assert checkpoint.load_weights(folder, Square(), name="last") == 4


def test_two_trainings_of_one_process_are_kept_apart(tmp_path):
    refused = []

    class Second(Callback):
        def on_step_end(self, objective, history):
            if history.step == 2:
                thread = threading.Thread(target=self.train)
                thread.start()
                thread.join()

        def train(self):
            with pytest.raises(ValueError, match=r"in use by another training \(this process\)"):
                train(tmp_path / "run")
            refused.append(True)

    train(tmp_path / "run", 4, callbacks=[Second()])
    assert refused == [True]
    assert train(tmp_path / "run", 5, resume=True).step == 5  # it is free again


def test_a_training_that_fails_frees_its_folder(tmp_path):
    class Fail(Callback):
        def on_step_end(self, objective, history):
            raise RuntimeError("planted")

    with pytest.raises(RuntimeError, match="planted"):
        train(tmp_path, callbacks=[Fail()])
    assert train(tmp_path).ended == "finished"


UNWRITABLE = {
    "below a file": ("file/run", "Not a directory"),
    "a long name": ("a" * 300, "File name too long"),
    "long names": ("/".join(["a" * 200] * 21), "File name too long"),
    "a link to nowhere": ("link/run", "File exists|No such file"),
    "a system's own": ("/proc/none/run", "No such file"),
    "only read": ("/sys/kernel/run", "Read-only|Permission|Operation not permitted|No such file"),
}


@pytest.mark.parametrize("resume", [False, True])
@pytest.mark.parametrize("name", UNWRITABLE)
def test_a_folder_that_cannot_be_written_is_found_out_before_the_training(name, resume, tmp_path):
    where, reason = UNWRITABLE[name]
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to(tmp_path / "nowhere/deep")
    objective = Square()
    with pytest.raises(
        ValueError, match=rf"should be one that can be written, but is not \(({reason}).*: choose another"
    ):
        fit(objective, x_of(), steps=2, checkpoint=tmp_path / where, resume=resume, progress=False)
    assert objective.calls == 0


def test_a_folder_in_which_no_checkpoint_fits_is_found_out_before_the_training(tmp_path):
    while len(str(tmp_path)) < 4000:  # a path of 4,096 bytes at most: that of a checkpoint's file is longer
        tmp_path = tmp_path / ("a" * 60)
    folder = tmp_path / ("b" * (4090 - len(str(tmp_path)) - 7))
    with pytest.raises(ValueError, match=r"can be written, but is not \(File name too long"):
        train(folder)


def test_what_is_no_path_is_named():
    with pytest.raises(TypeError, match="checkpoint should be the path of a folder but got 5"):
        train(5)
    with pytest.raises(TypeError, match="checkpoint should be the path of a folder but got"):
        train("a\0b")
    with pytest.raises(ValueError, match="checkpoint should be a folder but /dev/null is a file"):
        train("/dev/null")
