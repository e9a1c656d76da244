"""Pairs of sequences: padding, company in a batch, exact evidence, draws, graphs."""

from functools import partial

import pyro.distributions as dist
import pytest
import torch
from pyro import poutine
from torch import nn

from probgen import SVI, fit
from probgen.core import log_joint_prob
from probgen.data import Ragged
from probgen.evaluation import log_likelihoods
from probgen.models import VRNN, DeepMarkov
from probgen.nets import GRU, MLP, BernoulliHead, GatedTransition, History, Joined, NormalHead, WithoutContext
from probgen.objectives import ELBO, IWAE
from probgen.objectives.traced_pair import parts_of
from probgen.priors import Vamp

LENGTHS = torch.tensor([4, 1, 3])


def vrnn(size=3):
    return VRNN(
        History(GRU(size, 5)),
        prior=NormalHead(MLP(5, 2, hidden=8)),
        encoder=NormalHead(Joined(MLP(size + 5, 2, hidden=8))),
        decoder=BernoulliHead(Joined(MLP(2 + 5, size, hidden=8))),
    )


def vrnn_of_kinds(size=3):
    """Weights of a mixture know what came before; the guide knows the step alone."""
    code = NormalHead(MLP(size, 2, hidden=8))
    return VRNN(
        History(GRU(size, 5)),
        prior=Vamp(code, 4, shape=(size,), weights=MLP(5, 4, hidden=())),
        encoder=WithoutContext(code),
        decoder=BernoulliHead(Joined(MLP(2 + 5, size, hidden=8))),
    )


def deep_markov(size=3, *, residual=False):
    return DeepMarkov(
        GatedTransition(2, hidden=8),
        BernoulliHead(MLP(2, size, hidden=8)),
        reader=GRU(size, 5, backward=True),
        guide_step=NormalHead(Joined(MLP(2 + 5, 2, hidden=8))),
        latent=2,
        residual=residual,
    )


def srnn(size=3, *, residual=True):
    return DeepMarkov(
        NormalHead(Joined(MLP(2 + 5, 2, hidden=8))),
        BernoulliHead(Joined(MLP(2 + 5, size, hidden=8))),
        reader=GRU(size + 5, 4, backward=True),
        guide_step=NormalHead(Joined(MLP(2 + 4, 2, hidden=8))),
        latent=2,
        history=History(GRU(size, 5)),
        residual=residual,
    )


PAIRS = {
    "vrnn": vrnn,
    "vrnn of kinds": vrnn_of_kinds,
    "dmm": deep_markov,
    "residual dmm": lambda: deep_markov(residual=True),
    "srnn": srnn,
}


@pytest.fixture(params=PAIRS)
def pair(request):
    torch.manual_seed(0)
    return PAIRS[request.param]().double().eval()


def data():
    x = (torch.rand(3, 4, 3, generator=torch.Generator().manual_seed(0)) < 0.5).double()
    return torch.where(torch.arange(4)[:, None] < LENGTHS[:, None, None], x, 0.0)


def parts(pair, z, x, *lengths):
    """The bound of given states taken apart: log p(x | z), the KL, log p(x, z) and log q(z | x) by row."""
    torch.manual_seed(0)
    drawn = poutine.trace(pair.guide).get_trace(x, *lengths)
    drawn.nodes["z"]["value"] = z
    guide = poutine.trace(poutine.replay(pair.guide, trace=drawn)).get_trace(x, *lengths)
    model = poutine.trace(poutine.replay(pair.model, trace=guide)).get_trace(x, *lengths)
    found = parts_of(model, guide)
    joint = [log_joint_prob(trace, len(x), nesting=1) for trace in (model, guide)]
    return found.reconstruction, found.kl["z"].sum(), *joint


def test_padding_and_company_do_not_change_the_bound(pair):
    x = data()
    torch.manual_seed(0)
    z = poutine.trace(pair.guide).get_trace(x, LENGTHS).nodes["z"]["value"].detach()
    inside = torch.arange(4) < LENGTHS[:, None]
    z = torch.where(inside[..., None], z, 0.0)
    together = parts(pair, z, x, LENGTHS)
    dirty = torch.cat([x, torch.ones_like(x)], 1)
    dirty[1, 1:] = 1
    padded = parts(pair, torch.cat([z, torch.zeros_like(z)], 1), dirty, LENGTHS)
    for one, other in zip(together, padded, strict=True):
        torch.testing.assert_close(one, other)
    alone = [
        parts(pair, z[row : row + 1, :length], x[row : row + 1, :length])
        for row, length in enumerate(LENGTHS.tolist())
    ]
    reconstruction, kl, joint, guide = zip(*alone, strict=True)
    torch.testing.assert_close(together[0], torch.stack(reconstruction).sum())
    torch.testing.assert_close(together[1], torch.stack(kl).sum())
    torch.testing.assert_close(together[2], torch.cat(joint))
    torch.testing.assert_close(together[3], torch.cat(guide))
    assert float(together[1].detach()) > 0.01


