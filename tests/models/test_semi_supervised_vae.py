"""M2 against sums over the classes, row by row: bounds, gradients, likelihoods, mixtures of codes."""

import logging
import math

import pyro.distributions as dist
import pytest
import torch
from torch import nn

import probgen as pg
from probgen import nets
from probgen.capture.captured_loss import CapturedLoss
from probgen.evaluation import log_likelihood
from probgen.models import SemiSupervisedVAE
from probgen.objectives import ELBO, SVI, Classification, Sum

double = torch.float64
CLASSES, SIZE, LATENT = 3, 4, 2
LABELS = {
    "mixed": [2, -1, 0, -1, 1],
    "all known": [2, 1, 0, 0, 1],
    "all missing": [-1, -1, -1, -1, -1],
}


class Linear(nn.Module):
    """(u, y) ↦ N(W u + b_y, s²): linear in u, with a shift for each class."""

    def __init__(self, inputs, outputs, scale):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(outputs, inputs, dtype=double))
        self.shift = nn.Parameter(torch.randn(CLASSES, outputs, dtype=double))
        self.scale = nn.Parameter(torch.tensor(scale, dtype=double))
        self.outputs = outputs

    def forward(self, u, y):
        mean = u @ self.weight.T + self.shift[y]
        return dist.Normal(mean, self.scale.expand(self.outputs)).to_event(1)


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(0)


@pytest.fixture
def x(device):
    return torch.randn(5, SIZE, dtype=double, device=device)


@pytest.fixture
def pair(device):
    """A linear M2, whose bounds are known in closed form."""
    made = SemiSupervisedVAE(
        nets.ClassHead(nets.MLP(SIZE, CLASSES, hidden=5)),
        Linear(SIZE, LATENT, 0.6),
        Linear(LATENT, SIZE, 0.8),
        shares=torch.tensor([0.5, 0.2, 0.3], dtype=double),
    )
    gain, covariance = true_posterior(made)
    with torch.no_grad():  # near the posterior, and wider
        made.encoder.weight.copy_(gain + 0.1)
        made.encoder.shift.copy_(0.1 - made.decoder.shift @ gain.T)
        made.encoder.scale.copy_(1.2 * covariance.diagonal().max().sqrt())
    return made.double().to(device)


def true_posterior(pair):
    """Return G and Σ of z | x, y ~ N(G (x − b_y), Σ)."""
    w, t = pair.decoder.weight.detach(), pair.decoder.scale.detach()
    precision = torch.eye(LATENT, dtype=double, device=w.device) + w.T @ w / t**2
    return torch.linalg.solve(precision, w.T) / t**2, torch.linalg.inv(precision)


def labels(kind, device):
    return torch.tensor(LABELS[kind], device=device)


def by_hand(pair, x, y, noise):
    """Return the bound of each row on given noise of z (classes, rows, d), row by row and class by class."""
    bounds = []
    w, t, s = pair.decoder.weight, pair.decoder.scale, pair.encoder.scale

    def of_class(row, k, e):
        mean = pair.encoder.weight @ row + pair.encoder.shift[k]
        kl = 0.5 * (LATENT * s**2 + mean @ mean - LATENT) - LATENT * s.log()
        miss = row - w @ (mean + s * e) - pair.decoder.shift[k]
        log_x = -0.5 * miss @ miss / t**2 - SIZE * (t.log() + 0.5 * math.log(2 * math.pi))
        return pair.shares[k].log() + log_x - kl

    for i, (row, label) in enumerate(zip(x, y.tolist(), strict=True)):
        log_q = pair.classifier.net(row).log_softmax(-1)
        if label == -1:
            terms = [log_q[k].exp() * (of_class(row, k, noise[k, i]) - log_q[k]) for k in range(CLASSES)]
            bounds.append(sum(terms))
        else:  # the mean over as many draws of z as there are classes
            bounds.append(sum(of_class(row, label, noise[k, i]) for k in range(CLASSES)) / CLASSES)
    return torch.stack(bounds)


def noise_of(seed, rows, device):
    torch.manual_seed(seed)
    zeros = torch.zeros(CLASSES, rows, LATENT, dtype=double, device=device)
    return torch.normal(zeros, zeros + 1)


def evidence(pair, x, y):
    """Return log p(x, y), or log p(x) where y is missing: x given y is normal."""
    w, t = pair.decoder.weight, pair.decoder.scale
    covariance = w @ w.T + t**2 * torch.eye(SIZE, dtype=double, device=x.device)
    law = torch.distributions.MultivariateNormal(pair.decoder.shift, covariance)
    joint = law.log_prob(x[:, None]) + pair.shares.log()
    known = joint.gather(1, y.clamp(min=0)[:, None])[:, 0]
    return torch.where(y == -1, joint.logsumexp(1), known)


