"""InfoGAN's bound: closed forms, who learns from it, codes and labels that do not fit."""

import logging
import math

import pyro.distributions as dist
import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from probgen import fit, nets, priors
from probgen.capture.captured_loss import CapturedLoss
from probgen.models import GAN, GMMN
from probgen.objectives import Contest, MutualInformation, Sum

A = [[1.0, 0.5], [-0.3, 1.2], [0.4, 0.2]]
B = [[0.8, 0.0, 0.1], [0.2, 0.7, 0.0], [0.0, -0.3, 0.9]]


class Posterior(nn.Module):
    """p(c | x) of x = A c + B e, both standard normal, its covariance times a factor."""

    def __init__(self, a, b, factor=1.0):
        super().__init__()
        noise = b @ b.T
        self.gain = a.T @ torch.linalg.inv(a @ a.T + noise)
        self.covariance = factor * (torch.eye(a.shape[1], dtype=a.dtype) - self.gain @ a)

    def forward(self, x):
        return dist.MultivariateNormal(x @ self.gain.T, self.covariance)


def linear(weight, noise):
    """A GAN whose generator is a matrix."""
    generator = nn.Linear(weight.shape[1], weight.shape[0], bias=False, dtype=weight.dtype)
    generator.weight.data.copy_(weight)
    return GAN(generator, nn.Linear(weight.shape[0], 1), noise=noise).to(weight.dtype)


@pytest.mark.parametrize("factor", [1.0, 2.0])
def test_of_a_linear_gaussian_generator_the_bound_is_the_information_less_the_divergence_of_q(factor):
    a, b = torch.tensor(A, dtype=torch.float64), torch.tensor(B, dtype=torch.float64)
    exact = 0.5 * float(torch.logdet(torch.eye(3) + a @ a.T @ torch.linalg.inv(b @ b.T)))
    divergence = 2 * 0.5 * (1 / factor - 1 + math.log(factor))  # KL(p(c|x) ‖ Q) in two coordinates
    gan = linear(torch.cat([a, b], 1), priors.SideBySide(2, 3))
    objective = MutualInformation(gan, Posterior(a, b, factor))
    torch.manual_seed(0)
    with torch.no_grad():
        loss, terms = objective(torch.zeros(40_000, 3, dtype=torch.float64))
    # log Q has a deviation of 1/factor: four standard errors, missed once in 16,000.
    assert float(terms["information"]) == pytest.approx(exact - divergence, abs=4 / 200 / factor)
    assert exact > 0.8
    assert float(loss) == pytest.approx(
        2 * 0.5 * math.log(2 * math.pi * math.e) - float(terms["information"])
    )


SHARES, MEANS, SCALE = (0.5, 0.3, 0.2), (-1.0, 0.5, 2.0), 0.6


def discrete():
    """x = m_c + s e, c one of three classes."""
    law = dist.OneHotCategorical(torch.tensor(SHARES, dtype=torch.float64))
    return linear(torch.tensor([[*MEANS, SCALE]], dtype=torch.float64), priors.SideBySide(law, 1))


def information():
    """I(c; x) = H(x) − H(x | c), by a sum on a fine grid."""
    x = torch.linspace(-6, 7, 20_001, dtype=torch.float64)
    laws = [torch.distributions.Normal(torch.tensor(m, dtype=torch.float64), SCALE) for m in MEANS]
    together = sum(w * law.log_prob(x).exp() for w, law in zip(SHARES, laws, strict=True))
    own = 0.5 * math.log(2 * math.pi * math.e * SCALE**2)
    return float(torch.trapezoid(torch.special.entr(together), x)) - own


def best():
    """Bayes' rule: log-odds that are linear in x."""
    net = nn.Linear(1, 3, dtype=torch.float64)
    means = torch.tensor(MEANS, dtype=torch.float64)
    net.weight.data = means[:, None] / SCALE**2
    net.bias.data = torch.tensor(SHARES, dtype=torch.float64).log() - means.square() / (2 * SCALE**2)
    return net


def test_of_a_discrete_code_the_bound_is_the_information_by_bayes_rule():
    objective = MutualInformation(discrete(), nets.CodeHead(best(), categories=3))
    torch.manual_seed(0)
    with torch.no_grad():
        _, terms = objective(torch.zeros(40_000, 1))
    exact = information()
    assert 0.5 < exact < -sum(w * math.log(w) for w in SHARES)
    assert float(terms["information"]) == pytest.approx(exact, abs=0.012)  # four standard errors


def test_a_recogniser_learns_to_be_the_posterior():
    gan, head = discrete().requires_grad_(False), nets.CodeHead(nn.Linear(1, 3).double(), categories=3)
    objective = MutualInformation(gan, head)
    rows = torch.zeros(2000, 1, dtype=torch.float64)
    options = {"schedules": {"lr": lambda step: 0.1 if step < 200 else 0.02}, "progress": False}
    fit(objective, rows, steps=300, batch_size=2000, seed=0, compile="eager", **options)
    torch.manual_seed(1)
    with torch.no_grad():
        _, terms = objective(torch.zeros(40_000, 1))
    assert float(terms["information"]) == pytest.approx(information(), abs=0.02)


