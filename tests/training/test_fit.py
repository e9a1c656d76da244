"""The trainer: reaches known optima, is reproducible, and survives being stopped."""

import typing

import numpy as np
import pyro.optim
import pytest
import torch
from torch import Tensor, nn

from probgen import Objective
from probgen.evaluation import log_likelihood
from probgen.objectives import SVI, BetaELBO, Sum
from probgen.training import Callback, fit, schedules
from tests.pairs import LinearGaussian, ppca_best_evidence


def x_of(n=200, seed=1):
    gen = torch.Generator().manual_seed(seed)
    return torch.randn(n, 2, generator=gen) @ torch.randn(2, 3, generator=gen) + 0.3 * torch.randn(
        n, 3, generator=gen
    )


def adam(parameters):
    return torch.optim.Adam(parameters, lr=0.02)


class Square(Objective):
    """(x − m)², with what a test plants at a given step."""

    def __init__(self, plant=None, at=-1):
        super().__init__()
        self.location = nn.Parameter(torch.zeros(3))
        self.plant, self.at, self.calls = plant, at, 0

    def forward(self, *batch: Tensor):
        loss = (batch[0] - self.location).square().mean()
        self.calls += self.training
        if self.training and self.calls == self.at:
            loss = self.plant(loss)
        return loss, {"square": loss.detach()}


def same(first: nn.Module, second: nn.Module) -> bool:
    return all(torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True))


def test_svi_reaches_the_best_evidence_of_probabilistic_pca():
    x = x_of(500).double()
    pair = LinearGaussian(latent=2).double()
    decay = {"lr": schedules.cosine(0.03, 0.0, steps=2500)}
    fit(SVI(pair), x, steps=2500, batch_size=500, schedules=decay, seed=0, progress=False)
    best = ppca_best_evidence(x, 2)
    reached = float(pair.evidence(x).mean().detach())
    assert best - 0.01 < reached <= best + 1e-9


@pytest.mark.parametrize("mode", ["eager", "graph"])
def test_same_seed_same_bits_and_the_global_noise_is_left_alone(mode):
    pairs = []
    for _ in range(2):
        torch.manual_seed(11)
        pair = LinearGaussian()
        before = torch.get_rng_state()
        fit(SVI(pair), x_of(), epochs=3, batch_size=64, seed=5, compile=mode, progress=False)
        assert torch.equal(before, torch.get_rng_state())
        pairs.append(pair)
    assert same(*pairs)
    torch.manual_seed(11)
    other = LinearGaussian()
    fit(SVI(other), x_of(), epochs=3, batch_size=64, seed=6, compile=mode, progress=False)
    assert not same(pairs[0], other)


def test_captured_and_eager_training_give_the_same_bits():
    pairs = []
    for mode in ("eager", "graph"):
        torch.manual_seed(2)
        pair = LinearGaussian()
        fit(SVI(pair), x_of(), epochs=4, batch_size=64, seed=5, compile=mode, progress=False)
        pairs.append(pair)
    assert same(*pairs)


def test_history_holds_the_weighted_means_of_both_splits():
    x = x_of(10)
    objective = Square()
    sgd = torch.optim.SGD(objective.parameters(), lr=1e-12)
    history = fit(objective, x, epochs=3, batch_size=4, optimizer=sgd, validation=x, progress=False)
    expected = float(x.square().mean())
    assert history.step == 9
    assert history.ended == "finished"
    for split in ("train", "validation"):
        assert history.values("square", split) == pytest.approx([expected] * 3, rel=1e-5)
    assert list(history.frame.columns) == ["step", "epoch", "split", "term", "value"]
    assert history.frame.epoch.max() == 3
    assert not objective.training


def test_validation_is_on_the_same_noise_each_time():
    pair = LinearGaussian()
    frozen = torch.optim.SGD(pair.parameters(), lr=0.0)
    history = fit(
        SVI(pair), x_of(), epochs=3, optimizer=frozen, validation=x_of(50, 2), seed=0, progress=False
    )
    assert len(set(history.values("loss", "validation"))) == 1


