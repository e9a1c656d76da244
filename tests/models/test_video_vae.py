"""Films: exact evidence, draws as frequent as it says, what the memory may know, forecasts, graphs."""

import math

import numpy as np
import pytest
import torch
from pyro import poutine
from torch import nn

from probgen import SVI, fit
from probgen.evaluation import filtered_log_likelihoods, log_likelihoods
from probgen.models import VideoVAE
from probgen.nets import MLP, ConvLSTM, NormalHead
from probgen.objectives import IWAE


def small(latent=2, shape=(1, 2, 3), steps=4):
    """A pair for small films, or without latent coordinates its twin."""
    height, width = shape[1:]
    own = {}
    if latent:
        own = {
            "prior": NormalHead(MLP(5 * height * width, latent, hidden=8)),
            "encoder": NormalHead(MLP(9 * height * width, latent, hidden=8)),
        }
    frame = nn.Conv2d(5 + latent, shape[0], 3, padding=1)
    features = nn.Conv2d(shape[0], 4, 3, padding=1)
    return VideoVAE(features, ConvLSTM(4, 5), frame, image_shape=shape, steps=steps, **own)


@pytest.fixture(params=[2, 0], ids=["pair", "twin"])
def pair(request):
    torch.manual_seed(0)
    return small(request.param).double().eval()


def louder(pair):
    """A last layer three times as large, so that frames depend on codes; the guide stays as wide."""
    with torch.no_grad():
        for weight in pair.frame.parameters():
            weight.mul_(3.0)
    return pair


def films(n=3, steps=4):
    return (torch.rand(n, steps, 1, 2, 3, generator=torch.Generator().manual_seed(1)) < 0.5).double()


def state_before(pair, x, t):
    """The memory's state after a blank and the first t frames, step by step."""
    state = None
    for frame in [torch.zeros_like(x[:, 0]), *x[:, :t].unbind(1)]:
        state = pair.memory.step(pair.features(frame), state)
    return state[0]


def by_quadrature(pair, x, nodes=24):
    """log p(x) of a code of one coordinate: frames are independent given those before."""
    points, weights = np.polynomial.hermite_e.hermegauss(nodes)
    points, weights = torch.from_numpy(points), torch.from_numpy(weights / math.sqrt(2 * math.pi))
    total = 0.0
    for t in range(x.shape[1]):
        h = state_before(pair, x, t)
        law = pair.prior(h.flatten(1)).base_dist
        density = 0.0
        for point, weight in zip(points, weights, strict=True):
            z = (law.loc + law.scale * point)[..., None, None].expand(-1, -1, *h.shape[2:])
            p = pair.frame(torch.cat([h, z], 1)).sigmoid()
            density = density + weight * (x[:, t] * p + (1 - x[:, t]) * (1 - p)).flatten(1).prod(1)
        total = total + density.log()
    return total.detach()


def test_the_evidence_is_that_of_quadrature():
    torch.manual_seed(3)
    pair = louder(small(1).double().eval())
    x = films()
    exact = by_quadrature(pair, x)
    found = log_likelihoods(pair, x, particles=40_000, seed=0)
    few = torch.stack([-SVI(pair)(row.unsqueeze(0))[0].detach() for row in x.repeat_interleave(10, 0)])
    assert float((few.reshape(3, 10).mean(1) - exact).mean()) < -0.1  # a bound, and not tight
    torch.testing.assert_close(found, exact, atol=0.03, rtol=0)
    filtered = filtered_log_likelihoods(pair, x, particles=4_000, resample_below=1.0, seed=0)
    torch.testing.assert_close(filtered, exact, atol=0.03, rtol=0)


def test_the_evidence_of_the_twin_is_exact():
    torch.manual_seed(3)
    pair = louder(small(0).double().eval())
    x = films()
    exact = sum(
        torch.where(x[:, t] == 1, p, 1 - p).log().flatten(1).sum(1)
        for t in range(4)
        for p in [pair.frame(state_before(pair, x, t)).sigmoid()]
    )
    torch.testing.assert_close(log_likelihoods(pair, x, particles=1, seed=0), exact.detach())
    torch.testing.assert_close(filtered_log_likelihoods(pair, x, particles=2, seed=0), exact.detach())


@pytest.mark.parametrize("latent", [1, 0])
def test_draws_are_as_frequent_as_their_evidence(latent):
    torch.manual_seed(4)
    pair = louder(small(latent, (1, 1, 1), steps=3).double().eval())
    with torch.no_grad():
        for weight in pair.parameters() if latent == 0 else ():  # that frames depend on those before
            weight.mul_(3.0)
    every = torch.cartesian_prod(*[torch.tensor([0.0, 1.0]).double()] * 3)
    p = log_likelihoods(pair, every.reshape(8, 3, 1, 1, 1), particles=5_000, seed=0).exp()
    assert float(p.sum()) == pytest.approx(1.0, abs=0.02)
    n = 5_000
    drawn = pair.sample(n, seed=0)
    assert drawn.shape == (n, 3, 1, 1, 1)
    counts = (drawn.flatten(1).long() @ torch.tensor([4, 2, 1])).bincount(minlength=8)
    assert float(((counts - n * p) ** 2 / (n * p)).sum()) < 40  # χ² of 7 degrees, and room for p's error
    assert torch.equal(pair.sample(4, seed=1), pair.sample(4, seed=1))


