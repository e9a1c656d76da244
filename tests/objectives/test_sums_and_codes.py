"""Sums of objectives, MMD on codes, and games: the gradients of their parts, to the same bits captured."""

import logging

import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import Tensor, nn

from probgen import Objective, Pair, mmd
from probgen.capture.captured_loss import CapturedLoss
from probgen.objectives import SVI, BetaELBO, CodeGAN, CodeMMD, Sum, adversarial_loss
from probgen.objectives.aggregate_posterior import codes_and_prior
from probgen.training import fit, schedules
from tests.pairs import LinearGaussian

KERNEL = mmd.Gaussian([1.0, 2.0])


@pytest.fixture
def pair(device):
    return LinearGaussian().to(device).double()


@pytest.fixture
def x(pair):
    return torch.randn(40, 3, dtype=torch.float64, device=pair.bias.device)


@pytest.fixture
def critic(pair):
    return nn.Sequential(nn.Linear(2, 8), nn.Tanh(), nn.Linear(8, 1)).to(pair.bias)


def gradients(loss, *parameters):
    return torch.autograd.grad(loss, parameters, allow_unused=True)


def assert_same(found, expected):
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other)


def test_a_sum_has_the_weighted_loss_gradient_and_terms_of_its_parts(pair, x, critic):
    parts = {"svi": SVI(pair), "mmd": CodeMMD(pair, KERNEL), "game": CodeGAN(pair, critic)}
    weights = {"svi": 1.0, "mmd": 7.0, "game": 0.25}
    weighted = Sum(parts, weights={"mmd": 7.0, "game": 0.25}).to(x.device)
    parameters = [*pair.parameters(), *critic.parameters()]
    torch.manual_seed(1)
    loss, terms = weighted(x)
    torch.manual_seed(1)
    separate = {name: part(x) for name, part in parts.items()}
    total = sum(weights[name] * own for name, (own, _) in separate.items())
    torch.testing.assert_close(loss, total)
    assert_same(gradients(loss, *parameters), gradients(total, *parameters))
    expected = {}
    for name, (own, its_terms) in separate.items():
        expected |= {name: own.detach()} | {f"{name}/{term}": value for term, value in its_terms.items()}
    assert list(terms) == list(expected)
    assert_same(terms.values(), expected.values())
    assert not any(value.requires_grad for value in terms.values())


def test_parts_that_share_a_pair_have_its_parameters_once(pair):
    weighted = Sum({"svi": SVI(pair), "mmd": CodeMMD(pair, KERNEL)})
    assert len(list(weighted.parameters())) == len(list(pair.parameters()))


def test_a_sum_judges_by_the_weights_that_it_was_made_with(pair, x):
    game = CodeGAN(pair, nn.Linear(2, 1).to(pair.bias))
    parts = {"svi": SVI(pair, BetaELBO(0.0)), "mmd": CodeMMD(pair, KERNEL), "game": game}
    weighted = Sum(parts, {"svi": 2.0, "mmd": 10.0}).to(x.device)
    weighted.weight_mmd.fill_(0.0)  # as a schedule does
    _, terms = weighted(x)
    expected = -2 * terms["svi/elbo"] + 10 * terms["mmd"]
    assert weighted.judge({name: float(value) for name, value in terms.items()}) == pytest.approx(
        float(expected)
    )


def test_codes_and_prior_are_draws_of_their_laws(device):
    pair = LinearGaussian().to(device).double()
    x = torch.randn(20_000, 3, dtype=torch.float64, device=device)
    codes, prior = codes_and_prior(pair, x)
    assert codes.shape == prior.shape == (20_000, 2)
    assert codes.requires_grad
    error = 5 / 20_000**0.5
    noise = (codes - pair.guide_map(x)) / pair.guide_log_scale.exp()
    for normal in (noise, prior):
        assert (normal.mean(0).abs() < error).all()
        assert ((normal.var(0) - 1).abs() < 2 * error).all()


def test_the_term_is_mmds_own_estimate_on_the_same_draws(pair, x):
    torch.manual_seed(2)
    codes, prior = codes_and_prior(pair, x)
    for estimator in ("unbiased", "biased"):
        torch.manual_seed(2)
        loss, terms = CodeMMD(pair, KERNEL, estimator=estimator)(x)
        expected = mmd.mmd2(codes.detach(), prior, KERNEL, estimator=estimator)
        assert float(loss.detach()) == pytest.approx(expected.value, abs=1e-12)
        assert terms == {}
    zero = x.new_zeros(())
    (slope,) = gradients(loss, pair.guide_map.bias)
    assert (slope.abs() > zero).all()


