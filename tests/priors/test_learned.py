"""Learned priors: their densities against explicit sums and quadrature, and laws that hold for each."""

import logging

import pyro.distributions.transforms as transforms
import pytest
import torch
from torch import nn
from torch.distributions import Categorical, Independent, MixtureSameFamily, Normal, kl_divergence

import probgen as pg
from probgen import models, nets, priors
from probgen.capture.captured_loss import CapturedLoss
from tests import laws

double = torch.float64


def encoder_of(latent=2):
    return nets.NormalHead(nets.MLP(3, latent, hidden=16))


DATA = torch.randn(40, 3, generator=torch.Generator().manual_seed(9))

PRIORS = {
    "mixture": lambda encoder: priors.NormalMixture(2, 5),
    "full mixture": lambda encoder: priors.GaussianMixture(2, 3),
    "exemplar": lambda encoder: priors.Exemplar(encoder, DATA),
    "exemplar, some": lambda encoder: priors.Exemplar(encoder, DATA, subset=10),
    "vamp": lambda encoder: priors.Vamp(encoder, 6, shape=(3,)),
    "flow": lambda encoder: priors.Flow(2, transforms=nets.Couplings(2, layers=3, hidden=16)),
    "rejection": lambda encoder: priors.Rejection(nets.MLP(2, 1, hidden=16), 2, fixed=256),
}


def vae_with(name):
    torch.manual_seed(0)
    encoder = encoder_of()
    prior = PRIORS[name](encoder)
    for weight in prior.parameters():  # off the start, where weights behind zeros have no gradient
        nn.init.normal_(weight, std=0.3)
    return models.VAE(encoder, nets.NormalHead(nets.MLP(2, 3, hidden=16), scale="shared"), prior)


@pytest.fixture(params=PRIORS)
def name(request):
    return request.param


def test_every_weight_has_a_gradient_and_draws_follow_their_seed(name, device):
    vae = vae_with(name).to(device)
    loss, terms = pg.SVI(vae)(torch.randn(64, 3, device=device))
    loss.backward()
    missing = [key for key, w in vae.named_parameters() if w.grad is None or not w.grad.abs().sum() > 0]
    assert not missing
    assert terms["elbo"].isfinite()
    assert torch.equal(vae.sample(20, seed=3), vae.sample(20, seed=3))
    assert not torch.equal(vae.sample(20, seed=3), vae.sample(20, seed=4))


def test_its_loss_is_captured_to_the_same_bits(name, device, caplog):
    outcomes = []
    for mode in ("eager", "graph"):
        objective = pg.SVI(vae_with(name)).to(device)
        loss_of = CapturedLoss(objective, mode)
        optimizer = torch.optim.SGD(objective.parameters(), lr=0.01)
        torch.manual_seed(7)
        with caplog.at_level(logging.WARNING):
            for x in torch.randn(6, 9, 3, device=device):
                loss, terms = loss_of(x)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
        outcomes.append([loss.detach(), *terms.values(), *objective.state_dict().values()])
        assert loss_of.mode == mode
    assert not caplog.records
    for eager, captured in zip(*outcomes, strict=True):
        assert torch.equal(eager, captured)


def test_its_density_is_that_of_its_draws(name):
    """The density integrates to 1, and the first coordinate of draws has its marginal."""
    prior = vae_with(name).double().eval().prior
    law = prior()
    laws.check_shapes(law, double)
    side = torch.linspace(-10, 10, 251, dtype=double)
    step = side[1] - side[0]
    with torch.no_grad():
        density = law.log_prob(torch.cartesian_prod(side, side)).exp().reshape(251, 251)
        error = 5 * 256**-0.5 if name == "rejection" else 1e-3  # its Z is that of 256 proposals
        assert abs(density.sum() * step**2 - 1) < error
        marginal = density.sum(1) * step
        total = (marginal.cumsum(0) - marginal / 2) / marginal.sum()
        draws = law.sample((20_000,))[:, 0]

    def cdf(x):
        place = ((x - side[0]) / step).clamp(0, len(side) - 2)
        low = place.floor().long()
        return total[low] + (place - low) * (total[low + 1] - total[low])

    assert laws.dkw_distance(draws, cdf) < laws.dkw_radius(len(draws)) + 2e-3  # of the grid and of Z
    laws.assert_power(draws, cdf, shift=0.05)


