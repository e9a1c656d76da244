"""Games of two players: their values by hand, each player's gradient its own, whose turn it is."""

import math

import pytest
import torch
from torch import nn
from torch.nn.functional import binary_cross_entropy_with_logits as entropy
from torch.nn.functional import logsigmoid
from torch.nn.utils.parametrizations import spectral_norm

from probgen import nets
from probgen.objectives import adam_of_players, adversarial_loss

LOSSES = ["absolute", "cross-entropy", "minimax", "least-squares", "hinge", "wasserstein", "relativistic"]


def by_hand(loss, p, q):
    """The discriminator's loss and the generator's, of logits on real and fake data, from other formulas."""
    one, none = torch.ones_like, torch.zeros_like
    told = lambda: entropy(p, one(p)) + entropy(q, none(q))  # noqa: E731
    return {
        "absolute": lambda: ((1 - 1 / (1 + (-p).exp())).mean() / 2 + (1 / (1 + (-q).exp())).mean() / 2,
                             -(1 / (1 + (-q).exp())).mean() / 2),
        "cross-entropy": lambda: (told(), entropy(q, one(q))),
        "minimax": lambda: (told(), logsigmoid(-q).mean()),
        "least-squares": lambda: (((p - 1) ** 2).mean() / 2 + (q**2).mean() / 2, ((q - 1) ** 2).mean() / 2),
        "hinge": lambda: ((1 - p).clamp(min=0).mean() + (1 + q).clamp(min=0).mean(), -q.mean()),
        "wasserstein": lambda: (q.mean() - p.mean(), -q.mean()),
        "relativistic": lambda: (-logsigmoid(p - q).mean(), -logsigmoid(q - p).mean()),
    }[loss]()  # fmt: skip


def gradients(loss, weights):
    found = torch.autograd.grad(loss, weights, allow_unused=True)
    return [torch.zeros_like(w) if g is None else g for w, g in zip(weights, found, strict=True)]


def assert_same(found, expected):
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other)


class Given(nn.Module):
    """Says of x what x says."""

    def forward(self, x):
        return x


@pytest.mark.parametrize(
    ("loss", "discriminator", "generator", "accuracy"),
    [  # d_p = (2, -1), d_q = (0.5, -3)
        ("absolute", 0.380037, -0.167471, 0.5),
        ("cross-entropy", 1.231427, 1.761332, 0.5),
        ("minimax", 1.231427, -0.511332, 0.5),
        ("least-squares", 3.5625, 4.0625, 0.5),
        ("hinge", 1.75, 1.25, 0.5),
        ("wasserstein", -1.75, 1.25, 1.0),
        ("relativistic", 0.164171, 1.914171, 1.0),
    ],
)
def test_values(loss, discriminator, generator, accuracy):
    both, terms = adversarial_loss(
        Given(), real=torch.tensor([2.0, -1.0]), fake=torch.tensor([[0.5], [-3.0]]), loss=loss
    )
    assert float(terms["discriminator"]) == pytest.approx(discriminator, abs=1e-6)
    assert float(terms["generator"]) == pytest.approx(generator, abs=1e-6)
    assert float(both) == pytest.approx(discriminator + generator, abs=1e-6)
    assert float(terms["accuracy"]) == accuracy


