"""Games: whose turn a step is, what moves once a step, rates and clipping by player, weights judged."""

import pytest
import torch
from torch import Tensor, nn

from probgen import Objective, fit, nets
from probgen.mmd import RationalQuadratic
from probgen.models import GMMN
from probgen.objectives import MMDGAN, Sum
from probgen.training import Callback
from probgen.training.processes import Processes
from probgen.training.schedules_and_turns import Turns
from tests.training.test_fit import Square, adam, x_of


class Tag(Objective):
    """Two players on one number each: a is drawn to b + the data's mean, b to −a; an average trails a."""

    turns = ("a", "a", "b")
    summed = ("seen",)

    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Parameter(torch.zeros(())), nn.Parameter(torch.ones(()))
        for name in ("average", "seen", "moves"):
            self.register_buffer(name, torch.zeros(()))

    def forward(self, *batch):
        (x,) = batch
        with torch.no_grad():
            self.seen.add_(float(len(x)) if self.training else 0.0)
        of_a = (self.a - self.b.detach() - x.mean()) ** 2
        of_b = (self.b + self.a.detach()) ** 2
        return of_a if self.turn == "a" else of_b, {self.turn: self.a.detach().clone()}

    def after_step(self):
        self.moves.add_(1.0)
        self.average.mul_(0.9).add_(0.1 * self.a)
        self.seen.zero_()


class Watch(Callback):
    def __init__(self):
        self.path = []

    def on_step_end(self, objective, history):
        self.path.append((float(objective.a.detach()), float(objective.b.detach())))


def sgd(objective):
    return torch.optim.SGD(
        [{"params": [objective.a], "name": "a", "lr": 0.1}, {"params": [objective.b], "name": "b", "lr": 0.2}]
    )


def played(steps=9, objective=None, **options):
    objective = objective or Tag()
    watch = Watch()
    base = {"batch_size": 4, "seed": 0, "progress": False, "optimizer": sgd(objective)}
    options = base | {"callbacks": [watch]} | options
    history = fit(objective, torch.arange(12.0)[:, None], steps=steps, **options)
    return objective, watch.path, history


@pytest.mark.parametrize("compile", ["eager", "graph"])
def test_who_waits_does_not_move(compile, caplog):
    _, path, history = played(compile=compile)
    steps = zip([(0.0, 1.0), *path], path, strict=False)
    moved = [(old[0] != new[0], old[1] != new[1]) for old, new in steps]
    assert moved == [(True, False), (True, False), (False, True)] * 3
    assert "eagerly" not in caplog.text
    assert len(history.values("a")) == 6  # a report a step; each term in the steps that have it
    assert len(history.values("b")) == 3


def test_captured_steps_are_the_eager_ones_to_the_bit_and_go_on_after_a_cut(tmp_path):
    eager, path, _ = played(11, compile="eager", checkpoint=tmp_path / "eager")
    graph, other, _ = played(11, compile="graph", checkpoint=tmp_path / "graph")
    assert path == other

    class Cut(Callback):
        def on_step_end(self, objective, history):
            return history.step == 4  # in the middle of a cycle

    played(11, compile="graph", checkpoint=tmp_path / "run", callbacks=[Cut()])
    resumed, rest, history = played(11, compile="graph", checkpoint=tmp_path / "run", resume=True)
    assert history.step == 11
    assert rest == path[4:]
    for one, two, three in zip(eager.buffers(), graph.buffers(), resumed.buffers(), strict=True):
        assert torch.equal(one, two)
        assert torch.equal(one, three)


@pytest.mark.parametrize("compile", ["eager", "graph"])
def test_averages_move_once_a_step_however_a_batch_is_cut(compile):
    objective, path, _ = played(9, compile=compile, accumulate=3)
    assert float(objective.moves) == 9
    average = 0.0
    for a, _ in path:
        average = 0.9 * average + 0.1 * a
    assert float(objective.average) == pytest.approx(average, rel=1e-5)


def test_sums_are_over_all_processes():
    class Two:
        world = 2

        def sum(self, tensor):
            return tensor + 5.0  # what the other one has

    seen = []

    class Codebook(Tag):
        def after_step(self):
            seen.append(float(self.seen))

    objective = Sum({"one": Codebook()})
    objective.get_submodule("one").seen.fill_(3.0)
    Turns(objective).after_step(Two())
    assert seen == [8.0]


class Centre(nn.Module):
    """A centre that no gradient moves: a step takes it a tenth of the way to the mean of its rows."""

    summed = ("total",)

    def __init__(self):
        super().__init__()
        self.register_buffer("centre", torch.zeros(()))
        self.register_buffer("total", torch.zeros(2))

    def forward(self, x):
        with torch.no_grad():
            self.total.add_(torch.stack([x.sum(), torch.tensor(float(len(x)))]) if self.training else 0.0)
        return x - self.centre

    def after_step(self):
        total, rows = self.total
        self.centre.copy_(torch.where(rows > 0, self.centre.lerp(total / rows, 0.1), self.centre))
        self.total.zero_()