@pytest.mark.parametrize("kind", LABELS)
def test_bound_and_gradient_are_sums_over_the_classes(kind, pair, x):
    y = labels(kind, x.device)
    SVI(pair)(x, y)  # finds the discrete site, which draws nothing
    exact = by_hand(pair, x, y, noise_of(3, len(x), x.device)).mean()
    torch.manual_seed(3)
    loss, terms = SVI(pair)(x, y)
    torch.testing.assert_close(-loss, exact)
    torch.testing.assert_close(terms["elbo"], exact.detach())
    weights = list(pair.parameters())
    found, wanted = (torch.autograd.grad(v, weights, allow_unused=True) for v in (-loss, exact))
    for one, other, weight in zip(found, wanted, weights, strict=True):
        torch.testing.assert_close(*(torch.zeros_like(weight) if g is None else g for g in (one, other)))
    if kind == "all missing":
        torch.manual_seed(3)
        torch.testing.assert_close(SVI(pair)(x)[0], loss)


def test_the_weighted_sum_reports_the_bound_as_it_is(pair, x):
    y = labels("mixed", x.device)
    both = Sum({"svi": SVI(pair), "classification": Classification(pair)}, {"classification": 7.0})
    torch.manual_seed(3)
    loss, terms = both.to(x.device)(x, y)
    log_q, known = pair.classify(x).logits, y != -1
    cross_entropy = nn.functional.cross_entropy(log_q[known], y[known]) * known.sum() / len(x)
    exact = by_hand(pair, x, y, noise_of(3, len(x), x.device)).mean()
    torch.testing.assert_close(terms["svi/elbo"], exact.detach())
    torch.testing.assert_close(terms["classification"], cross_entropy)
    torch.testing.assert_close(loss.detach(), 7 * cross_entropy - exact.detach())
    assert both.judge(
        {name: float(value) for name, value in (terms | {"loss": loss.detach()}).items()}
    ) == pytest.approx(float(loss.detach()))
    none, terms = Classification(pair)(x, labels("all missing", x.device))
    assert not none.any()
    assert Classification(pair).judge({"loss": 0.0, "known": float(terms["known"])}) is None


@pytest.mark.parametrize("kind", LABELS)
def test_the_likelihood_sums_missing_classes_out(kind, pair, x):
    """At 4 standard errors of 20 repeats; log Σ_y is 0.1 nats off without a class."""
    y = labels(kind, x.device)
    exact = float(evidence(pair, x, y).mean().detach())
    found = torch.tensor([log_likelihood(pair, x, y, particles=2000, seed=s).value for s in range(20)])
    error = float(found.std()) / math.sqrt(20)
    assert abs(float(found.mean()) - exact) < 4 * error + 1e-3
    assert error < 0.01


def test_the_likelihood_is_exact_under_the_true_posterior(pair, x):
    """With q(z | x, y) and q(y | x) those of the model one draw tells the evidence, labels or not."""
    gain, covariance = true_posterior(pair)
    factor = torch.linalg.cholesky(covariance)

    class TruePosterior(nn.Module):
        outputs = LATENT

        def forward(self, u, y):
            return dist.MultivariateNormal((u - pair.decoder.shift[y]) @ gain.T, scale_tril=factor)

    class TrueClass(nn.Module):
        outputs = CLASSES

        def forward(self, u):
            every = torch.arange(CLASSES, device=u.device)
            joint = [evidence(pair, u, every[k].expand(len(u))) for k in range(CLASSES)]
            return dist.Categorical(logits=torch.stack(joint, -1))

    exact = SemiSupervisedVAE(TrueClass(), TruePosterior(), pair.decoder, shares=pair.shares)
    for kind in LABELS:
        y = labels(kind, x.device)
        expected = float(evidence(pair, x, y).mean().detach())
        assert log_likelihood(exact, x, y, particles=1, seed=0).value == pytest.approx(expected, abs=1e-9)


def small(device):
    told = nets.Joined(nets.MLP(SIZE + CLASSES, LATENT, hidden=6), None, nets.OneHot(CLASSES))
    decoder = nets.Joined(nets.MLP(LATENT + CLASSES, SIZE, hidden=6), None, nets.OneHot(CLASSES))
    classifier = nets.ClassHead(nets.MLP(SIZE, CLASSES, hidden=6))
    pair = SemiSupervisedVAE(classifier, nets.NormalHead(told), nets.NormalHead(decoder, scale="shared"))
    return pair.to(device)


