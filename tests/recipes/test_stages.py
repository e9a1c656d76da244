"""A run of several stages belongs to one training from its first step to its last."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from probgen import recipes
from probgen.cli import runs

HOLDS = """
import sys
from pathlib import Path
import torch
from probgen.cli import runs
from probgen.recipes import training
from probgen.training import Callback, fit

class Stay(Callback):
    def on_step_end(self, objective, history):
        if history.step == 2:
            print("training", flush=True)
            sys.stdin.readline()

def second_stays(*args, **given):
    if given["checkpoint"].name == "stage-2":
        given["callbacks"] = [*given["callbacks"], Stay()]
    return fit(*args, **given)

training.fit = second_stays
where = {"device": torch.device("cpu"), "resume": False}
runs.train("gmmn-autoencoder", "digits", Path(sys.argv[1]), steps=3, batch_size=32, **where)
"""


def test_no_other_process_writes_while_a_later_stage_is_trained(tmp_path):
    folder = tmp_path / "run"
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(__file__).parents[2])}
    command = [sys.executable, "-c", HOLDS, str(folder)]
    streams = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
    with subprocess.Popen(command, env=environment, text=True, **streams) as first:
        assert "training\n" in iter(first.stdout.readline, "")  # after what is said of the first stage
        before = {path: path.read_bytes() for path in folder.glob("**/*.json")}
        assert folder / "run.json" in before
        assert folder / "stage-1/checkpoint.json" in before
        with pytest.raises(ValueError, match=rf"run is in use by another training \(process {first.pid} on "):
            runs.train("gmmn-autoencoder", None, folder, device=torch.device("cpu"), resume=True, steps=5)
        assert before == {path: path.read_bytes() for path in folder.glob("**/*.json")}
        first.stdin.close()
        assert first.wait() == 0
    runs.train("gmmn-autoencoder", None, folder, device=torch.device("cpu"), resume=True)  # free again


def test_the_schedules_of_a_stage_reach_its_objective():
    task = recipes.load("digits")
    recipe = recipes.make("annealed-vae", task)
    (stage,) = recipe.stages
    recipes.train(recipe, task, seed=0, steps=4, batch_size=32, progress=False)
    assert float(stage.objective.elbo.capacity) == pytest.approx(10 * 3 / (stage.budget.steps // 2))


def test_the_gradients_of_a_stage_are_cut():
    task = recipes.load("banana")
    plain = recipes.make("vae", task)
    (stage,) = plain.stages
    assert isinstance(stage, recipes.Stage)
    free, cut = (
        recipes.Recipe(plain.model, [stage]),
        recipes.Recipe(plain.model, [stage._replace(max_gradient_norm=1e-3)]),
    )
    for recipe, told in ((free, False), (cut, True)):
        (history,) = recipes.train(recipe, task, seed=0, steps=3, batch_size=32, progress=False)
        assert ("gradient_norm" in set(history.frame["term"])) is told


def test_a_vae_of_separate_modes_does_not_collapse():
    task = recipes.load("ring")
    recipe = recipes.make("vae", task)
    (history,) = recipes.train(recipe, task, seed=0, steps=800, progress=False)
    assert not any("collapse" in said for said in history.diagnose())


def test_a_run_whose_last_stage_has_not_begun_is_not_taken_for_trained(tmp_path):
    task, folder = recipes.load("digits"), tmp_path / "run"
    recipe = recipes.make("gmmn-autoencoder", task)
    recipes.train(recipe, task, seed=0, folder=folder, steps=2, batch_size=32, progress=False)
    assert recipes.restore(recipes.make("gmmn-autoencoder", task), folder, seed=0) == 2
    shutil.rmtree(folder / "stage-2")
    with pytest.raises(
        ValueError, match=r"come to the last of its 2 stages but .*: go on with it \(--resume"
    ):
        recipes.restore(recipes.make("gmmn-autoencoder", task), folder, seed=0)


def test_a_run_of_another_number_of_stages_is_refused(tmp_path):
    task = recipes.load("digits")
    one, two = (recipes.make(name, task) for name in ("vae", "gmmn-autoencoder"))
    recipes.train(one, task, seed=0, folder=tmp_path / "run", steps=2, batch_size=32, progress=False)
    message = "should have 2 stages, as its recipe has, but has one, by another version"
    with pytest.raises(ValueError, match=message):
        recipes.restore(two, tmp_path / "run", seed=0)
    with pytest.raises(ValueError, match=message):
        recipes.train(two, task, seed=0, folder=tmp_path / "run", resume=True, steps=2, progress=False)


@pytest.mark.parametrize("name", ["infogan", "aae-clusters"])
def test_where_nothing_judges_the_last_weights_are_kept(name, tmp_path):
    task, folder = recipes.load("digits"), tmp_path / "run"
    assert task.held_out is None
    recipes.train(recipes.make(name, task), task, seed=0, folder=folder, steps=30, progress=False)
    assert [path.name for path in (folder / "stage-2").glob("*-*")] == ["last-00000030"]
