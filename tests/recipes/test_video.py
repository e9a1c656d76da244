"""Recipes of films."""

import pytest
import torch

from probgen import recipes
from probgen.recipes.task import Rows, Task


@pytest.mark.parametrize("name", ["conv-lstm", "video-vae"])
def test_pixels_begin_at_the_mean_of_the_data(name, device):
    """Else the memory learns the mean first, saturates, and forecasts it for ever."""
    torch.manual_seed(0)
    x = (torch.rand(20, 6, 1, 16, 16, device=device) < 0.04).float()
    model = recipes.make(name, Task("films", "video", Rows(x), Rows(x))).model
    frames = model.forecast(x[:, :3], steps=2, seed=0)
    assert (
        abs(float(frames.mean() / x.mean()) - 1) < 0.3
    )  # of torch's first weights it is .5, 12 times as much
