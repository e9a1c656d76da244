import math

import pyro
import pytest
import scipy.stats
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


def test_draws_of_no_size():
    law = beta()
    assert law.sample((0,)).shape == (0,)
    assert law.expand([3, 0]).sample((2,)).shape == (2, 3, 0)


def test_as_a_prior_in_pyro():
    law = beta(log_normaliser=-math.log(6.0)).expand([2]).to_event(1)

    def model():
        with pyro.plate("data", 5):
            return pyro.sample("z", law)

    trace = pyro.poutine.trace(model).get_trace()
    assert trace.nodes["z"]["value"].shape == (5, 2)
    expected = Beta(2.0, 2.0).log_prob(trace.nodes["z"]["value"]).sum()
    torch.testing.assert_close(trace.log_prob_sum(), expected)


def gammas(shapes, **other):
    """Gamma(a) for a batch of a ≥ 1, under exponentials of mean a: the density ratio is largest at x = a."""
    bound = shapes.log() * shapes - shapes + 1 - torch.lgamma(shapes)
    return Rejection(
        torch.distributions.Gamma(shapes, 1.0).log_prob,
        proposal=torch.distributions.Exponential(1 / shapes),
        log_bound=bound.double() + 1e-6,
        **other,
    )


def test_a_batch_of_laws(device, dtype):
    shapes = torch.tensor([[1.0, 2.5], [4.0, 30.0]], dtype=dtype, device=device)
    law = gammas(shapes, log_normaliser=0.0)
    n = 40_000
    draws = law.sample((n,)).double().cpu()
    assert law.batch_shape == (2, 2)
    for i in range(2):
        for j in range(2):
            cdf = torch.distributions.Gamma(shapes[i, j].double().cpu(), 1.0).cdf
            laws.check_goodness_of_fit(
                draws[:, i, j], lambda x, cdf=cdf: torch.where(x > 0, cdf(x.abs()), 0.0)
            )
    correlation = torch.corrcoef(draws.reshape(n, 4).T).fill_diagonal_(0)
    assert correlation.abs().max() < 5.5 / math.sqrt(n)
    report = law.report()
    assert report.acceptance.shape == (2, 2)
    spread = (report.expected_acceptance * (1 - report.expected_acceptance) / n).sqrt()
    assert ((report.acceptance - report.expected_acceptance).abs() < 5.5 * spread + 1e-6).all()
    assert (report.log_normaliser.value.abs() < 5.5 * report.log_normaliser.stderr + 1e-6).all()
    torch.testing.assert_close(report.expected_acceptance, (-law._log_bound).exp().cpu())


def test_expanded_batches_are_independent_copies():
    law = gammas(torch.tensor([[2.0], [200.0]], dtype=torch.float64)).expand([3, 2, 4])
    draws = law.sample((500,))
    assert draws.shape == (500, 3, 2, 4)
    assert (draws[:, :, 0] < 40).all()
    assert (draws[:, :, 1] > 40).all()
    assert len(draws.unique()) > 0.99 * draws.numel()


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
    def law(**other):
        needed = math.log(2 * math.pi) - 0.5
        return Rejection(lambda x: -(x**2) / 2, proposal=Cauchy(0.0, 1.0), log_bound=needed - excess, **other)

    message = r"at x = \S+ the target is [12](\.\d+)? times its envelope; log_bound should be at least \S+$"
    with pytest.raises(ValueError, match=message):
        law()
    blind = law(validate_args=False)
    with pytest.raises(ValueError, match=message):
        blind.sample((100_000,))


def test_the_search_finds_what_it_promises():
    """A violation where the proposal has probability 2 % is found at set-up; a rare one while drawing."""

    def law(width):
        excess = lambda x: torch.where(x < width, 0.1, 0.0)  # noqa: E731
        return Rejection(excess, proposal=Uniform(0.0, 1.0), log_bound=0.0)

    with pytest.raises(ValueError, match=r"the target is 1\.10517 times its envelope"):
        law(0.02)
    rare = law(2e-5)
    with pytest.raises(ValueError, match=r"the target is 1\.10517 times its envelope"):
        rare.sample((1_000_000,))


def test_the_search_leaves_the_random_state_alone():
    before = torch.get_rng_state()
    beta()
    assert torch.equal(before, torch.get_rng_state())


def test_a_batch_names_the_row():
    with pytest.raises(ValueError, match=r"in batch row \(1,\) the target is \S+ times its envelope"):
        Rejection(
            lambda x: torch.zeros_like(x), proposal=Uniform(0.0, 1.0), log_bound=torch.tensor([0.0, -1.0])
        )


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
    for validate_args in (True, False):
        with pytest.raises(ValueError, match=message):
            Rejection(
                target,
                proposal=Uniform(0.0, 1.0),
                log_bound=0.0,
                max_rounds=3,
                validate_args=validate_args,
            ).sample((10,))


def test_a_wrong_normaliser_is_found():
    law = beta(log_normaliser=math.log(0.2))
    with pytest.raises(ValueError, match=r"means an acceptance of 0\.8 but 0\.6\d* of \d+ proposals"):
        law.sample((10_000,))


@pytest.mark.parametrize(
    ("change", "message"),
    [
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
    with pytest.raises(ValueError, match="needs draws of every law of the batch but has none yet"):
        law.report()


def test_trials_are_proposals_and_what_became_of_them(dtype, generator):
    wide = Normal(torch.tensor([0.0, 1.0], dtype=dtype, device=generator.device), 2.0)
    law = Rejection(lambda x: -0.5 * x**2, proposal=wide, log_bound=2.0)
    n = 4000
    tried = law.trials(n, generator=generator)
    assert tried.x.shape == tried.ratio.shape == tried.accepted.shape == (n, 2)
    log_hat = law.log_envelope(tried.x)
    torch.testing.assert_close(log_hat, 2.0 + wide.log_prob(tried.x).double())
    ratio = (-0.5 * tried.x**2 - log_hat).exp().double()
    torch.testing.assert_close(tried.ratio, ratio, rtol=1e-4, atol=1e-6)
    assert torch.equal(tried.accepted, tried.u < tried.ratio)
    # The share accepted is ∫ p / M = √(2π) / e²; six standard errors.
    share, expected = tried.accepted.double().mean(0).cpu(), math.sqrt(2 * math.pi) * math.exp(-2.0)
    assert (share - expected).abs().max() < 6 * math.sqrt(expected * (1 - expected) / n)
    # Those accepted are standard normal: Kolmogorov's test at a false-alarm rate of 1e-6.
    for column, kept in zip(tried.x.T, tried.accepted.T, strict=True):
        assert scipy.stats.kstest(column[kept].double().cpu().numpy(), "norm").pvalue > 1e-6
    before = generator.get_state()
    again = law.trials(n, generator=torch.Generator(generator.device).manual_seed(20240901))
    assert torch.equal(again.x, tried.x)
    assert torch.equal(generator.get_state(), before)
