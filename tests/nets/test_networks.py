"""Dense, convolutional and residual networks: shapes, batch dimensions, widening, errors."""

import pytest
import torch
from torch import nn

from probgen.nets import MLP, ConvDecoder, ConvEncoder, ResidualConvNet, ResidualMLP, SeparableConv, Shortcut

NETS = {
    "mlp": lambda: MLP(64, 3),
    "linear": lambda: MLP(64, 3, hidden=()),
    "encoder 8x8": lambda: ConvEncoder((8, 8), 3, channels=4),
    "encoder 28x28": lambda: ConvEncoder((28, 28), 3, channels=4),
    "encoder 3x7x10": lambda: ConvEncoder((3, 7, 10), 3, channels=4),
    "decoder 8x8": lambda: ConvDecoder(2, (8, 8), channels=4),
    "decoder 28x28": lambda: ConvDecoder(2, (28, 28), channels=4),
    "decoder 3x7x10": lambda: ConvDecoder(2, (3, 7, 10), channels=4),
    "residual": lambda: ResidualMLP(64, 3, width=16, blocks=3),
    "residual 8x8 as large": lambda: ResidualConvNet((8, 8), (3, 8, 8), channels=4),
    "residual 3x7x10 halved": lambda: ResidualConvNet((3, 7, 10), (2, 4, 5), channels=4),
    "residual 28x28 halved twice": lambda: ResidualConvNet((28, 28), (2, 7, 7), channels=4, separable=True),
    "residual 3x7x10 from its half": lambda: ResidualConvNet((2, 4, 5), (3, 7, 10), channels=4),
    "residual 7x10 from a pixel": lambda: ResidualConvNet((5, 1, 1), (7, 10), channels=4, dilations=[1]),
}


@pytest.fixture(params=NETS)
def net(request, device, dtype):
    return NETS[request.param]().to(device, dtype)


@pytest.mark.parametrize("leading", [(), (5,), (2, 5), (3, 2, 5), (0,)])
def test_any_leading_dimensions(net, leading, device, dtype):
    x = torch.randn(*leading, net.inputs, device=device, dtype=dtype)
    y = net(x)
    assert y.shape == (*leading, net.outputs)
    assert y.dtype == dtype
    assert y.device == x.device


def test_leading_dimensions_are_independent(net, device, dtype):
    x = torch.randn(2, 3, net.inputs, device=device, dtype=dtype)
    torch.testing.assert_close(net(x)[1, 2], net(x[1, 2]))


def test_widening_gives_blocks_once(net, device, dtype):
    x = torch.randn(4, net.inputs, device=device, dtype=dtype)
    net.widen(5)
    assert net(x).shape == (4, 5 * net.outputs)
    assert {p.dtype for p in net.parameters()} == {dtype}
    with pytest.raises(ValueError, match="a net should serve one head"):
        net.widen(5)


def test_a_widened_decoder_writes_block_after_block(device, dtype):
    # The blocks of a head are those of the pictures: channel k of the last layer moves block k alone.
    net = ConvDecoder(2, (3, 7, 10), channels=4).to(device, dtype)
    net.widen(2)
    z = torch.randn(1, 2, device=device, dtype=dtype)
    before = net(z).detach()
    with torch.no_grad():
        net.last.bias[3:] += 1
    moved = net(z).detach() - before
    torch.testing.assert_close(moved[0, :210], torch.zeros(210, device=device, dtype=dtype))
    torch.testing.assert_close(moved[0, 210:], torch.ones(210, device=device, dtype=dtype))


def test_a_widened_residual_net_writes_block_after_block(device, dtype):
    net = ResidualConvNet((2, 4, 5), (3, 7, 10), channels=4).to(device, dtype)
    net.widen(2)
    x = torch.randn(1, 40, device=device, dtype=dtype)
    before = net(x).detach()
    with torch.no_grad():
        net.last.bias[3:] += 1
    moved = net(x).detach() - before
    torch.testing.assert_close(moved[0], torch.arange(2).repeat_interleave(210).to(moved))


def test_what_a_residual_net_learns_of_one_place_holds_for_all(device):
    # Away from the margin a picture moved by two pixels has its maps, of half the size, moved by one.
    net = ResidualConvNet((24, 24), (2, 12, 12), channels=4, dilations=[1]).to(device, torch.float64)
    picture = torch.zeros(24, 24, device=device, dtype=torch.float64)
    picture[10:13, 11:14] = torch.rand(3, 3, device=device, dtype=torch.float64)
    moved = picture.roll((2, -2), (0, 1))
    one, other = (net(x.flatten()).reshape(2, 12, 12) for x in (picture, moved))
    at, expected = other[:, 5:8, 4:7], one[:, 4:7, 5:8]
    assert expected.std() > 1e-3
    torch.testing.assert_close(at, expected)