class AroundCentre(Objective):
    """Its centre lies in a net of its own: the weight is drawn to the mean distance from it."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(()))
        self.net = nn.Sequential(nn.Identity(), Centre())

    def forward(self, *batch):
        return ((self.net(batch[0]) - self.weight) ** 2).mean(), {}


@pytest.mark.parametrize("compile", ["eager", "graph"])
@pytest.mark.parametrize("accumulate", [1, 2])
def test_what_moves_once_a_step_may_lie_in_any_module(compile, accumulate, caplog):
    objective = Sum({"one": AroundCentre()})
    centres = []

    class Centres(Callback):
        def on_step_end(self, objective, history):
            centres.append(float(objective.one.net[1].centre))

    x = torch.arange(4.0)[:, None] + 1.0
    options = {"batch_size": 4, "seed": 0, "progress": False, "callbacks": [Centres()]}
    fit(objective, x, steps=9, compile=compile, accumulate=accumulate, **options)
    assert centres == pytest.approx([2.5 * (1 - 0.9**step) for step in range(1, 10)], rel=1e-5)
    assert "eagerly" not in caplog.text


def test_inner_modules_move_before_outer_ones():
    order = []

    class Inner(nn.Module):
        def after_step(self):
            order.append("inner")

    class Outer(AroundCentre):
        def __init__(self):
            super().__init__()
            self.inner = Inner()

        def after_step(self):
            order.append("outer")

    Turns(Sum({"one": Outer()})).after_step(Processes())
    assert order == ["inner", "outer"]


def test_rates_and_clipping_by_player():
    rates = []

    class Rates(Callback):
        def on_step_end(self, objective, history):
            rates.append([group["lr"] for group in optimizer.param_groups])

    objective = Tag()
    optimizer = sgd(objective)
    schedules = {"lr.b": lambda step: 0.5 / (1 + step)}
    options = {"optimizer": optimizer, "schedules": schedules, "max_gradient_norm": 0.25}
    _, _, history = played(3, objective, callbacks=[Rates()], **options)
    assert rates == [[0.1, 0.5], [0.1, 0.25], [0.1, 0.5 / 3]]
    assert float(objective.a.detach()) == pytest.approx(2 * 0.1 * 0.25)  # two clipped steps
    assert float(objective.b.detach()) == pytest.approx(1 - 0.25 * 0.5 / 3)
    assert len(history.values("gradient_norm/a")) == 2
    assert history.values("gradient_norm/b") == pytest.approx([2 * (1 + 0.05)])
    with pytest.raises(ValueError, match=r"should name a group .*, \['a', 'b'\], not 'critic'"):
        played(3, schedules={"lr.critic": lambda step: 0.1})


def energy_distance(x, y):
    """2 E‖x − y‖ − E‖x − x′‖ − E‖y − y′‖, without bias."""
    within = sum(torch.pdist(z.double()).mean() for z in (x, y))
    return float(2 * torch.cdist(x.double(), y.double()).mean() - within)


def test_a_game_is_judged_by_its_draws_on_held_out_data(tmp_path):
    torch.manual_seed(0)
    model = GMMN(nn.Linear(1, 1), noise=1)
    objective = MMDGAN(model, nets.MLP(1, 2, hidden=(8,)), RationalQuadratic(1.0), critic_steps=1)
    x, held_out = torch.randn(2, 200, 1) + 3.0
    objective.eval()
    torch.manual_seed(1)
    loss, _ = objective(held_out)
    torch.manual_seed(1)
    with torch.no_grad():
        y = model.model(n=200)
    assert float(loss.detach()) == pytest.approx(energy_distance(held_out, y), abs=1e-5)
    assert objective.judge({"loss": 0.0, "energy": 0.3}) == 0.3
    assert objective.judge({"loss": 0.0, "mmd2": 0.3}) is None
    adam = lambda parameters: torch.optim.Adam(parameters, lr=0.05, betas=(0.0, 0.9))  # noqa: E731
    options = {"optimizer": adam, "batch_size": 100, "seed": 0, "progress": False, "compile": "eager"}
    history = fit(objective, x, steps=240, validation=held_out, patience=100, **options)
    energies = history.values("energy", "validation")
    objective.eval()
    with torch.no_grad():
        y = model.sample(2000, seed=3)
    kept = energy_distance(torch.randn(2000, 1) + 3.0, y)
    assert min(energies) < 0.05 < energies[0]
    assert kept < 0.1  # the weights of the best report are those in force


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ({"turns": ()}, r"turns of Tag should be names, one a step of a cycle, not \(\)"),
        ({"summed": ("seen", "atoms")}, "summed of Tag should name its buffers but names 'atoms'"),
    ],
)
def test_what_is_wrong_is_said(wrong, sentence):
    objective = Tag()
    for name, value in wrong.items():
        setattr(objective, name, value)
    with pytest.raises(ValueError, match=sentence):
        played(3, objective)
    around = AroundCentre()
    around.net[1].summed = ("rows",)
    with pytest.raises(ValueError, match="summed of Centre should name its buffers but names 'rows'"):
        Turns(around)


def test_a_schedule_reaches_a_buffer_that_was_replaced():
    class Replacing(Square):
        def __init__(self):
            super().__init__()
            self.register_buffer("weight", torch.zeros(()))

        def forward(self, *batch: Tensor):
            loss, _ = super().forward(*batch)
            self.weight = self.weight.clone()
            return loss, {"weight": self.weight}

    options = {"schedules": {"weight": float}, "seed": 0, "progress": False, "optimizer": adam}
    history = fit(Replacing(), x_of(8), steps=4, **options)
    assert history.values("weight") == [0.0, 1.0, 2.0, 3.0]