def test_hinge_at_its_best_is_four_times_the_absolute_error():
    """At d = ± 1 and ± ∞, with p = (.7, .3), q = (.2, .8) on two points: 2 Σ min and ½ Σ min."""
    real, fake = torch.tensor([1.0] * 7 + [-1.0] * 3), torch.tensor([1.0] * 2 + [-1.0] * 8)
    _, hinge = adversarial_loss(Given(), real=real, fake=fake, loss="hinge")
    _, absolute = adversarial_loss(Given(), real=1e4 * real, fake=1e4 * fake, loss="absolute")
    assert float(hinge["discriminator"]) == pytest.approx(2 * 0.5)
    assert float(absolute["discriminator"]) == pytest.approx(0.5 * 0.5)


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("turn", ["", "discriminator", "generator"])
@pytest.mark.parametrize("context", [False, True])
def test_each_player_has_the_gradient_of_its_own_loss_in_its_turn(loss, turn, context, device):
    torch.manual_seed(0)
    generator = nn.Linear(2, 3).double().to(device)
    net = nets.Joined(nets.MLP(5 if context else 3, 1, hidden=(8,))).double().to(device)
    x, z, c = (torch.randn(12, k, dtype=torch.float64, device=device) for k in (3, 2, 2))
    beside = (c,) if context else ()
    y = generator(z)
    real, fake = ((x, *beside), (y, *beside)) if context else (x, y)
    found, terms = adversarial_loss(net, real=real, fake=fake, loss=loss, turn=turn)
    of_net, of_generator = gradients(found, [*net.parameters()]), None
    found, _ = adversarial_loss(
        net, real=real, fake=(generator(z), *beside) if context else generator(z), loss=loss, turn=turn
    )
    of_generator = gradients(found, [*generator.parameters()])
    # The two-loss form: two losses, two backward passes.
    held = by_hand(loss, net(x, *beside), net(y.detach(), *beside))[0]
    deceived = by_hand(loss, net(x, *beside), net(generator(z), *beside))[1]
    none = (
        [torch.zeros_like(w) for w in net.parameters()],
        [torch.zeros_like(w) for w in generator.parameters()],
    )
    expected = (
        gradients(held, [*net.parameters()]) if turn != "generator" else none[0],
        gradients(deceived, [*generator.parameters()]) if turn != "discriminator" else none[1],
    )
    assert_same(of_net, expected[0])
    assert_same(of_generator, expected[1])
    players = [turn] if turn else ["discriminator", "generator"]
    assert [name for name in terms if name != "accuracy"] == players
    assert ("accuracy" in terms) == (turn != "generator")
    losses = {"discriminator": held, "generator": deceived}
    assert_same([terms[name] for name in players], [losses[name].detach() for name in players])


@pytest.mark.parametrize("loss", LOSSES)
def test_what_makes_real_pairs_learns_where_it_is_a_player(loss):
    """Its loss is the generator's, with real and fake changed; the two together lose what d wins."""
    torch.manual_seed(0)
    encoder, generator = nn.Linear(3, 2).double(), nn.Linear(2, 3).double()
    net = nets.Joined(nets.MLP(5, 1, hidden=(8,))).double()
    x, z = torch.randn(12, 3, dtype=torch.float64), torch.randn(12, 2, dtype=torch.float64)
    weights = [*encoder.parameters(), *generator.parameters()]
    make = lambda: {"real": (x, encoder(x)), "fake": (generator(z), z)}  # noqa: E731
    found = gradients(adversarial_loss(net, **make(), loss=loss, mirrored=True)[0], weights)
    pairs = make()
    p, q = net(*pairs["real"]), net(*pairs["fake"])
    own = by_hand(loss, p, q)[1]
    if loss != "relativistic":  # which has both in one
        own = own + by_hand(loss, q, 1 - p if loss == "least-squares" else -p)[1]
    assert_same(found, gradients(own, weights))
    held = gradients(adversarial_loss(net, **make(), loss=loss)[0], [*encoder.parameters()])
    assert all((g == 0).all() for g in held)
    if loss in ("absolute", "minimax", "wasserstein"):  # of sum zero
        against = gradients(by_hand(loss, *(net(*side) for side in make().values()))[0], weights)
        assert_same(found, [-g for g in against])


def test_normalised_spectra_move_in_the_discriminators_own_loss_alone():
    torch.manual_seed(0)
    net = nn.Sequential(spectral_norm(nn.Linear(2, 8)), nn.Tanh(), nn.Linear(8, 1))
    nn.init.normal_(net[0].parametrizations.weight.original)  # as if a step had moved it
    x, y = torch.randn(2, 6, 2)
    before = [buffer.clone() for buffer in net.buffers()]
    adversarial_loss(net, real=x, fake=y, turn="generator")
    assert all(map(torch.equal, before, net.buffers()))
    adversarial_loss(net, real=x, fake=y)[0].backward()
    assert not any(map(torch.equal, before, net.buffers()))


class Shell(nn.Module):
    def __init__(self, *layers):
        super().__init__()
        self.main = nn.Sequential(*layers)

    def forward(self, x):
        return self.main(x)


