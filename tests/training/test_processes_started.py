"""Processes that a script or the command line starts itself, without a launcher."""

import json
import os
import subprocess
import sys
from pathlib import Path

BY_ITSELF = """
from lightning_fabric import Fabric
import sys
from pathlib import Path
from tests.training.test_fit import Square, x_of
from probgen.training import fit
fabric = Fabric(accelerator="cpu", devices=2, strategy="ddp")
history = fit(Square(), x_of(), steps=3, fabric=fabric, checkpoint=Path(sys.argv[1]) / "run")
# One write, as both processes have the same pipe: print writes its arguments one by one, and they mix.
sys.stdout.write(f"rank {fabric.global_rank} of {fabric.world_size} {history.ended}\\n")
sys.stdout.flush()
"""


def test_fit_starts_the_processes_itself(tmp_path):
    (tmp_path / "script.py").write_text(BY_ITSELF)
    command = [sys.executable, str(tmp_path / "script.py"), str(tmp_path)]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(__file__).parents[2])}
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=240, check=True)
    for rank in (0, 1):  # wherever in a line: another process may be in the middle of its own
        assert ended.stdout.count(f"rank {rank} of 2 finished") == 1, ended.stdout + ended.stderr
    assert ended.stdout.count("the run is in") == 1


def test_the_command_line_trains_in_two_processes(tmp_path):
    command = [sys.executable, "-m", "probgen.cli.app", "train", "vae", "--data", "banana"]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}

    def train(*options):
        return subprocess.run(
            [*command, *options], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
        )

    ended = train("--steps", "30", "--devices", "2")
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.count("draw from it with") == 1
    about = json.loads((tmp_path / "runs/vae-banana/run.json").read_text())
    assert about == {"model": "vae", "data": "banana", "seed": 0, "steps": 30}
    ended = train("--steps", "40", "--resume")
    assert ended.returncode == 1
    assert "a resumed run should have the number of processes of the run in" in ended.stderr