def test_a_mixture_by_products_is_the_sum_of_its_laws_where_terms_cancel():
    torch.manual_seed(0)
    loc, scale = 3 * torch.randn(50, 8), torch.rand(50, 8) * 0.01 + 1e-3
    logits = torch.randn(50)
    law = priors.ManyNormals(loc, scale, logits)
    z = law.sample((200,))
    parts = Independent(Normal(loc.double(), scale.double()), 1)
    exact = MixtureSameFamily(Categorical(logits=logits.double()), parts)
    torch.testing.assert_close(law.log_prob(z), exact.log_prob(z.double()).float(), rtol=1e-6, atol=1e-5)
    z = z.double().requires_grad_()
    (slope,) = torch.autograd.grad(priors.ManyNormals(loc, scale, logits).log_prob(z).sum(), z)
    (expected,) = torch.autograd.grad(exact.log_prob(z).sum(), z)
    torch.testing.assert_close(slope, expected)
    torch.testing.assert_close(law.mean, exact.mean.float())
    torch.testing.assert_close(law.variance, exact.variance.float())


def test_the_kl_to_a_mixture_is_that_of_quadrature():
    grid = torch.linspace(-15, 15, 30_001, dtype=double)
    prior = priors.NormalMixture(1, 3).double()
    with torch.no_grad():
        prior.loc.copy_(torch.tensor([[-3.0], [0.5], [4.0]]))
        prior.logits.copy_(torch.tensor([0.3, -1.0, 0.0]))
    q = Normal(torch.tensor(0.7, dtype=double), torch.tensor(1.3, dtype=double))
    exact = torch.trapezoid(
        q.log_prob(grid).exp() * (q.log_prob(grid) - prior().log_prob(grid[:, None])), grid
    )
    torch.manual_seed(0)
    z = q.sample((100_000,))
    draws = q.log_prob(z) - prior().log_prob(z[:, None])
    assert abs(draws.mean() - exact) < 5 * draws.std() / 100_000**0.5
    assert (exact - kl_divergence(q, Normal(0.0, 1.0))).abs() > 0.1  # another law is another divergence


def test_a_vamp_prior_is_the_mean_of_the_guide_at_its_inputs():
    torch.manual_seed(0)
    encoder = encoder_of()
    data = torch.randn(40, 3)
    prior = priors.Vamp(encoder, 7, data=data, generator=torch.Generator().manual_seed(1))
    rows = [int((data == u).all(1).nonzero()) for u in prior.inputs]
    assert len(set(rows)) == 7
    z = torch.randn(9, 2)
    explicit = encoder(prior.inputs).log_prob(z[:, None]).logsumexp(1) - torch.tensor(7.0).log()
    torch.testing.assert_close(prior().log_prob(z), explicit)

    class Full(nn.Module):  # an encoder of another family, scored law by law
        outputs = 2

        def forward(self, x):
            return torch.distributions.MultivariateNormal(x[:, :2], torch.eye(2) * 0.5)

    other = priors.Vamp(Full(), 7, data=data)
    explicit = Full()(other.inputs).log_prob(z[:, None]).logsumexp(1) - torch.tensor(7.0).log()
    torch.testing.assert_close(other().log_prob(z), explicit)


def test_weights_of_a_vamp_prior_know_a_context():
    torch.manual_seed(0)
    encoder, h, z = encoder_of(), torch.randn(4, 9, 5), torch.randn(6, 4, 9, 2)
    net = nets.MLP(5, 3, hidden=8)

    class Full(nn.Module):  # an encoder of another family, scored law by law
        outputs = 2

        def forward(self, x):
            return torch.distributions.MultivariateNormal(x[:, :2], torch.eye(2) * 0.5)

    for known in (encoder, Full()):
        prior = priors.Vamp(known, 3, data=DATA, weights=net)
        log_w = net(h).log_softmax(-1)
        explicit = (log_w + known(prior.inputs).log_prob(z.unsqueeze(-2))).logsumexp(-1)
        torch.testing.assert_close(prior(h).log_prob(z), explicit)
        assert prior(h).sample((7,)).shape == (7, 4, 9, 2)
    # One of the laws has all the weight where the net says so, and its draws are that law's.
    one = priors.Vamp(encoder, 2, data=DATA, weights=nn.Linear(1, 2))
    nn.init.constant_(one.weights.bias, 0.0)
    one.weights.weight.data = torch.tensor([[50.0], [-50.0]])
    drawn = one(torch.tensor([[1.0], [-1.0]])).sample((4000,))
    torch.testing.assert_close(drawn.mean(0), encoder(one.inputs).mean, atol=0.15, rtol=0.0)
    with pytest.raises(ValueError, match="weights should give 4 numbers, one for each pseudo-input, but g"):
        priors.Vamp(encoder, 4, data=DATA, weights=net)(h)


