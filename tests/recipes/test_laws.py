"""Laws that hold for every recipe: one table, into which a new recipe comes by being registered."""

import functools
import json
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch

from probgen import data, fit, recipes
from probgen.core import Coded, GenerativeModel
from probgen.data import Binarised
from probgen.recipes import Rows, Task
from probgen.training import Callback

CASES = [(name, kind) for name, entry in recipes.entries().items() for kind in entry.tasks]
DATA = {
    "images": "digits",
    "plane": "banana",
    "table": "diabetes",
    "music": "chorales",
    "text": "verse",
    "video": "moving-digits",
    "graph": "les-miserables",
    "molecules": "zinc-graphs",
}
load = functools.cache(recipes.load)
SHORT = {"steps": 6, "batch_size": 32, "progress": False}  # a round of turns of any game here


@pytest.fixture(params=CASES, ids=lambda case: "-on-".join(case))
def case(request, device):
    """The name of a recipe, and a task for it."""
    name, kind = request.param
    return name, loaded(kind, device)


def loaded(kind: str, device: torch.device) -> Task:
    """A task of a kind, some rows held out; beginnings of music and films, short lines, which are quick."""
    task = load(DATA[kind], device=device).holding_out()
    if kind == "text":
        short = {
            name: Rows(x[(x[:, 12:] == 0).all(1)][:200, :12])
            for name, x in (("train", task.train.x), ("test", task.test.x), ("held_out", task.held_out.x))
        }
        return replace(task, **short)
    if kind == "video":
        parts = (task.train.part(slice(40)), task.test.part(slice(8)), task.held_out.part(slice(8)))
        train, test, held_out = (Rows(rows.x[:, :3]) for rows in parts)
        return replace(task, train=train, test=test, held_out=held_out)
    if kind == "molecules":
        parts = (task.train.part(slice(60)), task.test.part(slice(8)), task.held_out.part(slice(8)))
        return replace(task, **dict(zip(("train", "test", "held_out"), parts, strict=True)))
    if kind != "music":
        return task
    parts = (task.train.part(slice(40)), task.test.part(slice(8)), task.held_out.part(slice(8)))
    train, test, held_out = (
        Rows(rows.x[:, :12], lengths=12 - torch.arange(len(rows), device=device) % 3) for rows in parts
    )
    return replace(task, train=train, test=test, held_out=held_out)


def made(name: str, task: Task) -> recipes.Recipe:
    torch.manual_seed(0)
    return recipes.make(name, task)


def weights(recipe: recipes.Recipe) -> list[torch.Tensor]:
    return [weight.detach().clone() for weight in recipe.model.parameters()]


def test_it_trains_and_draws_follow_their_seed(case):
    name, task = case
    recipe = made(name, task)
    before = weights(recipe)
    histories = recipes.train(recipe, task, seed=0, **SHORT)
    assert len(histories) == len(recipe.stages)
    assert all(history.ended == "finished" and history.step == 6 for history in histories)
    moved = [not torch.equal(old, new) for old, new in zip(before, weights(recipe), strict=True)]
    assert all(moved)  # every weight has a gradient in some stage
    first, second, other = (recipe.sample(9, seed=seed) for seed in (1, 1, 2))
    assert first.shape == (9, *task.train.x.shape[1:])
    assert first.dtype == task.train.x.dtype
    assert torch.equal(first, second)
    assert not torch.equal(first, other)
    if task.kind == "images":
        steps = first * (task.levels - 1)
        torch.testing.assert_close(steps, steps.round(), atol=1e-4, rtol=0)


def test_a_run_cut_anywhere_goes_on_to_the_same_bits_and_is_drawn_from(case, tmp_path):
    name, task = case
    whole = made(name, task)
    recipes.train(whole, task, seed=0, folder=tmp_path / "whole", **SHORT)
    stages = len(whole.stages)
    for stop in range(1, stages + 1):
        folder = tmp_path / f"cut-{stop}"
        cut = made(name, task)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("probgen.recipes.training.fit", interrupted(stop))
            recipes.train(cut, task, seed=0, folder=folder, **SHORT)
        resumed = made(name, task)
        recipes.train(resumed, task, seed=0, folder=folder, resume=True, **SHORT)
        for one, other in zip(weights(whole), weights(resumed), strict=True):
            assert torch.equal(one, other)
        restored = made(name, task)
        recipes.restore(restored, folder, seed=0)
        assert torch.equal(restored.sample(5, seed=3), whole.sample(5, seed=3))


class _AtStep(Callback):
    """Ends a training after its second step, as Ctrl-C does."""

    def on_step_end(self, objective, history):
        if history.step == 2:
            import signal

            signal.raise_signal(signal.SIGINT)


def interrupted(stage: int):
    """A ``fit`` whose call of that number is interrupted."""
    calls = []

    def run(*args, **given):
        calls.append(1)
        own = [_AtStep()] if len(calls) == stage else []
        return fit(*args, **(given | {"callbacks": [*given["callbacks"], *own]}))

    return run


