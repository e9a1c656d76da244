"""An unstable contest is noticed and said; a sound one is left in peace."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from probgen import fit, models, nets
from probgen.data import target
from probgen.objectives import Contest
from probgen.training.contest_findings import cycle
from probgen.training.history import History


def history_of(**series):
    """A history of validation reports of a contest, and of its losses in training."""
    history = History()
    for step in range(len(next(iter(series.values())))):
        history.add(step, 1, "train", {"discriminator": 1.0, "generator": 1.0})
        history.add(step, 1, "validation", {name: values[step] for name, values in series.items()})
    return history


FALLING = [0.5**i for i in range(30)]


def sound(**other):
    return {"energy": FALLING, "accuracy": [0.7] * 30, "gradient": [1.0] * 30, "spread": [0.9] * 30} | other


def test_what_is_seen_of_a_contest_is_said():
    assert history_of(**sound()).diagnose() == []
    (won,) = history_of(**sound(accuracy=[0.5] * 20 + [0.99] * 10)).diagnose()
    assert won.startswith("The discriminator has won: it is right of 99.0% of held-out data and draws. What")
    (silent,) = history_of(**sound(accuracy=[0.99] * 30, gradient=[1.0] * 20 + [1e-3] * 10)).diagnose()
    assert "almost no gradient reaches the generator any more" in silent
    (collapsed,) = history_of(**sound(spread=[0.9] * 20 + [0.1] * 10)).diagnose()
    assert collapsed.startswith("Collapse: draws are 0.10 times as far from each other as data are")
    assert (
        history_of(**sound(accuracy=[1.0] * 10 + [0.7] * 20, spread=[0.1] * 10 + [1.0] * 20)).diagnose() == []
    )
    assert history_of(**sound(gradient=[1.0] + [1e-4] * 29)).diagnose() == [], (
        "at the end nothing is to be said"
    )
    turn = [0.5 + 0.4 * np.cos(2 * np.pi * i / 6) for i in range(30)]
    (round_and_round,) = history_of(**sound(energy=turn)).diagnose()
    assert "about every 6 reports" in round_and_round
    (nothing,) = history_of(**sound(energy=[1.0] * 5 + [0.95] * 25)).diagnose()
    assert nothing.startswith("The generator has learned next to nothing")
    assert "was 1 at the first report and is 0.95" in nothing
    chance = np.random.default_rng(0).normal(size=30)
    (jumps,) = history_of(**sound(energy=[2.0, *(0.5 + 0.1 * chance)][:30])).diagnose()
    assert jumps.startswith("The game is unsteady")
    assert history_of(**sound(energy=FALLING[:15] + list(0.003 * (2 + chance[:15])))).diagnose() == []
    assert history_of(**sound(energy=list(0.1 * chance))).diagnose() == [], "the laws agree, but for chance"


def test_contests_inside_of_a_sum_are_found_by_their_names():
    history = History()
    history.add(1, 1, "train", {"code/discriminator": 1.0, "code/generator": 1.0, "svi/kl": 1.0})
    history.add(1, 1, "validation", {"code/energy": 0.1, "code/spread": 0.0})
    (collapsed,) = history.diagnose()
    assert collapsed.startswith("Collapse")
    other = History()
    other.add(1, 1, "train", {"critic": 1.0, "generator": 1.0, "loss": 1.0})
    assert other.diagnose() == []


@pytest.mark.parametrize("memory", [0.0, 0.8, 0.95])
def test_noise_is_no_cycle_and_cycles_are(memory):
    """Distances that fall to a level and vary by chance, with memory: none of 200 may look like a cycle."""
    rng, alarms = np.random.default_rng(0), 0
    for _ in range(200):
        noise = [rng.normal()]
        for _ in range(99):
            noise.append(memory * noise[-1] + np.sqrt(1 - memory**2) * rng.normal())
        alarms += cycle(list(np.exp(-np.arange(100) / 15) + 0.01 * (1 + np.array(noise)))) > 0
    assert alarms == 0
    for period in (4, 8, 15):
        turning = 0.5 + 0.45 * np.cos(2 * np.pi * np.arange(100) / period) + 0.05 * rng.normal(size=100)
        assert abs(cycle(list(turning)) - period) <= 1
    assert cycle([np.nan, *turning]) == cycle(list(turning))
    assert cycle([*turning, np.nan]) == 0
    assert cycle([1.0] * 50) == 0
    assert cycle([0.0] * 50) == 0
    assert cycle(list(turning[:20])) == 0


def trained(gan, x, held_out, *, rate, discriminator, steps, seed=0, **settings):
    contest = Contest(gan, **settings)
    adam = contest.adam(rate, discriminator=discriminator)
    options = {"batch_size": 100, "compile": "eager", "seed": seed, "progress": False}
    return fit(contest, x, steps=steps, optimizer=adam, validation=held_out, **options)


def normal(n, seed):
    return 2.0 + 0.7 * torch.randn(n, 1, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("seed", range(3))
def test_nothing_is_said_of_sound_trainings(seed):
    torch.manual_seed(seed)
    gan = models.GAN(nets.MLP(1, 1, hidden=(32,)), nets.MLP(1, 1, hidden=(32,)), noise=1)
    settings = [{"loss": "cross-entropy", "r1": 0.2}, {"r1": 0.2, "r2": 0.2}, {"loss": "hinge", "r1": 0.2}][
        seed
    ]
    history = trained(
        gan, normal(2000, 0), normal(100, 1), rate=5e-3, discriminator=1e-2, steps=300, seed=seed, **settings
    )
    assert history.values("energy", "validation")[-1] < 0.1  # of 2 and more at the start
    assert history.diagnose() == []


def test_a_discriminator_that_wins_is_noticed_and_that_it_tells_nothing():
    torch.manual_seed(0)
    x = target("ring").sample(1000, seed=0)
    gan = models.GAN(nets.MLP(4, 2, hidden=(32,)), nets.MLP(2, 1, hidden=(32, 32)), noise=4)
    history = trained(gan, x, x[:100] + 1e-3, rate=1e-6, discriminator=2e-2, steps=400, loss="minimax")
    won = [finding for finding in history.diagnose() if finding.startswith("The discriminator has won")]
    assert won
    assert "almost no gradient" in won[0]


def test_a_generator_of_one_draw_a_label_ignores_its_noise_and_that_is_said():
    class OneEach(nn.Module):
        def __init__(self):
            super().__init__()
            self.places = nn.Parameter(5.0 * torch.eye(3))

        def forward(self, z, y):
            return self.places[y] + 1e-3 * z

    torch.manual_seed(0)
    discriminator = nets.ProjectionDiscriminator(nets.MLP(3, 8, hidden=(16,)), 8, classes=3)
    contest = Contest(models.GAN(OneEach(), discriminator, noise=3), r1=0.1)
    y = torch.arange(600) % 3
    x = 5.0 * torch.eye(3)[y] + torch.randn(600, 3)
    history = fit(contest, (x, y), steps=30, validation=(x[:200], y[:200]), seed=0, progress=False)
    assert any(finding.startswith("Collapse: draws are 0.0") for finding in history.diagnose())


def test_a_code_that_draws_do_not_tell_is_named():
    def told(*series, split="validation"):
        history = History()
        for step, value in enumerate(series):
            history.add(step, 1, "train", {"information/information": 0.0})
            history.add(step, 1, split, {"information/information": value})
        return history.diagnose()

    (unused,) = told(*[-0.7] * 10)
    assert unused.startswith("The generator makes no use of its code: the recogniser knows 0.000 nats of it")
    assert told(*[0.02] * 10, split="train")
    assert told(*[0.02] * 5, *[2.0] * 5) == []
    assert told(-1.2, *[-0.9] * 9) == []  # two numbers that are told, of a normal law of deviation 1


def test_a_generator_that_ignores_its_noise_is_a_collapse():
    class Constant(nn.Module):
        def __init__(self):
            super().__init__()
            self.place = nn.Parameter(torch.zeros(1))

        def forward(self, z):
            return self.place + 1e-3 * z

    torch.manual_seed(0)
    gan = models.GAN(Constant(), nets.MLP(1, 1, hidden=(16,)), noise=1)
    history = trained(gan, normal(1000, 0), normal(100, 1), rate=1e-2, discriminator=1e-2, steps=60)
    assert any(finding.startswith("Collapse: draws are 0.00 times as far") for finding in history.diagnose())


def test_a_game_that_goes_round_is_noticed_and_r1_stops_it():
    """A line against a slope by Wasserstein's loss: its Jacobian has the eigenvalues ±i."""

    def played(**penalty):
        torch.manual_seed(0)
        gan = models.GAN(nn.Linear(1, 1), nn.Linear(1, 1, bias=False), noise=1)
        contest = Contest(gan, loss="wasserstein", **penalty)
        sgd = torch.optim.SGD(contest.parameters(), lr=0.05)
        options = {"optimizer": sgd, "batch_size": 200, "compile": "eager", "seed": 0, "progress": False}
        return fit(contest, normal(2000, 0), steps=500, validation=normal(100, 1), **options)

    found = played()
    (finding,) = [finding for finding in found.diagnose() if finding.startswith("The game goes round")]
    period = int(finding.split("about every ")[1].split()[0]) * 5  # in steps; the distance comes twice a turn
    assert period == pytest.approx(math.pi / 0.05, rel=0.25)
    assert not any(finding.startswith("The game goes round") for finding in played(r1=2.0).diagnose())


def test_a_game_of_too_large_steps_is_unsteady():
    torch.manual_seed(0)
    x = target("ring").sample(1000, seed=0)
    gan = models.GAN(nets.MLP(4, 2, hidden=(48, 48)), nets.MLP(2, 1, hidden=(48, 48)), noise=4)
    history = trained(gan, x, x[:100] + 1e-3, rate=2e-2, discriminator=1e-3, steps=300, loss="cross-entropy")
    assert any(finding.startswith("The game is unsteady") for finding in history.diagnose())


def test_weights_that_nothing_judges_are_said():
    gan = models.GAN(nn.Linear(1, 1), nn.Linear(1, 1), noise=1)
    (finding,) = trained(gan, normal(200, 0), None, rate=1e-3, discriminator=None, steps=4).diagnose()
    assert finding.startswith("Nothing judges the weights of this contest")