def test_a_flow_starts_as_a_standard_normal_law_and_learns_a_shape():
    torch.manual_seed(0)
    flow = priors.Flow(2, transforms=nets.Couplings(2, layers=2, hidden=32))
    z = torch.randn(300, 2)
    torch.testing.assert_close(flow().log_prob(z), flow.base().log_prob(z))
    bent = torch.stack([z[:, 0], z[:, 1] * 0.3 + z[:, 0] ** 2], 1)
    optimizer = torch.optim.Adam(flow.parameters(), lr=0.01)
    for _ in range(150):
        loss = -flow().log_prob(bent).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    entropy = 2 * 0.5 * torch.tensor(2 * torch.pi * torch.e).log() + torch.tensor(0.3).log()
    assert loss < entropy + 0.25  # the standard normal law has 1.9 nats more


def test_a_flow_takes_pyros_transforms():
    torch.manual_seed(0)
    spline = transforms.spline_coupling(2, hidden_dims=[8])
    flow = priors.Flow(2, transforms=[spline]).double()
    u = torch.randn(30, 2, dtype=double)
    jacobian = torch.stack([torch.autograd.functional.jacobian(spline._call, row) for row in u])
    z = spline._call(u).detach()
    torch.testing.assert_close(flow().log_prob(z), flow.base().log_prob(u) - jacobian.det().abs().log())
    flow = flow.float()
    vae = models.VAE(encoder_of(), nets.NormalHead(nets.MLP(2, 3)), flow)
    before = [weight.clone() for weight in flow.parameters()]
    pg.fit(pg.SVI(vae), torch.randn(32, 3), steps=3, batch_size=16, seed=0, progress=False)
    assert not any(torch.equal(old, new) for old, new in zip(before, flow.parameters(), strict=True))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda e: priors.Vamp(e, 5, data=torch.zeros(4, 3)), "at most the 4 rows of data .* but is 5"),
        (lambda e: priors.Vamp(e, 0, shape=(3,)), "k should be at least 1 but got 0"),
        (lambda e: priors.Vamp(e, 5), "neither is given"),
        (lambda e: priors.Vamp(e, 5, data=torch.zeros(9, 3), shape=(3,)), "both are given"),
        (lambda e: nets.Couplings(1), "dim should be at least 2"),
        (lambda e: priors.ManyNormals(torch.zeros(3, 2), torch.ones(3)), r"one shape \(K, d\)"),
        (
            lambda e: priors.ManyNormals(torch.zeros(3, 2), torch.ones(3, 2), torch.zeros(2)),
            r"logits should have shape \(..., 3\), one for each law, but have \(2,\)",
        ),
        (lambda e: priors.Exemplar(e, DATA[:1]), "data should be at least 2, .* but are 1"),
        (lambda e: priors.Exemplar(e, DATA, subset=1), "subset should be at least 2 but got 1"),
        (
            lambda e: priors.Exemplar(e, DATA)(torch.zeros(4)),
            "index should be whole numbers, one for each row",
        ),
    ],
)
def test_bad_input_is_named(make, message):
    with pytest.raises(ValueError, match=message):
        make(encoder_of())


def test_a_code_of_another_size_than_the_priors_is_refused():
    for size in (2, 4):
        for prior in (
            priors.Flow(size),
            priors.NormalMixture(size, 2),
            priors.Vamp(encoder_of(size), 2, shape=(3,)),
        ):
            vae = models.VAE(encoder_of(3), nets.NormalHead(nets.MLP(3, 3)), prior)
            with pytest.raises(ValueError, match="'z' should have the same batch and event shape"):
                pg.SVI(vae)(torch.zeros(4, 3))