def test_steps_are_reported_a_hundred_times():
    history = fit(Square(), x_of(50), steps=500, batch_size=25, progress=False)
    assert history.step == 500
    assert len(history.values()) == 100


def test_schedules_set_the_learning_rate_and_buffers():
    objective = SVI(LinearGaussian(), BetaELBO(7.0))
    optimizer = torch.optim.SGD(objective.parameters(), lr=5.0)
    plan = {"lr": schedules.linear(0.0, 0.01, steps=10), "elbo.beta": schedules.linear(0.0, 1.0, steps=4)}
    fit(objective, x_of(), steps=6, optimizer=optimizer, schedules=plan, progress=False)
    assert optimizer.param_groups[0]["lr"] == pytest.approx(0.005)
    assert float(objective.elbo.beta) == 1.0


def test_early_stopping_keeps_the_best_weights():
    x = torch.ones(64, 3)
    objective = Square()
    sgd = torch.optim.SGD(objective.parameters(), lr=0.15)
    held_out = torch.full((8, 3), 0.5)  # the training passes through its best point and goes on
    history = fit(
        objective,
        x,
        epochs=200,
        batch_size=64,
        optimizer=sgd,
        validation=held_out,
        patience=3,
        progress=False,
    )
    losses = history.values("loss", "validation")
    assert history.ended == "stopped early"
    assert len(losses) == losses.index(min(losses)) + 4
    with torch.no_grad():
        assert float(objective(held_out)[0]) == pytest.approx(min(losses))


def test_the_best_weights_are_judged_by_the_unweighted_bound():
    x = x_of()
    objective = SVI(LinearGaussian(), BetaELBO(0.0))
    plan = {"elbo.beta": lambda step: 0.0 if step < 30 else 50.0}
    history = fit(
        objective,
        x,
        epochs=60,
        batch_size=200,
        optimizer=adam,
        schedules=plan,
        validation=x,
        patience=60,
        seed=0,
        progress=False,
    )
    bounds, losses = history.values("elbo", "validation"), history.values("loss", "validation")
    assert losses.index(min(losses)) != bounds.index(max(bounds))  # power: the two disagree
    kept = SVI(objective.pair)
    still = torch.optim.SGD(kept.parameters(), lr=0.0)
    judged = fit(kept, x, epochs=1, batch_size=200, optimizer=still, validation=x, progress=False)
    assert judged.values("elbo", "validation") == [max(bounds)]


def test_posterior_collapse_is_said_while_it_lasts_and_once(capsys):
    pair = LinearGaussian()
    with torch.no_grad():
        pair.guide_map.weight.zero_()
        pair.guide_map.bias.zero_()
    still = torch.optim.SGD(pair.parameters(), lr=0.0)

    class Seen(Callback):
        said: typing.ClassVar = []

        def on_epoch_end(self, objective, history):
            self.said.append("Posterior collapse" in capsys.readouterr().out)

    fit(Sum({"svi": SVI(pair)}), x_of(), epochs=7, optimizer=still, callbacks=[Seen()])
    assert Seen.said == [False] * 4 + [True, False, False]
    assert "Posterior collapse" not in capsys.readouterr().out