def test_a_frame_is_told_of_those_before_and_the_guide_of_it_too():
    torch.manual_seed(0)
    pair = small().double().eval()
    x = films()
    other = x.clone()
    other[:, 2] = 1 - other[:, 2]
    priors, guides = [], []
    for film in (x, other):
        trace = poutine.trace(pair.guide).get_trace(film)
        guides.append(trace.nodes["z"]["fn"].mean)
        trace.nodes["z"]["value"] = torch.zeros(3, 4, 2, dtype=torch.float64)
        told = poutine.trace(poutine.replay(pair.model, trace=trace)).get_trace(film)
        priors.append(torch.cat([told.nodes["z"]["fn"].mean, told.nodes["x"]["fn"].mean.flatten(2)], -1))
    for laws, first in ((priors, 3), (guides, 2)):
        same = (laws[0] == laws[1]).all(-1).all(0).tolist()
        assert same == [t < first for t in range(4)]


def test_a_forecast_goes_on_by_means():
    torch.manual_seed(0)
    pair = louder(small(0).double().eval())
    y = films()
    seen = y
    for _ in range(3):
        seen = torch.cat([seen, pair.frame(state_before(pair, seen, seen.shape[1])).sigmoid()[:, None]], 1)
    found = pair.forecast(y, steps=3, draws=2)
    assert found.shape == (2, 3, 3, 1, 2, 3)
    torch.testing.assert_close(found, seen[:, 4:].detach().expand(2, -1, -1, -1, -1, -1))


def test_a_forecast_draws_codes_from_the_prior():
    torch.manual_seed(3)
    pair = louder(small(1).double().eval())
    y = films(1, 1)
    found = pair.forecast(y, steps=2, draws=5_000, seed=0)[:, 0, 0]
    h = state_before(pair, y, 1)
    points, weights = np.polynomial.hermite_e.hermegauss(30)
    law = pair.prior(h.flatten(1)).base_dist
    exact = sum(
        weight / math.sqrt(2 * math.pi) * pair.frame(torch.cat([h, z], 1)).sigmoid()[0]
        for point, weight in zip(points, weights, strict=True)
        for z in [(law.loc + law.scale * point)[..., None, None].expand(-1, -1, *h.shape[2:])]
    ).detach()
    error = found.std(0) / 5_000**0.5
    assert float(error.min()) > 1e-4
    assert ((found.mean(0) - exact).abs() < 5 * error).all()
    again, other = (pair.forecast(y, steps=2, seed=seed) for seed in (0, 1))
    assert torch.equal(pair.forecast(y, steps=2, seed=0), again)
    assert not torch.equal(again, other)


def test_a_graph_learns_what_the_loss_does(pair, caplog):
    state = {name: value.clone() for name, value in pair.state_dict().items()}
    found = []
    for how in ("eager", "graph"):
        pair.load_state_dict(state)
        fit(SVI(pair), films(12, 2), steps=3, batch_size=4, seed=0, compile=how, progress=False)
        found.append([weight.detach().clone() for weight in pair.parameters()])
    assert "eagerly" not in caplog.text
    for one, other, (name, start) in zip(*found, state.items(), strict=True):
        torch.testing.assert_close(one, other)
        assert not torch.equal(one, start), name


def test_several_draws_tighten_the_bound_and_every_weight_has_a_gradient():
    torch.manual_seed(0)
    pair = small().double().eval()
    one = torch.stack([SVI(pair)(films())[0].detach() for _ in range(30)]).mean()
    loss, terms = SVI(pair, IWAE(particles=200))(films())
    assert float(loss.detach()) < float(one)
    slopes = torch.autograd.grad(loss, list(pair.parameters()))
    assert all(bool(slope.isfinite().all()) and bool(slope.any()) for slope in slopes)
    assert terms["nats_per_step"][1] == 4


def test_what_is_wrong_is_said(pair):
    with pytest.raises(ValueError, match="the guide needs x"):
        pair.guide()
    with pytest.raises(ValueError, match="both be given, or neither"):
        VideoVAE(
            pair.features, pair.memory, pair.frame, prior=nn.Linear(2, 2), image_shape=(1, 2, 3), steps=2
        )
    with pytest.raises(ValueError, match=r"y should be films \(n, T, 1, 2, 3\), T ≥ 1, but is"):
        pair.forecast(films()[:, :0], steps=2)
    with pytest.raises(
        ValueError, match=r"pixels of y, frames that are seen, should be in \[0, 1\] but got 2"
    ):
        pair.forecast(2 * torch.ones_like(films()), steps=2)
    with pytest.raises(
        ValueError, match=r"x should be films \(n, T, 1, 2, 3\), T ≥ 1, but is \(3, 4, 1, 4, 3\)"
    ):
        SVI(pair)(torch.zeros(3, 4, 1, 4, 3).double())
    with pytest.raises(ValueError, match="needs values 0 or 1"):
        SVI(pair)(films() / 2)
