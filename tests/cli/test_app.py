"""The command line as a user meets it: what it writes, and one sentence for what is wrong."""

import json
import shutil
import signal
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from probgen import recipes
from probgen.cli import app, comparing, runs
from probgen.evaluation import mode_coverage
from probgen.recipes import compared
from probgen.training import run
from probgen.training.lock import locked


@pytest.fixture
def probgen(monkeypatch, tmp_path, capsys):
    """Run the command line in an empty folder; return the exit status, stdout and stderr."""
    monkeypatch.chdir(tmp_path)

    def call(*arguments):
        if "compare" in arguments and "--jobs" not in arguments:
            arguments += ("--jobs", 1)  # another process would not see what a test has patched
        monkeypatch.setattr(sys, "argv", ["probgen", *map(str, arguments)])
        status = 0
        try:
            app.main()
        except SystemExit as end:
            status = int(end.code or 0)
        streams = capsys.readouterr()
        return status, streams.out, streams.err

    return call


def refused(outcome):
    """Return the one sentence of a call that failed."""
    status, _, err = outcome
    assert status == 1
    line = err.strip().splitlines()[-1]
    assert line.startswith("probgen: ")
    assert "Traceback" not in err
    return line.removeprefix("probgen: ")


QUICK = ("--repeats", 1, "--n", 100, "--metrics", "energy,nn_ratio,cost")


def test_compare_writes_the_table_the_protocol_the_report_and_the_figures(probgen, tmp_path):
    status, out, _ = probgen("compare", "--methods", "pixels", *QUICK, "--out", "here")
    assert status == 0
    assert "pixels" in out
    assert "train against test" in out
    assert out.rstrip().endswith("The report is here/report.html")
    frame = pd.read_csv("here/metrics.csv")
    assert list(frame.columns) == ["method", "metric", "repeat", "value", "findings"]
    assert set(frame.method) == {"pixels", "memoriser", "train against test"}
    protocol = json.loads((tmp_path / "here/protocol.json").read_text())
    assert protocol["facts"]["data"] == "digits, version 1"
    assert (protocol["seed"], protocol["n"], protocol["repeats"]) == (0, 100, 1)
    page = (tmp_path / "here/report.html").read_text()
    assert page.count("data:image/png;base64,") == 2
    assert {path.name for path in (tmp_path / "here").glob("*.png")} == {"metrics.png", "samples.png"}


def test_compare_numbers_its_default_folders_and_repeats_itself(probgen, tmp_path):
    for _ in range(2):
        status, _, _ = probgen("compare", "banana", "--methods", "rejection", *QUICK)
        assert status == 0
    first, second = (
        pd.read_csv(tmp_path / "results" / name / "metrics.csv") for name in ("banana", "banana-2")
    )
    timed = first.metric.str.contains("seconds")
    pd.testing.assert_frame_equal(first[~timed], second[~timed])


@pytest.mark.parametrize("target", ["banana", "checkerboard"])
def test_the_exact_methods_draw_the_target(target, probgen):
    options = ("--repeats", 1, "--n", 1000, "--metrics", "mmd", "--out", "here")
    status, _, _ = probgen("compare", target, "--methods", "inverse,rejection", *options)
    assert status == 0
    frame = pd.read_csv("here/metrics.csv").pivot_table(index="method", columns="metric", values="value")
    assert (frame.mmd2_p[["inverse", "rejection"]] > 0.002).all()
    assert (frame.mmd2.abs() < 5 * frame.mmd2_stderr)[["inverse", "rejection"]].all()
    assert f"How draws of {target} are made" in Path("here/samplers.html").read_text(encoding="utf-8")


def test_what_is_known_of_data_is_what_draws_are_judged_by():
    ring, banana, digits = (recipes.load(name) for name in ("ring", "banana", "digits"))
    centres, sd = comparing.modes(ring)
    assert mode_coverage(ring.test.x, centres, sd).found == 8
    assert comparing.modes(banana) is None
    assert comparing.features(banana, 0) is None
    assert comparing.features(digits, 0).accuracy > 0.85
    few = torch.where(torch.arange(len(digits.train)) < 99, digits.train.labels, -1)
    of_few = replace(digits, train=replace(digits.train, labels=few))
    assert comparing.features(of_few, 0) is None


def test_a_vae_is_shown_with_its_codes(probgen, tmp_path, monkeypatch):
    train = recipes.train
    monkeypatch.setattr(compared, "train", lambda *args, **given: train(*args, **given | {"steps": 3}))
    options = ("--methods", "vae-2d", "--repeats", 1, "--metrics", "nll", "--out", "here")
    monkeypatch.setattr(compared, "PARTICLES", 2)
    status, _, _ = probgen("compare", "digits", *options)
    assert status == 0
    assert {path.stem for path in (tmp_path / "here").glob("*.png")} == {
        "metrics",
        "samples",
        "latent",
        "manifold",
    }
    codes = (tmp_path / "here/codes.html").read_text()
    assert "The codes of vae-2d" in codes
    assert "Decoded beforehand" in codes


