"""Heads: a net becomes a law; the laws inside a Pyro pair, eager and captured."""

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro import poutine
from scipy import stats
from torch import nn
from torch.distributions import kl_divergence
from torch.func import functional_call
from torch.fx.experimental.proxy_tensor import make_fx

from probgen.nets import (
    MLP,
    BernoulliHead,
    CategoricalHead,
    ContinuousBernoulliHead,
    ConvDecoder,
    DiscretisedLogisticHead,
    MultivariateNormalHead,
    NormalHead,
    ResidualConvNet,
)

HEADS = {
    "normal": lambda net: NormalHead(net),
    "normal, shared scale": lambda net: NormalHead(net, scale="shared"),
    "bernoulli": lambda net: BernoulliHead(net),
    "continuous bernoulli": lambda net: ContinuousBernoulliHead(net),
    "categorical": lambda net: CategoricalHead(net, 5),
    "discretised logistic": lambda net: DiscretisedLogisticHead(net, 5),
}
NETS = [
    lambda: MLP(2, 64, hidden=(8,)),
    lambda: ConvDecoder(2, (8, 8), channels=2),
    lambda: ResidualConvNet((2, 1, 1), (8, 8), channels=2, dilations=[1]),
]


@pytest.fixture(params=HEADS)
def make_head(request):
    return HEADS[request.param]


@pytest.mark.parametrize("net", NETS)
@pytest.mark.parametrize("leading", [(), (5,), (3, 2, 5)])
def test_a_head_is_a_law_of_the_nets_size(make_head, net, leading, device, dtype):
    head = make_head(net()).to(device, dtype)
    z = torch.randn(*leading, 2, device=device, dtype=dtype)
    law = head(z)
    x = law.sample()
    assert (law.batch_shape, law.event_shape) == (leading, (64,))
    assert head.outputs == 64
    assert x.dtype == law.mean.dtype == dtype
    assert law.mean.shape == x.shape == (*leading, 64)
    assert law.log_prob(x).shape == leading
    assert law.log_prob(law.sample((7,))).shape == (7, *leading)


def test_sums_over_coordinates_of_scipys_log_densities(device):
    z = torch.randn(5, 2, device=device, dtype=torch.float64)
    normal = NormalHead(MLP(2, 4)).to(device, torch.float64)(z)
    base, x = normal.base_dist, normal.sample()
    exact = stats.norm.logpdf(x.cpu(), base.loc.detach().cpu(), base.scale.detach().cpu()).sum(-1)
    torch.testing.assert_close(normal.log_prob(x).detach().cpu(), torch.as_tensor(exact))
    bernoulli = BernoulliHead(MLP(2, 4)).to(device, torch.float64)(z)
    x = bernoulli.sample()
    exact = stats.bernoulli.logpmf(x.cpu(), bernoulli.mean.detach().cpu()).sum(-1)
    torch.testing.assert_close(bernoulli.log_prob(x).detach().cpu(), torch.as_tensor(exact))


def test_any_module_with_enough_outputs_will_do():
    z = torch.randn(5, 3)
    net = nn.Linear(3, 8)
    law = NormalHead(net)(z)
    assert law.event_shape == (4,)
    torch.testing.assert_close(law.mean, net(z)[:, :4])
    assert CategoricalHead(nn.Linear(3, 8), 2)(z).event_shape == (4,)


def test_a_categorical_heads_net_gives_level_after_level():
    head, z = CategoricalHead(MLP(2, 3), 5), torch.randn(2)
    exact = head.net(z).reshape(5, 3).log_softmax(0)
    for level in range(5):
        torch.testing.assert_close(head(z).base_dist.log_prob(torch.full((3,), level / 4)), exact[level])


def test_the_shared_scale_is_one_learned_number():
    head = NormalHead(MLP(2, 4), scale="shared")
    head(torch.zeros(5, 2)).log_prob(torch.ones(5, 4)).sum().backward()
    assert head.scale.shape == ()
    assert head.scale.grad != 0


def test_kl_of_a_normal_head_is_analytic():
    law = NormalHead(MLP(3, 2))(torch.randn(5, 3))
    prior = dist.Normal(torch.zeros(2), 1.0).to_event(1)
    mean, scale = law.base_dist.loc, law.base_dist.scale
    exact = (0.5 * (mean**2 + scale**2 - 1) - scale.log()).sum(-1)
    torch.testing.assert_close(kl_divergence(law, prior), exact)


