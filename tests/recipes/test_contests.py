"""Contests on data in another unit: nothing but the unit of the draws should change."""

from dataclasses import replace

import pytest
import torch

from probgen import recipes
from probgen.recipes import Rows


@pytest.mark.parametrize("name", ["gan", "r3gan", "wgan-gp"])
def test_draws_have_the_unit_of_the_data(name):
    task, factor = recipes.load("grid"), 32.0  # a power of two, so that all but the unit is the same bits
    other = replace(task, train=Rows(factor * task.train.x), test=Rows(factor * task.test.x))
    drawn = []
    for one in (task, other):
        torch.manual_seed(0)
        recipe = recipes.make(name, one)
        recipes.train(recipe, one, seed=0, steps=24, batch_size=64, progress=False)
        drawn.append(recipe.sample(500, seed=1))
    torch.testing.assert_close(drawn[1], factor * drawn[0], atol=1e-2 * factor, rtol=0)


@pytest.mark.parametrize("name", ["gan", "r3gan", "wgan-gp"])
@pytest.mark.parametrize("change", [lambda x: 0 * x, lambda x: x[:1], lambda x: 1e-30 * x])
def test_data_that_do_not_vary_are_refused_in_words(name, change):
    task = recipes.load("grid")
    with pytest.raises(
        ValueError, match=r"a contest needs training data that vary, .* the variance of 'grid' is 0"
    ):
        recipes.make(name, replace(task, train=Rows(change(task.train.x))))
