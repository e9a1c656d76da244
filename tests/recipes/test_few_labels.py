"""What recipes of few labels see of a task's labels."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from probgen import recipes
from probgen.recipes import Rows, Task
from probgen.recipes.registry import Stage

NAMES = ("m2", "m1-m2", "semi-supervised-aae")


def seen(name, task, rows):
    """What the last stage of a recipe learns of some rows."""
    torch.manual_seed(0)
    last = recipes.make(name, task).stages[-1]
    return (last if isinstance(last, Stage) else last()).data(rows)


@pytest.mark.parametrize("name", NAMES)
def test_ten_of_each_class_are_seen_and_none_of_those_held_out(name, device):
    task = recipes.load("digits", device=device).holding_out()
    x, labels = seen(name, task, task.train)
    assert len(x) == len(labels) >= len(task.train)
    known = (labels[: len(task.train)] != -1).nonzero()[:, 0]
    assert torch.bincount(labels[known]).tolist() == [10] * 10
    assert torch.equal(labels[known], task.train.labels[known])
    assert seen(name, task, task.held_out)[1].eq(-1).all()


@pytest.mark.parametrize("name", NAMES)
def test_labels_of_which_some_are_missing_are_taken_as_they_are_and_repeated(name):
    task = recipes.load("digits")
    labels = torch.where(torch.arange(len(task.train)) < 20, task.train.labels, -1)
    task = replace(task, train=Rows(task.train.x, labels=labels))
    x, found = seen(name, task, task.train)
    assert torch.equal(found[: len(labels)], labels)
    times = len(labels) // (3 * 20)
    assert torch.equal(found[len(labels) :], labels[:20].repeat(times - 1))
    if name != "m1-m2":
        assert torch.equal(x[len(labels) :], task.train.x[:20].repeat(times - 1, 1))


@pytest.mark.parametrize("name", NAMES)
def test_data_without_labels_are_refused(name):
    few = Rows(torch.rand(40, 64).round())
    with pytest.raises(ValueError, match=f"the recipe {name!r} needs labels but 'bare' has none"):
        recipes.make(name, Task("bare", "images", few, few, image_shape=(8, 8), levels=2))


@pytest.mark.parametrize("name", NAMES)
def test_a_class_of_few_rows_and_labels_that_are_all_missing_are_named(name):
    task = recipes.load("digits")
    labels = torch.where(torch.arange(len(task.train)) < 3, 11, task.train.labels)
    rare = replace(task, train=replace(task.train, labels=labels))
    with pytest.raises(ValueError, match="10 of each class are seen, but a class has 3 rows: leave out"):
        seen(name, rare, rare.train)
    none = replace(task, train=replace(task.train, labels=labels.fill_(-1)))
    with pytest.raises(ValueError, match=f"the recipe {name!r} needs labels but 'digits' has none"):
        recipes.make(name, none)


def test_a_class_that_is_held_out_alone_is_counted():
    task = recipes.load("digits").holding_out()
    held_out = replace(task.held_out, labels=task.held_out.labels.clone())
    held_out.labels[0] = 12
    assert replace(task, held_out=held_out).classes("cvae") == 13


def test_draws_of_a_class_and_of_all():
    task = recipes.load("digits")
    for name in NAMES:
        recipe = recipes.make(name, task)
        assert recipe.labels.tolist() == list(range(10))
        assert recipe.sample(5, seed=0, label=3).shape == (5, 64)


def test_a_users_own_pictures_may_have_few_labels(tmp_path):
    generator = np.random.default_rng(0)
    labels = np.where(np.arange(60) % 3 == 0, np.arange(60) % 2, -1)
    np.savez(tmp_path / "mine.npz", x=generator.integers(0, 2, (60, 8, 8)), y=labels)
    task = recipes.load(tmp_path / "mine.npz")
    assert set(task.train.labels.tolist()) == {-1, 0, 1}
    assert task.test.labels is None
    assert recipes.make("m2", task).labels.tolist() == [0, 1]
    for name in ("cvae", "conditional-gmmn"):
        with pytest.raises(
            ValueError, match=rf"{name!r} needs a label of each row but \d+ of 'mine' have none"
        ):
            recipes.make(name, task)
