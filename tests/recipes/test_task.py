"""What a task gives to recipes: nets, likelihoods and sizes that suit its kind of data, also of a table."""

import pytest
import torch

from probgen import SVI, fit, models, nets, recipes

LAWS = {"banana": nets.NormalHead, "diabetes": nets.NormalHead, "digits": nets.CategoricalHead}


@pytest.mark.parametrize("name", LAWS)
def test_its_nets_and_sizes_fit_its_data(name, device):
    task = recipes.load(name, device=device)
    torch.manual_seed(0)
    sizes = task.sizes
    model = models.VAE(task.encoder(sizes.latent), task.decoder(sizes.latent))
    assert isinstance(model.decoder, LAWS[name])
    x = task.train.x[: sizes.budget.batch_size]
    assert model.encode(x).mean.shape == (len(x), sizes.latent)
    losses = fit(SVI(model), x, steps=20, batch_size=len(x), progress=False, seed=0, compile="eager").values()
    assert losses[-1] < losses[0]
    assert model.sample(3).shape == (3, *x.shape[1:])