def infogan(dtype=torch.float64, **options):
    torch.manual_seed(0)
    noise = priors.SideBySide(
        dist.OneHotCategorical(torch.ones(3)), dist.Uniform(-torch.ones(2), 1.0).to_event(1), 2
    )
    tanh = {"hidden": (8,), "activation": nn.Tanh}
    gan = GAN(nets.MLP(7, 4, **tanh), nets.MLP(4, 1, **tanh), noise=noise)
    contest = Contest(gan, r1=0.1, **options)
    mutual = MutualInformation(gan, nets.CodeHead(nets.MLP(4, 5, **tanh), categories=3, continuous=2))
    return gan.to(dtype), contest.to(dtype), mutual.to(dtype)


def test_the_generator_and_the_recogniser_learn_from_it_and_the_discriminator_does_not():
    gan, _, mutual = infogan()
    x = torch.randn(20, 4, dtype=torch.float64)
    torch.manual_seed(1)
    loss, _ = mutual(x)
    torch.manual_seed(1)
    z = gan.noise().expand([20]).sample()
    numbers = mutual.recogniser.net(gan.generator(z))
    of_class = cross_entropy(numbers[:, :3], z[:, :3].argmax(1))
    of_numbers = 0.5 * (numbers[:, 3:] - z[:, 3:5]).square().sum(1).mean() + math.log(2 * math.pi)
    torch.testing.assert_close(loss, of_class + of_numbers)
    learners = [*gan.generator.parameters(), *mutual.recogniser.parameters()]
    found = torch.autograd.grad(loss, learners, retain_graph=True)
    expected = torch.autograd.grad(of_class + of_numbers, learners)
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other)
        assert float(one.abs().max()) > 1e-4
    assert torch.autograd.grad(loss, [*gan.discriminator.parameters()], allow_unused=True) == (None,) * 4


def test_in_a_sum_it_adds_lambda_times_its_gradient_and_the_contest_judges():
    gan, contest, mutual = infogan()
    objective = Sum({"contest": contest, "information": mutual}, {"information": 0.7})
    x = torch.randn(20, 4, dtype=torch.float64)
    torch.manual_seed(1)
    together, _ = objective(x)
    torch.manual_seed(1)
    separate = contest(x)[0], mutual(x)[0]
    for player, weight in ((gan.generator, 0.7), (gan.discriminator, 0.0)):
        weights = [*player.parameters()]
        found = torch.autograd.grad(together, weights, retain_graph=True)
        (of_game, of_code) = (
            torch.autograd.grad(loss, weights, retain_graph=True, allow_unused=True, materialize_grads=True)
            for loss in separate
        )
        for one, a, b in zip(found, of_game, of_code, strict=True):
            torch.testing.assert_close(one, a + weight * b)
    objective.eval()
    _, terms = objective(x)
    assert "information/information" in terms
    known = {name: float(value) for name, value in terms.items()} | {"loss": 1.0}
    assert objective.judge(known) == float(terms["contest/energy"])


def test_held_out_codes_are_those_of_the_averaged_generator():
    gan, _, mutual = infogan(average=0.9)
    with torch.no_grad():
        for weight in gan.averaged.parameters():
            weight.zero_()
        _, terms = mutual.eval()(torch.zeros(500, 4))
        _, others = mutual.train()(torch.zeros(500, 4))
        constant = mutual.recogniser.net(torch.zeros(1, 4, dtype=torch.float64)).softmax(-1)
    assert not torch.allclose(terms["information"], others["information"], atol=1e-3)
    assert constant.shape == (1, 5)
    assert float(terms["information"]) < 0  # all draws are alike, and tell nothing


@pytest.mark.parametrize("average", [None, 0.9])
def test_captured_and_eager_give_the_same_bits(average, caplog):
    outcomes = []
    for mode in ("eager", "graph"):
        _, contest, mutual = infogan(torch.float32, average=average)
        objective = Sum({"contest": contest, "information": mutual})
        torch.manual_seed(7)
        with caplog.at_level(logging.WARNING):
            loss_of = CapturedLoss(objective, mode)
            optimizer = torch.optim.SGD(objective.parameters(), lr=0.01)
            for x in torch.randn(6, 9, 4):
                loss, terms = loss_of(x)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
        outcomes.append([loss.detach(), *terms.values(), *objective.state_dict().values()])
        assert loss_of.mode == mode
    assert not caplog.records
    for eager, captured in zip(*outcomes, strict=True):
        assert torch.equal(eager, captured)


def test_a_label_is_the_code_of_a_draw_that_is_given_it():
    torch.manual_seed(0)
    gan = GAN(
        nets.Joined(nets.MLP(2 + 3, 4), None, nets.OneHot(3)),
        nets.ProjectionDiscriminator(nets.MLP(4, 8), 8, classes=3),
        noise=2,
    )
    classifier = nets.ClassHead(nets.MLP(4, 3))
    objective = MutualInformation(gan, classifier, of="label")
    x, y = torch.zeros(12, 4), torch.arange(12) % 3
    torch.manual_seed(1)
    loss, terms = objective(x, y)
    torch.manual_seed(1)
    expected = cross_entropy(classifier.net(gan.generator(torch.randn(12, 2), y)), y)
    torch.testing.assert_close(loss, expected)
    assert terms["log_probability"] == -loss
    loss.backward()
    assert all((weight.grad != 0).any() for net in (gan.generator, classifier) for weight in net.parameters())
    assert all(weight.grad is None for weight in gan.discriminator.parameters())


