"""The MMD GAN: each player its own gradient, the penalty's closed form, and a law that it learns."""

import pytest
import torch
from torch import nn

from probgen import fit, nets
from probgen.mmd import Gaussian, Linear, RationalQuadratic, mmd2_loss, mmd_test
from probgen.models import GMMN
from probgen.objectives import MMDGAN, lazy_turns


def test_each_player_has_the_gradient_of_its_own_loss(device):
    model, critic = GMMN(nn.Linear(2, 3), noise=2).to(device), nn.Linear(3, 4).to(device)
    kernel, x = Gaussian(1.0), torch.randn(12, 3, device=device)
    objective = MMDGAN(model, critic, kernel, penalty=0.0)
    torch.manual_seed(1)
    loss, terms = objective(x)
    loss.backward()
    torch.manual_seed(1)
    y = model.model(n=12)
    mmd2 = mmd2_loss(critic(x), critic(y), kernel)
    of_model = torch.autograd.grad(mmd2, list(model.parameters()), retain_graph=True)
    of_critic = torch.autograd.grad(-mmd2, list(critic.parameters()))
    for parameter, expected in zip(objective.parameters(), (*of_model, *of_critic), strict=True):
        torch.testing.assert_close(parameter.grad, expected)
    torch.testing.assert_close(terms["mmd2"], mmd2.detach())


def test_the_slope_of_a_linear_witness(device, dtype):
    """With φ(x) = W x and κ(a, b) = aᵀb, ∇f = WᵀW (mean x − mean y) everywhere."""
    model, critic = GMMN(nn.Linear(2, 3), noise=2), nn.Linear(3, 4, bias=False)
    objective = MMDGAN(model, critic, Linear(), penalty=2.0).to(device, dtype)
    x = torch.randn(12, 3, device=device, dtype=dtype)
    torch.manual_seed(1)
    loss, terms = objective(x)
    torch.manual_seed(1)
    shift = (x - model.model(n=12).detach()).mean(0)
    slope = (critic.weight.T @ critic.weight @ shift).norm()
    torch.testing.assert_close(terms["slope"], slope.detach())
    expected = torch.autograd.grad(2 * (slope - 1) ** 2, critic.weight)[0]
    weight = critic.weight
    found = torch.autograd.grad(loss, weight, retain_graph=True)[0]
    objective.penalty = 0.0
    torch.manual_seed(1)
    torch.testing.assert_close(found - torch.autograd.grad(objective(x)[0], weight)[0], expected)


def test_learns_a_correlated_law(device):
    """x = A u + b with u uniform on the square: the kernel is learned along the way."""
    gen = torch.Generator().manual_seed(2)
    mix, centre = torch.tensor([[1.0, 0.0], [0.8, 0.3]]), torch.tensor([2.0, -1.0])
    draw = lambda n: ((2 * torch.rand(n, 2, generator=gen) - 1) @ mix.T + centre).to(device)  # noqa: E731
    x, held_out = draw(4000), draw(300)
    torch.manual_seed(0)
    model = GMMN(nn.Linear(2, 2), noise=2)
    kernel = RationalQuadratic(1.0, power=0.5) + RationalQuadratic(1.0, power=2.0)
    objective = MMDGAN(model, nets.MLP(2, 4, hidden=(32,)), kernel).to(device)
    permuted = torch.Generator(device).manual_seed(0)
    before = mmd_test(model.sample(300, seed=0), held_out, permutations=199, generator=permuted)
    players = [
        {"params": model.parameters(), "lr": 0.03},
        {"params": objective.critic.parameters(), "lr": 0.03},
    ]
    adam = torch.optim.Adam(players, betas=(0.0, 0.9))
    rate = torch.optim.lr_scheduler.CosineAnnealingLR(adam, T_max=600)
    options = {"optimizer": adam, "schedules": {"lr": rate}, "compile": "eager", "seed": 0, "progress": False}
    fit(objective, x, steps=600, batch_size=100, **options)
    after = mmd_test(model.sample(300, seed=0), held_out, permutations=199, generator=permuted)
    assert before.p_value == pytest.approx(1 / 200)  # power: the untrained network is told apart
    assert after.p_value > 0.01
    weight, bias = model.generator.weight.detach().cpu(), model.generator.bias.detach().cpu()
    torch.testing.assert_close(bias, centre, atol=0.06, rtol=0)
    torch.testing.assert_close(weight @ weight.T, mix @ mix.T, atol=0.1, rtol=0)


