"""The gated transition: near the identity at the start, between linear and not, its noise bounded."""

import torch

from probgen.nets import GatedTransition


def test_its_mean_lies_between_a_linear_map_and_a_network():
    torch.manual_seed(0)
    transition, z = GatedTransition(3, hidden=8).double(), torch.randn(50, 3).double()
    proposal = transition.proposal(z)
    mean = transition(z).mean
    low, high = torch.minimum(z, proposal), torch.maximum(z, proposal)
    assert ((low <= mean) & (mean <= high)).all()
    with torch.no_grad():
        transition.gate.net.last.bias.fill_(-50.0)
        torch.testing.assert_close(transition(z).mean, z)
        transition.gate.net.last.bias.fill_(50.0)
        torch.testing.assert_close(transition(z).mean, proposal)


def test_far_states_have_no_more_noise_than_its_weights_allow():
    """Where the scale grew with the state, a path of 32 steps ran away to infinity in training."""
    torch.manual_seed(0)
    transition = GatedTransition(3, hidden=8).double()
    with torch.no_grad():
        transition.proposal.net.last.weight.mul_(10.0)
        largest = (transition.scale.weight.abs().sum(1) + transition.scale.bias.abs()).exp()
        z = torch.randn(200, 3).double()
        for far in (1.0, 1e3, 1e6):
            assert (transition(far * z).base_dist.scale <= largest).all()
    near, other = (transition(z).base_dist.scale[:2] for z in (torch.zeros(1, 3).double(), z[:1]))
    assert not torch.allclose(near, other)
