"""Pictures moved by whole pixels: where each pixel comes from, how often, and slopes of slopes."""

import pytest
import torch
from torch.nn.functional import pad

from probgen.nets import RandomShift


def moved_by(x, down, across, k):
    """Pictures (n, C, H, W) that are moved by so many pixels, 0 where nothing was."""
    height, width = x.shape[2:]
    return pad(x, (k, k, k, k))[:, :, k + down : k + down + height, k + across : k + across + width]


@pytest.mark.parametrize("pixels", [1, 2])
def test_every_movement_happens_as_often_as_it_should(pixels, device):
    torch.manual_seed(0)
    n, shape = 4000, (2, 4, 5)
    x = torch.rand(1, *shape, device=device).expand(n, *shape)
    after = RandomShift(shape, pixels=pixels)(x.flatten(1)).reshape(n, *shape)
    steps, left = range(-pixels, pixels + 1), n
    for down in steps:
        for across in steps:
            found = int((after == moved_by(x, down, across, pixels)).flatten(1).all(1).sum())
            share = 1.0
            for step in (down, across):
                share *= 1 / (2 * pixels) if abs(step) < pixels else 1 / (4 * pixels)
            assert abs(found - n * share) < 4.5 * (n * share * (1 - share)) ** 0.5  # one in 1e5 a movement
            left -= found
    assert left == 0


def test_slopes_of_slopes_are_those_of_the_moved_picture(device):
    x = torch.rand(6, 12, device=device, dtype=torch.float64, requires_grad=True)
    net = RandomShift((3, 4))

    def cubes(x):
        torch.manual_seed(0)
        return net(x).pow(3).sum()

    assert torch.autograd.gradgradcheck(cubes, x)


def test_batch_dimensions_evaluation_and_nothing(device):
    x = torch.rand(2, 3, 12, device=device)
    net = RandomShift((3, 4))
    assert net(x).shape == x.shape
    assert net(x[:0]).shape == (0, 3, 12)
    assert torch.equal(net.eval()(x), x)


def test_bad_input_is_refused():
    with pytest.raises(ValueError, match="pixels should be"):
        RandomShift((3, 4), pixels=0)
    with pytest.raises(ValueError, match="12"):
        RandomShift((3, 4))(torch.zeros(2, 11))
