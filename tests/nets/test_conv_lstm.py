"""ConvLSTM against a step written out, and its gradient, batches and words."""

import pytest
import torch

from probgen.nets import ConvLSTM


def written_out(net, x, h, c):
    """One step of one picture, pixel by pixel: gates in the order i, f, o, g; zeros beyond the edge."""
    weight, bias = net.gates.weight, net.gates.bias
    both = torch.cat([x, h])
    channels, height, width = both.shape
    reach = weight.shape[-1] // 2
    new_h, new_c = torch.zeros_like(h), torch.zeros_like(c)
    for row in range(height):
        for column in range(width):
            gates = bias.clone()
            for a in range(-reach, reach + 1):
                for b in range(-reach, reach + 1):
                    if 0 <= row + a < height and 0 <= column + b < width:
                        for channel in range(channels):
                            gates += (
                                weight[:, channel, a + reach, b + reach]
                                * (both[channel, row + a, column + b])
                            )
            i, f, o, g = gates.split(len(h))
            cell = f.sigmoid() * c[:, row, column] + i.sigmoid() * g.tanh()
            new_c[:, row, column] = cell
            new_h[:, row, column] = o.sigmoid() * cell.tanh()
    return new_h, new_c


@pytest.mark.parametrize("kernel", [1, 3])
def test_steps_are_those_written_out(kernel):
    net = ConvLSTM(2, 3, kernel=kernel).double()
    x = torch.randn(2, 3, 2, 4, 5, dtype=torch.float64)
    with torch.no_grad():
        net.gates.bias.normal_()
        states, (h, c) = net(x)
        for film, found, last_h, last_c in zip(x, states, h, c, strict=True):
            own_h = own_c = torch.zeros(3, 4, 5, dtype=torch.float64)
            for frame, state in zip(film, found, strict=True):
                own_h, own_c = written_out(net, frame, own_h, own_c)
                torch.testing.assert_close(state, own_h)
            torch.testing.assert_close((last_h, last_c), (own_h, own_c))


def test_it_goes_on_from_a_state_and_takes_any_batch():
    net = ConvLSTM(2, 3).double()
    x = torch.randn(2, 4, 6, 2, 5, 5, dtype=torch.float64)
    whole, last = net(x)
    start, state = net(x[:, :, :2])
    rest, end = net(x[:, :, 2:], state)
    torch.testing.assert_close(torch.cat([start, rest], 2), whole)
    torch.testing.assert_close(end, last)
    torch.testing.assert_close(net(x[1, 2])[0], whole[1, 2])


def test_a_picture_that_moves_moves_the_states():
    net = ConvLSTM(1, 4)
    x = torch.zeros(1, 3, 1, 12, 12)
    for t in range(3):
        x[0, t, 0, 4 + t, 5] = 1
    torch.testing.assert_close(net(x.roll(2, -1))[0][..., 5:9], net(x)[0][..., 3:7])


def test_it_starts_by_remembering():
    assert ConvLSTM(2, 3).gates.bias[3:6].eq(1).all()


def test_what_is_wrong_is_said():
    with pytest.raises(ValueError, match=r"kernel should be odd, .* but is 4"):
        ConvLSTM(2, 3, kernel=4)
    with pytest.raises(ValueError, match="outputs"):
        ConvLSTM(2, 0)
    net = ConvLSTM(2, 3)
    with pytest.raises(ValueError, match=r"2 channels, .* \(1, 3, 5, 5\)"):
        net(torch.zeros(1, 4, 3, 5, 5))
    with pytest.raises(ValueError, match="at least one step"):
        net(torch.zeros(1, 0, 2, 5, 5))