def test_padding_has_no_gradient(pair):
    x = data()
    dirty = torch.cat([x, torch.ones_like(x)], 1).requires_grad_()
    loss, _ = SVI(pair)(dirty, LENGTHS)
    (slope,) = torch.autograd.grad(loss, dirty, allow_unused=True)
    outside = torch.arange(8) >= LENGTHS[:, None]
    assert not slope[outside].any()
    assert slope[~outside].any()


def test_per_step_and_per_sequence(pair):
    loss, terms = SVI(pair)(data(), LENGTHS)
    torch.testing.assert_close(terms["nats_per_step"], torch.stack([loss.detach(), LENGTHS.double().mean()]))
    torch.testing.assert_close(terms["elbo"], -loss.detach())


class Affine(nn.Module):
    """N(a z + c, s), of numbers, or of rows (a, c, s) of a context."""

    def __init__(self, a=0.8, s=0.5):
        super().__init__()
        self.a, self.s = nn.Parameter(torch.tensor(a).double()), s

    def forward(self, z, rows=None):
        a, c, s = (self.a, 0.0, self.s) if rows is None else (part.unsqueeze(-1) for part in rows.unbind(-1))
        return dist.Normal(a * z + c, s).to_event(1)


class Smoother(nn.Module):
    """The exact q(z_t | z_{t−1}, x_t, ..., x_T) of a linear state-space model, or one that is wider."""

    def __init__(self, wider=1.0):
        super().__init__()
        self.wider = nn.Parameter(torch.tensor(wider).double())

    def forward(self, x, steps):
        a, q, r = 0.8, 0.25, 0.49
        information = torch.zeros(len(x), dtype=x.dtype)  # log p(x_t, ... | z_t) = h z − J z² / 2 + ...
        potential, rows = information, []
        for t in reversed(range(x.shape[1])):
            inside = steps[:, t]
            information = torch.where(inside, information + 1 / r, 0.0)
            potential = torch.where(inside, potential + x[:, t, 0] / r, 0.0)
            precision = 1 / q + information
            rows.append(
                torch.stack([a / q / precision, potential / precision, self.wider * precision**-0.5], -1)
            )
            information, potential = a**2 / q - a**2 / q**2 / precision, a / q * potential / precision
        return torch.stack(rows[::-1], 1)


def linear(wider=1.0):
    return DeepMarkov(
        Affine(), Affine(1.0, 0.7), reader=Smoother(wider), guide_step=Affine(), latent=1
    ).double()


def kalman(x, lengths):
    """log p(x) of z_t = 0.8 z_{t−1} + 0.5 ε, x_t = z_t + 0.7 ε, sequence by sequence."""
    found = []
    for row, length in zip(x, lengths.tolist(), strict=True):
        t = torch.arange(1, length + 1)
        noise = torch.tril(0.8 ** (t[:, None] - t).clamp(min=0).double()) * 0.5
        law = dist.MultivariateNormal(
            torch.zeros(length).double(), noise @ noise.T + 0.49 * torch.eye(length).double()
        )
        found.append(law.log_prob(row[:length, 0]))
    return torch.stack(found)


