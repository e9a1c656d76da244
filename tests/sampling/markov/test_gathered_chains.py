"""Chains of two processes over gloo, gathered as one."""

import os
import subprocess
import sys
from pathlib import Path

import torch

from probgen import Density
from probgen.sampling import gathered, sample

SCRIPT = """
import sys
import torch
from torch.distributions import Gamma
from probgen import Density
from probgen.sampling import gathered, run, sample

rank, folder = int(sys.argv[1]), sys.argv[2]
torch.distributed.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
density = Density.from_distribution(Gamma(3.0, 1.0), name="rate")

def drawn(seed, chains=3, draws=20):
    generator = torch.Generator().manual_seed(seed)
    return sample(density, chains=chains, warmup=40, draws=draws, compile="eager", generator=generator)

own = drawn(rank, chains=3 + rank)
together = gathered(own)
more = run(together.transition, together.state, draws=1, density=density)
errors = []
for other in (drawn(0), drawn(rank, draws=20 + rank)):
    try:
        gathered(other)
    except ValueError as error:
        errors.append(str(error))
result = {"own": own["rate"], "all": together["rate"], "more": len(more["rate"]), "errors": errors}
result["lp"] = together.statistics["log_prob"]
torch.save(result, f"{folder}/{rank}.pt")
"""


def test_all_processes_get_all_chains(tmp_path):
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(__file__).parents[2])}
    commands = [[sys.executable, "-c", SCRIPT, str(rank), str(tmp_path)] for rank in range(2)]
    processes = [
        subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True) for command in commands
    ]
    errors = [process.communicate(timeout=240)[1] for process in processes]
    assert [process.returncode for process in processes] == [0, 0], errors
    first, second = (torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in range(2))
    assert torch.equal(first["all"], torch.cat([first["own"], second["own"]]))
    assert torch.equal(first["all"], second["all"])
    assert first["all"].shape == first["lp"].shape == (7, 20)
    assert (first["more"], second["more"]) == (3, 4)
    same = "every process should have its own generator but those of processes 0 and 1 have the same state"
    shorter = "every process should have the same draws but process 0 has 20 and process 1 21"
    for errors in (first["errors"], second["errors"]):
        assert [error.split(":")[0] for error in errors] == [same, shorter]


def test_a_single_process_keeps_its_chains():
    chains = sample(Density(lambda x: -0.5 * x**2), chains=2, warmup=20, draws=2)
    assert gathered(chains) is chains