@pytest.mark.parametrize("elbo", [ELBO(), ELBO(particles=3)], ids=["one draw", "three"])
def test_every_weight_learns_from_a_mixed_batch(elbo, device):
    pair = small(device)
    x, y = torch.randn(40, SIZE, device=device), torch.arange(40, device=device) % (CLASSES + 1) - 1
    loss, _ = SVI(pair, elbo)(x, y)
    loss.backward()
    assert all(w.grad is not None and w.grad.abs().sum() > 0 for w in pair.parameters())


def test_the_bound_teaches_the_classifier_nothing_of_labels_and_classification_does(device):
    pair = small(device)
    x, y = torch.randn(8, SIZE, device=device), torch.arange(8, device=device) % CLASSES
    first = pair.classifier.net.last.weight
    assert not torch.autograd.grad(SVI(pair)(x, y)[0], first, allow_unused=True)[0].any()
    assert torch.autograd.grad(Classification(pair)(x, y)[0], first)[0].any()


def test_few_labels_and_many_data_find_the_classes(device):
    """Three clusters, one label each: the bound tells the other rows, and each class is drawn where it is."""
    torch.manual_seed(1)
    classes = torch.arange(300, device=device) % CLASSES
    centres = 4 * torch.eye(CLASSES, SIZE, device=device)
    x = centres[classes] + 0.5 * torch.randn(300, SIZE, device=device)
    y = torch.where(torch.arange(300, device=device) < CLASSES, classes, -1)
    pair = small(device)
    both = Sum({"svi": SVI(pair), "classification": Classification(pair)}, {"classification": 10.0})
    adam = torch.optim.Adam(both.to(device).parameters(), lr=0.02)
    pg.fit(both, (x, y), steps=250, batch_size=300, optimizer=adam, seed=0, progress=False)
    assert (pair.classify(x).probs.argmax(1) == classes).float().mean() > 0.97
    drawn = pair.sample(300, classes, seed=0)
    assert (torch.cdist(drawn, centres).argmin(1) == classes).float().mean() > 0.9


def test_draws_of_given_and_missing_classes(pair):
    y = torch.tensor([2, -1, 0] * 4000, device=pair.shares.device)
    with torch.no_grad():
        pair.decoder.weight.zero_(), pair.decoder.scale.fill_(1e-6)
    drawn = torch.cdist(pair.sample(len(y), y, seed=0), pair.decoder.shift).argmin(1).reshape(-1, 3)
    assert drawn[:, 0].eq(2).all()
    assert drawn[:, 2].eq(0).all()
    everywhere = torch.cdist(pair.sample(4000, seed=1), pair.decoder.shift).argmin(1)
    for found in (drawn[:, 1], everywhere):  # five standard errors
        shares = torch.bincount(found, minlength=CLASSES) / len(found)
        assert (shares - pair.shares).abs().max() < 5 * math.sqrt(0.25 / 4000)


def test_codes_and_data_of_missing_classes_are_mixtures(pair, x):
    y = labels("mixed", x.device)
    q = pair.classify(x).probs
    z = torch.randn(5, LATENT, dtype=double, device=x.device)
    with torch.no_grad():
        of_class = [pair.encoder(x, torch.full_like(y, k)).log_prob(z) for k in range(CLASSES)]
        data = [pair.decoder(z, torch.full_like(y, k)).log_prob(x) for k in range(CLASSES)]
    for log_probs, weights, law in (
        (torch.stack(of_class, -1), q, lambda *y: pair.encode(x, *y)),
        (torch.stack(data, -1), pair.shares.expand(5, -1), lambda *y: pair.decode(z, *y)),
    ):
        mixed = (log_probs + weights.log()).logsumexp(-1)
        torch.testing.assert_close(law().log_prob(z if law().event_shape == (LATENT,) else x), mixed)
        known = log_probs.gather(1, y.clamp(min=0)[:, None])[:, 0]
        found = law(y).log_prob(z if law().event_shape == (LATENT,) else x)
        torch.testing.assert_close(found, torch.where(y == -1, mixed, known))
        assert law(y).mean.isfinite().all()
        assert not law(y).mean.requires_grad


