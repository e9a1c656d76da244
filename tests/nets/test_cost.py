"""Costs of nets against counts by hand; receptive fields against arithmetic and gradients."""

import pytest
import torch
from torch import nn

from probgen.nets import MLP, ConvDecoder, ConvEncoder, NormalHead, ResidualConvNet, SeparableConv, cost
from probgen.nets.residual import Residual


class Flat(nn.Module):
    """Layers from pictures to pictures, as a net of flat pictures."""

    def __init__(self, shape, *layers):
        super().__init__()
        self.layers = nn.Sequential(nn.Unflatten(-1, shape), *layers, nn.Flatten())

    def forward(self, x):
        return self.layers(x)


def by_arithmetic(*layers):
    """1 + Σ (k − 1) · dilation · step, where strides multiply the step, for (k, stride, dilation)."""
    seen, step = 1, 1
    for size, stride, dilation in layers:
        seen += (size - 1) * dilation * step
        step *= stride
    return seen


PIXELS = 20 * 24
KINDS = {
    "standard": (nn.Conv2d(3, 5, 3, padding=1), 3 * 5 * 9 + 5, 3 * 5 * 9 * PIXELS, (3, 3)),
    "dilated": (nn.Conv2d(3, 5, 3, padding=4, dilation=4), 3 * 5 * 9 + 5, 3 * 5 * 9 * PIXELS, (9, 9)),
    "oblong": (nn.Conv2d(3, 5, (1, 5), padding=(0, 2)), 3 * 5 * 5 + 5, 3 * 5 * 5 * PIXELS, (1, 5)),
    "separable": (
        SeparableConv(3, 5, 5, dilation=2),
        3 * 25 + 3 * 5 + 5,
        (3 * 25 + 3 * 5) * PIXELS,
        (9, 9),
    ),
    "grouped": (nn.Conv2d(3, 6, 3, padding=1, groups=3), 6 * 9 + 6, 6 * 9 * PIXELS, (3, 3)),
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_convolution_costs_what_is_counted_by_hand(kind, device, dtype):
    layer, *expected = KINDS[kind]
    net = Flat((3, 20, 24), layer).to(device, dtype)
    assert list(cost(net, (3, 20, 24), (20, 24))) == expected


def test_strides_and_transposed_convolutions():
    halves = nn.Conv2d(1, 2, 3, stride=2, padding=1)
    assert cost(Flat((1, 20, 24), halves), (20, 24), (10, 12)) == (20, 2 * 9 * 120, (3, 3))
    # Each number that comes in meets all 16 weights; a pixel that goes out has two by two of them.
    doubles = nn.ConvTranspose2d(2, 3, 4, stride=2, padding=1)
    assert cost(Flat((2, 10, 12), doubles), (2, 10, 12), (20, 24)) == (2 * 3 * 16 + 3, 96 * 120, (2, 2))


def test_dense_nets():
    assert cost(MLP(12, 4, hidden=(5, 6)), (3, 4)) == (12 * 5 + 5 + 36 + 28, 60 + 30 + 24, (3, 4))
    net = ConvEncoder((28, 28), 7, channels=2)
    expected = 2 * 9 * 14**2 + 2 * 4 * 9 * 7**2 + 4 * 49 * 7
    assert cost(net, (28, 28)) == (20 + 76 + 4 * 49 * 7 + 7, expected, (28, 28))


@pytest.mark.parametrize("dilations", [(1,), (2,), (1, 2, 4)])
def test_the_receptive_field_of_residual_nets_is_that_of_their_longest_way(dilations):
    net = ResidualConvNet((96, 96), (1, 48, 48), channels=3, dilations=dilations)
    blocks = [layer for dilation in dilations for layer in ((3, 1, dilation), (3, 1, 1))]
    expected = by_arithmetic((3, 2, 1), *blocks, (3, 1, 1))
    assert cost(net, (96, 96), (48, 48)).receptive_field == (expected, expected)


@pytest.mark.parametrize(
    ("net", "into", "out"),
    [
        (ResidualConvNet((12, 14), (2, 6, 7), channels=3), (12, 14), (6, 7)),
        (
            ResidualConvNet((2, 9, 9), (18, 17), channels=3, dilations=(1,), separable=True),
            (2, 9, 9),
            (18, 17),
        ),
    ],
)
def test_the_receptive_field_is_the_support_of_the_gradient(net, into, out):
    """With its own weights, of either sign, and an activation whose slope is nowhere 0 but at a point."""
    net = net.double()
    x = torch.randn(1, net.inputs, dtype=torch.float64, requires_grad=True)
    net(x).reshape(-1, *out)[0, out[0] // 2, out[1] // 2].backward()
    rows, columns = (x.grad.reshape(-1, *into[-2:]) != 0).any(0).nonzero().T
    extent = (int(rows.max() - rows.min()) + 1, int(columns.max() - columns.min()) + 1)
    assert cost(net, into, out).receptive_field == extent


def test_dead_units_and_terms_that_cancel_hide_nothing():
    branch = Residual(nn.Conv2d(1, 1, 3, padding=1))
    with torch.no_grad():
        branch.body[0].weight.zero_()[0, 0, 1, 1] = -1.0  # x + f(x) = 0
        branch.body[0].bias.fill_(-100.0)  # and then nothing passes a ReLU
    net = Flat((1, 9, 9), branch, nn.ReLU(), nn.Conv2d(1, 1, 3, padding=1))
    before = [weight.clone() for weight in net.parameters()]
    assert cost(net, (9, 9), (9, 9)).receptive_field == (5, 5)
    assert all(torch.equal(*pair) for pair in zip(before, net.parameters(), strict=True))
    assert net.training


def test_a_maximum_depends_on_all_the_pixels_that_it_is_taken_of():
    """2 x 2 pixels, of those 3 x 3, that is 4 x 4; 3 x 3 such maxima, 2 pixels apart, 8 x 8."""
    pooled = [nn.Conv2d(1, 2, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)]
    assert cost(Flat((1, 16, 16), *pooled), (16, 16), (8, 8)).receptive_field == (4, 4)
    net = Flat((1, 16, 16), *pooled, nn.Conv2d(2, 1, 3, padding=1))
    assert cost(net, (16, 16), (8, 8)).receptive_field == (8, 8)


def test_weights_that_are_not_learned_are_no_parameters():
    net = MLP(4, 2, hidden=())
    net.last.bias.requires_grad_(False)
    assert cost(net, (2, 2)) == (8, 8, (2, 2))


def test_a_decoder_sees_its_whole_code():
    assert cost(ConvDecoder(6, (8, 8), channels=2), (6, 1, 1), (8, 8)).receptive_field == (1, 1)


def test_what_is_no_net_of_pictures_is_refused():
    with pytest.raises(TypeError, match="NormalHead returned a Independent: of a head take its net"):
        cost(NormalHead(MLP(4, 2)), (2, 2))
    with pytest.raises(ValueError, match=r"but is \(3, 3\), and it returned 8 numbers"):
        cost(MLP(4, 8), (2, 2), (3, 3))
    with pytest.raises(ValueError, match=r"out_shape should be \(H, W\) or \(C, H, W\) but got \(8,\)"):
        cost(MLP(4, 8), (2, 2), (8,))
