"""A user's own pictures of 8 bits: their levels are kept, learned, drawn, and counted in bits."""

import numpy as np
import pytest
import torch
from PIL import Image

from probgen import evaluation, nets, recipes
from probgen.nets.discretised_logistic import DiscretisedLogistic
from tests.cli.test_app import probgen

__all__ = ["probgen"]  # a fixture

NAMES = ("autoencoder", "cvae", "cvae-completion", "lars-vae", "m2", "super-resolution", "vae", "vq-vae")
SIDE = (4, 6)


def folder_of_pictures(folder, *, rows=120, seed=0):
    """Write pictures of three classes, bright, grey and dark, a folder each; return their pixels."""
    random = np.random.default_rng(seed)
    pixels = np.clip(random.normal([[[[200]], [[128]], [[40]]]], 12, (rows // 3, 3, *SIDE)), 0, 255)
    pixels = pixels.round().astype(np.uint8)
    for kind, name in enumerate(("bright", "grey", "dark")):
        (folder / name).mkdir(parents=True)
        for row, picture in enumerate(pixels[:, kind]):
            Image.fromarray(picture).save(folder / name / f"{row:03}.png")
    return pixels.reshape(-1, 24)


def test_bytes_stay_bytes(tmp_path):
    pixels = folder_of_pictures(tmp_path / "mine")
    task = recipes.load(tmp_path / "mine")
    assert task.levels == 256
    assert task.facts["pixels"] == "256 grey levels"
    whole = torch.cat([task.train.x, task.test.x]) * 255
    assert (whole - whole.round()).abs().max() < 1e-4
    assert sorted(map(tuple, whole.round().int().tolist())) == sorted(map(tuple, pixels.tolist()))


def test_any_first_part_is_a_fair_sample_of_the_folders(tmp_path):
    folder_of_pictures(tmp_path / "mine", rows=600)
    task = recipes.load(tmp_path / "mine")
    for rows in (task.train, task.test):
        assert (torch.bincount(rows.labels[:60], minlength=3) > 8).all(), "of 20 expected; 1e-4 a class"
        bright, grey, dark = (rows.x[rows.labels == kind].mean() for kind in (0, 2, 1))
        assert bright > grey > dark, "labels go with their pictures"


@pytest.mark.parametrize("levels", [2, 33, 34, 256])
def test_the_likelihood_follows_the_levels(levels):
    x = torch.arange(40.0).reshape(10, 4) % levels / (levels - 1)
    task = recipes.Task("own", "images", recipes.Rows(x), recipes.Rows(x), image_shape=(2, 2), levels=levels)
    heads = {2: nets.BernoulliHead, 33: nets.CategoricalHead}
    assert isinstance(task.decoder(2), heads.get(levels, nets.DiscretisedLogisticHead))


@pytest.mark.parametrize("name", NAMES)
def test_recipes_learn_and_draw_bytes(name, tmp_path):
    folder_of_pictures(tmp_path / "mine")
    task = recipes.load(tmp_path / "mine")
    torch.manual_seed(0)
    recipe = recipes.make(name, task)
    recipes.train(recipe, task, seed=0, steps=3, batch_size=32, progress=False)
    drawn = recipe.sample(30, seed=0) * 255
    assert drawn.shape == (30, 24)
    assert (drawn - drawn.round()).abs().max() < 1e-3
    assert 0 <= drawn.min() <= drawn.max() <= 255
    if name == "super-resolution":
        decoded = recipe.model.decode(recipe.model.encode(recipe.prepare(task.test.x[:5])).mean)
    elif name != "cvae" and name != "cvae-completion":
        decoded = recipe.model.decode(recipe.model.encode(task.test.x[:5]).mean)
    else:
        return
    assert decoded.log_prob(task.test.x[:5]).isfinite().all()
    assert decoded.mean.shape == (5, 24)


def test_bits_per_dimension_are_those_of_the_law_of_the_pixels():
    """Pixels of a known law: no bound is below its entropy, and that of a trained VAE is near to it."""
    law = DiscretisedLogistic(torch.full((9,), 0.4), torch.full((9,), -3.0), 256)
    masses = law.log_prob(law.grid[:, None])[:, 0].double()
    entropy = float(-(masses.exp() * masses).sum())
    torch.manual_seed(0)
    train, test = recipes.Rows(law.sample((2000,))), recipes.Rows(law.sample((4000,)))
    task = recipes.Task("noise", "images", train, test, image_shape=(3, 3), levels=256)
    recipe = recipes.make("vae", task)
    recipes.train(recipe, task, seed=0, steps=300, batch_size=100, progress=False)
    found = evaluation.log_likelihood(recipe.model, test.x, particles=20, seed=0)
    bits = evaluation.bits_per_dimension(found, 9)
    truth = evaluation.bits_per_dimension(-9 * entropy, 9)
    own = evaluation.bits_per_dimension(law.log_prob(test.x).sum(1), 9)
    error = float(own.std() / len(own) ** 0.5)
    assert truth - 5 * error < bits.value < truth + 0.05
    assert truth == pytest.approx(float(own.mean()), abs=5 * error)


def test_a_folder_is_trained_on_and_drawn_from(probgen, tmp_path):
    pixels = folder_of_pictures(tmp_path / "mine")
    status, _, err = probgen("train", "vae", "--data", "mine", "--steps", 250, "--batch-size", 60)
    assert status == 0, err
    status, _, err = probgen("sample", tmp_path / "runs" / "vae-mine", "-n", 300, "--out", "drawn.npy")
    assert status == 0, err
    drawn = np.load("drawn.npy").reshape(300, -1) * 255
    np.testing.assert_allclose(drawn, drawn.round(), atol=1e-3)
    assert len(np.unique(drawn.round())) > 100  # a 17-level draw has 17
    # Pictures differ by their brightness, and their pixels hardly do, at any level 74 on average.
    assert drawn.mean(1).std() > 0.5 * pixels.mean(1).std()
    assert np.median(drawn.std(1)) < 30
