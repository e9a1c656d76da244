"""Contests: each player's gradient by hand, penalties, packs, turns, averages, graphs, cut trainings."""

import logging
from functools import partial

import pytest
import torch
from torch import nn
from torch.nn.utils.parametrizations import spectral_norm

from probgen import fit, nets
from probgen.models import GAN, BiGAN
from probgen.objectives import Contest, Sum
from probgen.training import Callback
from tests.objectives.test_adversarial import LOSSES, by_hand, gradients
from tests.training.test_turns import energy_distance

TANH = {"hidden": (8,), "activation": nn.Tanh}


def game(*, pack=1, context=0, dtype=torch.float64, **options):
    torch.manual_seed(0)
    generator = nets.Joined(nets.MLP(2 + context, 3, **TANH))
    discriminator = nets.Joined(nets.MLP(pack * (3 + context), 1, **TANH))
    return Contest(GAN(generator, discriminator, noise=2), pack=pack, **options).to(dtype)


def by_two_losses(contest, x, *context, r1=0.0, r2=0.0, slope=0.0, seed=1):
    """The players' losses written by hand, with the draws of the contest: two losses, datum by datum."""
    torch.manual_seed(seed)
    model, pack = contest.model, contest.pack
    fake = model.model(None, *context, n=len(x))

    def d(rows):
        packs = [[part[i : i + pack].flatten() for i in range(0, len(part), pack)] for part in rows]
        return model.discriminator(*map(torch.stack, packs))

    def at(points):
        """d and ‖∇d‖ of each pack, by a backward pass for each."""
        found, slopes = [], []
        for i in range(0, len(points), pack):
            own = points[i : i + pack].detach().requires_grad_()
            value = d([own, *(part[i : i + pack] for part in context)]).sum()
            (slope,) = torch.autograd.grad(value, own, create_graph=True)
            found.append(value)
            slopes.append((slope**2).sum())
        return torch.stack(found), torch.stack(slopes)

    held = fake.detach()
    (on_real, real_slopes), (on_fake, fake_slopes) = at(x), at(held)
    own = by_hand(contest.loss, on_real, on_fake)[0]
    own = own + r1 / 2 * real_slopes.mean() + r2 / 2 * fake_slopes.mean()
    if slope:
        share = torch.rand(len(x) // pack, dtype=x.dtype).repeat_interleave(pack)[:, None]
        own = own + slope * ((at(share * x + (1 - share) * held)[1].sqrt() - 1) ** 2).mean()
    deceived = by_hand(contest.loss, d([x, *context]).flatten(), d([fake, *context]).flatten())[1]
    return {"discriminator": own, "generator": deceived}


def assert_gradients(contest, losses, x, *context, seed=1, turn=""):
    torch.manual_seed(seed)
    contest.turn = turn
    loss, terms = contest(x, *context)
    players = {player: [*getattr(contest.model, player).parameters()] for player in losses}
    together = gradients(loss, [w for weights in players.values() for w in weights])
    expected = []
    for player, weights in players.items():
        waits = turn.removesuffix("+penalty") not in ("", player)
        expected += [torch.zeros_like(w) for w in weights] if waits else gradients(losses[player], weights)
    for one, other in zip(together, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-12)
    return terms


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize(
    "penalties", [{}, {"r1": 0.75}, {"r2": 0.25}, {"r1": 0.75, "r2": 0.25}, {"slope": 2.0}]
)
def test_each_player_has_the_gradient_of_its_own_loss(loss, penalties):
    contest, x = game(loss=loss, **penalties), torch.randn(8, 3, dtype=torch.float64) + 1
    losses = by_two_losses(contest, x, **penalties)
    terms = assert_gradients(contest, losses, x)
    assert list(terms) == ["discriminator", "generator", "accuracy", *penalties]


@pytest.mark.parametrize("pack", [1, 2, 4])
@pytest.mark.parametrize("context", [0, 2])
def test_packs_are_judged_as_one_and_have_one_slope_each(pack, context):
    penalties = {"r1": 0.75, "r2": 0.25, "slope": 2.0}
    contest = game(pack=pack, context=context, loss="hinge", **penalties)
    x = torch.randn(8, 3, dtype=torch.float64) + 1
    beside = (torch.randn(8, context, dtype=torch.float64),) if context else ()
    assert_gradients(contest, by_two_losses(contest, x, *beside, **penalties), x, *beside)


def test_packs_of_pictures_and_labels_stand_side_by_side_in_their_first_dimension():
    contest = game(pack=2)
    pictures = torch.arange(4 * 3 * 2 * 2).reshape(4, 3, 2, 2)
    packed = contest._packed(pictures)
    assert packed.shape == (2, 6, 2, 2)
    assert torch.equal(packed[1, 3:], pictures[3])
    assert contest._packed(torch.arange(4)).tolist() == [[0, 1], [2, 3]]


@pytest.mark.parametrize("turn", ["discriminator", "generator"])
def test_who_waits_has_no_gradient(turn):
    contest, x = game(r1=0.75, discriminator_steps=2), torch.randn(8, 3, dtype=torch.float64)
    terms = assert_gradients(contest, by_two_losses(contest, x, r1=0.75), x, turn=turn)
    assert list(terms) == (["discriminator", "accuracy", "r1"] if turn == "discriminator" else ["generator"])


def test_a_lazy_penalty_has_over_its_cycle_the_gradient_of_one_in_each_turn():
    lazy, x = game(r1=0.75, penalty_every=4), torch.randn(8, 3, dtype=torch.float64)
    assert lazy.turns == ("+penalty", "", "", "")
    assert game(slope=1.0, penalty_every=2, discriminator_steps=2).turns == (
        "discriminator+penalty", "discriminator", "generator",
    )  # fmt: skip
    assert_gradients(lazy, by_two_losses(lazy, x, r1=4 * 0.75), x, turn="+penalty")
    assert "r1" not in assert_gradients(lazy, by_two_losses(lazy, x), x, turn="")


def trained(steps=12, *, make=game, compile="eager", data=None, **options):
    contest = make()
    x = torch.randn(64, 3, generator=torch.Generator().manual_seed(5)) + 1 if data is None else data
    options = {"batch_size": 16, "seed": 0, "progress": False} | options
    options.setdefault("optimizer", contest.adam(0.01, discriminator=0.02))
    history = fit(contest, x, steps=steps, compile=compile, **options)
    return contest, history


def normalised(**options):
    """Batch normalisation in the generator, a normalised spectrum in the discriminator, dropout."""
    torch.manual_seed(0)
    generator = nn.Sequential(nn.Linear(2, 8), nn.BatchNorm1d(8), nn.Tanh(), nn.Linear(8, 3))
    discriminator = nn.Sequential(
        spectral_norm(nn.Linear(3, 8)), nn.Tanh(), nn.Dropout(0.2), spectral_norm(nn.Linear(8, 1))
    )
    return Contest(GAN(generator, discriminator, noise=2), **options)


def bigan(**options):
    torch.manual_seed(0)
    encoder = nets.NormalHead(nets.MLP(3, 2, hidden=(8,)))
    discriminator = nets.Joined(nets.MLP(5, 1, hidden=(8,)))
    return Contest(BiGAN(encoder, nets.MLP(2, 3, hidden=(8,)), discriminator, noise=2), **options)


single = partial(game, dtype=torch.float32)
GAMES = {
    "relativistic, r1, r2, average": partial(single, r1=0.1, r2=0.2, average=0.9),
    "wasserstein, slope, by turns": partial(single, loss="wasserstein", slope=1.0, discriminator_steps=3),
    "hinge, lazy r1, packed": partial(single, loss="hinge", r1=0.1, penalty_every=2, pack=4),
    "normalised, average": partial(normalised, loss="cross-entropy", average=0.9),
    "pairs": partial(bigan, loss="cross-entropy", r1=0.1, average=0.9),
}


@pytest.mark.parametrize("make", GAMES.values(), ids=GAMES)
def test_captured_steps_are_the_eager_ones_to_the_bit_and_go_on_after_a_cut(make, tmp_path, caplog):
    class Cut(Callback):
        def on_step_end(self, objective, history):
            return history.step == 5

    with caplog.at_level(logging.WARNING):
        eager, _ = trained(make=make)
        trained(make=make, compile="graph", checkpoint=tmp_path, callbacks=[Cut()])
        resumed, history = trained(make=make, compile="graph", checkpoint=tmp_path, resume=True)
    assert history.step == 12
    for name, value in eager.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[name]), name
    assert "eagerly" not in caplog.text


