"""Tables of questions from one command each: their methods exist, their questions are answered."""

from functools import partial

import pandas as pd
import pytest
import torch

from probgen import recipes
from probgen.cli import classical, comparing, principal_components, tables
from probgen.compare import thinned_chains
from probgen.compare.metrics import COLUMNS, select
from probgen.recipes import compared
from tests.cli.test_app import probgen, refused

__all__ = ["probgen"]  # the fixture


@pytest.mark.parametrize("table", tables.TABLES.values(), ids=list(tables.TABLES))
def test_methods_are_known_and_what_is_asked_is_measured(table):
    task = recipes.load(table.data)
    assert task.kind == table.kind
    assert set(table.methods) <= set(comparing.methods(task))
    assert len({question.name for question in table.questions}) == len(table.questions)
    columns = {column for own in select(table.metrics).values() for column in own}
    for question in table.questions:
        assert question.about.endswith("."), question.name
        assert question.column is None or question.column in columns, question.name
    asked = {question.column for question in table.questions}
    assert columns - asked <= {"high_quality", "nll_stderr"}, "what is measured is asked"
    assert asked - {None} <= set(COLUMNS)


def test_a_table_of_pictures_is_answered(probgen, monkeypatch):
    monkeypatch.setattr(compared, "PARTICLES", 2)
    options = ("--table", "ae-vae", "--methods", "principal-components,autoencoder,vae", "--steps", 3)
    status, out, err = probgen("compare", *options, "--repeats", 1, "--n", 200, "--out", "here")
    assert status == 0, err
    assert "codes are points" in out
    found = pd.read_csv("here/answers.csv", index_col="question", keep_default_na=False)
    assert found.loc["Likelihood", "autoencoder"] == "codes are points"
    assert found.loc["Point or law", ["principal-components", "autoencoder"]].tolist() == ["0", "0"]
    assert 0 < float(found.loc["Point or law", "vae"]) < 1
    lacking = found.loc[:, ["principal-components", "vae"]].isin(["no code", "no labels", "–"])
    assert not lacking.any(axis=None)


def test_a_table_of_samplers_is_answered(probgen, monkeypatch):
    monkeypatch.setattr(thinned_chains, "CHAINS", 32)
    monkeypatch.setattr(thinned_chains, "WARM_UP", 200)
    monkeypatch.setattr(thinned_chains, "DRAWS", 100)
    monkeypatch.setattr(thinned_chains, "LONGER", (1,))
    options = ("--table", "samplers", "--methods", "inverse,hmc,gmmn", "--steps", 3, "--repeats", 1)
    status, _, err = probgen("compare", *options, "--n", 200, "--out", "here")
    assert status == 0, err
    found = pd.read_csv("here/answers.csv", index_col="question", keep_default_na=False)
    assert found.loc["Modes found", "inverse"] == "8.00"
    assert found.loc["Log-densities a draw", "gmmn"] == "no density is asked"
    assert float(found.loc["Gradients a draw", "hmc"]) > 1
    assert found.loc["Sound runs", "hmc"] == "0 of 1", "chains of so few steps do not find all modes"


def test_what_a_table_does_not_take_is_said(probgen):
    call = partial(probgen, "compare")
    assert "there is no table 'ae-vea': " in refused(call("--table", "ae-vea"))
    assert "--metrics should be left out" in refused(call("--table", "ae-vae", "--metrics", "mmd"))
    said = refused(call("banana", "--table", "ae-vae"))
    assert said == "the table 'ae-vae' is made on images, such as digits, but 'banana' is 'plane'"
    assert "--table and --steps belong to data sets" in refused(call("my.py:f", "--steps", 3))


def test_principal_components_are_the_best_linear_code_and_a_normal_law():
    """Their error is the sum of the variances left out; the law has the mean and the covariance of the rows
    in their plane, and grey levels when it is drawn.
    """
    task = recipes.load("digits")
    fitted = principal_components.principal_components(task).fit(task.train.x, 0)
    x, size = task.train.x, task.sizes.latent
    left_out = torch.linalg.eigvalsh(x.double().T.cov())[:-size].sum() * (len(x) - 1) / len(x)
    restored = fitted.coded.decode(fitted.coded.encode(x).mean).mean
    assert float((restored - x).double().square().sum(1).mean()) == pytest.approx(float(left_out), rel=1e-4)
    draws = fitted.sample(4000, seed=0)
    assert torch.equal(draws, fitted.sample(4000, seed=0))
    assert ((draws * 16).round() / 16 - draws).abs().max() < 1e-6
    assert (draws.mean(0) - x.mean(0)).abs().max() < 0.1
    other = classical.pixels(task).fit(x, 0)
    assert (
        fitted.log_prob(task.test.x).mean() < other.log_prob(task.test.x).mean()
    )  # as the README's bound is


def test_codes_of_a_recipe_are_of_the_data_as_they_are_compared():
    for name, data in (("super-resolution", "digits"), ("vae", "diabetes"), ("vae", "banana")):
        task = recipes.load(data)
        torch.manual_seed(0)
        coded = compared.Codes(recipes.make(name, task), task)
        x = task.test.complete[:20]
        assert coded.decode(coded.encode(x).mean).mean.shape == x.shape


def test_what_a_recipe_can_is_handed_to_the_metrics():
    task = recipes.load("digits")
    found = {
        name: comparing.methods(task, steps=2)[name].fit(task.train.x, 0)
        for name in ("vae", "gmmn", "cvae", "conditional-gmmn")
    }
    assert {name for name, fitted in found.items() if fitted.coded is not None} == {"vae"}
    assert {name for name, fitted in found.items() if fitted.of_class} == {"cvae", "conditional-gmmn"}
    assert found["vae"].notes["objective"] == "SVI"
    assert found["vae"].notes["training"] == "finished, 2 steps"
    assert found["cvae"].of_class(5, seed=0, label=3).shape == (5, 64)
