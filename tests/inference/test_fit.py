"""The trainer: reaches known optima, is reproducible, and survives being stopped."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import pyro.optim
import pytest
import torch
from torch import Tensor, nn

from probgen import Objective
from probgen.data import Binarised
from probgen.inference import SVI, BetaELBO, checkpoint, fit, run, schedules
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
    judged = fit(kept, x, epochs=1, optimizer=still, validation=x, progress=False)
    assert judged.values("elbo", "validation") == [max(bounds)]


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


@pytest.mark.parametrize("mode", ["eager", "graph"])
@pytest.mark.parametrize("stop_at", [1, 4, 7, 10])
def test_an_interrupted_run_resumes_to_the_same_bits(mode, stop_at, tmp_path):
    x = torch.sigmoid(x_of(50))

    def train(folder, stop=None, resume=False):
        torch.manual_seed(3)
        objective = SVI(LinearGaussian())
        if stop is not None:
            count, step = [0], run.Run.take_step

            def counted(self, *args):
                step(self, *args)
                count[0] += 1
                if count[0] == stop:
                    signal.raise_signal(signal.SIGINT)

            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(run.Run, "take_step", counted)
                history = fit(
                    objective,
                    Binarised(x),
                    epochs=4,
                    batch_size=16,
                    validation=x,
                    optimizer=adam,
                    checkpoint=folder,
                    seed=9,
                    compile=mode,
                    progress=False,
                )
            return objective, history
        history = fit(
            objective,
            Binarised(x),
            epochs=4,
            batch_size=16,
            validation=x,
            optimizer=adam,
            checkpoint=folder,
            resume=resume,
            seed=9,
            compile=mode,
            progress=False,
        )
        return objective, history

    whole, whole_history = train(tmp_path / "whole")
    _, cut = train(tmp_path / "cut", stop=stop_at)
    assert (cut.ended, cut.step) == ("interrupted", stop_at)
    resumed, history = train(tmp_path / "cut", resume=True)
    assert same(whole, resumed)
    assert history.rows == whole_history.rows
    assert history.ended == "finished"


def test_a_finished_run_goes_on_as_if_it_had_been_longer(tmp_path):
    pairs = []
    for lengths in ([11], [5, 11]):  # four steps are an epoch
        for steps in lengths:
            torch.manual_seed(3)
            pair = LinearGaussian()
            folder = tmp_path / str(len(lengths))
            options = {"seed": 9, "checkpoint": folder, "resume": True, "progress": False}
            fit(SVI(pair), x_of(), steps=steps, batch_size=64, optimizer=adam, **options)
        pairs.append(pair)
    assert same(*pairs)


def test_a_run_that_stopped_early_takes_no_further_step(tmp_path):
    x, held_out = torch.ones(64, 3), torch.full((8, 3), 0.5)
    for _ in range(2):
        history = fit(
            Square(),
            x,
            epochs=200,
            batch_size=64,
            optimizer=lambda parameters: torch.optim.SGD(parameters, lr=0.15),
            validation=held_out,
            patience=3,
            checkpoint=tmp_path,
            resume=True,
            progress=False,
        )
        assert (history.step, history.ended) == (10, "stopped early")


KILLED = """
import sys, torch
from probgen.inference import SVI, fit
from probgen.inference import fit as _
from tests.inference.test_fit import adam, x_of
from tests.pairs import LinearGaussian
sys.modules["probgen.inference.fit"].SAVE_SECONDS = 0.0
torch.manual_seed(3)
pair = LinearGaussian()
fit(SVI(pair), x_of(50), epochs=int(sys.argv[2]), batch_size=16, optimizer=adam, checkpoint=sys.argv[1],
    resume=True, seed=9, progress=False)