def test_a_batch_in_parts_makes_the_same_step():
    whole, _ = trained(make=GAMES["relativistic, r1, r2, average"])
    parts, _ = trained(make=GAMES["relativistic, r1, r2, average"], accumulate=2)
    assert int(parts.moved) == 12
    for one, other in zip(whole.parameters(), parts.parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-4)


def test_rates_are_by_player_and_a_weight_waits_its_turn():
    seen = []

    class Watch(Callback):
        def on_step_end(self, objective, history):
            model = objective.model
            seen.append(
                [next(net.parameters()).detach().clone() for net in (model.generator, model.discriminator)]
            )

    make = GAMES["wasserstein, slope, by turns"]
    start = make().model
    contest, history = trained(
        8,
        make=make,
        callbacks=[Watch()],
        schedules={"lr.generator": lambda step: 0.0 if step > 3 else 0.01},
        max_gradient_norm=0.5,
    )
    before = [[next(net.parameters()).detach() for net in (start.generator, start.discriminator)], *seen]
    moved = [
        [not torch.equal(*pair) for pair in zip(a, b, strict=True)]
        for a, b in zip(before, seen, strict=False)
    ]
    assert moved == [[False, True]] * 3 + [[True, False]] + [[False, True]] * 3 + [[False, False]]
    assert len(history.values("gradient_norm/generator")) == 2
    assert len(history.values("gradient_norm/discriminator")) == 6
    groups = contest.adam(0.1)(contest.parameters()).param_groups
    assert [(group["name"], group["lr"], group["betas"]) for group in groups] == [
        ("generator", 0.1, (0.0, 0.9)), ("discriminator", 0.1, (0.0, 0.9)),
    ]  # fmt: skip
    assert sum(len(group["params"]) for group in groups) == len([*contest.parameters()])


