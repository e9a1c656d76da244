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