class InWords(nn.Module):
    """A net whose last step is no layer; its hidden ones are in a list, in no order that can be known."""

    def __init__(self, last=lambda logit: logit):
        super().__init__()
        self.layers = nn.ModuleList([nn.Linear(2, 4), nn.Linear(4, 1)])
        self.activation, self.end = nn.Sigmoid(), last

    def forward(self, x):
        return self.end(self.layers[1](self.activation(self.layers[0](x))))


def test_sigmoids_before_the_last_layer_are_no_probabilities():
    x = torch.randn(5, 2)
    loss, _ = adversarial_loss(InWords(), real=x, fake=x)
    assert loss.requires_grad


@pytest.mark.parametrize(
    ("discriminator", "options", "kind", "sentence"),
    [
        (nn.Linear(2, 1), {"loss": "hinges"}, ValueError, "loss should be 'absolute' or .* but got 'hinges'"),
        (
            nn.Linear(2, 1),
            {"turn": "critic"},
            ValueError,
            "turn should be 'discriminator', .* but is 'critic'",
        ),
        (nn.Linear(2, 3), {}, ValueError, r"one logit for each of 5 data, .* but returned shape \(5, 3\)"),
        (nn.Flatten(0), {}, ValueError, r"one logit for each of 5 data, .* but returned shape \(10,\)"),
        (
            nn.Sequential(nn.Linear(2, 1), nn.Sigmoid()),
            {},
            ValueError,
            "logits, .* ends in Sigmoid: leave out",
        ),
        (Shell(nn.Linear(2, 1), nn.Sigmoid()), {}, ValueError, "logits, .* but ends in Sigmoid"),
        (Shell(nn.Linear(2, 1), nn.Softmax(-1)), {}, ValueError, "logits, .* but ends in Softmax"),
        (InWords(lambda logit: logit.sigmoid()), {}, ValueError, "logits, .* but ends in Sigmoid"),
        (InWords(lambda logit: logit.log_softmax(1)[:, 0]), {}, ValueError, "but ends in LogSoftmax"),
        (
            InWords(lambda logit: nn.functional.logsigmoid(logit).squeeze(1).double()),
            {},
            ValueError,
            "but ends in LogSigmoid",
        ),
        (torch.sum, {}, TypeError, "discriminator should be a torch module but is a builtin_function"),
        (nn.Linear(2, 1), {"loss": "relativistic"}, ValueError, "as many, but there are 5 real and 4 fake"),
    ],
)
def test_what_is_wrong_is_said(discriminator, options, kind, sentence):
    x = torch.randn(5, 2)
    with pytest.raises(kind, match=sentence):
        adversarial_loss(discriminator, real=x, fake=x[:4] if "loss" in options else x, **options)


def test_large_logits_keep_finite_gradients():
    for loss in LOSSES:
        d = nn.Linear(1, 1).double()
        y = torch.tensor([[1e4], [-1e4]], dtype=torch.float64, requires_grad=True)
        total, terms = adversarial_loss(d, real=-y.detach(), fake=y, loss=loss)
        total.backward()
        assert all(math.isfinite(float(value)) for value in terms.values())
        assert y.grad.isfinite().all()
        assert d.weight.grad.isfinite().all()


def test_one_adam_has_a_group_for_each_side():
    generator, one, other = nn.Linear(2, 3), nn.Linear(3, 1), nn.Linear(4, 1)
    weights = [*one.parameters(), *generator.parameters(), *other.parameters()]
    adam = adam_of_players(one, other, rate=0.1, discriminator=0.2, betas=(0.5, 0.9))(weights)
    groups = {group["name"]: group for group in adam.param_groups}
    assert [(name, group["lr"], group["betas"]) for name, group in groups.items()] == [
        ("generator", 0.1, (0.5, 0.9)),
        ("discriminator", 0.2, (0.5, 0.9)),
    ]
    assert list(map(id, groups["generator"]["params"])) == list(map(id, generator.parameters()))
    expected = [*one.parameters(), *other.parameters()]
    assert list(map(id, groups["discriminator"]["params"])) == list(map(id, expected))
    same = adam_of_players(one, rate=0.1)(weights)
    assert [group["lr"] for group in same.param_groups] == [0.1, 0.1]