def test_posterior_collapse_is_said_in_words(capsys):
    pair = LinearGaussian()
    with torch.no_grad():
        pair.guide_map.weight.zero_()
        pair.guide_map.bias.zero_()
    still = torch.optim.SGD(pair.parameters(), lr=0.0)
    history = fit(SVI(pair), x_of(), epochs=1, optimizer=still, progress=True)
    (finding,) = history.diagnose()
    assert finding.startswith("Posterior collapse: all 2 latent coordinates have a KL below 0.01 nats")
    assert finding in capsys.readouterr().out
    with torch.no_grad():
        pair.guide_map.bias[0] = 3.0
    (finding,) = fit(SVI(pair), x_of(), epochs=1, optimizer=still, progress=False).diagnose()
    assert finding.startswith("1 of 2 latent coordinates are inactive")
    with torch.no_grad():
        pair.guide_map.bias[1] = 3.0
    assert fit(SVI(pair), x_of(), epochs=1, optimizer=still, progress=False).diagnose() == []
    assert fit(Square(), x_of(), epochs=1, progress=False).diagnose() == []


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({}, "give exactly one of epochs and steps, but got epochs=None and steps=None"),
        ({"epochs": 1, "steps": 1}, "give exactly one of epochs and steps"),
        ({"epochs": 0}, "epochs should be at least 1 but got 0"),
        ({"steps": 1, "batch_size": 0}, "batch_size should be at least 1 but got 0"),
        ({"steps": 1, "patience": 2}, "patience needs validation data"),
        ({"steps": 1, "patience": 0, "validation": x_of()}, "patience should be at least 1 but got 0"),
        ({"steps": 1, "patience": -1, "validation": x_of()}, "patience should be at least 1 but got -1"),
        ({"steps": 1, "resume": True}, "resume needs the run folder"),
        ({"steps": 1, "schedules": {"beta": lambda step: 1.0}}, "a schedule should name 'lr', 'lr.GROUP' or"),
        ({"steps": 1, "seed": 2**70}, "seed should be an integer of 64 bits, such as .* but got 1180"),
        ({"steps": 1, "compile": "jit"}, "compile should be one of"),
    ],
)
def test_bad_options_are_named(options, sentence):
    with pytest.raises(ValueError, match=sentence):
        fit(Square(), x_of(), progress=False, **options)


@pytest.mark.parametrize(
    ("x", "sentence"),
    [
        (torch.tensor([[0.0, 1.0, torch.nan]]), "finite"),
        (torch.zeros(0, 3), "empty|at least"),
        (torch.zeros(4, 3, dtype=torch.complex64), "real numbers"),
        ((torch.zeros(4, 3), torch.zeros(3)), "4"),
    ],
    ids=["nan", "empty", "complex", "unequal"],
)
def test_bad_data_are_named(x, sentence):
    with pytest.raises((ValueError, TypeError), match=sentence):
        fit(Square(), x, steps=1, progress=False)


def test_a_run_folder_in_use_is_refused(tmp_path):
    fit(Square(), x_of(), steps=2, checkpoint=tmp_path, progress=False)
    with pytest.raises(ValueError, match="holds a run: pass resume=True or choose another folder"):
        fit(Square(), x_of(), steps=2, checkpoint=tmp_path, progress=False)


def test_resuming_with_another_batch_size_is_refused(tmp_path):
    fit(Square(), x_of(), steps=2, checkpoint=tmp_path, progress=False)
    with pytest.raises(
        ValueError, match=r"a resumed run should have the batch_size of the run in .*, 128, but got 7"
    ):
        fit(Square(), x_of(), steps=4, batch_size=7, checkpoint=tmp_path, resume=True, progress=False)


def test_an_objective_without_parameters_is_refused():
    class Constant(Objective):
        def forward(self, *batch):
            return batch[0].sum(), {}

    with pytest.raises(ValueError, match="Constant should have parameters to learn but has none"):
        fit(Constant(), x_of(), steps=1, progress=False)


def test_the_end_says_where_the_run_is(tmp_path, capsys):
    fit(Square(), x_of(), steps=2, checkpoint=tmp_path, progress=True)
    assert f"finished at step 2: the run is in {tmp_path}" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("optimizer", "error", "sentence"),
    [
        (torch.optim.SGD(Square().parameters(), lr=0.1), ValueError, "should hold parameters of Square but"),
        (
            torch.optim.LBFGS,
            ValueError,
            "step by the gradient of one batch but LBFGS calls the loss by itself",
        ),
        ("adam", TypeError, "should be a torch.optim.Optimizer, or a function .* but is 'adam'"),
        (pyro.optim.Adam({"lr": 0.1}), TypeError, "should be a torch.optim.Optimizer, or a function from"),
    ],
)
def test_bad_optimizers_are_named(optimizer, error, sentence):
    with pytest.raises(error, match=sentence):
        fit(Square(), x_of(), steps=1, optimizer=optimizer, progress=False)