def small(*parts, net=4, **options):
    gan = GAN(nets.MLP(net, 2), nets.MLP(2, 1), noise=priors.SideBySide(*parts))
    return lambda head, rows=6: MutualInformation(gan, head, **options)(torch.zeros(rows, 2))


def one_hot(classes):
    return dist.OneHotCategorical(torch.ones(classes))


def head(categories, continuous=0):
    size = sum(categories) + continuous
    return nets.CodeHead(nets.MLP(2, size), categories=categories, continuous=continuous)


BARE = GAN(nets.MLP(4, 2), nets.MLP(2, 1), noise=4)


def told(classifier, labels):
    generator = nets.Joined(nets.MLP(2 + 3, 2), None, nets.OneHot(3))
    gan = GAN(generator, nets.MLP(2, 1), noise=2)
    return MutualInformation(gan, classifier, of="label")(torch.zeros(2, 2), labels)


@pytest.mark.parametrize(
    ("call", "kind", "sentence"),
    [
        (
            lambda: MutualInformation(GMMN(nets.MLP(2, 2), noise=2), head((2,))),
            TypeError,
            r"model should have noise and generate\(z\), as a models.GAN, but is a GMMN",
        ),
        (
            lambda: MutualInformation(BARE, head((2,)))(torch.zeros(6, 2)),
            TypeError,
            "noise of the model should come in parts, a priors.SideBySide .* but is a Independent",
        ),
        (lambda: small(one_hot(3), 1)(nets.MLP(2, 3)), TypeError, "should return a law .* a Tensor"),
        (
            lambda: small(one_hot(3), 1)(head((2,))),
            ValueError,
            r"law of the first parts of the noise, which have \[3, 1\] .* event shape \(2,\)",
        ),
        (
            lambda: small(one_hot(3), 1)(nets.ClassHead(nets.MLP(2, 3))),
            ValueError,
            r"returned one of batch shape \(6,\) and event shape \(\)",
        ),
        (
            lambda: small(one_hot(3), 1)(nets.NormalHead(nets.MLP(2, 3))),
            ValueError,
            r"recogniser should guess the classes of the code, \[3\], in their places, but guesses \[\]",
        ),
        (
            lambda: small(one_hot(2), one_hot(2))(head((4,))),
            ValueError,
            r"classes of the code, \[2, 2\], in their places, but guesses \[4\]",
        ),
        (
            lambda: small(one_hot(1), 3)(nets.NormalHead(nets.MLP(2, 1))),
            ValueError,
            "a categorical code should have at least 2 classes but has 1",
        ),
        (lambda: head((1,)), ValueError, "categories should be at least 2 but got 1"),
        (lambda: nets.CodeHead(nets.MLP(2, 1)), ValueError, "should have categories or continuous numbers"),
        (
            lambda: small(one_hot(3), 1)(nets.CodeHead(nets.MLP(2, 4), categories=3)),
            ValueError,
            "the net of a CodeHead should have 3 outputs, .* but has 4",
        ),
        (
            lambda: small(one_hot(3), 1, of="labels")(head((3,))),
            ValueError,
            "of should be 'noise' or 'label' but got 'labels'",
        ),
        (
            lambda: MutualInformation(BARE, nn.Linear(2, 3), of="label"),
            TypeError,
            r"number of classes, a size ``outputs``",
        ),
        (
            lambda: told(nets.NormalHead(nets.MLP(2, 3)), torch.tensor([0, 1])),
            TypeError,
            "recogniser of a label should return a Categorical, .* returned a Independent",
        ),
        (
            lambda: MutualInformation(BARE, nets.ClassHead(nets.MLP(2, 3)), of="label")(torch.zeros(6, 2)),
            ValueError,
            r"a batch should be \(x, labels\) where of='label' but has no labels",
        ),
        (
            lambda: Sum({"information": infogan()[2]}, {"information": -1.0}),
            ValueError,
            "the weight of 'information', a game, should not be negative but is -1.0",
        ),
        (lambda: priors.SideBySide(), ValueError, "parts should be one prior at least but are none"),
        (
            lambda: nets.Concatenated([dist.Normal(0.0, 1.0)]),
            ValueError,
            r"part 1 should be a law of vectors, event shape \(d,\), but has \(\)",
        ),
    ],
)  # fmt: skip
def test_bad_arguments_are_named(call, kind, sentence):
    with pytest.raises(kind, match=sentence):
        call()


@pytest.mark.parametrize("label", [-1, 3])
def test_labels_that_are_missing_or_of_no_class_are_refused(label):
    with pytest.raises(ValueError, match=f"labels should be 0 to 2, .* but hold {label}"):
        told(nets.ClassHead(nets.MLP(2, 3)), torch.tensor([0, label]))
