"""Several draws of z: nets see them in one pass only where that is what they compute one draw at a time."""

import math

import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import nn

from probgen import Pair, fit
from probgen.capture.captured_loss import CapturedLoss
from probgen.evaluation import log_likelihoods
from probgen.models import VAE
from probgen.nets import MLP, ConvDecoder, ConvEncoder, NormalHead
from probgen.objectives import ELBO, IWAE, SVI, FreeBits, Renyi
from probgen.objectives.particles import _known, forget, traces_of
from probgen.priors import StandardNormal, Vamp

ROWS, WIDTH, DRAWS = 8, 8, 5


class Layer(nn.Module):
    """A layer given by a function."""

    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, h):
        return self.function(h)


class Recurrent(nn.Module):
    """The numbers of a datum as a sequence, by a net that has the batch first."""

    def __init__(self):
        super().__init__()
        self.net = nn.LSTM(1, WIDTH, batch_first=True)

    def forward(self, h):
        return self.net(h.view(len(h), -1, 1))[0][:, -1]


ORDINARY = {
    "linear": lambda: nn.Tanh(),
    "softmax(-1)": lambda: nn.Softmax(-1),
    "layer norm": lambda: nn.LayerNorm(WIDTH),
    "dropout": lambda: nn.Dropout(0.5),
}
BY_BATCH = {
    "softmax(1)": lambda: nn.Softmax(1),
    "batch norm": lambda: nn.BatchNorm1d(WIDTH),
    "group norm": lambda: nn.GroupNorm(2, WIDTH),
    "instance norm": lambda: Layer(lambda h: nn.InstanceNorm1d(2)(h.view(len(h), 2, -1)).flatten(1)),
    "convolution": lambda: nn.Sequential(
        nn.Unflatten(1, (1, WIDTH)), nn.Conv1d(1, 1, 3, padding=1), nn.Flatten()
    ),
    "lstm": Recurrent,
    "view": lambda: Layer(lambda h: h.view(len(h), -1)[:, :WIDTH].expand(h.shape)),
    "transposed": lambda: Layer(lambda h: h.t().softmax(0).t()),
    "centred rows": lambda: Layer(lambda h: h - h.mean(0)),
    "running sum": lambda: Layer(lambda h: h.cumsum(0)),
    "noise of its own": lambda: Layer(lambda h: h + torch.rand_like(h)),
}


def pair_with(layer, device):
    torch.manual_seed(3)
    net = nn.Sequential(nn.Linear(2, WIDTH), layer, nn.Tanh(), nn.Linear(WIDTH, 6))
    pair = VAE(NormalHead(MLP(3, 2, hidden=(4,))), NormalHead(net), prior=StandardNormal(2))
    return pair.to(device).double()


def log_weights(pair, x, draws=DRAWS):
    """Return log p(x, z) − log q(z | x), one draw at a time."""
    found = []
    for _ in range(draws):
        q = pair.encoder(x)
        z = q.rsample()
        found.append(pair.prior().log_prob(z) + pair.decoder(z).log_prob(x) - q.log_prob(z))
    return torch.stack(found)


def data(device, rows=ROWS):
    return torch.randn(
        rows, 3, dtype=torch.float64, device=device, generator=torch.Generator(device).manual_seed(1)
    )


@pytest.mark.parametrize("rows", [ROWS, 6])  # as many as there are channels, and others
@pytest.mark.parametrize("layer", BY_BATCH.values(), ids=BY_BATCH)
def test_the_likelihood_is_that_of_one_draw_at_a_time(layer, rows, device):
    pair, x = pair_with(layer(), device).eval(), data(device, rows)
    torch.manual_seed(7)
    expected = log_weights(pair, x).logsumexp(0) - math.log(DRAWS)
    torch.testing.assert_close(log_likelihoods(pair, x, particles=DRAWS, seed=7), expected.detach())


@pytest.mark.parametrize(("layer", "told"), [(lambda: nn.Softmax(1), 1), (nn.Tanh, 0)])
def test_the_log_says_once_that_draws_are_run_one_by_one(layer, told, device, caplog):
    pair, x = pair_with(layer(), device).eval(), data(device)
    with caplog.at_level("INFO", logger="probgen"):
        for _ in range(3):
            traces_of(pair, DRAWS, x)
    assert caplog.text.count(f"the {DRAWS} draws of z per datum are run one by one") == told


BOUNDS = {
    "elbo": (lambda: ELBO(particles=DRAWS), None),
    "free bits": (lambda: FreeBits(0.0, particles=DRAWS), None),
    "iwae": (lambda: IWAE(DRAWS), 1.0),
    "iwae, plain": (lambda: IWAE(DRAWS, gradient="plain"), 1.0),
    "renyi": (lambda: Renyi(0.5, particles=DRAWS), 0.5),
}


