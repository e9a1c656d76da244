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


@pytest.mark.parametrize("name", ["gan", "bigan", "infogan", "mmd-gan", "vae-gan", "wgan-gp"])
def test_one_picture_and_a_pixel_that_is_missing_are_refused_in_words(name):
    task = recipes.load("digits")
    with pytest.raises(ValueError, match=r"the variance of 'digits' is 0 over 1 rows"):
        recipes.make(name, replace(task, train=Rows(task.train.x[:1])))
    x = task.train.x.clone()
    x[3, 5] = float("nan")
    with pytest.raises(ValueError, match="training data of 'digits' should be finite but row 3 holds NaN"):
        recipes.make(name, replace(task, train=Rows(x)))


@pytest.mark.parametrize("name", ["gan", "r3gan", "wgan-gp", "cgan", "bigan", "infogan"])
def test_first_draws_of_pictures_are_as_varied_as_data(name):
    task = recipes.load("digits")
    torch.manual_seed(0)
    recipe = recipes.make(name, task)
    varied = torch.pdist(recipe.sample(500, seed=0)).mean() / torch.pdist(task.train.x[:500]).mean()
    assert 0.6 < varied < 1.4


def test_what_finds_classes_sees_moved_pictures_as_it_learns():
    task = recipes.load("digits")
    torch.manual_seed(0)
    net, x = recipes.make("infogan", task).model.recogniser, task.train.x[:50]

    def odds():
        return net(x).parts[0].logits

    assert not torch.allclose(odds(), odds(), atol=1e-3)
    net.eval()
    assert torch.equal(odds(), odds())


def test_a_classifier_of_few_labels_learns_from_them_alone_at_first():
    (stage,) = recipes.make("semi-supervised-aae", recipes.load("digits")).stages
    plans, objective = stage.schedules(1000), stage.objective
    for name in ("reconstruction", "classes", "styles", "agreement"):
        end = float(objective.get_buffer(f"weight_{name}"))
        weights = [plans[f"weight_{name}"](step) / end for step in (0, 250, 500, 999)]
        assert weights == pytest.approx([0.01, 0.505, 1.0, 1.0])
    assert "weight_classification" not in plans


@pytest.mark.parametrize("name", ["aae", "wae-gan", "wae-mmd"])
def test_codes_are_drawn_to_the_prior_where_likelihoods_of_few_pictures_end(name):
    task = recipes.load("digits")
    assert task.few_images
    (stage,) = recipes.make(name, task).stages
    assert stage.budget.steps == 2000 > 2 * task.sizes.budget.steps
