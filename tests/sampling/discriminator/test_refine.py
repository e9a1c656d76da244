"""A generator of known law, with the exact log p/q for a discriminator: refined draws have the law p."""

import math

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from scipy.stats import chi2
from torch import Tensor, nn
from torch.distributions import Normal
from torch.special import ndtr

from probgen import evaluation, nets
from probgen.compare import Fitted, compare
from probgen.core import GenerativeModel, evaluations
from probgen.models import GAN, GMMN
from probgen.sampling import refine
from tests.laws import (
    assert_power,
    cdf_from_log_prob,
    check_goodness_of_fit,
    dkw_distance,
    dkw_radius,
    of_scipy,
)

METHODS = ["rejection", "metropolis", "hmc"]
N = 20_000


class Push(GenerativeModel):
    """x = G(z, context), z from a law."""

    def __init__(self, law, push=lambda z, *context: z):
        super().__init__()
        self.law, self.push = law, push

    def model(self, x=None, *context, n=1):
        with pyro.plate("data", n):
            return self.push(pyro.sample("z", self.law), *context)


def normal_noise(k: int, device, dtype) -> Push:
    zeros = torch.zeros(k, device=device, dtype=dtype)
    return Push(dist.Normal(zeros, 1.0 + zeros).to_event(1))


P = Normal(0.5, 0.7)


def log_ratio(x: Tensor) -> Tensor:
    """log N(0.5, 0.7²) / N(0, 1), greatest at x = 1.02 / 1.0408."""
    return (P.log_prob(x) - Normal(0.0, 1.0).log_prob(x)).sum(-1)


def cdf(x: Tensor) -> Tensor:
    return ndtr((x - 0.5) / 0.7)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("precision", [torch.float32, torch.float64])
def test_draws_have_the_law_of_the_data(method, precision, device):
    model = normal_noise(1, device, precision)
    refined = refine(model, discriminator=log_ratio, method=method, loss="cross-entropy")
    draws = refined.sample(N, seed=1)
    assert draws.dtype == precision
    assert draws.device.type == device.type
    check_goodness_of_fit(draws, cdf)
    assert_power(draws, cdf, shift=0.05)
    report = refined.report()
    assert report.findings == []
    assert abs(report.log_mean_ratio.value) < 5 * report.log_mean_ratio.stderr  # E_q p/q = 1
    assert report.maximum == pytest.approx(float(log_ratio(torch.tensor([1.0204 / 1.0408]))), abs=0.06)


@pytest.mark.parametrize("method", METHODS)
def test_a_discriminator_that_is_too_sure_is_seen_by_the_test(method, device, dtype):
    model = normal_noise(1, device, dtype)
    wrong = refine(model, discriminator=lambda x: 1.5 * log_ratio(x), method=method, loss="relativistic")
    assert dkw_distance(wrong.sample(N, seed=1), cdf) > 2 * dkw_radius(N)
    uncorrected = model.sample(N, seed=1)
    assert dkw_distance(uncorrected, cdf) > 2 * dkw_radius(N)


@pytest.mark.parametrize("method", METHODS)
def test_held_out_data_repair_a_discriminator_that_is_too_sure(method, device, dtype):
    """With 10⁵ data the slope is known to 1 %, which the test of the draws does not see."""
    held_out = P.sample((100_000, 1)).to(device, dtype)
    refined = refine(
        normal_noise(1, device, dtype),
        discriminator=lambda x: 3 * log_ratio(x) + 7,
        method=method,
        loss="hinge",
        held_out=held_out,
    )
    calibration = refined.report().calibration
    assert abs(calibration.slope.value - 1 / 3) < 4.9 * calibration.slope.stderr
    assert abs(calibration.intercept.value + 7 / 3) < 4.9 * calibration.intercept.stderr
    assert abs(calibration.z) < 4.9
    check_goodness_of_fit(refined.sample(N, seed=1), cdf)
    (finding,) = refined.report().findings
    assert "among points of one score the generator's own law" in finding


def bend(z: Tensor, *context: Tensor) -> Tensor:
    return torch.stack([z[..., 0], z[..., 1] + z[..., 0].square() / 2], -1)


def log_ratio_of_bent(x: Tensor) -> Tensor:
    u = torch.stack([x[..., 0], x[..., 1] - x[..., 0].square() / 2], -1)
    loc, scale = u.new_tensor([0.3, -0.2]), u.new_tensor([0.8, 0.7])
    return (Normal(loc, scale).log_prob(u) - Normal(0.0, 1.0).log_prob(u)).sum(-1, keepdim=True)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("precision", [torch.float32, torch.float64])