@pytest.mark.parametrize("kind", LABELS)
def test_the_posterior_of_codes_sums_missing_classes_out(kind, pair, x):
    y = labels(kind, x.device)
    z = torch.randn(7, 5, LATENT, dtype=double, device=x.device)
    every = torch.arange(CLASSES, device=x.device)
    log_x = pair.decoder(z.unsqueeze(-2), every).log_prob(x[:, None]) + pair.shares.log()
    known = log_x.gather(-1, y.clamp(min=0).expand(7, 5)[..., None])[..., 0]
    log_prior = dist.Normal(torch.zeros_like(z), 1.0).log_prob(z).sum(-1)
    expected = log_prior + torch.where(y == -1, log_x.logsumexp(-1), known)
    torch.testing.assert_close(pair.posterior(x, y).log_prob(z), expected)


def test_it_is_captured_to_the_same_bits(device, caplog):
    outcomes = []
    x, y = torch.randn(8, SIZE, device=device), torch.arange(8, device=device) % (CLASSES + 1) - 1
    caplog.set_level(logging.WARNING)
    for mode in ("eager", "graph"):
        torch.manual_seed(7)
        pair = small(device)
        both = Sum({"svi": SVI(pair), "classification": Classification(pair)}, {"classification": 2.0})
        both.to(device)
        loss_of, optimizer = CapturedLoss(both, mode), torch.optim.SGD(both.parameters(), lr=0.01)
        for turn in range(5):
            loss, terms = loss_of(x.roll(turn), y.roll(turn))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        outcomes.append([loss.detach(), *terms.values(), *both.parameters()])
    assert not caplog.records
    assert all(map(torch.equal, *outcomes))


@pytest.mark.parametrize(
    ("y", "kind", "said"),
    [
        ([0, 3, 1, 1, 1], ValueError, "labels should be 0 to 2, or -1 where missing, but hold 3"),
        ([0, -2, 1, 1, 1], ValueError, "labels should be 0 to 2, or -1 where missing, but hold -2"),
        (
            [0.0, math.nan, 1, 1, 1],
            TypeError,
            "labels should be integers, -1 where missing, but are torch.fl",
        ),
        (
            [[0], [1], [1], [1], [1]],
            ValueError,
            r"labels should have shape \(5,\), one a row, but have \(5, 1\)",
        ),
    ],
)
def test_labels_that_are_none(y, kind, said, device):
    pair, x, y = small(device), torch.randn(5, SIZE, device=device), torch.tensor(y, device=device)
    for use in (SVI(pair), Classification(pair), pair.encode, lambda x, y: pair.sample(5, y)):
        with pytest.raises(kind, match=said):
            use(x, y)


def test_what_else_does_not_fit(device):
    pair, x = small(device), torch.randn(5, SIZE, device=device)
    with pytest.raises(
        ValueError, match=r"a batch should be \(x, y\), data and their labels, but has 1 parts"
    ):
        Classification(pair)(x)
    with pytest.raises(ValueError, match="shares should be 3 probabilities above 0 that sum to 1 but are"):
        SemiSupervisedVAE(pair.classifier, pair.encoder, pair.decoder, shares=torch.tensor([0.5, 0.6, 0.2]))
    with pytest.raises(ValueError, match="the guide needs x"):
        pair.guide()
    with pytest.raises(TypeError, match=r"classifier should tell its number of classes, .* but Linear has"):
        SemiSupervisedVAE(torch.nn.Linear(SIZE, 3), pair.encoder, pair.decoder)
    with pytest.raises(TypeError, match=r"classifier should tell its number of classes, .* but Linear has"):
        Classification(torch.nn.ModuleDict({"classifier": torch.nn.Linear(SIZE, 3)}))


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int8, torch.int32])
def test_labels_of_fewer_bytes_are_those_of_int64(dtype, device):
    pair, x = small(device).double(), torch.randn(5, SIZE, dtype=torch.float64, device=device)
    y = torch.tensor([0, 2, 1, 1, 0], device=device)
    for law in (lambda y: pair.encode(x, y), lambda y: pair.decode(pair.encode(x, y).mean, y)):
        torch.testing.assert_close(law(y.to(dtype)).mean, law(y).mean)
    torch.testing.assert_close(Classification(pair)(x, y.to(dtype))[0], Classification(pair)(x, y)[0])


def test_many_codes_of_a_datum_are_decoded_with_its_label(device):
    pair, z = small(device), torch.randn(4, 5, 2, device=device)
    y = torch.tensor([0, -1, 1, 2, -1], device=device)
    many = pair.decode(z, y)
    assert many.batch_shape == (4, 5)
    for draws, mean in zip(z, many.mean, strict=True):
        torch.testing.assert_close(pair.decode(draws, y).mean, mean)
