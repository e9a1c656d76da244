"""Laws side by side, and the prior and the head that return them."""

import math

import pyro.distributions as dist
import pytest
import torch

from probgen import nets, priors
from probgen.nets.concatenated import one_hots


def law(device="cpu"):
    shares = torch.tensor([0.5, 0.3, 0.2], device=device)
    return nets.Concatenated(
        [
            dist.OneHotCategorical(shares),
            dist.Uniform(-torch.ones(2, device=device), 1.0).to_event(1),
            dist.Normal(torch.zeros(1, device=device), 2.0).to_event(1),
        ]
    )


def test_log_prob_and_entropy_are_sums_and_draws_are_side_by_side(device):
    code = law(device)
    torch.manual_seed(0)
    z = code.sample((20_000,))
    assert z.shape == (20_000, 6)
    own = code.parts[0].log_prob(z[:, :3]) - 2 * math.log(2) + code.parts[2].log_prob(z[:, 5:])
    torch.testing.assert_close(code.log_prob(z), own)
    # The deviation of log p is about 0.8: six standard errors.
    assert float(-code.log_prob(z).mean()) == pytest.approx(float(code.entropy()), abs=0.035)
    torch.testing.assert_close(z.mean(0), code.mean, atol=0.06, rtol=0)
    torch.testing.assert_close(z.var(0), code.variance, atol=0.25, rtol=0)
    shape = code.expand([4]).sample((2,)).shape
    assert shape == (2, 4, 6)


def test_its_support_is_that_of_the_parts():
    code, inside = law(), torch.tensor([0.0, 1.0, 0.0, 0.5, -0.5, 7.0])
    assert bool(code.support.check(inside))
    assert code.support.is_discrete
    for place, value in ((0, 1.0), (3, 1.5)):
        outside = inside.clone()
        outside[place] = value
        assert not bool(code.support.check(outside))
        with pytest.raises(ValueError, match="within the support"):
            nets.Concatenated(law().parts, validate_args=True).log_prob(outside)
    assert not bool(code.support.check(torch.zeros(5)))
    assert not law().has_rsample
    assert nets.Concatenated(law().parts[1:]).has_rsample
    assert nets.Concatenated(law().parts[1:]).rsample().shape == (3,)


def test_a_prior_of_parts_moves_with_its_module_and_is_told_the_context():
    prior = priors.SideBySide(dist.OneHotCategorical(torch.ones(3)), 2).double()
    z = prior().sample((5,))
    assert z.dtype == torch.float64
    assert one_hots(prior()) == [(0, 3)]
    told = priors.SideBySide(priors.Conditional(nets.MLP(4, 2)), 3)
    assert told(torch.randn(7, 4)).batch_shape == (7,)
    assert len([*told.parameters()]) > 0


def test_a_head_of_codes_is_classes_then_numbers_of_deviation_one():
    torch.manual_seed(0)
    net = nets.MLP(4, 3 + 2 + 1)
    found = nets.CodeHead(net, categories=(3, 2), continuous=1)(torch.randn(5, 4))
    assert one_hots(found) == [(0, 3), (3, 2)]
    assert float(found.parts[2].stddev.min()) == float(found.parts[2].stddev.max()) == 1.0
    only = nets.CodeHead(nets.MLP(4, 2), continuous=2)(torch.randn(5, 4))
    assert only.event_shape == (2,)