def test_a_bent_law_in_the_plane(method, precision, device):
    model = normal_noise(2, device, precision)
    model.push = bend
    refined = refine(model, discriminator=log_ratio_of_bent, method=method, loss="minimax")
    x = refined.sample(N, seed=3)
    for draws, loc, scale in ((x[:, 0], 0.3, 0.8), (x[:, 1] - x[:, 0].square() / 2, -0.2, 0.7)):
        law = lambda t, loc=loc, scale=scale: ndtr((t - loc) / scale)  # noqa: E731
        check_goodness_of_fit(draws, law)
        assert_power(draws, law, shift=0.1)
    if method == "hmc":
        assert refined.report().r_hat <= 1.01
        assert refined.report().effective > 400


WELLS = torch.tensor([-2.0, 2.0]), torch.tensor([0.3, 0.7])


def log_ratio_of_wells(x: Tensor) -> Tensor:
    parts = Normal(WELLS[0].to(x), 0.15).log_prob(x) + WELLS[1].to(x).log()
    return parts.logsumexp(-1) - Normal(0.0, 1.0).log_prob(x).squeeze(-1)


def test_hmc_keeps_the_shares_of_modes_that_it_cannot_cross(device, dtype):
    refined = refine(
        normal_noise(1, device, dtype), discriminator=log_ratio_of_wells, method="hmc", loss="cross-entropy"
    )
    draws = refined.sample(N, seed=1)
    law = lambda x: (WELLS[1] * ndtr((x.unsqueeze(-1) - WELLS[0]) / 0.15)).sum(-1)  # noqa: E731
    check_goodness_of_fit(draws, law)
    assert refined.report().r_hat > 1.5  # no chain crosses
    assert refined.report().findings == []
    few = refine(
        normal_noise(1, device, torch.float64),
        discriminator=lambda x: log_ratio_of_wells(x) - 5e5 * (x.abs().squeeze(-1) - 2) ** 2,
        method="hmc",
        loss="relativistic",
    )
    assert "which are worth 0.0" in few.report().findings[0]


