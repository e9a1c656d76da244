import math

import pyro
import pytest
import torch
from torch.distributions import Beta, Cauchy, Independent, MultivariateNormal, Normal, Uniform

from probgen.sampling import Rejection
from tests import laws


def beta(dtype=torch.float32, **other):
    """Beta(2, 2) without its normaliser, log Z = log B(2, 2) = −log 6, under a uniform."""
    ends = torch.tensor([0.0, 1.0], dtype=dtype)
    return Rejection(
        lambda x: x.log() + (1 - x).log(), proposal=Uniform(*ends), log_bound=math.log(0.25), **other
    )


def test_normaliser_and_acceptance():
    law = beta()
    law.sample((100_000,))
    report = law.report()
    assert abs(report.log_normaliser.value + math.log(6)) < 5 * report.log_normaliser.stderr
    assert report.log_normaliser.stderr < 0.005
    assert abs(report.acceptance - 4 / 6) < 0.01
    assert report.proposals >= 100_000


def test_many_dimensions(device, dtype):
    covariance = torch.tensor([[1.0, 0.6], [0.6, 1.0]], dtype=dtype, device=device)
    target = MultivariateNormal(covariance.new_zeros(2), covariance)
    proposal = Independent(Normal(covariance.new_zeros(2), 1.5 * covariance.new_ones(2)), 1)
    law = Rejection(target.log_prob, proposal=proposal, log_bound=math.log(2.25 / 0.8), log_normaliser=0.0)
    assert law.event_shape == (2,)
    draws = law.sample((100_000,)).cpu()
    normal = Normal(*torch.tensor([0.0, 1.0], dtype=torch.float64))
    for marginal in (draws[:, 0], draws[:, 1], draws @ torch.tensor([1.0, -1.0], dtype=dtype) / 0.8**0.5):
        laws.check_goodness_of_fit(marginal, normal.cdf)
        laws.assert_power(marginal, normal.cdf, shift=0.05)
    torch.testing.assert_close(law.log_prob(draws[:5].to(device)), target.log_prob(draws[:5].to(device)))


def test_as_a_prior_in_pyro():
    law = beta(log_normaliser=-math.log(6.0)).expand([2]).to_event(1)

    def model():
        with pyro.plate("data", 5):
            return pyro.sample("z", law)

    trace = pyro.poutine.trace(model).get_trace()
    assert trace.nodes["z"]["value"].shape == (5, 2)
    expected = Beta(2.0, 2.0).log_prob(trace.nodes["z"]["value"]).sum()
    torch.testing.assert_close(trace.log_prob_sum(), expected)


def test_expanded_laws_share_a_report():
    law = beta()
    law.expand([3]).sample((10,))
    assert law.report().proposals >= 30


def test_a_tight_bound_is_no_violation():
    law = Rejection(Normal(0.0, 1.0).log_prob, proposal=Normal(0.0, 1.0), log_bound=0.0, log_normaliser=0.0)
    law.sample((10_000,))
    assert law.report().acceptance > 0.999


@pytest.mark.parametrize("excess", [1e-3, 1.0])
def test_a_violated_bound_raises_with_place_and_ratio(excess):
    """SciPy's ratio of uniforms draws on in silence here (umax too small)."""
    needed = math.log(2 * math.pi) - 0.5
    law = Rejection(lambda x: -(x**2) / 2, proposal=Cauchy(0.0, 1.0), log_bound=needed - excess)
    with pytest.raises(ValueError, match=r"at x = \S+ the target is [12](\.\d+)? times its envelope"):
        law.sample((100_000,))


@pytest.mark.parametrize(
    ("target", "message"),
    [
        (
            lambda x: torch.where(x > 0.5, torch.nan, -1.0),
            r"log_prob should be a number but is nan at x = 0\.",
        ),
        (lambda x: torch.where(x > 0.5, torch.inf, -1.0), "the target is inf times its envelope"),
        (lambda x: x.sum(), r"log_prob should return shape \(\d+,\) but returned \(\)"),
        (lambda x: torch.full_like(x, -torch.inf), "3 rounds of proposals gave 0 of 10 draws: acceptance 0"),
    ],
)
def test_bad_targets(target, message):
    law = Rejection(target, proposal=Uniform(0.0, 1.0), log_bound=0.0, max_rounds=3)
    with pytest.raises(ValueError, match=message):
        law.sample((10,))


def test_a_wrong_normaliser_is_found():
    law = beta(log_normaliser=math.log(0.2))
    with pytest.raises(ValueError, match=r"means an acceptance of 0\.8 but 0\.6\d* of \d+ proposals"):
        law.sample((10_000,))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"proposal": Normal(torch.zeros(2), 1.0)}, r"no batch shape but has \(2,\)"),
        ({"log_bound": math.inf}, "log_bound should be finite but got inf"),
        ({"log_normaliser": 1.0}, r"log_normaliser should be at most log_bound = 0\.0 but got 1\.0"),
        ({"max_rounds": 0}, "max_rounds should be at least 1 but got 0"),
    ],
)
def test_bad_laws(change, message):
    with pytest.raises(ValueError, match=message):
        Rejection(**{"log_prob": torch.log, "proposal": Uniform(0.0, 1.0), "log_bound": 0.0, **change})


def test_what_is_not_known_is_not_told():
    law = beta()
    with pytest.raises(ValueError, match="log_prob needs log_normaliser="):
        law.log_prob(torch.tensor(0.5))
    with pytest.raises(ValueError, match="needs draws but none was made yet"):
        law.report()
