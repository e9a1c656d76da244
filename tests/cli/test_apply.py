"""``probgen apply`` and ``probgen applications`` as a user meets them."""

import sys

import pytest

from probgen import applications
from probgen.applications.frame import registry
from probgen.cli import app
from probgen.compare.columns import Column


@pytest.fixture
def probgen(monkeypatch, tmp_path, capsys):
    """Run the command line in an empty folder, with one pretended application; return status and streams."""
    monkeypatch.chdir(tmp_path)
    registry.applications()  # imported now, they do not register in what is put aside afterwards
    monkeypatch.setattr(registry, "_APPLICATIONS", {})

    def call(*arguments, interrupt=False):
        @applications.application(
            "pretend",
            "A title",
            data="made up",
            shipped=["numbers"],
            measures={"hits": Column("hits", "", 1.0)},
        )
        def run(study):
            study.ours("vae", "A model.")
            study.measure("vae", 0, lambda: {"hits": 0.5})
            if interrupt:
                raise KeyboardInterrupt

        monkeypatch.setattr(sys, "argv", ["probgen", *map(str, arguments)])
        status = 0
        try:
            app.main()
        except SystemExit as end:
            status = int(end.code or 0)
        streams = capsys.readouterr()
        return status, streams.out, streams.err

    return call


def test_apply_says_where_its_results_are(probgen, tmp_path):
    status, out, err = probgen("apply", "pretend", "--quick")
    assert status == 0
    assert out.rstrip().endswith("The report is results/pretend/report.html")
    assert (tmp_path / "results" / "pretend" / "report.html").exists()
    assert "vae, repeat 1: hits 0.5" in out + err


def test_interrupted_it_says_that_it_goes_on(probgen):
    status, _, err = probgen("apply", "pretend", interrupt=True)
    assert status == 1
    assert "probgen: interrupted: what was measured is kept, and the same command goes on" in err
    assert probgen("apply", "pretend")[0] == 0


def test_applications_lists_them(probgen):
    status, out, _ = probgen("applications")
    assert status == 0
    assert "pretend" in out
    assert "made up" in out


def test_errors_are_one_sentence(probgen):
    status, _, err = probgen("apply", "pretend", "--data", "none.csv")
    assert status == 1
    assert err.strip() == "probgen: there is no file or folder 'none.csv', and shipped are numbers"