@pytest.mark.parametrize("name", ["batch norm", "group norm", "softmax(1)", "lstm"])
@pytest.mark.parametrize(("bound", "power"), BOUNDS.values(), ids=BOUNDS)
def test_bounds_train_on_one_draw_at_a_time(bound, power, name, device):
    x, gradients = data(device), []
    svi = SVI(pair_with(BY_BATCH[name](), device), bound()).double()
    torch.manual_seed(7)
    loss, terms = svi(x)
    torch.manual_seed(7)
    if power is None:
        expected = -torch.stack([-ELBO()(svi.pair, x)[0] for _ in range(DRAWS)]).mean()
    else:
        expected = -((power * log_weights(svi.pair, x)).logsumexp(0) - math.log(DRAWS)).mean() / power
    torch.testing.assert_close(loss, expected)
    decoder = list(svi.pair.decoder.parameters())
    for value in (loss, expected):
        gradients.append(torch.autograd.grad(value, decoder))
    torch.testing.assert_close(*gradients)
    if power is None:
        torch.testing.assert_close(terms["elbo"], terms["reconstruction"] - terms["kl"])
    else:
        assert 1 <= terms["ess"] <= DRAWS


def test_the_doubly_reparameterised_gradient_is_the_same_in_both_layouts(device, monkeypatch):
    outcomes = []
    pair, x = pair_with(nn.Tanh(), device), data(device)
    for layout in ("together", "alone"):
        if layout == "alone":
            monkeypatch.setattr("probgen.objectives.particles._agree", lambda *args: False)
        forget(pair)
        torch.manual_seed(0)
        traces = traces_of(pair, DRAWS, x)
        assert len(traces) == (1 if layout == "together" else DRAWS)
        torch.manual_seed(0)  # the noise of (K, n, 2) in one draw is that of K draws
        loss, terms = SVI(pair, IWAE(DRAWS)).double()(x)
        outcomes.append([loss, *terms.values(), *torch.autograd.grad(loss, list(pair.parameters()))])
    torch.testing.assert_close(*outcomes)


class CentredInTraining(nn.Module):
    """Does nothing in evaluation mode."""

    def forward(self, h):
        return h - h.mean(0) if self.training else h


@pytest.mark.parametrize("layer", [lambda: nn.BatchNorm1d(WIDTH), CentredInTraining], ids=["norm", "centred"])
def test_what_evaluation_hides_is_seen_in_training(layer, device):
    """A fresh batch normalisation changes nothing in evaluation mode."""
    pair, x = pair_with(layer(), device), data(device)
    before = {name: tensor.clone() for name, tensor in pair.state_dict().items()}
    known = _known(pair, DRAWS, x)
    assert not known.together
    for name, tensor in pair.state_dict().items():
        assert torch.equal(tensor, before[name])
    assert pair.training
    forget(pair)
    losses = []
    for mode in ("graph", "eager"):
        forget(pair)
        torch.manual_seed(1)
        loss_of = CapturedLoss(SVI(pair, IWAE(3)).double(), mode)
        losses.append([loss_of.backward(x)[0] for _ in range(3)])
        assert loss_of.mode == mode
        pair.load_state_dict(before)
    assert losses[0] == losses[1]


@pytest.mark.parametrize("layer", ORDINARY.values(), ids=ORDINARY)
def test_ordinary_nets_have_one_pass(layer, device):
    pair, x = pair_with(layer(), device), data(device)
    (traces,) = traces_of(pair, DRAWS, x)
    assert traces.particles == DRAWS
    assert traces.model.nodes["z"]["value"].shape == (DRAWS, ROWS, 2)


def test_convolutions_of_this_package_have_one_pass(device):
    decoder = NormalHead(ConvDecoder(2, (1, 8, 8), channels=4), scale="shared")
    pair = VAE(NormalHead(ConvEncoder((1, 8, 8), 2, channels=4)), decoder).to(device)
    (traces,) = traces_of(pair, DRAWS, torch.rand(3, 64, device=device))
    assert traces.particles == DRAWS


def test_what_a_net_has_learned_to_do_is_seen_later(device):
    """A last layer of zeros hides what the layers below it do."""
    pair, x = pair_with(nn.GroupNorm(2, WIDTH), device), data(device)
    last = pair.decoder.net[-1]
    weight = last.weight.detach().clone()
    nn.init.zeros_(last.weight)
    assert len(traces_of(pair.train(), DRAWS, x)) == DRAWS  # it is looked at with other weights too
    forget(pair)
    assert len(traces_of(pair.eval(), DRAWS, x)) == 1
    with torch.no_grad():
        last.weight.copy_(weight)
    assert len(traces_of(pair, DRAWS, x)) == DRAWS
    torch.manual_seed(7)
    expected = log_weights(pair.eval(), x).logsumexp(0) - math.log(DRAWS)
    torch.testing.assert_close(log_likelihoods(pair, x, particles=DRAWS, seed=7), expected.detach())