"""


def test_a_killed_run_resumes_to_the_same_bits(tmp_path):
    folder, epochs = tmp_path / "run", 150
    command = [sys.executable, "-c", KILLED, str(folder), str(epochs)]
    kills = 0
    for delay in (0.1, 0.3, 0.7):
        process = subprocess.Popen(command)
        deadline = time.monotonic() + 120
        seen = (folder / checkpoint.INDEX).stat().st_mtime_ns if checkpoint.exists(folder) else 0
        while process.poll() is None and time.monotonic() < deadline:
            if checkpoint.exists(folder) and (folder / checkpoint.INDEX).stat().st_mtime_ns > seen:
                break
            time.sleep(0.01)
        time.sleep(delay)
        if process.poll() is None:
            process.kill()
            kills += 1
        process.wait()
    assert kills > 0
    subprocess.run(command, check=True)
    torch.manual_seed(3)
    whole, resumed = LinearGaussian(), LinearGaussian()
    torch.manual_seed(3)
    whole = LinearGaussian()
    fit(SVI(whole), x_of(50), epochs=epochs, batch_size=16, optimizer=adam, seed=9, progress=False)
    objective = SVI(resumed)
    assert checkpoint.load_weights(folder, objective, name="last") == epochs * 4
    assert same(whole, objective.pair)


def test_a_save_that_is_cut_leaves_the_previous_checkpoint(tmp_path, monkeypatch):
    objective = Square()
    fit(objective, x_of(), steps=5, checkpoint=tmp_path, progress=False)
    good = objective.location.detach().clone()

    def cut(*_):
        raise OSError("disk full")

    monkeypatch.setattr(Path, "replace", cut)
    with pytest.raises(OSError, match="disk full"):
        fit(objective, x_of(), steps=10, checkpoint=tmp_path, resume=True, progress=False)
    fresh = Square()
    assert checkpoint.load_weights(tmp_path, fresh, name="last") == 5
    assert torch.equal(fresh.location.detach(), good)


def test_a_loss_that_is_nan_names_step_and_term_and_the_good_checkpoint_stands(tmp_path):
    fit(Square(), x_of(), steps=4, compile="eager", checkpoint=tmp_path, progress=False)
    broken = Square(plant=lambda loss: loss * torch.nan, at=4)  # its first call is a check
    with pytest.raises(
        ValueError, match=r"at step 7 the term 'square' is nan; the last good checkpoint is in"
    ):
        fit(broken, x_of(), steps=20, compile="eager", checkpoint=tmp_path, resume=True, progress=False)
    assert checkpoint.load_weights(tmp_path, Square(), name="last") == 4


def test_weights_that_are_nan_under_a_finite_loss_are_named_and_not_saved(tmp_path):
    class Root(Square):
        def forward(self, *batch: Tensor):
            return (0 * self.location).sum().square().sqrt() + batch[0].mean(), {}  # √0 has no gradient

    with pytest.raises(ValueError, match="weights should be finite but after step 1 'location' holds NaN"):
        fit(Root(), x_of(), steps=1, checkpoint=tmp_path, progress=False)
    assert not checkpoint.exists(tmp_path)


def test_a_run_killed_in_its_first_save_starts_afresh(tmp_path, monkeypatch):
    def killed(*_, **__):
        raise OSError("killed")

    for cut in ("torch.save", "json.dumps"):  # between the weights and the state, before the index
        with monkeypatch.context() as patch:
            patch.setattr(f"probgen.inference.checkpoint.{cut}", killed)
            with pytest.raises(OSError, match="killed"):
                fit(Square(), x_of(), steps=3, batch_size=200, checkpoint=tmp_path, progress=False)
        assert not checkpoint.exists(tmp_path)
    objective = Square()
    fit(objective, -x_of(), steps=3, batch_size=200, checkpoint=tmp_path, resume=True, progress=False)
    best = Square()
    assert checkpoint.load_weights(tmp_path, best, name="best") == 3
    assert same(best, objective)


def test_other_folders_in_the_run_folder_are_left_alone(tmp_path):
    (tmp_path / "best-models").mkdir()
    for steps in (2, 4):
        fit(Square(), x_of(), steps=steps, checkpoint=tmp_path, resume=True, progress=False)
    assert {path.name for path in tmp_path.iterdir()} >= {"best-models", "last-00000004"}
    assert not (tmp_path / "last-00000002").exists()


@pytest.mark.parametrize("damage", ["truncate", "remove", "index"])
def test_a_damaged_run_folder_is_named(damage, tmp_path):
    fit(Square(), x_of(), steps=4, checkpoint=tmp_path, progress=False)
    weights = next(tmp_path.glob("last-*")) / checkpoint.WEIGHTS
    if damage == "truncate":
        weights.write_bytes(weights.read_bytes()[:-1])
    elif damage == "remove":
        weights.unlink()
    else:
        (tmp_path / checkpoint.INDEX).write_text("{")
    with pytest.raises(ValueError, match=r"the run folder .* is damaged"):
        fit(Square(), x_of(), steps=8, checkpoint=tmp_path, resume=True, progress=False)


def test_weights_of_another_objective_are_refused(tmp_path):
    fit(Square(), x_of(), steps=2, checkpoint=tmp_path, progress=False)
    with pytest.raises(ValueError, match="should be those of this objective but"):
        checkpoint.load_weights(tmp_path, SVI(LinearGaussian()))


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({}, "give exactly one of epochs and steps, but got epochs=None and steps=None"),
        ({"epochs": 1, "steps": 1}, "give exactly one of epochs and steps"),
        ({"epochs": 0}, "epochs should be at least 1 but got 0"),
        ({"steps": 1, "batch_size": 0}, "batch_size should be at least 1 but got 0"),
        ({"steps": 1, "patience": 2}, "patience needs validation data"),
        ({"steps": 1, "resume": True}, "resume needs the run folder"),
        ({"steps": 1, "schedules": {"beta": lambda step: 1.0}}, "a schedule should name 'lr' or a buffer"),
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
        (torch.zeros(4, 3, dtype=torch.int64), "floating"),
        ((torch.zeros(4, 3), torch.zeros(3)), "4"),
    ],
    ids=["nan", "empty", "integer", "unequal"],
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
    with pytest.raises(ValueError, match="a resumed run should have the rows and batch_size"):
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