def test_the_evidence_of_a_linear_state_space_model_is_that_of_kalman():
    x = torch.randn(3, 4, 1, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    exact = kalman(x, LENGTHS)
    torch.testing.assert_close(log_likelihoods(linear(), x, LENGTHS, particles=1, seed=0), exact)
    few = log_likelihoods(linear(1.4), x, LENGTHS, particles=1, seed=0)
    assert ((few - exact).abs() > 1e-3).all()
    many = log_likelihoods(linear(1.4), x, LENGTHS, particles=100_000, seed=0)
    assert ((many - exact).abs() < 0.02).all()  # weights vary by about 1, so by 0.003: one in 10⁶
    bound = torch.stack([-SVI(linear(1.4), ELBO(particles=500))(x, LENGTHS)[0].detach() for _ in range(9)])
    assert float(bound.mean()) < float(exact.mean()) - 0.1


class Code(nn.Module):
    """N(w·h, 1), or of x or z beside h: N(u (v − w·h) + w·h, s)."""

    def __init__(self, weight, gain=None, scale=1.0):
        super().__init__()
        self.weight, self.gain, self.scale = weight, gain, scale

    def forward(self, *given):
        mean = given[-1] @ self.weight
        if self.gain is not None:
            mean = mean + self.gain * (given[0] - mean)
        return dist.Normal(mean, self.scale).to_event(1)


def test_the_evidence_of_a_linear_vrnn_is_exact():
    torch.manual_seed(0)
    weight = nn.Parameter(torch.randn(5, 1, dtype=torch.float64))
    history = History(GRU(1, 5)).double().eval()
    pair = VRNN(  # x = z + ε, so that x | h ~ N(w·h, 2) and z | x, h ~ N((w·h + x) / 2, 1 / 2)
        history, prior=Code(weight), encoder=Code(weight, 0.5, 0.5**0.5), decoder=Code(weight, 1.0)
    )
    x = torch.randn(3, 4, 1, dtype=torch.float64)
    mask = torch.arange(4) < LENGTHS[:, None]
    each = dist.Normal((history(x) @ weight)[..., 0], 2**0.5).log_prob(x[..., 0])
    exact = torch.where(mask, each, 0.0).sum(1).detach()
    torch.testing.assert_close(log_likelihoods(pair, x, LENGTHS, particles=1, seed=0), exact)


@pytest.mark.parametrize("name", ["vrnn", "residual dmm", "srnn"])  # guides as wide as the priors
def test_draws_are_as_frequent_as_their_evidence(name):
    torch.manual_seed(4)
    made = {"vrnn": vrnn, "residual dmm": partial(deep_markov, residual=True), "srnn": srnn}[name]
    pair = made(size=1).double().eval()
    with torch.no_grad():
        for weight in (pair.decoder if isinstance(pair, VRNN) else pair.emission).parameters():
            weight.mul_(3.0)
    every = torch.cartesian_prod(*[torch.tensor([0.0, 1.0]).double()] * 2).unsqueeze(-1)
    p = log_likelihoods(pair, every, torch.full((4,), 2), particles=40_000, seed=0).exp()
    assert float(p.sum()) == pytest.approx(1.0, abs=0.02)
    n = 20_000
    drawn = pair.sample(n, torch.full((n,), 2), seed=0).long()[..., 0]
    counts = (drawn @ torch.tensor([2, 1])).bincount(minlength=4)
    assert float(((counts - n * p) ** 2 / (n * p)).sum()) < 30  # χ² of 3 degrees, and room for p's error
    ragged = pair.sample(3, LENGTHS, seed=1)
    assert ragged.shape == (3, 4, 1)
    assert not ragged[1, 1:].any()
    assert torch.equal(ragged, pair.sample(3, LENGTHS, seed=1))


def test_a_graph_learns_what_the_loss_does(pair, caplog):
    sequences = [row[:length] for row, length in zip(data(), LENGTHS.tolist(), strict=True)] * 4
    state = {name: value.clone() for name, value in pair.state_dict().items()}
    found = []
    for how in ("eager", "graph"):
        pair.load_state_dict(state)
        rows = Ragged(sequences, multiple=4)
        fit(SVI(pair), rows, steps=3, batch_size=4, seed=0, compile=how, progress=False)
        found.append([weight.detach().clone() for weight in pair.parameters()])
    assert "eagerly" not in caplog.text
    starts = [(name, state[name]) for name, _ in pair.named_parameters()]  # a shared weight is there once
    for one, other, (name, start) in zip(*found, starts, strict=True):
        torch.testing.assert_close(one, other)
        assert not torch.equal(one, start), name


@pytest.mark.parametrize("gradient", ["dreg", "plain"])
def test_several_draws_tighten_the_bound_and_every_weight_has_a_gradient(pair, gradient):
    torch.manual_seed(0)
    one = torch.stack([SVI(pair)(data(), LENGTHS)[0].detach() for _ in range(30)]).mean()
    loss, _ = SVI(pair, IWAE(particles=200, gradient=gradient))(data(), LENGTHS)
    assert float(loss.detach()) < float(one)
    slopes = torch.autograd.grad(loss, list(pair.parameters()))
    assert all(bool(slope.isfinite().all()) and bool(slope.any()) for slope in slopes)


def test_what_is_wrong_is_said(pair):
    with pytest.raises(ValueError, match="lengths of the sequences to be drawn"):
        pair.sample(3)
    with pytest.raises(ValueError, match="the guide needs x"):
        pair.guide()
