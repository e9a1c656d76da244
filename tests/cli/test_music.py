"""The command line on sequences: chorales are trained on, drawn from, and shown."""

import json
import math
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch

from probgen import recipes
from probgen.recipes import run_folder
from tests.cli.test_app import probgen, refused
from tests.data.test_midi import read
from tests.recipes.test_laws import loaded

__all__ = ["probgen"]  # a fixture


@pytest.fixture
def small(monkeypatch):
    """Short beginnings of chorales, in the place of whole ones."""
    task = loaded("music", torch.device("cpu"))
    for room in (recipes, run_folder):
        monkeypatch.setattr(room, "load", lambda *args, **given: task)
    return task


def test_chorales_are_trained_on_and_drawn(probgen, tmp_path, small):
    options = ("--data", "chorales", "--steps", 2, "--batch-size", 4)
    status, out, err = probgen("train", "vrnn", *options)
    assert status == 0, err
    assert "validation loss" in out
    folder = tmp_path / "runs" / "vrnn-chorales"
    status, out, err = probgen("sample", folder, "-n", 3)
    assert status == 0, err
    assert "3 draws of vrnn on chorales, trained for 2 steps" in out
    with np.load(folder / "samples.npz") as found:
        x, lengths = found["x"], found["lengths"]
    assert x.shape == (3, 12, 88)
    assert set(np.unique(x)) == {0.0, 1.0}
    assert set(lengths) <= set(small.train.lengths.tolist())
    outside = np.arange(12) >= lengths[:, None]
    assert not x[outside].any()
    assert x[~outside].any()
    assert (folder / "samples.png").exists()
    assert probgen("sample", folder, "-n", 3, "--out", "drawn.mid")[0] == 0
    keys, _ = read(tmp_path / "drawn.mid")
    assert torch.equal(keys[: lengths[0]], torch.from_numpy(x[0, : lengths[0]]))


def test_recipes_are_compared_by_likelihood_a_step(probgen, tmp_path, small):
    options = ("--methods", "gru,vrnn", "--steps", 2, "--out", "here", "--seed", 3)
    status, _, err = probgen("compare", "chorales", *options)
    assert status == 0, err
    found = pd.read_csv("here/metrics.csv").pivot_table(index="method", columns="metric", values="value")
    assert set(found.columns) == {
        "nats_per_step", "nats_per_step_stderr", "elbo_per_step", "fit_seconds", "seconds_per_1000",
    }  # fmt: skip
    assert (found.nats_per_step > 5).all()
    assert (found.nats_per_step < 70).all()  # 61 where each key is a fair coin
    assert math.isnan(found.elbo_per_step["gru"])
    assert found.elbo_per_step["vrnn"] > found.nats_per_step["vrnn"]
    notes = json.loads((tmp_path / "here/protocol.json").read_text())["notes"]
    assert notes["gru"][0]["likelihood"] == "exact"
    assert "particle filter of 100 particles" in notes["vrnn"][0]["likelihood"]
    assert (tmp_path / "here/samples.png").exists()


def test_metrics_of_points_and_draws_of_graphs_are_refused(probgen, small, monkeypatch):
    said = refused(probgen("compare", "chorales", "--methods", "gru", "--metrics", "mmd"))
    assert said.startswith("sequences are compared by sequences, cost, but metrics name 'mmd'")
    graph = replace(small, kind="graph", name="friends")
    monkeypatch.setattr(recipes, "load", lambda *args, **given: graph)
    assert refused(probgen("compare", "friends")).startswith("'friends' is a graph, of which no draws")


def test_the_task_is_split_as_published_and_padded_alike():
    task = recipes.load("chorales")
    assert (len(task.train), len(task.held_out), len(task.test)) == (229, 76, 77)
    assert task.holding_out() is task
    assert (task.size, task.kind) == (88, "music")
    assert {rows.x.shape[1:] for rows in (task.train, task.held_out, task.test)} == {(160, 88)}
    some = task.train.part(slice(3))
    padded, lengths = some.fresh[torch.arange(3)]
    assert padded.shape[1] % 16 == 0
    assert (padded == some.x[:, : padded.shape[1]]).all()
    assert (lengths == some.lengths).all()
    with pytest.raises(ValueError, match="sequences should have lengths but these rows have none"):
        recipes.Rows(some.x).sequences()
