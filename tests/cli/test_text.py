"""The command line on texts: lines of one's own are trained on and drawn, and counting needs no training."""

import pandas as pd
import pytest

from probgen import recipes
from tests.cli.test_app import probgen, refused

__all__ = ["probgen"]  # a fixture

LINES = ["what is this", "this is a line", "and this is another", "a line of words"] * 30


@pytest.fixture
def mine(tmp_path):
    file = tmp_path / "mine.txt"
    file.write_text("\n".join(LINES))
    return file


@pytest.mark.parametrize("name", ["sentence-vae", "n-gram"])
def test_lines_of_ones_own_are_learned_and_drawn(probgen, tmp_path, mine, name):
    folder = tmp_path / "run"
    options = ("--data", mine, "--steps", 2, "--batch-size", 8, "--out", folder)
    status, out, err = probgen("train", name, *options)
    assert status == 0, err
    assert ("train loss" in out) == (name != "n-gram")
    status, out, err = probgen("sample", folder, "-n", 5)
    assert status == 0, err
    drawn = (folder / "samples.txt").read_text().splitlines()
    assert len(drawn) == 5
    assert set("".join(drawn)) <= set("".join(LINES))
    if name == "n-gram":
        assert sum(line in LINES for line in drawn) >= 2


def test_the_task_of_a_text(mine):
    task = recipes.load(mine)
    assert (task.kind, task.size) == ("text", 20)
    assert len(task.train) + len(task.test) in (120, 121)  # a line may be cut in two
    assert set(task.symbols.decode(task.test.x)[1:]) <= set(LINES)
    with pytest.raises(ValueError, match="'diabetes' should have a vocabulary but is 'table' without one"):
        _ = recipes.load("diabetes").symbols


def test_lines_are_compared_by_likelihood_and_not_as_points(probgen, tmp_path, mine):
    options = ("--methods", "n-gram,gru", "--steps", 2, "--out", "here")
    status, _, err = probgen("compare", mine, *options)
    assert status == 0, err
    found = pd.read_csv("here/metrics.csv").pivot_table(index="method", columns="metric", values="value")
    assert found.nats_per_step["n-gram"] < 1 < found.nats_per_step["gru"]  # four lines, again and again
    said = refused(probgen("compare", mine, *options[:2], "--metrics", "mmd"))
    assert said.startswith("sequences are compared by sequences, cost, but metrics name 'mmd'")
