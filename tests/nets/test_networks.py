"""MLP and convolutional networks: shapes, batch dimensions, widening, errors."""

import pytest
import torch

from probgen.nets import MLP, ConvDecoder, ConvEncoder

NETS = {
    "mlp": lambda: MLP(64, 3),
    "linear": lambda: MLP(64, 3, hidden=()),
    "encoder 8x8": lambda: ConvEncoder((8, 8), 3, channels=4),
    "encoder 28x28": lambda: ConvEncoder((28, 28), 3, channels=4),
    "encoder 3x7x10": lambda: ConvEncoder((3, 7, 10), 3, channels=4),
    "decoder 8x8": lambda: ConvDecoder(2, (8, 8), channels=4),
    "decoder 28x28": lambda: ConvDecoder(2, (28, 28), channels=4),
    "decoder 3x7x10": lambda: ConvDecoder(2, (3, 7, 10), channels=4),
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
        (lambda: MLP(3, 2)(torch.zeros(5, 4)), r"MLP should get inputs of size 3 but got shape \(5, 4\)"),
        (lambda: ConvEncoder((8, 8), 2)(torch.zeros(8, 8)), r"inputs of size 64 but got shape \(8, 8\)"),
    ],
)
def test_wrong_input(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_one_hidden_layer_may_be_a_number():
    assert str(MLP(3, 2, hidden=64)) == str(MLP(3, 2, hidden=(64,)))