def test_hmc_of_a_generator_that_jumps_and_of_steep_scores_is_exact_and_of_bounded_cost(device):
    """A sign cuts the noise; scores rise by two nats within .01, which asks for hundreds of short steps."""
    signs = nets.Signs(2, signs=1)
    model = normal_noise(2, device, torch.float64)
    model.push = lambda z: signs(z) @ z.new_tensor([[1.0], [4.0]])

    def score(x: Tensor) -> Tensor:
        within = torch.tanh((x - 4 * x.sign()) / 0.01)
        return (within + torch.where(x > 0, math.log(0.8), math.log(0.2))).squeeze(-1)

    begun = evaluations()
    refined = refine(model, discriminator=score, method="hmc", loss="relativistic")
    draws = refined.sample(N // 4, seed=1)
    moves = 64 * 500 + 25 * len(draws)  # of chains that are tuned and looked at, and of draws
    assert evaluations().since(begun).gradients <= 16 * moves + N
    grid = torch.linspace(-9, 9, 200_001, dtype=torch.float64)
    far = Normal(0.0, 1.0).log_prob(grid - 4 * grid.sign()) + score(grid.unsqueeze(-1))
    law = cdf_from_log_prob(lambda x: far - math.log(float(far.exp().sum() * (grid[1] - grid[0]))), grid)
    check_goodness_of_fit(draws, law)
    assert_power(draws, law, shift=0.1)


def test_hmc_of_scores_that_hardly_any_draw_comes_near(device):
    """p is N(0, 1/(1 + 2e3)) in ten dimensions: against the best of climbs each draw's weight underflows."""
    refined = refine(
        normal_noise(10, device, torch.float64),
        discriminator=lambda x: -1e3 * x.square().sum(-1),
        method="hmc",
        loss="relativistic",
    )
    x = refined.sample(2000, seed=1) * 2001**0.5
    check_goodness_of_fit(x.square().sum(-1), of_scipy(chi2(10)))


@pytest.mark.parametrize("method", METHODS)
def test_a_condition_reaches_generator_and_discriminator(method, device, dtype):
    model = normal_noise(1, device, dtype)
    model.push = lambda z, c: z + c
    given = torch.tensor([3.0], device=device, dtype=dtype)
    refined = refine(
        model, given, discriminator=lambda x, c: log_ratio(x - c), method=method, loss="cross-entropy"
    )
    check_goodness_of_fit(refined.sample(N, seed=1) - 3, cdf)


@pytest.mark.parametrize("method", METHODS[:2])
def test_uniform_noise_of_a_network(method, device):
    """q is uniform on (−1, 1), p has density (1 + x)/2."""
    gmmn = GMMN(nn.Identity(), noise=1).to(device)
    refined = refine(gmmn, discriminator=lambda x: torch.log1p(x), method=method, loss="cross-entropy")
    law = lambda x: ((1 + x) / 2).square()  # noqa: E731
    check_goodness_of_fit(refined.sample(N, seed=1), law)
    if method == "rejection":
        assert refined.report().acceptance == pytest.approx(0.5 * math.exp(-0.05), abs=0.02)


SHARES = torch.tensor([0.4, 0.25, 0.15, 0.1, 0.06, 0.04], dtype=torch.float64)
WANTED = torch.tensor([0.1, 0.1, 0.3, 0.1, 0.3, 0.1], dtype=torch.float64)


def on_states(device) -> tuple[Push, nn.Module]:
    table = (WANTED / SHARES).log().to(device)
    model = Push(dist.Categorical(probs=SHARES.to(device)), lambda z: z.double().unsqueeze(-1))
    return model, lambda x: table[x.squeeze(-1).long()]


def step_law(law: Tensor):
    return lambda x: law.cumsum(0)[x.floor().long().clamp(0, 5)].where(x >= 0, 0.0)


@pytest.mark.parametrize("steps", [1, 3, 10])
def test_a_finite_chain_has_the_law_of_its_matrix_and_is_within_its_bound(steps, device):
    weights = WANTED / SHARES
    accept = (weights[None] / weights[:, None]).clamp(max=1)
    matrix = SHARES[None] * accept
    matrix = matrix + torch.diag(1 - matrix.sum(1))
    expected = SHARES @ torch.linalg.matrix_power(matrix, steps)
    exact_bound = float((1 - 1 / weights.max()) ** steps)
    model, discriminator = on_states(device)
    refined = refine(
        model, discriminator=discriminator, method="metropolis", loss="cross-entropy", steps=steps
    )
    draws = refined.sample(100_000, seed=2)
    check_goodness_of_fit(draws, step_law(expected))
    distance = float((expected - WANTED).abs().sum() / 2)
    assert distance <= exact_bound
    report = refined.report()
    assert exact_bound < report.total_variation < (1 - 0.93 / float(weights.max())) ** steps
    if steps == 1:  # power: the test tells this law from the target, and the report says so
        assert dkw_distance(draws, step_law(WANTED)) > 2 * dkw_radius(len(draws))
        assert "After 1 steps the chains may be 0.8" in report.findings[0]


def test_discrete_noise_is_refined_exactly(device):
    model, discriminator = on_states(device)
    for method in ("rejection", "metropolis"):
        refined = refine(model, discriminator=discriminator, method=method, loss="cross-entropy")
        check_goodness_of_fit(refined.sample(100_000, seed=2), step_law(WANTED))
    assert dkw_distance(model.sample(100_000, seed=2), step_law(WANTED)) > 10 * dkw_radius(100_000)
    rejection = refine(
        model, discriminator=discriminator, loss="cross-entropy", log_bound=math.log(0.3 / 0.06)
    )
    rejection.sample(100_000, seed=0)
    assert rejection.report().acceptance == pytest.approx(0.2, abs=0.006)
    assert rejection.report().maximum_found == "given"


def spiked(x: Tensor) -> Tensor:
    """A ratio with a spike, at 3 ± 0.02, to which q gives 1.8e-4; flat elsewhere: no climb finds it."""
    return torch.where((x - 3).abs() < 0.02, 4.0, 0.0 * x).sum(-1)


def test_a_maximum_that_is_exceeded_raises_and_says_what_it_means(device, dtype):
    refined = refine(
        normal_noise(1, device, dtype), discriminator=spiked, loss="relativistic", trials=1000, seed=1
    )
    assert refined.report().maximum < 1
    with pytest.raises(
        ValueError, match=r"the maximum, 0.05 \(.*\), is exceeded by 4 at noise \[(2.9|3.0).*from their law"
    ):
        refined.sample(100_000, seed=0)
    known = refine(
        normal_noise(1, device, dtype),
        discriminator=spiked,
        loss="relativistic",
        trials=1000,
        seed=1,
        log_bound=4.0,
    )
    known.sample(1000, seed=0)
    with pytest.raises(ValueError, match="log_bound should be at least the greatest score of a draw, 4, but"):
        refine(normal_noise(1, device, dtype), discriminator=spiked, loss="relativistic", log_bound=-1.0)


def test_climbs_find_a_maximum_above_all_draws(device, dtype):
    """In eight dimensions no draw is near the peak of d."""
    model = normal_noise(8, device, dtype)
    refined = refine(model, discriminator=lambda x: -x.square().sum(-1) / 2, loss="relativistic")
    report = refined.report()
    assert report.maximum == pytest.approx(0.05, abs=0.005)
    assert "climbs" in report.maximum_found
    draws = refined.sample(N, seed=0)
    check_goodness_of_fit(draws[:, 0], lambda x: ndtr(x * math.sqrt(2)))
    assert refined.report().acceptance == pytest.approx(2**-4, rel=0.1)


def two_modes(x: Tensor) -> Tensor:
    return torch.logaddexp(P.log_prob(x), Normal(12.0, 1.0).log_prob(x)).sum(-1) - math.log(2)


def calibrated_law(slope, d):
    """Return the CDF of the law p0 exp(slope d), by sums on a fine grid."""
    at = torch.linspace(-8, 8, 8001, dtype=torch.float64)
    mass = (slope * d(at.unsqueeze(-1)) - at.square() / 2).softmax(0).cumsum(0)
    return lambda x: torch.from_numpy(np.interp(x.cpu().numpy(), at.numpy(), mass.numpy())).to(x)


@pytest.mark.parametrize("method", METHODS)
def test_a_mode_that_the_generator_misses_is_said(method, device, dtype):
    """q is about one of the two modes of p, and p/q has no bound at the other."""
    held_out = P.sample((2000, 1)).to(device, dtype)
    held_out[::2] = 12 + torch.randn(1000, 1, device=device, dtype=dtype)
    d = lambda x: two_modes(x) - Normal(0.0, 1.0).log_prob(x).sum(-1)  # noqa: E731
    refined = refine(normal_noise(1, device, dtype), discriminator=d, method=method, held_out=held_out)
    report = refined.report()
    assert report.beyond == pytest.approx(0.5, abs=0.01)
    missed = [finding for finding in report.findings if "the generator misses them" in finding]
    assert len(missed) == 1
    check_goodness_of_fit(refined.sample(2000, seed=0), calibrated_law(report.calibration.slope.value, d))
    assert report.log_mean_ratio.value == pytest.approx(math.log(0.5), abs=0.1)
    trusted = refine(normal_noise(1, device, dtype), discriminator=d, method=method, loss="cross-entropy")
    check_goodness_of_fit(trusted.sample(2000, seed=0), cdf)  # the right law at the mode that it reaches
    assert trusted.report().log_mean_ratio.value == pytest.approx(math.log(0.5), abs=0.01)
    assert "the generator misses a part of the data, or d is no log p/q" in trusted.report().findings[0]
    nothing_missed = refine(
        normal_noise(1, device, dtype),
        discriminator=log_ratio,
        method=method,
        held_out=P.sample((2000, 1)).to(device, dtype),
    )
    assert nothing_missed.report().findings == []


class Dropping(nn.Module):
    def __init__(self):
        super().__init__()
        self.drop, self.weight = nn.Dropout(0.5), nn.Parameter(torch.ones(()))

    def forward(self, x: Tensor) -> Tensor:
        return self.drop(log_ratio(x)) * self.weight


@pytest.mark.parametrize("method", METHODS)
def test_seeds_decide_copies_are_kept_and_nothing_else_is_touched(method, device):
    critic = Dropping().to(device)
    model = GAN(nn.Identity(), critic, noise=1).to(device)
    before = torch.get_rng_state()
    refined = refine(model, method=method, loss="cross-entropy", seed=3)
    first = refined.sample(50, seed=1)
    assert torch.equal(torch.get_rng_state(), before)
    assert model.training
    assert critic.training
    assert critic.weight.requires_grad
    with torch.no_grad():
        critic.weight.fill_(5.0)
    again = refine(model, method=method, loss="cross-entropy", seed=3)
    assert torch.equal(refined.sample(50, seed=1), first)
    assert not torch.equal(refined.sample(50, seed=2), first)
    assert not torch.equal(again.sample(50, seed=1), first)
    generator = torch.Generator().manual_seed(5)
    one, two = refined.sample(50, generator=generator), refined.sample(50, generator=generator)
    assert not torch.equal(one, two)
    assert torch.equal(refined.sample(50, generator=torch.Generator().manual_seed(5)), one)


def test_a_refined_model_is_a_method_to_compare(device, dtype):
    reference = P.sample((400, 1)).to(device, dtype)
    model = normal_noise(1, device, dtype)
    refined = refine(model, discriminator=log_ratio, loss="cross-entropy")
    report = refined.report()
    methods = {
        "generator": model.sample,
        "refined": Fitted(refined.sample, notes=report.notes, findings=report.findings),
    }
    found = compare(methods, reference, n=400, repeats=1, metrics=["energy"], seed=0, progress=False)
    assert set(found.fitted) == {"generator", "refined"}
    assert found.fitted["refined"].notes["acceptance"] == report.acceptance
    exact = evaluation.classifier_two_sample(refined.sample(1000, seed=4), P.sample((1000, 1)).to(reference))
    assert exact.p_value > 1e-4