class Shifted(LinearGaussian):
    """A prior with a mean to learn, and a decoder that nothing here should run."""

    def __init__(self):
        super().__init__()
        self.shift = nn.Parameter(torch.tensor([0.5, -0.5]))

    def model(self, x=None, *context, n=1):
        with pyro.plate("data", n if x is None else len(x)):
            pyro.sample("z", dist.Normal(self.shift, 1.0).to_event(1))
            raise AssertionError("the decoder ran")


def test_the_prior_learns_too_and_the_decoder_rests(device):
    pair = Shifted().to(device)
    loss, _ = CodeMMD(pair, KERNEL)(torch.randn(30, 3, device=device))
    (slope,) = gradients(loss, pair.shift)
    assert (slope != 0).all()
    with pyro.plate("data", 3):  # the stack of handlers is as it was
        assert pyro.sample("a", dist.Normal(0.0, 1.0)).shape == (3,)


@pytest.mark.parametrize("loss", ["cross-entropy", "least-squares"])
def test_the_gradient_of_a_game_is_for_each_player_that_of_its_own_loss(loss, pair, x, critic):
    torch.manual_seed(3)
    both, terms = CodeGAN(pair, critic, loss=loss)(x)
    torch.manual_seed(3)
    codes, prior = codes_and_prior(pair, x)
    if loss == "cross-entropy":
        entropy = nn.functional.binary_cross_entropy_with_logits
        on_prior, on_codes, on_held = critic(prior), critic(codes), critic(codes.detach())
        of_critic = entropy(on_prior, torch.ones_like(on_prior)) + entropy(on_held, torch.zeros_like(on_held))
        of_guide = entropy(on_codes, torch.ones_like(on_codes))
    else:
        of_critic = 0.5 * ((critic(prior) - 1) ** 2).mean() + 0.5 * (critic(codes.detach()) ** 2).mean()
        of_guide = 0.5 * ((critic(codes) - 1) ** 2).mean()
    guide, weights = [*pair.guide_map.parameters(), pair.guide_log_scale], list(critic.parameters())
    assert_same(gradients(both, *guide), gradients(of_guide, *guide))
    assert_same(gradients(both, *weights), gradients(of_critic, *weights))
    assert list(terms) == ["discriminator", "generator", "accuracy"]
    assert_same([*terms.values()][:2], (of_critic.detach(), of_guide.detach()))


def test_the_critics_averages_move_in_its_own_loss_alone(device):
    critic = nn.Sequential(nn.BatchNorm1d(2), nn.Linear(2, 1)).to(device)
    real, fake = torch.randn(2, 50, 2, device=device)
    adversarial_loss(critic, real=real, fake=fake + 3)
    assert int(critic[0].num_batches_tracked) == 2
    expected = 0.9 * 0.1 * real.mean(0) + 0.1 * (fake + 3).mean(0)
    torch.testing.assert_close(critic[0].running_mean, expected)


def wae(pair, weight, critic=None):
    term = CodeMMD(pair, KERNEL) if critic is None else CodeGAN(pair, critic)
    return Sum({"svi": SVI(pair, BetaELBO(0.0)), "codes": term}, {"codes": weight})


@pytest.mark.parametrize(
    ("kind", "weight", "rate", "steps"), [("mmd", 50.0, 0.03, 200), ("game", 3.0, 0.005, 400)]
)
def test_the_codes_of_an_autoencoder_are_drawn_to_the_prior(kind, weight, rate, steps, device):
    gen = torch.Generator().manual_seed(4)
    x = torch.randn(2000, 2, generator=gen) @ torch.randn(2, 3, generator=gen)
    x = (x + 0.3 * torch.randn(2000, 3, generator=gen)).to(device)
    distances = []
    for w in (0.0, weight):
        torch.manual_seed(5)
        pair = LinearGaussian().to(device)
        critic = nn.Sequential(nn.Linear(2, 32), nn.Tanh(), nn.Linear(32, 1)).to(device)
        objective = wae(pair, w, None if kind == "mmd" else critic).to(device)
        decay = {"lr": schedules.cosine(rate, 1e-3, steps=steps)}
        fit(objective, x, steps=steps, batch_size=100, schedules=decay, seed=6, progress=False)
        with torch.no_grad():
            distances.append(mmd.mmd2(*codes_and_prior(pair, x), KERNEL).value)
    without, drawn = distances
    assert without > 0.05
    assert drawn < 0.1 * without