def test_a_pair_in_the_place_of_its_objective_is_named():
    with pytest.raises(TypeError, match=r"such as SVI\(pair\), but is a LinearGaussian"):
        fit(LinearGaussian(), x_of(), steps=1, progress=False)


def test_data_of_another_type_than_the_weights_are_named():
    with pytest.raises(TypeError, match=r"data should be torch.float32, .* but is torch.float64"):
        fit(Square(), x_of().double(), steps=1, progress=False)
    with pytest.raises(TypeError, match=r"validation should be torch.float32"):
        fit(Square(), x_of(), steps=1, validation=x_of().double(), progress=False)


class OfPairs(Square):
    """A loss that needs two rows, and keeps how many it got."""

    least_rows = 2

    def __init__(self):
        super().__init__()
        self.rows = []

    def forward(self, *batch: Tensor):
        if len(batch[0]) < 2:
            raise ValueError("a batch should hold at least 2 rows")
        self.rows.append((self.training, len(batch[0])))
        return super().forward(*batch)


@pytest.mark.parametrize(
    ("n", "accumulate", "steps", "sizes"),
    [(9, 1, 2, {4}), (10, 1, 3, {4, 2}), (11, 2, 2, {2}), (12, 2, 3, {2})],
    ids=["one row", "two rows", "halves too small", "no rest"],
)
def test_a_last_batch_with_too_few_rows_is_left_out(n, accumulate, steps, sizes):
    objective = OfPairs()
    history = fit(
        Sum({"pairs": objective}),
        torch.randn(n, 3),
        epochs=2,
        batch_size=4,
        accumulate=accumulate,
        validation=torch.randn(1025, 3),
        compile="eager",
        progress=False,
    )
    assert history.step == 2 * steps
    assert {size for training, size in objective.rows if training} == sizes
    assert {size for training, size in objective.rows if not training} == {1024}


def test_the_only_batch_is_not_left_out():
    with pytest.raises(ValueError, match="at least 2 rows"):
        fit(OfPairs(), torch.randn(1, 3), steps=1, compile="eager", progress=False)


@pytest.mark.parametrize("kind", [np.int64, np.uint8, torch.tensor])
def test_numbers_of_numpy_are_integers(kind, tmp_path):
    options = {"steps": 3, "batch_size": 7, "patience": 9, "accumulate": 2, "seed": 5}
    plain, given = Square(), Square()
    where = {"validation": x_of(20, 2), "progress": False}
    fit(plain, x_of(), **where, **options)
    history = fit(given, x_of(), checkpoint=tmp_path, **where, **{k: kind(v) for k, v in options.items()})
    assert same(plain, given)
    assert history.step == 3
    options["steps"] = 5
    assert fit(given, x_of(), checkpoint=tmp_path, resume=True, **where, **options).step == 5


@pytest.mark.parametrize("value", [1.0, "1", None])
def test_what_is_no_integer_is_named(value):
    for name in ("batch_size", "seed"):
        if value is not None:
            with pytest.raises(TypeError, match=f"{name} should be an integer .*but got {value!r}"):
                fit(Square(), x_of(), steps=1, progress=False, **{name: value})
    with pytest.raises(TypeError, match="accumulate should be an integer but got"):
        fit(Square(), x_of(), steps=1, progress=False, accumulate=value)


def test_networks_that_take_no_whole_numbers_are_told(device):
    pair = LinearGaussian().to(device)
    counts = torch.arange(30, device=device).reshape(10, 3)
    for call in (
        lambda: fit(SVI(pair), counts, steps=1, progress=False),
        lambda: log_likelihood(pair, counts, particles=2),
    ):
        with pytest.raises(TypeError, match=r"but is torch.int64: convert it with .float\(\), or begin with"):
            call()
