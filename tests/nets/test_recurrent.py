"""Recurrent networks: a step written out, torch's packed sequences, padding, batch dimensions."""

import pytest
import torch
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from probgen.nets import GRU, History, Recent, inside

LENGTHS = torch.tensor([3, 1, 5, 4])


def made(**options):
    torch.manual_seed(0)
    net = GRU(3, 4, **options).double()
    with torch.no_grad():
        net.start.normal_()
    return net, torch.randn(4, 5, 3, dtype=torch.float64)


def step(net, state, x):
    """One step of Cho and others' units, gate by gate."""
    units = net.units
    reset_x, update_x, new_x = (units.weight_ih_l0 @ x + units.bias_ih_l0).chunk(3)
    reset_s, update_s, new_s = (units.weight_hh_l0 @ state + units.bias_hh_l0).chunk(3)
    reset, update = (reset_x + reset_s).sigmoid(), (update_x + update_s).sigmoid()
    return (1 - update) * (new_x + reset * new_s).tanh() + update * state


def test_a_step_goes_on_from_a_state():
    net, x = made()
    states = net(x)
    torch.testing.assert_close(net.step(states[:, 2], x[:, 3]), states[:, 3])
    with pytest.raises(ValueError, match="should read forward"):
        made(backward=True)[0].step(states[:, 2], x[:, 3])


@pytest.mark.parametrize("backward", [False, True])
def test_states_are_those_of_steps_written_out(backward):
    net, x = made(backward=backward)
    states = net(x, inside(LENGTHS, 5))
    for row, length in enumerate(LENGTHS.tolist()):
        state = net.start
        places = range(length)
        for t in reversed(places) if backward else places:
            state = step(net, state, x[row, t])
            torch.testing.assert_close(states[row, t], state)
        assert not states[row, length:].any()


def test_states_are_those_of_packed_sequences_of_torch():
    net, x = made()
    packed = pack_padded_sequence(x, LENGTHS, batch_first=True, enforce_sorted=False)
    found, _ = net.units(packed, net.start.expand(1, 4, -1).contiguous())
    torch.testing.assert_close(net(x, inside(LENGTHS, 5)), pad_packed_sequence(found, batch_first=True)[0])


@pytest.mark.parametrize("backward", [False, True])
def test_padding_has_no_influence_and_no_gradient(backward):
    net, x = made(backward=backward)
    mask = inside(LENGTHS, 5)
    other = torch.where(mask[..., None], x, 1e6)
    torch.testing.assert_close(net(other, mask), net(x, mask))
    longer = torch.cat([x, torch.full((4, 2, 3), -7.0, dtype=torch.float64)], 1)
    torch.testing.assert_close(net(longer, inside(LENGTHS, 7))[:, :5], net(x, mask))
    x.requires_grad_()
    (slope,) = torch.autograd.grad(net(x, mask).square().sum(), x)
    assert not slope[~mask].any()
    assert slope[mask].any(1).all()


@pytest.mark.parametrize("backward", [False, True])
def test_any_number_of_batch_dimensions(backward):
    net, x = made(backward=backward)
    mask = inside(LENGTHS, 5)
    many = torch.stack([x, 2 * x, -x])
    expected = torch.stack([net(part, mask) for part in many])
    torch.testing.assert_close(net(many, mask), expected)
    torch.testing.assert_close(net(many[0, 0]), net(many[:1, :1])[0, 0])


def test_a_history_knows_what_came_before_and_no_more():
    net, x = made()
    history = History(net).eval()
    states = history(x, inside(LENGTHS, 5))
    torch.testing.assert_close(states[:, 0], net.start.expand(4, -1))
    torch.testing.assert_close(states[:, 1:], net(x, inside(LENGTHS, 5))[:, :-1])
    x.requires_grad_()
    (slope,) = torch.autograd.grad(history(x)[:, 2].sum(), x)
    assert slope[:, :2].any()
    assert not slope[:, 2:].any()
    assert history(x[:, :1]).shape == (4, 1, 4)  # before the first step there is nothing to read
    dropped = History(net, dropout=0.5)(x)
    assert 0.2 < float((dropped == 0).double().mean()) < 0.8


def test_the_last_steps_are_told_beside_the_history():
    torch.manual_seed(0)
    history = History(GRU(3, 4))
    x = torch.randn(2, 5, 3)
    both = Recent(history, steps=2)
    known = both(x)
    assert known.shape == (2, 5, both.outputs) == (2, 5, 10)
    torch.testing.assert_close(known[..., :4], history(x))
    for t in range(5):
        for k in (1, 2):
            expected = x[:, t - k] if t >= k else torch.zeros(2, 3)
            torch.testing.assert_close(known[:, t, 4 + 3 * (k - 1) : 4 + 3 * k], expected)


def test_what_is_wrong_is_said():
    net, x = made(backward=True)
    with pytest.raises(ValueError, match="should read forward"):
        History(net)
    with pytest.raises(ValueError, match="3"):
        net(x[..., :2])
    with pytest.raises(ValueError, match="outputs should be at least 1"):
        GRU(3, 0)
