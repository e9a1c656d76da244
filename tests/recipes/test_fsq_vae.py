"""The grid of the FSQ-VAE: what is rounded to it is spread over it from the first step on."""

import pytest
import torch

from probgen import data, nets, recipes


@pytest.mark.parametrize("normalised", [True, False])
def test_a_fresh_net_uses_many_codes_as_it_is_normalised(normalised):
    task = recipes.load("digits")
    torch.manual_seed(0)
    model = recipes.make("fsq-vae", task).model
    net, norm = model.encoder
    assert isinstance(norm, torch.nn.BatchNorm1d)
    assert isinstance(model.codebook, nets.FiniteScalar)
    vectors = (model.encoder if normalised else net)(task.train.x[:128])
    used = model.codebook.nearest(vectors.unflatten(-1, (model.steps, model.dim))).unique()
    assert (len(used) > 20) if normalised else (len(used) < 12)


def test_its_codes_have_a_law_and_their_grid_is_that_of_black_and_white_pictures_too():
    x = data.binarise(torch.rand(60, 16, generator=torch.Generator().manual_seed(0)), seed=0)
    rows = recipes.Rows(x)
    task = recipes.Task("squares", "images", rows, rows, image_shape=(4, 4), levels=2)
    torch.manual_seed(0)
    recipe = recipes.make("fsq-vae", task)
    recipes.train(recipe, task, seed=0, steps=5, batch_size=30, progress=False)
    codes = recipe.model.encode(x).mean
    assert codes.shape == (60, 8)
    assert 0 <= codes.min() <= codes.max() < 64
    assert recipe.model.prior().log_prob(codes).isfinite().all()
    assert set(recipe.sample(20, seed=0).unique().tolist()) == {0.0, 1.0}