def gradient_of(objective, turn, x):
    """The gradient of one turn, on the same draws each time; of weights that it does not reach, 0."""
    objective.turn = turn
    torch.manual_seed(1)
    weights = list(objective.parameters())
    found = torch.autograd.grad(objective(x)[0], weights, allow_unused=True)
    return [torch.zeros_like(w) if g is None else g for w, g in zip(weights, found, strict=True)]


@pytest.mark.parametrize("critic_steps", [None, 1, 3])
@pytest.mark.parametrize("every", [1, 2, 4])
def test_a_lazy_penalty_has_over_its_cycle_the_gradient_of_one_in_each_turn(every, critic_steps):
    torch.manual_seed(0)
    model, critic = GMMN(nn.Linear(2, 3), noise=2).double(), nets.MLP(3, 4, hidden=(8,)).double()
    options = {"penalty": 3.0, "critic_steps": critic_steps}
    lazy = MMDGAN(model, critic, Gaussian(1.0), penalty_every=every, **options)
    each = MMDGAN(model, critic, Gaussian(1.0), **options)
    x, summed, expected = torch.randn(12, 3, dtype=torch.float64), 0, 0
    for step, turn in enumerate(lazy.turns):
        summed += torch.cat([g.flatten() for g in gradient_of(lazy, turn, x)])
        of_turn = gradient_of(each, each.turns[step % len(each.turns)], x)
        expected += torch.cat([g.flatten() for g in of_turn])
    torch.testing.assert_close(summed, expected, rtol=1e-10, atol=1e-12)
    without = MMDGAN(model, critic, Gaussian(1.0), penalty=0.0, critic_steps=critic_steps)
    plain = sum(torch.cat([g.flatten() for g in gradient_of(without, turn, x)]) for turn in without.turns)
    if every > 1:
        assert every * sum("+" in turn for turn in lazy.turns) == sum(turn != "model" for turn in lazy.turns)
    cycles = len(lazy.turns) // len(without.turns)
    assert (summed - cycles * plain).norm() > 0.1 * summed.norm()  # the penalty would be missed


def test_a_lazy_penalty_is_captured_and_goes_on_after_a_cut(tmp_path, caplog):
    x = torch.randn(60, 2)

    def trained(name, steps=11, **options):
        torch.manual_seed(0)
        model, critic = GMMN(nn.Linear(2, 2), noise=2), nets.MLP(2, 4, hidden=(8,))
        game = MMDGAN(model, critic, RationalQuadratic(1.0), critic_steps=2, penalty_every=3)
        options = {"compile": "graph", "seed": 0, "progress": False, "batch_size": 20} | options
        history = fit(game, x, steps=steps, checkpoint=tmp_path / name, **options)
        return [weight.detach() for weight in game.parameters()], history

    eager, _ = trained("eager", compile="eager")
    graph, history = trained("graph")
    trained("cut", steps=5)
    resumed, _ = trained("cut", resume=True)
    for one, two, three in zip(eager, graph, resumed, strict=True):
        assert torch.equal(one, two)
        assert torch.equal(one, three)
    assert len(history.values("slope")) == 3  # of steps 1, 5 and 10: the critic's turns 1, 4 and 7
    assert len(history.values("mmd2")) == 3
    assert "eagerly" not in caplog.text


def test_bad_penalty_is_named():
    game = GMMN(nn.Identity(), noise=1), nn.Identity(), Gaussian(1.0)
    with pytest.raises(ValueError, match="penalty_every should be at least 1 but got 0"):
        MMDGAN(*game, penalty_every=0)
    with pytest.raises(ValueError, match=r"player should be one of turns, \('a', 'b'\), but is 'c'"):
        lazy_turns(("a", "b"), player="c", every=2)
    with pytest.raises(ValueError, match="penalty should be finite and not negative but got -1"):
        MMDGAN(GMMN(nn.Identity(), noise=1), nn.Identity(), Gaussian(1.0), penalty=-1)