def test_a_separable_convolution_is_a_standard_one_of_rank_one_a_pair_of_maps(device):
    separable = SeparableConv(3, 4, 5, dilation=2).to(device, torch.float64)
    depthwise, pointwise = separable
    whole = nn.Conv2d(3, 4, 5, padding="same", dilation=2).to(device, torch.float64)
    with torch.no_grad():
        whole.weight.copy_(pointwise.weight * depthwise.weight.squeeze(1))
        whole.bias.copy_(pointwise.bias)
    x = torch.randn(2, 3, 9, 12, device=device, dtype=torch.float64)
    torch.testing.assert_close(separable(x), whole(x))


def test_blocks_start_from_what_they_get(device):
    """x + f(x): where f is nothing, a residual net of three blocks is its first and last layer."""
    net = ResidualMLP(6, 2, width=8, blocks=3).to(device)
    for block in net.body[1:4]:
        nn.init.zeros_(block.body[-1].weight)
        nn.init.zeros_(block.body[-1].bias)
    x = torch.randn(5, 6, device=device)
    torch.testing.assert_close(net(x), net.last(nn.SiLU()(net.body[0](x))))


def test_gradients_reach_every_parameter(net, device, dtype):
    net(torch.randn(4, net.inputs, device=device, dtype=dtype)).square().sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in net.parameters())


def test_the_encoder_reads_rows_then_columns():
    net = ConvEncoder((4, 8), 1, channels=2)
    picture = torch.randn(4, 8)
    torch.testing.assert_close(net(picture.flatten()), net.last(net.body(picture[None, None]))[0])


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: MLP(0, 2), "inputs should be at least 1 but got 0"),
        (lambda: MLP(2, 0), "outputs should be at least 1 but got 0"),
        (lambda: MLP(2, 2, hidden=(8, 0)), "hidden should be at least 1 but got 0"),
        (lambda: ConvEncoder((8,), 2), r"image_shape should be \(H, W\) or \(C, H, W\) but got \(8,\)"),
        (lambda: ConvDecoder(2, (8, 0)), r"image_shape should be \(H, W\) or \(C, H, W\) but got \(8, 0\)"),
        (lambda: ConvDecoder(2, (8, 8), channels=0), "channels should be at least 1 but got 0"),
        (lambda: ResidualMLP(2, 2, blocks=0), "blocks should be at least 1 but got 0"),
        (lambda: SeparableConv(2, 2, 4), "size should be odd, such as 3 or 5, but is 4"),
        (
            lambda: ResidualConvNet((8, 8), (8,)),
            r"out_shape should be \(H, W\) or \(C, H, W\) but got \(8,\)",
        ),
        (
            lambda: ResidualConvNet((7, 10), (3, 5)),
            "but is 3 x 5: 7 x 10, 4 x 5, 2 x 3, 1 x 2, 1 x 1, or from 13 x 19 to 14 x 20, can be made",
        ),
        (lambda: ResidualConvNet((4, 5), (15, 21)), r"but is 15 x 21: 4 x 5, .*, or from 7 x 9 to 8 x 10,"),
        (
            lambda: ResidualConvNet((8, 8), (4, 4), dilations=[1, 4]),
            "below the side of the maps, here 4 x 4, so 1 to 3, but one is 4",
        ),
        (lambda: ResidualConvNet((4, 4), (2, 2)), "here 2 x 2, so 1, but one is 2"),
        (lambda: ResidualConvNet((4, 4), (2, 2), dilations=[0]), "each of dilations should be at least 1"),
        (lambda: MLP(3, 2)(torch.zeros(5, 4)), r"MLP should get inputs of size 3 but got shape \(5, 4\)"),
        (lambda: ConvEncoder((8, 8), 2)(torch.zeros(8, 8)), r"inputs of size 64 but got shape \(8, 8\)"),
    ],
)
def test_wrong_input(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_one_hidden_layer_may_be_a_number():
    assert str(MLP(3, 2, hidden=64)) == str(MLP(3, 2, hidden=(64,)))


def test_a_shortcut_adds_a_linear_map(device, dtype):
    net = Shortcut(MLP(4, 3)).to(device, dtype)
    x = torch.randn(2, 5, 4, device=device, dtype=dtype)
    torch.testing.assert_close(net(x) - net.net(x), x @ net.linear.weight.T)
    assert net(x).shape == (2, 5, 3)
    assert all(weight.requires_grad for weight in net.parameters())