def test_further_coordinates_are_decoded_by_the_models_own_weights(probgen, tmp_path):
    options = (
        "--methods",
        "pixels,vae",
        "--steps",
        3,
        "--repeats",
        1,
        "--metrics",
        "energy",
        "--out",
        "here",
    )
    status, _, err = probgen("compare", "digits", *options)
    assert status == 0, err
    codes = (tmp_path / "here/codes.html").read_text()
    assert "decoder's own weights" in codes
    assert sum(path.stat().st_size for path in (tmp_path / "here").iterdir()) < 5_000_000


def test_train_and_sample(probgen, tmp_path):
    status, out, _ = probgen("train", "vae", "--data", "banana", "--steps", 20, "--batch-size", 64)
    assert status == 0
    assert "finished at step 20: the run is in runs/vae-banana" in out
    assert "validation loss" in out
    folder = tmp_path / "runs/vae-banana"
    assert {"run.json", "history.csv", "history.png", "checkpoint.json"} <= {p.name for p in folder.iterdir()}

    status, out, _ = probgen("sample", folder, "-n", 7)
    assert status == 0
    assert "7 draws of vae on banana" in out
    draws = np.load(folder / "samples.npy")
    assert draws.shape == (7, 2)
    assert (folder / "samples.png").exists()
    assert probgen("sample", folder, "-n", 7, "--out", "again.npy")[0] == 0
    np.testing.assert_array_equal(np.load("again.npy"), draws)
    assert probgen("sample", folder, "-n", 7, "--out", "other.npy", "--seed", 1)[0] == 0
    assert not np.array_equal(np.load("other.npy"), draws)


def test_an_interrupted_training_resumes_to_the_same_draws(probgen, monkeypatch):
    options = ("train", "gmmn", "--data", "ring", "--steps", 12, "--batch-size", 32)
    assert probgen(*options, "--out", "whole")[0] == 0
    step, count = run.Run.end_step, []

    def stop_at_five(self, *args):
        step(self, *args)
        count.append(1)
        if len(count) == 5:
            signal.raise_signal(signal.SIGINT)

    with monkeypatch.context() as patch:
        patch.setattr(run.Run, "end_step", stop_at_five)
        status, out, _ = probgen(*options, "--out", "cut")
    assert status == 0
    assert "interrupted at step 5" in out
    assert probgen(*options[:4], "--out", "cut", "--resume")[0] == 0  # with the steps of the run
    for folder in ("whole", "cut"):
        assert probgen("sample", folder, "-n", 5)[0] == 0
    np.testing.assert_array_equal(np.load("whole/samples.npy"), np.load("cut/samples.npy"))


def test_a_resume_that_is_refused_changes_nothing(probgen, tmp_path):
    train = ("train", "vae", "--data", "banana", "--out", "run")
    assert probgen(*train, "--steps", 3, "--seed", 4)[0] == 0
    about = json.loads((tmp_path / "run/run.json").read_text())
    assert about == {"model": "vae", "data": "banana", "seed": 4, "steps": 3}
    refusals = {
        ("--batch-size", 64): "should have the batch_size of the run in run",
        ("--seed", 5): "the run in run has seed 4 but got 5",
        ("--data", "ring"): "the run in run has data 'banana' but got 'ring'",
        ("--precision", "bf16-mixed"): "should have the precision of the run in run",
    }
    for options, sentence in refusals.items():
        assert sentence in refused(probgen("train", "vae", "--out", "run", "--resume", *options))
        assert json.loads((tmp_path / "run/run.json").read_text()) == about
    with locked(tmp_path / "run"):
        assert "is in use by another training" in refused(probgen(*train, "--resume", "--steps", 9))
    assert json.loads((tmp_path / "run/run.json").read_text()) == about
    status, out, _ = probgen("train", "vae", "--out", "run", "--resume", "--steps", 6)
    assert status == 0
    assert "finished at step 6" in out
    assert json.loads((tmp_path / "run/run.json").read_text()) == about | {"steps": 6}


def test_a_run_that_ended_before_its_first_save_leaves_its_folder_free(probgen, tmp_path, monkeypatch):
    train = ("train", "vae", "--data", "banana", "--out", "run")
    step = run.Run.begin_step

    def killed(*_):
        raise OSError("killed")

    monkeypatch.setattr(run.Run, "begin_step", killed)
    assert refused(probgen(*train, "--steps", 3, "--batch-size", 32)) == "killed"
    monkeypatch.setattr(run.Run, "begin_step", step)
    shutil.copytree("run", "other")
    shutil.copytree("run", "third")
    assert probgen("train", "vae", "--out", "run", "--resume")[0] == 0  # with the options that it had
    about = {"model": "vae", "data": "banana", "seed": 0, "steps": 3, "batch_size": 32}
    assert json.loads((tmp_path / "run/run.json").read_text()) == about
    for options in (("other",), ("third", "--resume")):
        given = ("train", "gmmn", "--data", "ring", "--steps", 2, "--seed", 1, "--out", *options)
        assert probgen(*given)[0] == 0
        about = json.loads((tmp_path / options[0] / "run.json").read_text())
        assert about == {"model": "gmmn", "data": "ring", "seed": 1, "steps": 2}


