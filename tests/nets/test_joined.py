"""Nets of several inputs: side by side, broadcast, widened by heads, captured; labels as one-hot vectors."""

import copy

import pytest
import torch
from torch import nn

from probgen import SVI, fit
from probgen.models import VAE
from probgen.nets import MLP, Joined, NormalHead, OneHot
from probgen.priors import StandardNormal


def test_inputs_stand_side_by_side(device, dtype):
    net = MLP(7, 2).to(device, dtype)
    joined = Joined(net, None, OneHot(3).to(device, dtype))
    x, y = torch.randn(6, 5, 4, device=device, dtype=dtype), torch.tensor([0, 2, 1, -1, 2], device=device)
    rows = torch.tensor([[1, 0, 0], [0, 0, 1], [0, 1, 0], [0, 0, 0], [0, 0, 1]], device=device, dtype=dtype)
    torch.testing.assert_close(joined(x, y), net(torch.cat([x, rows.expand(6, 5, 3)], -1)))
    torch.testing.assert_close(Joined(net)(x, rows), joined(x, y))


def test_a_head_widens_it_and_a_copy_is_widened_alone():
    net = Joined(MLP(7, 2), None, OneHot(3))
    other = copy.deepcopy(net)
    head = NormalHead(net)
    assert head.outputs == 2
    x, y = torch.zeros(5, 4), torch.zeros(5, dtype=torch.int64)
    assert head(x, y).event_shape == (2,)
    assert other(x, y).shape == (5, 2)
    assert NormalHead(Joined(nn.Linear(7, 4), None, OneHot(3)))(x, y).event_shape == (2,)


def test_a_conditional_vae_of_labels_learns_in_a_captured_graph(caplog):
    torch.manual_seed(0)
    encoder = NormalHead(Joined(MLP(2 + 3, 1, hidden=(16,)), None, OneHot(3)))
    decoder = NormalHead(Joined(MLP(1 + 3, 2, hidden=(16,)), None, OneHot(3)), scale="shared")
    vae = VAE(encoder, decoder, prior=StandardNormal(1))
    y = torch.arange(300) % 3
    x = torch.stack([y.float(), -y.float()], 1) + 0.1 * torch.randn(300, 2)
    rate = {"optimizer": lambda parameters: torch.optim.Adam(parameters, lr=0.01), "progress": False}
    history = fit(SVI(vae), (x, y), epochs=60, batch_size=100, seed=0, compile="graph", **rate)
    assert history.ended == "finished"
    assert "eagerly" not in caplog.text
    drawn = vae.sample(300, y, seed=1)
    for label in range(3):
        found = drawn[y == label].mean(0)
        torch.testing.assert_close(found, torch.tensor([label, -label]).float(), atol=0.15, rtol=0)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int8, torch.int32, torch.int64])
def test_labels_of_any_whole_numbers(dtype):
    assert torch.equal(OneHot(3)(torch.tensor([2, 0], dtype=dtype)), torch.eye(3)[[2, 0]])
    if dtype == torch.uint8:  # 255 is no −1
        with pytest.raises(ValueError, match=r"labels should be 0 to 2, .* but hold 255"):
            OneHot(3)(torch.tensor([255], dtype=dtype))


def test_what_is_wrong_is_said():
    net = Joined(MLP(7, 2), None, OneHot(3))
    x = torch.zeros(2, 4)
    with pytest.raises(TypeError, match="has parts for 2 inputs but got 1"):
        net(x)
    with pytest.raises(ValueError, match="labels should be 0 to 2, or -1 where missing, but hold 3"):
        net(x, torch.tensor([0, 3]))
    with pytest.raises(ValueError, match="labels should be 0 to 2, or -1 where missing, but hold -2"):
        net(x, torch.tensor([-2, 1]))
    with pytest.raises(TypeError, match=r"labels should be integers but are torch.float32"):
        net(x, torch.zeros(2))
    vae = VAE(NormalHead(MLP(4, 1)), NormalHead(Joined(MLP(4, 4), None, OneHot(3))), prior=StandardNormal(1))
    with pytest.raises(ValueError, match=r"context 1 should have 6 rows, one a draw, but has shape \(3,\)"):
        vae.sample(6, torch.tensor([0, 1, 2]))
