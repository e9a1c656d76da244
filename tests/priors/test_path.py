"""Paths as one site: their joint law, unequal lengths, and a bound that is the evidence of a model."""

import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import nn

from probgen import SVI, Pair, fit
from probgen.evaluation import log_likelihoods
from probgen.objectives import ELBO
from probgen.objectives.particles import traces_of
from probgen.priors import Path

SLOPE, NOISE, ERROR = 0.8, 0.5, 0.7  # z_t = SLOPE z_{t−1} + NOISE ε, x_t = z_t + ERROR ε


class Linear(nn.Module):
    """z ↦ N(a z + c, s) in each coordinate; a, s numbers, or given with c by the context."""

    def __init__(self, slope=SLOPE, scale=NOISE):
        super().__init__()
        self.slope = nn.Parameter(torch.tensor(slope))
        self.scale = scale

    def forward(self, z, context=None):
        mean = self.slope * z if context is None else context[..., :1] * z + context[..., 1:2]
        scale = self.scale if context is None else context[..., 2:3]
        return dist.Normal(mean, scale).to_event(1)


def in_float64(module, device):
    """The module in float64, its slopes with all digits."""
    module = module.double().to(device)
    with torch.no_grad():
        for slope in module.parameters():
            slope.fill_(SLOPE)
    return module


def joint(start, steps, dtype):
    """Mean and covariance of the whole path of z_t = SLOPE z_{t−1} + NOISE ε."""
    t = torch.arange(1, steps + 1, dtype=dtype)
    noise = torch.tril(SLOPE ** (t[:, None] - t).clamp(min=0)) * NOISE
    return start * SLOPE**t, noise @ noise.T


def test_the_law_of_a_path_is_that_of_its_steps(device):
    law = Path(
        Linear().double().to(device), torch.full((1,), 2.0, dtype=torch.float64, device=device), steps=5
    )
    mean, covariance = (part.to(device) for part in joint(2.0, 5, torch.float64))
    exact = dist.MultivariateNormal(mean, covariance)
    torch.manual_seed(0)
    z = law.sample((40_000,))
    assert z.shape == (40_000, 5, 1)
    torch.testing.assert_close(law.log_prob(z), exact.log_prob(z[..., 0]))
    found, spread = z[..., 0].mean(0), covariance.diagonal().sqrt() / 200
    assert ((found - mean) / spread).abs().max() < 5  # false alarms: one in 10⁶
    products = (z[..., 0] - mean)[:, :, None] * (z[..., 0] - mean)[:, None]
    scores = (products.mean(0) - covariance) / (products.std(0) / 200)
    assert scores.abs().max() < 5.5


def test_gradients_of_draws_pass_through_every_step(device):
    step = Linear().to(device)
    torch.manual_seed(0)
    z = Path(step, torch.ones(3, 1, device=device), steps=4).rsample()
    (slope,) = torch.autograd.grad(z[:, -1].sum(), step.slope)
    with torch.no_grad():  # d z_4 / d a of z_t = a z_{t−1} + ε, where ε is as drawn
        before = torch.cat([torch.ones(3, 1, 1, device=device), z[:, :-1]], 1)
        expected = sum(SLOPE ** (3 - t) * before[:, t].sum() for t in range(4))
    torch.testing.assert_close(slope, expected)


def test_steps_outside_have_no_density_and_no_state(device):
    lengths = torch.tensor([1, 4, 2], device=device)
    inside = torch.arange(4, device=device) < lengths[:, None]
    law = Path(Linear().to(device), torch.ones(3, 2, device=device), inside=inside)
    torch.manual_seed(0)
    z = law.sample((7,))
    assert ((z == 0).all(-1) == ~inside).all()
    for row, length in enumerate(lengths.tolist()):
        alone = Path(law.step, torch.ones(2, device=device), steps=length)
        torch.testing.assert_close(law.log_prob(z)[:, row], alone.log_prob(z[:, row, :length]))
    assert law.expand((5, 3)).sample().shape == (5, 3, 4, 2)
    torch.testing.assert_close(law.expand((7, 3)).log_prob(z), law.log_prob(z))


def test_the_divergence_along_a_path_is_that_of_the_whole_path(device):
    """The mean over draws is the KL of two joint normal laws, and no draw is as noisy as log q − log p."""
    q, p = Linear(0.5, 0.8), Linear(0.9, 1.3)
    start = torch.full((1,), 1.5, dtype=torch.float64, device=device)
    with torch.no_grad():
        laws = [Path(step.double().to(device), start, steps=4) for step in (q, p)]
        exact = []
        for step, law in zip((q, p), laws, strict=True):
            slope = float(step.slope)
            t = torch.arange(1, 5, dtype=torch.float64)
            noise = torch.tril(slope ** (t[:, None] - t).clamp(min=0)) * law.step.scale
            exact.append(dist.MultivariateNormal(1.5 * slope**t, noise @ noise.T))
        closed = torch.distributions.kl_divergence(*exact)
        torch.manual_seed(0)
        z = laws[0].sample((40_000,))
        along = laws[0].kl_along(laws[1], z)
        drawn = laws[0].log_prob(z) - laws[1].log_prob(z)
    assert abs(float(along.mean()) - float(closed)) < 5 * float(along.std()) / 200  # one in 10⁶
    assert abs(float((drawn - along).mean())) < 5 * float((drawn - along).std()) / 200
    assert float(along.std()) < 0.7 * float(drawn.std())


