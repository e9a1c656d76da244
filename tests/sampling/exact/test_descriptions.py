"""Laws say what they are."""

import pytest
import torch
from torch.distributions import Normal, constraints

from probgen import sampling


def log_normal(x):
    return -0.5 * x**2


TWO = torch.tensor(2.0)


@pytest.mark.parametrize(
    ("law", "words"),
    [
        (sampling.Beta(TWO, TWO), "Beta(concentration1=2, concentration0=2)"),
        (
            sampling.truncate(Normal(torch.zeros(3), 1.0), 0.0, 1.0),
            "Truncated(Normal(loc: torch.Size([3]), scale: torch.Size([3])), low=0, high=1, "
            "batch_shape=(3,))",
        ),
        (sampling.Empirical(torch.arange(5.0)), "Empirical(5 values)"),
        (
            sampling.SmoothedEmpirical(sampling.Empirical(torch.arange(5.0)), bandwidth=0.25),
            "SmoothedEmpirical(Empirical(5 values), bandwidth=0.25)",
        ),
        (sampling.DiscreteInverse(torch.ones(4, 3)), "DiscreteInverse(3 values, batch_shape=(4,))"),
        (
            sampling.Rejection(log_normal, proposal=Normal(0.0, 2.0), log_bound=2.0),
            "Rejection(log_prob=log_normal, proposal=Normal(loc: 0.0, scale: 2.0), log_bound=2)",
        ),
        (
            sampling.AdaptiveRejection(log_normal, support=constraints.positive),
            "AdaptiveRejection(log_prob=log_normal, support=GreaterThan(lower_bound=0.0))",
        ),
        (
            sampling.Rosenblatt([lambda: Normal(0.0, 1.0), lambda x: Normal(x, 1.0)]),
            "Rosenblatt(2 coordinates, each given those before it)",
        ),
        (
            sampling.GaussianCopula([sampling.Gamma(TWO, TWO)] * 2, correlation=torch.eye(2)),
            "GaussianCopula(Gamma(concentration: 2.0, rate: 2.0), Gamma(concentration: 2.0, rate: 2.0))",
        ),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_law_says_what_it_is(law, words):
    assert repr(law) == words