def test_a_schedule_anneals_a_penalty_and_one_that_is_left_out_has_none():
    x = torch.randn(64, 3, generator=torch.Generator().manual_seed(5)) + 1
    fixed, _ = trained(make=partial(single, r1=0.4), data=x)
    annealed, _ = trained(
        make=partial(single, r1=5.0), data=x, schedules={"r1": lambda step: 0.4}, compile="graph"
    )
    other, _ = trained(make=partial(single, r1=5.0), data=x)
    weights = [next(contest.model.discriminator.parameters()) for contest in (fixed, annealed, other)]
    torch.testing.assert_close(weights[0], weights[1])
    assert not torch.allclose(weights[0], weights[2])
    with pytest.raises(ValueError, match=r"a schedule should name .* not 'r2'"):
        trained(make=partial(single, r1=5.0), schedules={"r2": lambda step: 0.4})


@pytest.mark.parametrize("discriminator_steps", [None, 2])
def test_averaged_weights_are_a_mean_and_then_forget(discriminator_steps):
    seen = []

    class Watch(Callback):
        def on_step_end(self, objective, history):
            if discriminator_steps is None or history.step % 3 == 0:
                seen.append(next(objective.model.generator.parameters()).detach().clone())

    make = partial(single, average=0.75, discriminator_steps=discriminator_steps)
    contest, _ = trained(18, make=make, callbacks=[Watch()])
    expected = torch.stack(seen[:4]).mean(0)  # of four steps: 1 − 1/4 is the decay
    for weight in seen[4:]:
        expected = 0.75 * expected + 0.25 * weight
    averaged = next(contest.model.averaged.parameters())
    torch.testing.assert_close(averaged.detach(), expected)
    assert not averaged.requires_grad
    z = torch.randn(5, 2)
    contest.eval()
    assert torch.equal(contest.model.generate(z), contest.model.averaged(z))
    contest.train()
    assert torch.equal(contest.model.generate(z), contest.model.generator(z))


