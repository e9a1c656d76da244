"""The adversarial autoencoder with a class: story, codes, reconstruction, and who learns from which game."""

import math

import pyro.distributions as dist
import pytest
import torch
from pyro import poutine
from torch import nn

from probgen import fit, nets
from probgen.capture.captured_loss import CapturedLoss
from probgen.models import AdversarialAutoencoder
from probgen.objectives import SVI, Classification, CodeGAN, PairReconstruction, Sum
from probgen.objectives.aggregate_posterior import codes_and_prior
from probgen.training import schedules

CLASSES, SIZE, LATENT = 3, 4, 2


def made(device="cpu", *, encoder=nets.PointHead, dtype=torch.float64, shares=None, temperature=None):
    torch.manual_seed(0)
    model = AdversarialAutoencoder(
        nets.ClassHead(nets.MLP(SIZE, CLASSES, hidden=6)),
        encoder(nets.MLP(SIZE, LATENT, hidden=6)),
        nets.NormalHead(nets.Joined(nets.MLP(LATENT + CLASSES, SIZE, hidden=6)), scale="shared"),
        shares=shares,
        temperature=temperature,
    )
    return model.to(device, dtype)


@pytest.fixture
def model(device):
    return made(device)


@pytest.fixture
def x(device):
    return torch.randn(7, SIZE, dtype=torch.float64, device=device)


@pytest.fixture
def y(device):
    return torch.tensor([2, -1, 0, -1, 1, -1, 1], device=device)


def code_of_class(model, x, y):
    """The code of the class, row by row: the label where it is known, else probabilities."""
    logits = model.classifier.net(x)
    eye = torch.eye(CLASSES).to(x)
    return torch.stack(
        [eye[k] if k >= 0 else row.softmax(0) for row, k in zip(logits, y.tolist(), strict=True)]
    )


@pytest.mark.parametrize("labelled", [True, False])
def test_the_loss_is_minus_the_log_likelihood_at_the_codes(model, x, y, labelled):
    batch = (x, y) if labelled else (x,)
    code = code_of_class(model, x, y if labelled else torch.full_like(y, -1))
    mean = model.decoder.net(torch.cat([model.encoder.net(x), code], 1))
    scale = nets.laws.log_scale(model.decoder.scale).exp()
    squares = (((x - mean) / scale) ** 2).sum(1)
    expected = (0.5 * squares + SIZE * (scale.log() + 0.5 * math.log(2 * math.pi))).mean()
    loss, terms = PairReconstruction(model)(*batch)
    torch.testing.assert_close(loss, expected)
    torch.testing.assert_close(terms["reconstruction"], -expected.detach())
    weights = list(model.parameters())
    for one, other in zip(
        torch.autograd.grad(loss, weights), torch.autograd.grad(expected, weights), strict=True
    ):
        torch.testing.assert_close(one, other)


def test_each_game_moves_the_net_of_its_own_code_alone(model, x):
    for site, size, moved, still in (
        ("y", CLASSES, model.classifier, model.encoder),
        ("z", LATENT, model.encoder, model.classifier),
    ):
        discriminator = nets.MLP(size, 1, hidden=5).to(x)
        loss, _ = CodeGAN(model, discriminator, site=site)(x)
        own = torch.autograd.grad(loss, list(moved.parameters()), retain_graph=True)
        assert all(bool((grad != 0).any()) for grad in own)
        others = [*still.parameters(), *model.decoder.parameters()]
        assert all(g is None for g in torch.autograd.grad(loss, others, allow_unused=True))


def test_the_prior_of_the_class_is_of_its_shares_and_of_labels_where_they_are_known(device):
    shares = torch.tensor([0.5, 0.2, 0.3], dtype=torch.float64)
    model = made(device, shares=shares)
    x = torch.randn(20_000, SIZE, dtype=torch.float64, device=device)
    codes, prior = codes_and_prior(model, x, site="y")
    torch.testing.assert_close(codes, model.classifier(x).probs)
    assert torch.equal(prior.sum(1), torch.ones_like(prior[:, 0]))
    assert prior.unique().tolist() == [0, 1]
    # Five standard errors of a share of 20,000 draws.
    torch.testing.assert_close(prior.mean(0).cpu(), shares, atol=5 * 0.5 / 20_000**0.5, rtol=0)
    y = torch.arange(20_000, device=device) % 3
    codes, prior = codes_and_prior(model, x, y, site="y")
    assert torch.equal(codes, prior)
    assert torch.equal(prior.argmax(1), y)


