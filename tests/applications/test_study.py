"""The frame of applications: what it keeps, writes and refuses, on an application that is none."""

import json
import math

import pandas as pd
import pytest
import torch

from probgen import applications, models, nets
from probgen.applications.frame import registry
from probgen.compare.columns import SHARE, Column
from probgen.objectives import SVI
from probgen.plots import image_grid
from tests.benchmarks.applications import section

MEASURES = {"hits": Column("hits", "Share of hits.", 1.0, SHARE), "cost": Column("cost", "In s.", "lower")}
TOLD = {"data": "Numbers that a test makes up", "shipped": ["numbers"], "measures": MEASURES}


@pytest.fixture
def register(monkeypatch):
    """Register an application for a test alone; return what counts its calls."""
    registry.applications()  # imported now, they do not register in what is put aside afterwards
    monkeypatch.setattr(registry, "_APPLICATIONS", {})

    def add(run):
        applications.application("pretend", "A pretended application", **TOLD)(run)

    return add


def plain(study, calls=None, *, fail=False):
    study.ours("vae", "What we have.")
    study.baseline("knn <b>", "What others have.")
    for repeat in range(3):
        for name, value in (("vae", 0.4), ("knn <b>", 0.6)):

            def found(value=value, name=name, repeat=repeat):
                if calls is not None:
                    calls.append((name, repeat))
                if fail and repeat == 1:
                    raise KeyboardInterrupt
                noise = 0.01 * float(torch.rand(()))
                return {"hits": value + noise, "cost": 1.0 + noise}

            study.measure(name, repeat, found)
    study.figure("shown", image_grid({"noise": torch.rand(4, 4)}, image_shape=(2, 2)), "Four <pictures>.")
    study.table("best films", pd.DataFrame({"title": ["A & B"], "score": [0.123456]}), "A table.")
    study.output("draws.txt", b"1 2 3", "Three numbers.")
    study.say("A sentence of its own.")
    study.fact("rows", 3)


def test_the_folder_holds_report_metrics_protocol_and_figures(register, tmp_path):
    register(plain)
    folder = applications.apply("pretend", out=tmp_path / "here", size="quick", seed=3, progress=False)
    frame = pd.read_csv(folder / "metrics.csv")
    assert list(frame.columns) == ["method", "metric", "repeat", "value"]
    assert len(frame) == 2 * 2 * 3
    record = json.loads((folder / "protocol.json").read_text())
    assert record["study"] == {
        "application": "pretend", "data": "numbers", "SHA-256": None, "size": "quick", "seed": 3
    }  # fmt: skip
    assert record["facts"]["rows"] == "3"
    page = (folder / "report.html").read_text()
    for text in (
        "hits: a baseline wins. knn &lt;b&gt; is better than vae by 0.",
        "A sentence of its own.", "Four &lt;pictures&gt;.", "A &amp; B", "draws.txt", "This is a quick run",
    ):  # fmt: skip
        assert text in page, text
    assert {path.name for path in folder.iterdir()} == {
        "report.html", "metrics.csv", "protocol.json", "metrics.png", "shown.png", "best-films.csv",
        "draws.txt", ".lock",
    }  # fmt: skip


def test_a_finished_study_is_a_section_of_the_results(register, tmp_path):
    register(plain)
    folder = applications.apply("pretend", out=tmp_path / "here", progress=False)
    title, protocol, body = section(applications.applications()["pretend"], folder, "numbers")
    assert title == "Application pretend, numbers"
    assert protocol.startswith("`probgen apply pretend --data numbers --seed 0`, 3 repeats. Rows: 3.")
    head, _, ours, base = body.split("\n\n")[0].splitlines()
    assert head == "| method (best value) | hits (1) | cost (low) |"
    frame = pd.read_csv(folder / "metrics.csv")
    for row, name in ((ours, "vae"), (base, "knn <b>")):
        mean = frame.loc[(frame["method"] == name) & (frame["metric"] == "hits"), "value"].mean()
        assert float(row.split("|")[2].strip(" \\*").split()[0]) == pytest.approx(mean, abs=6e-4)
    assert base.startswith("| *knn <b>* | \\*0.6"), "a baseline, and the best"
    assert "hits: a baseline wins. knn <b> is better than vae by 0." in body
    assert body.endswith("- A sentence of its own.")