def test_codes_are_laws_in_evaluation_mode(device):
    coded = []
    for name, kind in CASES:
        task = loaded(kind, device)
        recipe = made(name, task)
        model = recipe.model.train()
        if not isinstance(model, Coded):
            continue
        x = recipe.prepare(task.test.x[:6])
        context = () if recipe.contexts is None else (recipe.contexts[:6],)
        codes = model.encode(x, *context)
        assert codes.batch_shape == (len(x),)
        assert not codes.mean.requires_grad
        decoded = model.decode(codes.mean, *context)
        assert decoded.batch_shape == (len(x),)
        assert recipe.finish(decoded.sample()).shape == task.test.x[:6].shape
        assert model.training
        coded.append(name)
    assert {"vae", "gmmn-autoencoder", "autoencoder", "super-resolution"} <= set(coded)


def test_a_recipe_on_data_that_it_does_not_suit_is_refused():
    task = recipes.load("diabetes")
    with pytest.raises(ValueError, match=r"'vae-2d' suits images, but 'diabetes' is .* tabular-gmmn"):
        recipes.make("vae-2d", task)
    with pytest.raises(ValueError, match="there is no recipe 'vea': did you mean 'vae'"):
        recipes.make("vea", task)


def test_contexts_are_those_of_the_training_rows():
    task = recipes.load("digits")
    few = Rows(task.train.x[:40], labels=torch.full((40,), 7))
    recipe = made("conditional-gmmn", Task("sevens", "images", few, few, image_shape=(8, 8), levels=17))
    assert recipe.contexts is not None
    assert recipe.contexts.argmax(1).eq(7).all()
    for name in ("conditional-gmmn", "cvae"):
        with pytest.raises(ValueError, match=f"{name!r} needs labels but 'bare' has none"):
            made(name, Task("bare", "images", Rows(few.x), few, image_shape=(8, 8), levels=17))


def test_a_cvae_is_told_attributes_where_there_are_some_and_a_tables_last_column():
    task = recipes.load("digits")
    few = Rows(task.train.x[:40], labels=task.train.labels[:40], attributes=torch.rand(40, 3))
    described = Task("described", "images", few, few, image_shape=(8, 8), levels=17)
    assert torch.equal(made("cvae", described).contexts, few.attributes)
    assert torch.equal(few.part(slice(5)).attributes, few.attributes[:5])
    frame = {"a": torch.randn(40), "b": torch.rand(40), "k": ["u", "v"] * 20}
    rows = data.table({name: np.asarray(column) for name, column in frame.items()})
    task = recipes.tasks._table(rows, torch.device("cpu"))
    recipe = made("cvae", task)
    assert recipe.contexts[:, :-1].isnan().all()
    assert torch.equal(recipe.labels, rows.train[:, -1].long())
    drawn = task.to_codes(recipe.sample(30, seed=0, label=1))
    assert (drawn[:, -1] == 1).all()


class Echo(GenerativeModel):
    """Draws its context."""

    def model(self, x=None, *context, n=1):
        return context[0]


def test_draws_of_one_class():
    labels = torch.arange(40) % 4
    recipe = recipes.Recipe(Echo(), [], contexts=labels, labels=labels)
    assert recipe.sample(50, seed=0).unique().tolist() == [0, 1, 2, 3]
    assert recipe.sample(50, seed=0, label=2).unique().tolist() == [2]
    with pytest.raises(ValueError, match=r"label should be one of \[0, 1, 2, 3\] but is 7"):
        recipe.sample(5, seed=0, label=7)
    with pytest.raises(ValueError, match="label 1 should be drawn by a recipe that is told the class"):
        recipes.Recipe(Echo(), []).sample(5, seed=0, label=1)


def test_drawing_in_a_fresh_process(tmp_path):
    command = [sys.executable, "-m", "probgen.cli.app"]
    folder = tmp_path / "run"
    options = ["--steps", "3", "--batch-size", "32", "--out", str(folder)]
    subprocess.run([*command, "train", "gmmn-autoencoder", *options], check=True, capture_output=True)
    assert json.loads((folder / "run.json").read_text())["model"] == "gmmn-autoencoder"
    drawn = subprocess.run([*command, "sample", str(folder), "-n", "4"], check=True, capture_output=True)
    assert b"4 draws of gmmn-autoencoder on digits, trained for 3 steps" in drawn.stdout


@pytest.mark.parametrize("name", ["gmmn", "vae"])
def test_a_run_is_judged_on_data_like_those_it_learns(name):
    """Of black and white pictures a distance learns from the grey ones, a likelihood from fresh pixels."""
    grey = torch.rand(40, 4, generator=torch.Generator().manual_seed(0))
    rows = Rows(grey.round(), grey=grey)
    task = Task("grey", "images", rows, rows, image_shape=(2, 2), levels=2).holding_out()
    (stage,) = made(name, task).stages
    assert isinstance(stage, recipes.Stage)
    learned, judged = stage.data(task.train), stage.data(task.held_out)
    if name == "vae":
        assert isinstance(learned, Binarised)
        learned, judged = learned.grey, judged.grey
    assert (len(learned), len(judged)) == (36, 4)
    assert torch.equal(torch.cat([learned, judged]), grey)