@pytest.mark.parametrize("temperature", [0.5, 2.0])
def test_with_a_temperature_a_class_is_a_relaxed_draw_of_the_classifier(device, temperature):
    """The largest coordinate is a draw of q(y | x), and ratios tell the Gumbel variables' logistic law."""
    model = made(device, temperature=temperature)
    x = torch.randn(1, SIZE, dtype=torch.float64, device=device)
    codes, _ = codes_and_prior(model, x.expand(20_000, -1), site="y")
    codes, probs = codes.detach(), model.classify(x).probs[0]
    torch.testing.assert_close(codes.sum(1), torch.ones_like(codes[:, 0]))
    shares = torch.bincount(codes.argmax(1), minlength=CLASSES).to(probs) / len(codes)
    # Five standard errors of a share of 20,000 draws, and of a mean of a logistic law of deviation π/√3.
    torch.testing.assert_close(shares, probs, atol=5 * 0.5 / 20_000**0.5, rtol=0)
    ratios = temperature * (codes[:, 0].log() - codes[:, 1].log()) - (probs[0].log() - probs[1].log())
    deviation = math.pi / math.sqrt(3)
    assert abs(float(ratios.mean())) < 5 * deviation / 20_000**0.5
    assert abs(float(ratios.std()) / deviation - 1) < 0.04  # five standard errors: its kurtosis is 4.2


def test_a_relaxed_draw_moves_the_classifier_and_labels_stay(device, y):
    model = made(device, temperature=0.7)
    x = torch.randn(7, SIZE, dtype=torch.float64, device=device)
    loss, _ = PairReconstruction(model)(x, y)
    grads = torch.autograd.grad(loss, list(model.classifier.parameters()))
    assert all(bool((grad != 0).any()) for grad in grads)
    codes, _ = codes_and_prior(model, x, y, site="y")
    known = y >= 0
    assert torch.equal(codes[known], nn.functional.one_hot(y[known], CLASSES).to(codes))
    assert bool(((codes[~known] > 0) & (codes[~known] < 1)).all())


def test_draws_of_a_class_are_those_of_its_decoder(model, y):
    labels = torch.full((3000,), 2, device=y.device)
    drawn = model.sample(3000, labels, seed=0)
    with torch.no_grad():
        code = nn.functional.one_hot(labels, CLASSES).to(drawn)
        z = torch.randn(3000, LATENT, device=y.device).to(drawn)
        expected = model.decoder(z, code).sample()
    for power in (1, 2):  # moments of 3,000 draws each
        one, other = drawn**power, expected**power
        error = ((one.var(0) + other.var(0)) / 3000).sqrt()
        assert bool(((one.mean(0) - other.mean(0)).abs() < 5 * error).all())
    assert model.sample(5, seed=1).shape == (5, SIZE)


def test_it_encodes_and_decodes_in_evaluation_mode(model, x, y):
    model.train()
    z = model.encode(x).mean
    assert torch.equal(z, model.encoder(x).mean.detach())
    mixture = model.decode(z)
    by_class = torch.stack([model.decode(z, torch.full_like(y, k)).log_prob(x) for k in range(CLASSES)])
    torch.testing.assert_close(mixture.log_prob(x), by_class.logsumexp(0) - math.log(CLASSES))
    code = nn.functional.one_hot(torch.zeros_like(y), CLASSES).to(x)
    torch.testing.assert_close(by_class[0], model.decoder(z, code).log_prob(x).detach())
    assert model.training
    torch.testing.assert_close(model.classify(x).probs, model.classifier(x).probs.detach())


def test_the_class_is_summed_out_of_its_posterior(model, x):
    density = model.posterior(x)
    z = torch.randn(7, LATENT, dtype=torch.float64, device=x.device)
    expected = dist.Normal(0.0, 1.0).log_prob(z).sum(1) + model.decode(z).log_prob(x)
    torch.testing.assert_close(density.log_prob(z).detach(), expected)


def test_no_bound_takes_a_class_between_classes(model, x):
    with pytest.raises(ValueError, match=r"support \(OneHot\(\)\)"):
        SVI(model)(x)