def test_gradients_against_finite_differences(make_head):
    head = make_head(MLP(2, 3, hidden=(4,))).double()
    z = torch.randn(5, 2, dtype=torch.float64, requires_grad=True)
    x = (torch.rand(5, 3) > 0.5).double()
    assert torch.autograd.gradcheck(lambda z: head(z).log_prob(x), z)


class TinyPair(nn.Module):
    def __init__(self, decoder):
        super().__init__()
        self.encoder, self.decoder = NormalHead(MLP(64, 2, hidden=(8,))), decoder

    def model(self, x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(x.new_zeros(2), 1.0).to_event(1))
            pyro.sample("x", self.decoder(z), obs=x)

    def guide(self, x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", self.encoder(x))

    def forward(self, x):
        guide = poutine.trace(self.guide).get_trace(x)
        model = poutine.trace(poutine.replay(self.model, trace=guide)).get_trace(x)
        kl = kl_divergence(guide.nodes["z"]["fn"], model.nodes["z"]["fn"]).sum()
        return (kl - model.nodes["x"]["fn"].log_prob(x).sum()) / len(x)


@pytest.mark.parametrize("net", NETS)
def test_captured_loss_and_gradients_agree_with_eager(make_head, net, device, dtype):
    pair = TinyPair(make_head(net())).to(device, dtype)
    x = (torch.rand(16, 64, device=device) > 0.5).to(dtype)
    names, values = zip(*pair.named_parameters(), strict=True)

    def loss(values, x):
        return functional_call(pair, dict(zip(names, values, strict=True)), (x,))

    with pyro.validation_enabled(False):
        graph = make_fx(loss, pre_dispatch=True)(list(values), x)
    other = (torch.rand(16, 64, device=device) > 0.3).to(dtype)
    results = []
    for run in (graph, loss):
        torch.manual_seed(0)
        value = run(list(values), other)
        results.append((value.detach(), *torch.autograd.grad(value, values)))
    torch.testing.assert_close(results[0], results[1])


def test_grey_pixels_under_a_bernoulli_are_refused_with_the_ways_out():
    pair = TinyPair(BernoulliHead(MLP(2, 64)))
    with pytest.raises(ValueError, match=r"0 or 1 but got 0.5: train on data.Binarised\(x\), or choose Cont"):
        pair(torch.full((3, 64), 0.5))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: NormalHead(MLP(2, 3), scale="none"), "scale should be 'each' or 'shared' but got 'none'"),
        (lambda: CategoricalHead(MLP(2, 3), 1), "levels should be at least 2 but got 1"),
        (lambda: DiscretisedLogisticHead(MLP(2, 3), 1), "levels should be at least 2 but got 1"),
        (
            lambda: NormalHead(nn.Linear(2, 3))(torch.zeros(2)),
            "NormalHead needs 2 numbers per coordinate, but its net returned 3 numbers",
        ),
        (lambda: NormalHead(nn.Linear(2, 4)).outputs, "NormalHead cannot tell the size of its law"),
        (lambda: NormalHead(NormalHead(MLP(2, 3)).net), "a net should serve one head"),
    ],
)
def test_wrong_input(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize("levels", [2, 256])
def test_under_autocast_laws_have_the_digits_of_float32(levels, device):
    """Masses of all levels sum to 1, to which the digits of bfloat16 would not do."""
    torch.manual_seed(0)
    x, each = torch.randn(7, 5, device=device), torch.arange(levels, device=device) / (levels - 1)
    for make in (CategoricalHead, DiscretisedLogisticHead):
        head = make(MLP(5, 3), levels).to(device)
        with torch.autocast(device.type, torch.bfloat16):
            law = head(x).base_dist
            masses = law.log_prob(each[:, None, None].expand(-1, 7, 3)).exp()
        torch.testing.assert_close(masses.sum(0), torch.ones(7, 3, device=device))


def test_a_full_covariance_is_learned_under_autocast(device):
    torch.manual_seed(0)
    head = MultivariateNormalHead(MLP(5, 3)).to(device)
    with torch.autocast(device.type, torch.bfloat16):
        law = head(torch.randn(7, 5, device=device))
        log_prob = law.log_prob(law.rsample())
    log_prob.sum().backward()
    assert log_prob.dtype == torch.float32
    assert all(weight.grad.isfinite().all() for weight in head.parameters())