def test_a_run_that_is_refused_at_its_start_leaves_no_folder(probgen, tmp_path):
    (tmp_path / "file").touch()
    given = ("train", "vae", "--data", "banana", "--steps", 2, "--out")
    assert "file/run should be one that can be written" in refused(probgen(*given, "file/run"))
    assert "can be written, but is not (File name too long)" in refused(probgen(*given, "a" * 300))
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["compare", "bananna"], "there is no data set 'bananna': did you mean 'banana'?"),
        (["compare", "--methods", "vea"], "there is no method 'vea' for digits: did you mean 'vae'?"),
        (["compare", "--methods", ","], "methods should name at least one of pixels, mixture"),
        (["compare", "--methods", "pixels", "--metrics", "c2ts"], "c2st"),
        (["compare", "--device", "cuda:77"], "device should be one that this machine has but got 'cuda:77'"),
        (["train", "vea"], "there is no recipe 'vea': did you mean 'vae'?"),
        (["train", "vae", "--strategy", "fsdp"], "--strategy should be auto or ddp but got 'fsdp'"),
        (["train", "vae", "--precision", "16"], "--precision should be 32-true or bf16-mixed but got '16'"),
        (["sample", "nowhere"], "nowhere should be the folder of a run of `probgen train`"),
        (["data", "where", "minst"], "there is no data set 'minst': did you mean 'mnist'?"),
    ],
)
def test_what_is_wrong_is_one_sentence(arguments, sentence, probgen, tmp_path):
    assert sentence in refused(probgen(*arguments))
    assert list(tmp_path.iterdir()) == []  # nothing half-written


def test_a_folder_that_holds_something_is_refused(probgen, tmp_path):
    (tmp_path / "full").mkdir()
    (tmp_path / "full/mine.txt").write_text("mine")
    sentence = refused(probgen("compare", "--methods", "pixels", *QUICK, "--out", "full"))
    assert sentence == "--out should be a new or empty folder but 'full' holds something already"
    assert (tmp_path / "full/mine.txt").read_text() == "mine"


def test_runs_in_use_damaged_or_of_another_model_are_refused(probgen, tmp_path):
    options = ("--data", "banana", "--steps", 2, "--out", "run")
    assert probgen("train", "vae", *options)[0] == 0
    assert "the run folder run holds a run: pass --resume" in refused(probgen("train", "vae", *options))
    assert "has model 'vae' but got 'gmmn'" in refused(probgen("train", "gmmn", *options, "--resume"))
    assert "--out should be a .npy file" in refused(probgen("sample", "run", "--out", "draws.txt"))
    for path in (tmp_path / "run").glob("best-*/weights.safetensors"):
        path.write_bytes(path.read_bytes()[:-9])
    assert "the run folder run is damaged" in refused(probgen("sample", "run"))
    assert not (tmp_path / "run/samples.npy").exists()
    (tmp_path / "run" / runs.RUN).write_text('{"model": ')
    assert "run.json cannot be read" in refused(probgen("sample", "run"))


def test_a_damaged_data_file_is_named(probgen, tmp_path, monkeypatch):
    folder = tmp_path / "data"
    (folder / "mnist").mkdir(parents=True)
    name = "train-images-idx3-ubyte.gz"
    (folder / "mnist" / name).write_bytes(b"\x1f\x8bnot gzip")
    monkeypatch.setenv("PROBGEN_DATA", str(folder))
    sentence = refused(probgen("compare", "mnist"))
    assert name in sentence
    assert "damaged" in sentence
    assert not (tmp_path / "results").exists()


def test_ctrl_c_ends_with_one_sentence(probgen, monkeypatch):
    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(comparing, "new_folder", interrupt)
    status, _, err = probgen("compare", "banana")
    assert status == 130
    assert err.strip() == "probgen: interrupted, nothing more was written"


def test_the_traceback_is_shown_when_asked(probgen):
    with pytest.raises(ValueError, match="there is no data set"):
        probgen("--traceback", "compare", "bananna")
    refused(probgen("compare", "bananna"))


def test_data_are_listed_and_found(probgen):
    status, out, _ = probgen("data", "list")
    assert status == 0
    for name in ("digits", "mnist", "banana", "swiss-roll"):
        assert name in out
    assert probgen("data", "where", "digits")[1].strip() == "inside scikit-learn"
    assert probgen("data", "fetch", "digits")[0] == 0


@pytest.mark.parametrize("command", [[], ["compare"], ["train"], ["sample"], ["data"]])
def test_help_reads_well(command, probgen):
    status, out, _ = probgen(*command, "--help")
    assert status == 0
    assert "Usage: probgen" in out
    width = max(len(line) for line in out.splitlines())
    assert width <= shutil.get_terminal_size().columns