def test_an_interrupted_study_goes_on_to_the_same_numbers(register, tmp_path):
    calls: list = []
    register(lambda study: plain(study, calls, fail=True))
    with pytest.raises(KeyboardInterrupt):
        applications.apply("pretend", out=tmp_path / "here", progress=False)
    assert calls == [("vae", 0), ("knn <b>", 0), ("vae", 1)]
    calls.clear()
    register(lambda study: plain(study, calls))
    applications.apply("pretend", out=tmp_path / "here", progress=False)
    assert calls == [("vae", 1), ("knn <b>", 1), ("vae", 2), ("knn <b>", 2)], "what was measured is kept"
    applications.apply("pretend", out=tmp_path / "there", progress=False)
    ends = [pd.read_csv(tmp_path / name / "metrics.csv") for name in ("here", "there")]
    pd.testing.assert_frame_equal(*ends, check_exact=True)


def test_a_training_is_kept_and_its_collapse_is_a_finding(register, tmp_path):
    trained = []

    def run(study):
        study.ours("vae", "A model.")
        torch.manual_seed(0)
        vae = models.VAE(nets.NormalHead(nets.MLP(3, 1)), nets.NormalHead(nets.MLP(1, 3), scale="shared"))
        history = study.fit("a run", SVI(vae), torch.randn(64, 3), seed=0, method="vae", steps=20)
        trained.append((history.step, vae.decoder(torch.zeros(1, 1)).mean))
        study.measure("vae", 0, lambda: {"hits": 0.5})

    register(run)
    for _ in range(2):
        applications.apply("pretend", out=tmp_path / "here", progress=False)
    assert torch.equal(trained[0][1], trained[1][1]), "the second call has the weights of the first"
    assert (tmp_path / "here" / "runs" / "a-run").is_dir()


def test_a_finding_marks_its_method_and_takes_it_out_of_the_contest(register, tmp_path):
    def run(study):
        study.ours("broken", "Its code is not used.")
        study.ours("vae", "A model.")
        study.baseline("knn", "Neighbours.")
        study.find("broken", ["The code collapsed."])
        for repeat in range(3):
            for name, value in (("broken", 0.9), ("vae", 0.8), ("knn", 0.5)):
                study.measure(name, repeat, lambda value=value, r=repeat: {"hits": value + r / 1000})

    register(run)
    folder = applications.apply("pretend", out=tmp_path / "here", progress=False)
    page = (folder / "report.html").read_text()
    assert "hits: ours wins. vae is better than every baseline" in page
    assert "The code collapsed." in page
    assert json.loads((folder / "protocol.json").read_text())["findings"] == {
        "broken": ["The code collapsed."]
    }


def test_a_folder_of_another_study_or_of_other_files_is_refused(register, tmp_path):
    register(plain)
    applications.apply("pretend", out=tmp_path / "here", progress=False)
    with pytest.raises(ValueError, match="holds a study whose seed is 0, not 1: choose another --out"):
        applications.apply("pretend", out=tmp_path / "here", seed=1, progress=False)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "thesis.tex").write_text("mine")
    with pytest.raises(ValueError, match="has other files"):
        applications.apply("pretend", out=tmp_path / "other", progress=False)
    (tmp_path / "here" / "protocol.json").write_text("{")
    with pytest.raises(ValueError, match="is damaged: move"):
        applications.apply("pretend", out=tmp_path / "here", progress=False)


def test_a_file_that_changed_makes_another_study(register, tmp_path):
    register(lambda study: plain(study))
    own = tmp_path / "own.csv"
    own.write_text("a\n1\n")
    applications.apply("pretend", data=own, out=tmp_path / "here", progress=False)
    own.write_text("a\n2\n")
    with pytest.raises(ValueError, match="whose SHA-256 is"):
        applications.apply("pretend", data=own, out=tmp_path / "here", progress=False)
    with pytest.raises(ValueError, match="there is no file or folder"):
        applications.apply("pretend", data=tmp_path / "none.csv", progress=False)


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"hits": math.nan}, "'hits' of method 'vae' should be a number but is NaN"),
        ({"misses": 1.0}, "should have measures of hits, cost but has misses"),
        ({}, "but has none"),
    ],
)
def test_numbers_that_are_none_are_refused(register, tmp_path, values, said):
    def run(study):
        study.ours("vae", "A model.")
        study.measure("vae", 0, lambda: values)

    register(run)
    with pytest.raises(ValueError, match=said):
        applications.apply("pretend", out=tmp_path / "here", progress=False)


def test_an_unknown_name_has_near_ones():
    with pytest.raises(ValueError, match="there is no application 'nothing-like-it'"):
        applications.apply("nothing-like-it")