def test_the_divergence_along_a_path_counts_the_steps_that_there_are(device):
    inside = torch.tensor([[True, True, False], [True, False, False]], device=device)
    q, p = (
        Path(Linear(*both).to(device), torch.ones(2, 2, device=device), inside=inside)
        for both in ((0.5, 0.8), (0.9, 1.3))
    )
    torch.manual_seed(0)
    z = q.sample((5,))
    along = q.kl_along(p, z)
    for row, length in enumerate((2, 1)):
        alone = [Path(law.step, torch.ones(2, device=device), steps=length) for law in (q, p)]
        torch.testing.assert_close(along[:, row], alone[0].kl_along(alone[1], z[:, row, :length]))
    with pytest.raises(NotImplementedError):
        q.kl_along(Path(p.step, p.start, steps=3), z)
    with pytest.raises(NotImplementedError):
        q.kl_along(dist.Normal(torch.zeros(3, 2), 1.0).to_event(2), z)


class StateSpace(Pair):
    """A linear state-space model, and its exact posterior as a chain of conditionals."""

    def __init__(self, steps):
        super().__init__()
        self.prior = Linear()
        self.reader = Linear()
        _, covariance = joint(0.0, steps, torch.float64)
        posterior = (covariance.inverse() + torch.eye(steps).double() / ERROR**2).inverse()
        self.gain = posterior / ERROR**2  # E[z | x] = gain x
        shift, scale, slope = [], [], []
        for t in range(steps):  # q(z_t | z_{t−1}, x), from the joint posterior
            a = posterior[t, t - 1] / posterior[t - 1, t - 1] if t else torch.tensor(0.0).double()
            slope.append(a)
            scale.append((posterior[t, t] - (a * posterior[t, t - 1] if t else 0)).sqrt())
            shift.append(self.gain[t] - (a * self.gain[t - 1] if t else 0))
        self.slope, self.scale, self.shift = map(torch.stack, (slope, scale, shift))

    def model(self, x=None, *context, n=1):
        steps = len(self.slope)
        with pyro.plate("data", n if x is None else len(x)) as rows:
            start = self.prior.slope.new_zeros(len(rows), 1)
            z = pyro.sample("z", Path(self.prior, start, steps=steps))
            return pyro.sample("x", dist.Normal(z[..., 0], ERROR).to_event(1), obs=x)

    def guide(self, x=None, *context, n=1):
        with pyro.plate("data", len(x)):
            shift = x @ self.shift.T.to(x)
            read = torch.stack(
                [self.slope.to(x).expand_as(shift), shift, self.scale.to(x).expand_as(shift)], -1
            )
            pyro.sample("z", Path(self.reader, x.new_zeros(len(x), 1), read))


def test_the_bound_of_an_exact_guide_is_the_evidence(device):
    steps = 6
    pair = in_float64(StateSpace(steps), device)
    x = torch.randn(9, steps, dtype=torch.float64, device=device)
    mean, covariance = joint(0.0, steps, torch.float64)
    exact = dist.MultivariateNormal(mean, covariance + ERROR**2 * torch.eye(steps).double()).log_prob(x.cpu())
    found = log_likelihoods(pair, x, particles=1, seed=0)
    torch.testing.assert_close(found.cpu(), exact)  # whatever was drawn
    exact = exact.mean()
    torch.manual_seed(0)
    bounds = torch.stack([-SVI(pair, ELBO(particles=50))(x)[0].detach() for _ in range(40)])
    assert abs(float(bounds.mean()) - float(exact)) < 5.5 * float(bounds.std()) / 40**0.5  # one in 10⁵, t law
    assert float(bounds.std()) < 0.1
    worse = in_float64(StateSpace(steps), device)
    worse.scale = 1.3 * worse.scale
    assert float(SVI(worse)(x)[0].detach()) > -float(exact) + 0.1


def test_the_bound_takes_the_divergence_along_the_path(device):
    pair = in_float64(StateSpace(6), device)
    pair.scale = 1.5 * pair.scale
    x = torch.randn(9, 6, dtype=torch.float64, device=device)
    torch.manual_seed(0)
    _, terms = SVI(pair, ELBO(particles=7))(x)
    torch.manual_seed(0)
    first, *_ = traces_of(pair, 7, x)
    q, p = first.guide.nodes["z"], first.model.nodes["z"]
    expected = q["fn"].kl_along(p["fn"].expand(q["fn"].batch_shape), q["value"]).mean()
    torch.testing.assert_close(terms["kl"], expected.detach())


def test_a_path_is_learned_in_a_captured_graph(device, caplog):
    torch.manual_seed(1)
    x = StateSpace(8).sample(500, seed=0).to(device)
    pair = StateSpace(8).to(device)
    with torch.no_grad():
        pair.prior.slope.fill_(0.0)
    pair.reader.requires_grad_(False)
    adam = lambda parameters: torch.optim.Adam(parameters, lr=0.02)  # noqa: E731
    fit(SVI(pair), x, epochs=40, batch_size=100, seed=0, optimizer=adam, compile="graph", progress=False)
    assert "eagerly" not in caplog.text
    assert float(pair.prior.slope.detach()) == pytest.approx(SLOPE, abs=0.15)


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({}, "told none"),
        ({"steps": 0}, "at least 1, .* told {'steps': 0}"),
        ({"steps": 3, "context": torch.zeros(2, 4, 1)}, "told {'context': 4, 'steps': 3}"),
    ],
)
def test_what_is_wrong_is_said(given, sentence):
    with pytest.raises(ValueError, match=sentence):
        Path(Linear(), torch.zeros(2, 1), **given)