def test_one_draw_at_a_time_is_captured_to_the_same_bits(device):
    svi = SVI(pair_with(nn.BatchNorm1d(WIDTH), device), IWAE(3)).double()
    x, results = data(device), []
    for mode in ("eager", "graph"):
        torch.manual_seed(1)
        loss_of = CapturedLoss(svi.eval(), mode)
        results += [[loss_of.backward(x)[0] for _ in range(3)]]
        assert loss_of.mode == mode
    assert results[0] == results[1]


def test_fit_trains_with_draws_one_at_a_time(device):
    pair, x = pair_with(nn.BatchNorm1d(WIDTH), device), data(device, 16)
    history = fit(
        SVI(pair, IWAE(3)).double(), x, epochs=3, batch_size=8, validation=x, seed=0, progress=False
    )
    assert history.ended == "finished"


class Nested(Pair):
    """z ~ N(0, 1); a number of x, or several in a plate of their own, ~ N(z, 1); the exact posterior."""

    def __init__(self, plate):
        super().__init__()
        self.shift = nn.Parameter(torch.zeros((), dtype=torch.float64))
        self.plate = plate
        self.deeper = False

    def model(self, x=None, *context, n=1):
        with pyro.plate("data", len(x), dim=-1):
            z = pyro.sample("z", dist.Normal(self.shift, 1.0))
            if x.dim() == 1:
                return pyro.sample("x", dist.Normal(z, 1.0), obs=x)
            if not self.deeper:
                with pyro.plate(self.plate, x.shape[1], dim=-2):
                    return pyro.sample("x", dist.Normal(z, 1.0), obs=x.t())
            with pyro.plate("more", 1, dim=-2), pyro.plate(self.plate, x.shape[1], dim=-3):
                return pyro.sample("x", dist.Normal(z, 1.0), obs=x.t()[:, None])

    def guide(self, x=None, *context, n=1):
        numbers = x.reshape(len(x), -1)
        k = 1 + numbers.shape[1]
        with pyro.plate("data", len(x), dim=-1):
            pyro.sample("z", dist.Normal(numbers.sum(1) / k, k**-0.5))


def evidence(x):
    x = x.reshape(len(x), -1)
    covariance = torch.eye(x.shape[1], dtype=x.dtype, device=x.device) + 1
    return dist.MultivariateNormal(x.new_zeros(x.shape[1]), covariance).log_prob(x)


@pytest.mark.parametrize("plate", ["rows", "particles", "_particles", "num_particles_vectorized"])
def test_a_story_may_nest_deeper_on_later_data(plate, device):
    pair = Nested(plate).to(device)
    shapes = [(7,), (7, 2), (5,), (7, 5), (5, 1), (1, 2)]
    for shape in shapes:
        x = torch.randn(shape, dtype=torch.float64, device=device)
        for particles in (1, 5):
            torch.testing.assert_close(log_likelihoods(pair, x, particles=particles, seed=1), evidence(x))
            torch.testing.assert_close(-SVI(pair, IWAE(particles))(x)[0].detach(), evidence(x).mean())


def test_a_story_may_nest_deeper_on_data_of_the_same_form(device):
    pair, x = Nested("rows").to(device), torch.randn(7, 5, dtype=torch.float64, device=device)
    for deeper in (False, True, True, False):
        pair.deeper = deeper
        for bound in (IWAE(5), Renyi(0.5, particles=5)):
            torch.testing.assert_close(-SVI(pair, bound)(x)[0].detach(), evidence(x).mean())
        torch.testing.assert_close(log_likelihoods(pair, x, particles=5, seed=1), evidence(x))


def test_the_check_leaves_weights_alone_that_several_modules_share():
    """A Vamp prior has the encoder of its VAE; a weight may have two names as well."""
    encoder, x = NormalHead(MLP(4, 2, hidden=5)), torch.randn(20, 4)
    decoder = NormalHead(MLP(2, 4, hidden=5), scale="shared")
    pair = VAE(encoder, decoder, Vamp(encoder, 3, data=x))
    decoder.scale = encoder.net.last.bias = nn.Parameter(torch.zeros(4))
    before = {name: weight.clone() for name, weight in pair.state_dict().items()}
    forget(pair)
    SVI(pair, ELBO(particles=3))(x)
    assert decoder.scale is encoder.net.last.bias
    for name, weight in pair.state_dict().items():
        assert torch.equal(weight, before[name])