def test_few_labels_teach_and_unlabelled_data_teach_more(device):
    """Three clusters apart along one axis each, whose labels are known for two data of each."""
    gen = torch.Generator().manual_seed(3)
    labels = torch.arange(900) % 3
    centres = 2.0 * torch.eye(SIZE)[:3]
    x = centres[labels] + 0.5 * torch.randn(900, SIZE, generator=gen)
    few = torch.where(torch.arange(900) < 6, labels, -1)
    rows = torch.cat([torch.arange(900), torch.arange(6).repeat(50)])  # one in four with a label
    model = made(device, dtype=torch.float32)
    of_class, of_style = (nets.MLP(size, 1, hidden=32) for size in (CLASSES, LATENT))
    parts = {
        "reconstruction": PairReconstruction(model),
        "classes": CodeGAN(model, of_class, site="y"),
        "styles": CodeGAN(model, of_style, site="z"),
        "classification": Classification(model),
    }
    options = {"schedules": {"lr": schedules.cosine(5e-3, 5e-4, steps=200)}, "seed": 0, "progress": False}
    batch = x[rows].to(device), few[rows].to(device)
    weights = {"classification": 10.0, "classes": 5.0}
    fit(Sum(parts, weights).to(device), batch, steps=200, batch_size=60, compile="eager", **options)
    probs = model.classify(x.to(device)).probs
    assert float((probs.argmax(1).cpu() == labels).double().mean()) > 0.95


class NotObserved(AdversarialAutoencoder):
    def model(self, x=None, *labels, n=1):
        with poutine.block():
            return super().model(x, *labels, n=n)


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (
            lambda: PairReconstruction(
                made(encoder=lambda net: _Discrete(net), dtype=torch.float32)
            )(torch.ones(3, SIZE)),
            "guide site 'z' should be reparameterised but Independent has no rsample",
        ),
        (
            lambda: PairReconstruction(NotObserved(*list(made(dtype=torch.float32).children())[:4]))(
                torch.ones(3, SIZE)
            ),
            "the model should observe its data",
        ),
        (lambda: made(dtype=torch.float32).sample(2, torch.tensor([1, 3])), "labels should be 0 to 2"),
        (
            lambda: CodeGAN(made(dtype=torch.float32), nn.Linear(2, 1), site="k")(torch.ones(4, SIZE)),
            r"one of \['y', 'z'\], but is 'k'",
        ),
        (lambda: made(temperature=0.0), "temperature should be above 0 and finite but got 0.0"),
        (lambda: made(shares=torch.tensor([0.5, 0.5])), "shares should be 3 probabilities"),
    ],
)  # fmt: skip
def test_bad_input_is_named(call, sentence):
    with pytest.raises(ValueError, match=sentence):
        call()


class _Discrete(nn.Module):
    """A style that is a coin."""

    outputs = LATENT

    def __init__(self, net):
        super().__init__()
        self.net = net

    def forward(self, x):
        return dist.Bernoulli(logits=self.net(x)).to_event(1)


@pytest.mark.parametrize("temperature", [None, 0.5])
def test_captured_and_eager_give_the_same_bits(device, caplog, temperature):
    """Drawing one-hot vectors looks at indices, which a graph does not."""
    x = torch.randn(8, SIZE, device=device)
    y = torch.tensor([2, -1, 0, -1, 1, -1, 1, 0], device=device)
    outcomes = []
    for mode in ("eager", "graph"):
        model = made(device, dtype=torch.float32, temperature=temperature)
        parts = {
            "reconstruction": PairReconstruction(model),
            "classes": CodeGAN(model, nets.MLP(CLASSES, 1, hidden=4), site="y", r1=0.5),
            "classification": Classification(model),
        }
        objective = Sum(parts, {"classes": 3.0}).to(device)
        torch.manual_seed(1)
        loss_of = CapturedLoss(objective, mode)
        for _ in range(4):
            objective.zero_grad()
            loss, terms = loss_of(x, y)
            loss.backward()
        grads = [weight.grad for weight in objective.parameters() if weight.grad is not None]
        outcomes.append([loss.detach(), *terms.values(), *grads])
        assert loss_of.mode == mode
    assert not caplog.records
    for eager, captured in zip(*outcomes, strict=True):
        assert torch.equal(eager, captured)