@pytest.mark.parametrize("kind", ["mmd", "game"])
def test_captured_and_eager_give_the_same_bits(kind, device, caplog):
    outcomes = []
    for mode in ("eager", "graph"):
        torch.manual_seed(7)
        pair = LinearGaussian()
        critic = nn.Sequential(
            nn.Linear(2, 8), nn.BatchNorm1d(8), nn.Tanh(), nn.Dropout(0.2), nn.Linear(8, 1)
        )
        objective = wae(pair, 3.0, None if kind == "mmd" else critic).to(device)
        loss_of = CapturedLoss(objective, mode)
        optimizer = torch.optim.SGD(objective.parameters(), lr=0.01)
        with caplog.at_level(logging.WARNING):
            for step, x in enumerate(torch.randn(6, 9, 3, device=device)):
                objective.weight_codes.fill_(float(step))
                loss, terms = loss_of(x)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
        outcomes.append([loss.detach(), *terms.values(), *objective.state_dict().values()])
        assert loss_of.mode == mode
    assert not caplog.records
    for eager, captured in zip(*outcomes, strict=True):
        assert torch.equal(eager, captured)


def test_schedules_reach_the_weights_and_the_buffers_of_the_parts(x, pair):
    objective = Sum({"svi": SVI(pair, BetaELBO(1.0)), "mmd": CodeMMD(pair, KERNEL)}).to(x.device)
    plan = {"weight_mmd": schedules.linear(0.0, 8.0, steps=4), "svi.elbo.beta": lambda step: 0.5}
    history = fit(objective, x, steps=3, schedules=plan, progress=False)
    assert float(objective.weight_mmd) == 4.0
    last = {term: history.values(term)[-1] for term in ("loss", "mmd", "svi/kl", "svi/reconstruction")}
    expected = 4 * last["mmd"] + 0.5 * last["svi/kl"] - last["svi/reconstruction"]
    assert last["loss"] == pytest.approx(expected, rel=1e-5)


class TwoSites(Pair):
    """z and a discrete k, with parts that do not fit where a test asks for them."""

    def __init__(self):
        super().__init__()
        self.location = nn.Parameter(torch.tensor(0.5))

    def model(self, x=None, *context, n=1):
        with pyro.plate("data", n if x is None else len(x)):
            k = pyro.sample("k", dist.Categorical(torch.ones(2)))
            z = pyro.sample("z", dist.Normal(k.float(), 1.0))
            return pyro.sample("x", dist.Normal(z, 1.0), obs=x)

    def guide(self, x=None, *context, n=1):
        with pyro.plate("data", len(x)):
            pyro.sample("k", dist.Categorical(torch.ones(2)))
            return pyro.sample("z", dist.Normal(self.location * x, 1.0))


def test_one_site_of_several_is_compared():
    x = torch.randn(10)
    codes, prior = codes_and_prior(TwoSites(), x, site="z")
    assert codes.shape == prior.shape == (10, 1)


class NoSuchPrior(LinearGaussian):
    def model(self, x=None, *context, n=1):
        with pyro.plate("data", n if x is None else len(x)):
            return pyro.sample("x", dist.Normal(self.bias, 1.0).to_event(1), obs=x)


class Square(Objective):
    def forward(self, *batch: Tensor):
        return batch[0].square().mean(), {}


@pytest.mark.parametrize(
    ("call", "error", "sentence"),
    [
        (lambda: Sum({}), ValueError, "parts should hold at least one objective but is empty"),
        (lambda: Sum({"a": Square()}, {"b": 1.0}), ValueError, r"should name parts, \['a'\], but names 'b'"),
        (lambda: Sum({"a": nn.Linear(1, 1)}), TypeError, "'a' should be a probgen.Objective but is a Linear"),
        (lambda: Sum({"judge": Square()}), ValueError, "that Sum has no use for but is 'judge'"),
        (lambda: Sum({"a.b": Square()}), ValueError, "an identifier that .* but is 'a.b'"),
        (lambda: Sum({"a": Square()}, {"a": torch.inf}), ValueError, "of 'a' should be finite but is inf"),
        (
            lambda: CodeGAN(LinearGaussian(), nn.Linear(2, 1), loss="hinges"),
            ValueError,
            "loss should be 'absolute' or .* or 'relativistic' but got 'hinges'",
        ),
        (
            lambda: codes_and_prior(TwoSites(), torch.ones(3)),
            ValueError,
            "guide site 'k' should be reparameterised but Categorical has no rsample",
        ),
        (
            lambda: codes_and_prior(TwoSites(), torch.ones(3), site="y"),
            ValueError,
            r"site should be a latent site, one of \['k', 'z'\], but is 'y'",
        ),
        (
            lambda: codes_and_prior(NoSuchPrior(), torch.ones(3, 3)),
            ValueError,
            r"the model should draw the latent sites of the guide, \['z'\], but lacks \['z'\]",
        ),
    ],
)  # fmt: skip
def test_bad_arguments_are_named(call, error, sentence):
    with pytest.raises(error, match=sentence):
        call()


def test_a_last_batch_of_one_code_is_left_out(pair, x):
    history = fit(CodeMMD(pair, KERNEL), x[:9], epochs=1, batch_size=4, compile="eager", progress=False)
    assert history.step == 2
