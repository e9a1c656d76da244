"""Questions and answers: numbers are those of the comparison, and what has none says why."""

from pathlib import Path
from statistics import stdev

import pandas as pd
import pytest

from probgen.compare import Comparison, Fitted, Method, compare
from probgen.compare.questions import answers, deviation, measured, noted, sound, worst
from tests.compare.test_compare import normal

TRAIN, TEST = normal()(60, seed=1), normal()(50, seed=2)


def unsound(train, seed):  # type: ignore[no-untyped-def]
    found = ["Something <is> wrong."] if seed % 2 else []
    return Fitted(normal(), lambda x: -x.square().sum(-1), notes={"kind": "by <moments>"}, findings=found)


@pytest.fixture(scope="module")
def result() -> Comparison:
    methods = {"fitted": Method(unsound), "shifted": normal(2.0), "true": normal()}
    metrics = ["energy_distance", "nll", "c2st_accuracy"]
    return compare(methods, TEST, metrics, train=TRAIN, repeats=4, progress=False, seed=1)


QUESTIONS = (
    measured("Far?", "energy_distance", "How far <draws> are."),
    measured("Likely?", "nll", lacking="no likelihood"),
    deviation("Stable?", "energy_distance", "Its deviation."),
    worst("Worst?", "c2st_accuracy", "The least."),
    noted("How?", "kind", "The way.", "no note"),
    sound("Sound?", "Runs without a finding."),
    measured("Not measured", "frechet", lacking="no features"),
)


def test_answers_are_numbers_or_say_why_there_are_none(result: Comparison) -> None:
    found = answers(result, QUESTIONS)
    frame = result.frame.set_index(["method", "metric"]).value
    energies = frame["shifted", "energy_distance"].tolist()
    assert list(found["Far?"]) == ["fitted", "shifted", "true", "memoriser", "train against test"]
    mean, _, spread = found["Far?"]["shifted"].partition(" ± ")
    assert float(mean) == pytest.approx(sum(energies) / 4, abs=float(spread) / 10)
    assert float(found["Stable?"]["shifted"]) == pytest.approx(stdev(energies), rel=0.05)
    assert float(found["Worst?"]["true"]) == pytest.approx(min(frame["true", "c2st_accuracy"]), abs=5e-4)
    assert found["Likely?"]["shifted"] == "no likelihood"
    assert found["Likely?"]["memoriser"] == "–"
    assert "no" not in found["Likely?"]["fitted"]
    assert found["How?"] == {
        "fitted": "by <moments>", "shifted": "no note", "true": "no note", "memoriser": "–",
        "train against test": "–",
    }  # fmt: skip
    wrong = sum(bool(own) for own in result.protocol["findings"]["fitted"])
    assert 0 < wrong < 4, "the test wants both"
    assert found["Sound?"]["fitted"] == f"{4 - wrong} of 4"
    assert found["Sound?"]["true"] == "4 of 4"
    assert set(found["Not measured"].values()) == {"no features", "–"}


def test_the_terminal_shows_them_with_their_signs(
    result: Comparison, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "90")
    shown = result.answers(QUESTIONS)
    assert max(map(len, shown.splitlines())) <= 90
    assert shown.count("question") == 2, "in two blocks"
    assert "fitted †" in shown
    far = next(line for line in shown.splitlines() if line.startswith("Far?"))
    assert "*" in far
    assert "† fitted: in" in shown
    assert result.best("energy_distance") == {"true"}


def test_the_report_begins_with_them(result: Comparison, tmp_path: Path) -> None:
    out = result.save(tmp_path / "run", questions=QUESTIONS)
    page = (out / "report.html").read_text(encoding="utf-8")
    assert page.index("Questions and answers") < page.index("All numbers") < page.index("Figures")
    for question in QUESTIONS:
        assert f"<dt>{question.name}</dt>" in page
    assert "How far &lt;draws&gt; are." in page
    assert "by &lt;moments&gt;" in page
    assert "no likelihood" in page
    assert page.count('class="doubt"') > page.count("† fitted"), "marked in both tables"
    table = pd.read_csv(out / "answers.csv", index_col="question", keep_default_na=False)
    assert table.loc["Likely?", "shifted"] == "no likelihood"
    assert table.columns.tolist() == list(answers(result, QUESTIONS)["Far?"])
    plain = result.save(tmp_path / "plain")
    assert not (plain / "answers.csv").exists()
    assert "Questions and answers" not in (plain / "report.html").read_text(encoding="utf-8")