def test_running_means_of_averaged_weights_are_their_own():
    """Averaged weights of late steps beside raw ones that are moved far away: the means are the average's."""
    contest, _ = trained(40, make=partial(normalised, average=0.9), compile="graph")
    model = contest.model
    contest.train()
    for _ in range(200):  # as if a training stood still, but for a raw layer that is somewhere else
        with torch.no_grad():
            model.generator[0].bias.fill_(7.0)
            contest.model.contestants(torch.randn(64, 3))
    with torch.no_grad():
        hidden = model.averaged[0](torch.randn(20_000, 2))
    torch.testing.assert_close(model.averaged[1].running_mean, hidden.mean(0), atol=0.15, rtol=0)
    torch.testing.assert_close(model.averaged[1].running_var, hidden.var(0), atol=0.15, rtol=0.1)
    assert (model.generator[1].running_mean - hidden.mean(0)).abs().max() > 3


def test_normalised_spectra_are_right_in_evaluation_mode():
    """Right after a step: torch's parametrization does not look again where it is only evaluated."""
    contest, _ = trained(60, make=partial(normalised, loss="hinge"), compile="graph")
    layers = [part for part in contest.model.discriminator if isinstance(part, nn.Linear)]
    for layer in layers:
        assert float(torch.linalg.matrix_norm(layer.weight.detach(), 2)) == pytest.approx(1.0, abs=0.01)
    x = torch.randn(4, 3)
    assert torch.equal(contest.model.discriminator(x), contest.model.discriminator(x))


def test_weights_are_judged_by_the_energy_distance_of_a_thousand_draws_and_more():
    contest, x = single(average=0.9).eval(), torch.randn(50, 3)
    torch.manual_seed(1)
    loss, terms = contest(x)
    torch.manual_seed(1)
    with torch.no_grad():
        y = torch.cat([contest.model.model(n=50) for _ in range(21)])  # 1,050
    assert float(loss) == pytest.approx(energy_distance(x, y), abs=1e-5)
    assert contest.judge({"loss": 0.0, **{name: float(value) for name, value in terms.items()}}) == float(
        loss
    )
    assert contest.judge({"loss": 0.0, "generator": 1.0}) is None


def net(outputs=1):
    return nets.MLP(3, outputs, **TANH)


def test_what_is_over_of_packs_is_left_out_of_the_last_batch_of_an_epoch():
    contest = single(pack=4, loss="hinge")
    seen, forward = [], contest.forward

    def watched(x):
        seen.append(len(x))
        return forward(x)

    contest.forward = watched
    x = torch.randn(46, 3)
    fit(contest, x, epochs=2, batch_size=16, compile="eager", seed=0, progress=False)
    assert seen == [16, 16, 12] * 2
    seen.clear()
    fit(contest, x, epochs=1, batch_size=16, accumulate=2, compile="eager", seed=0, progress=False)
    assert seen == [8, 8, 8, 8, 4, 4]
    seen.clear()
    fit(contest, x[:11], epochs=1, batch_size=16, compile="eager", seed=0, progress=False)
    assert seen == [8]
    seen.clear()
    fit(Sum({"game": contest}), x[:35], epochs=1, batch_size=16, compile="eager", seed=0, progress=False)
    assert seen == [16, 16]


def test_buffers_of_an_averaged_generator_are_those_of_now():
    class Scaled(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = nets.MLP(2, 3, hidden=(8,))
            self.register_buffer("scale", torch.tensor(1.0))

        def forward(self, z):
            return self.scale * self.net(z)

    contest = Contest(GAN(Scaled(), net(), noise=2), average=0.9)
    schedules = {"model.generator.scale": lambda step: 1.0 + step}
    fit(contest, torch.randn(64, 3), steps=5, batch_size=16, schedules=schedules, seed=0, progress=False)
    assert float(contest.model.averaged.scale) == float(contest.model.generator.scale) == 5.0
