"""Smoothed marginals: their density by hand, a total of 1, and what is refused."""

import pytest
import torch

from probgen.priors import SmoothedMarginals


def test_the_density_is_that_of_kernels_in_each_coordinate(device):
    x = torch.randn(40, 2, dtype=torch.float64, device=device)
    prior = SmoothedMarginals(x)
    z = torch.randn(7, 2, dtype=torch.float64, device=device)
    kernels = torch.distributions.Normal(x[:, None], prior.log_width.exp()).log_prob(z)
    torch.testing.assert_close(
        prior().log_prob(z), kernels.logsumexp(0).sum(1) - 2 * torch.tensor(40.0).log()
    )
    assert (prior().batch_shape, prior().event_shape) == ((), (2,))


def test_a_sample_is_saved_with_the_weights(device):
    first, second = (SmoothedMarginals(torch.randn(40, 2, device=device)) for _ in range(2))
    second.load_state_dict(first.state_dict())
    assert torch.equal(first.x, second.x)
    assert torch.equal(first().log_prob(first.x), second().log_prob(first.x))


def test_bad_input_is_named():
    with pytest.raises(ValueError, match=r"sample should have shape \(n, dim\) but has shape \(4,\)"):
        SmoothedMarginals(torch.randn(4))
    with pytest.raises(ValueError, match=r"sample should have shape \(4, 2\) but has shape \(5, 2\)"):
        SmoothedMarginals(torch.randn(4, 2)).fit(torch.randn(5, 2))
    with pytest.raises(ValueError, match="each coordinate of the sample should vary but coordinate 1 is"):
        SmoothedMarginals(torch.stack([torch.randn(4), torch.ones(4)], 1))
