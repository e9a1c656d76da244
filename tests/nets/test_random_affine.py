"""Pictures moved at random: where each place comes from, and the laws of the movements."""

import logging
import math

import pytest
import torch
from scipy import stats
from torch import nn

from probgen.capture.captured_loss import CapturedLoss
from probgen.nets import MLP, ClassHead, Joined, RandomAffine
from probgen.objectives import Classification

double = torch.float64
HEIGHT, WIDTH = 9, 14
AMOUNTS = {"rotation": 20.0, "shear": 0.2, "scale": 0.1, "shift": 0.05}


def places(device):
    """Where each pixel is, in pixels from the middle: (2, H, W), across and down."""
    down, across = (torch.arange(n, device=device, dtype=double) - (n - 1) / 2 for n in (HEIGHT, WIDTH))
    return torch.stack(torch.meshgrid(across, down, indexing="xy"))


def found(rows, device, **amounts):
    """(A, t) of each of many moved pictures, whose two channels tell where each place was before.

    Values that are linear are interpolated exactly, so that A and t can be read off inner pixels.
    """
    moved = RandomAffine((2, HEIGHT, WIDTH), **amounts)
    before = places(device)
    torch.manual_seed(0)
    after = moved(before.reshape(1, -1).expand(rows, -1)).reshape(rows, 2, HEIGHT, WIDTH)
    inner = after[:, :, 3:6, 5:9].flatten(2)
    p = torch.cat([before[:, 3:6, 5:9].flatten(1), torch.ones(1, 12, device=device, dtype=double)])
    maps = inner @ torch.linalg.pinv(p)
    torch.testing.assert_close(maps @ p, inner)  # the movement is affine
    return maps[..., :2], maps[..., 2]


def numbers(rows, device, **amounts):
    """θ in degrees, h, a, b, u and v of moved pictures."""
    a, t = found(rows, device, **amounts)
    q = torch.atan2(a[:, 1, 0], a[:, 0, 0])  # R⁻¹ A is upper triangular: its first column is (e^a, 0)
    turn = torch.stack([q.cos(), q.sin(), -q.sin(), q.cos()], -1).reshape(-1, 2, 2)
    upper = turn @ a
    torch.testing.assert_close(upper[:, 1, 0], torch.zeros_like(q), atol=1e-12, rtol=0)
    first, second = upper[:, 0, 0], upper[:, 1, 1]
    return {
        "rotation": q.rad2deg(),
        "shear": upper[:, 0, 1] / second,
        "scale": first.log(),
        "scale down": second.log(),
        "shift": t[:, 0] / WIDTH,
        "shift down": t[:, 1] / HEIGHT,
    }


def test_each_number_is_uniform_up_to_its_amount(device):
    """Six Kolmogorov-Smirnov tests at 1e-4; of 2,000 draws one 5 % wider has p below 1e-4."""
    drawn = numbers(2000, device, **AMOUNTS)
    for name, values in drawn.items():
        most = AMOUNTS[name.removesuffix(" down")]
        assert values.abs().max() <= most * (1 + 1e-9)
        assert stats.kstest((values / most).cpu().numpy(), stats.uniform(-1, 2).cdf).pvalue > 1e-4, name
    wrong = stats.uniform(-1, 2).cdf((drawn["shift"] / (0.05 * 0.9)).cpu().numpy())
    assert stats.kstest(wrong, "uniform").pvalue < 1e-4
    table = torch.stack(list(drawn.values()))
    assert (torch.corrcoef(table) - torch.eye(6, device=device, dtype=double)).abs().max() < 0.11


@pytest.mark.parametrize("name", AMOUNTS)
def test_one_amount_moves_by_its_numbers_alone(name, device):
    for other, values in numbers(50, device, **{name: AMOUNTS[name]}).items():
        assert bool(values.abs().max() > 1e-3) == other.startswith(name)


def test_what_comes_from_outside_is_zero(device):
    x = torch.ones(200, 64, device=device)
    torch.manual_seed(0)
    moved = RandomAffine((8, 8), shift=0.25)(x).reshape(-1, 8, 8)
    assert moved.min() == 0
    assert moved.max() <= 1 + 1e-6
    torch.testing.assert_close(moved[:, 3:5, 3:5], torch.ones(200, 2, 2, device=device))


@pytest.mark.parametrize("leading", [(), (5,), (2, 5), (0,)])
def test_any_leading_dimensions_and_none_moved_in_evaluation(leading, device, dtype):
    module = RandomAffine((2, 7, 10), rotation=10.0)
    x = torch.rand(*leading, 140, device=device, dtype=dtype)
    moved = module(x)
    assert moved.shape == x.shape
    assert moved.dtype == dtype
    assert torch.equal(module.eval()(x), x)


def test_pictures_of_a_batch_move_each_by_itself(device):
    x = torch.rand(64, device=device).expand(10, 64)
    moved = RandomAffine((8, 8), rotation=15.0)(x)
    assert (torch.cdist(moved, moved) + torch.eye(10, device=device) > 1e-3).all()


def test_it_is_captured_to_the_same_bits(device, caplog):
    x, y = torch.rand(12, 64, device=device), torch.arange(12, device=device) % 3
    outcomes = []
    caplog.set_level(logging.WARNING)
    for mode in ("eager", "graph"):
        torch.manual_seed(7)
        net = Joined(MLP(64, 3, hidden=5), RandomAffine((8, 8), rotation=15.0, shift=0.1))
        model = nn.ModuleDict({"classifier": ClassHead(net)}).to(device)
        loss_of = CapturedLoss(Classification(model), mode)
        outcomes.append([loss_of(x.roll(turn), y.roll(turn))[0].detach() for turn in range(5)])
    assert not caplog.records
    assert all(map(torch.equal, *outcomes))
    assert len({float(loss) for loss in outcomes[0]}) == 5


@pytest.mark.parametrize("amount", [-0.1, math.inf, math.nan])
def test_amounts_that_are_none(amount):
    with pytest.raises(ValueError, match="shear should be at least 0 and finite but is"):
        RandomAffine((8, 8), shear=amount)


def test_pictures_of_another_size():
    with pytest.raises(ValueError, match="RandomAffine should get inputs of size 64 but got shape"):
        RandomAffine((8, 8))(torch.zeros(5, 63))
