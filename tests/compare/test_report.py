"""Table, summary, page and folder: what was found is shown in full, and the folder is whole or not there."""

import csv
import json
import math
from html.parser import HTMLParser
from pathlib import Path

import matplotlib.figure
import pytest
import torch
from torch import Tensor

from probgen.compare import Comparison, Fitted, Method, compare
from probgen.compare.table import number
from probgen.plots import Page as Played


def draw(n: int, *, seed: int) -> Tensor:
    return torch.randn(n, 2, generator=torch.Generator().manual_seed(seed))


def fit(train: Tensor, seed: int) -> Fitted:
    notes = {"acceptance": 0.2 + (seed % 7) / 100, "ended": "<finished>", "worst": math.inf}
    return Fitted(draw, lambda x: -x.square().sum(-1), notes=notes)


@pytest.fixture(scope="module")
def result() -> Comparison:
    methods = {"a <b>bold</b> & name": Method(fit, "About <this>."), "sampler": draw}
    facts = {"title": "Two ways <to> draw", "data": "normal & exact", "ratio": math.nan}
    return compare(
        methods, draw(40, seed=0), ["mmd", "energy", "nll", "cost"], train=draw(40, seed=1), repeats=3,
        progress=False, protocol=facts,
    )  # fmt: skip


def test_summary_is_the_mean_and_the_t_interval(result: Comparison) -> None:
    frame = result.frame
    own = frame.loc[(frame["method"] == "sampler") & (frame["metric"] == "mmd2"), "value"]
    row = result.summary().loc["sampler", "mmd2"]
    assert row["mean"] == pytest.approx(own.mean())
    half = 4.302652729911275 * own.std() / math.sqrt(3)
    assert (row["low"], row["high"]) == pytest.approx((own.mean() - half, own.mean() + half))


def test_one_repeat_has_no_interval() -> None:
    single = compare({"sampler": draw}, draw(40, seed=0), ["energy"], repeats=1, progress=False)
    assert single.summary().xs("low", axis=1, level=1).isna().all(axis=None)
    assert single.best("energy_distance") == set(), "and nothing is told apart"
    assert "±" not in single.table()


def test_equal_values_have_an_interval_of_zero() -> None:
    fitted = Fitted(draw, lambda x: torch.full((len(x),), -0.1, dtype=torch.float64))
    same = compare({"fitted": fitted}, draw(40, seed=0), ["nll"], repeats=3, progress=False)
    losses = same.frame.loc[same.frame["metric"] == "nll", "value"]
    assert losses.nunique() == 1
    assert losses.std() > 0  # the rounding error of the mean
    row = same.summary().loc["fitted", "nll"]
    assert row["low"] == row["mean"] == row["high"]
    assert "±" not in same.table()


@pytest.mark.parametrize(
    ("mean", "half_width", "text"),
    [
        (0.123456, 0.0123, "0.123 ± 0.012"),
        (0.00054, 0.00071, "0.00054 ± 0.00071"),
        (-12.345, 0.0996, "−12.35 ± 0.10"),
        (1234.5, 67.8, "1234 ± 68"),
        (0.5, math.nan, "0.500"),
        (0.5, 0.0, "0.500"),
        (0.0, math.nan, "0"),
        (0.99951, math.nan, "1.00"),
        (1.5e-9, 2.5e-9, "1.50e−09 ± 2.5e−09"),
        (math.inf, math.nan, "∞"),
        (-math.inf, math.nan, "−∞"),
    ],
)
def test_numbers_have_the_digits_that_their_interval_justifies(
    mean: float, half_width: float, text: str
) -> None:
    assert number(mean, half_width) == text


def test_table_fits_the_terminal_and_sets_the_baselines_apart(
    result: Comparison, monkeypatch: pytest.MonkeyPatch
) -> None:
    for columns in (100, 300):
        monkeypatch.setenv("COLUMNS", str(columns))
        table = str(result)
        assert max(map(len, table.splitlines())) <= min(columns, 160)
        for metric in result.frame["metric"].unique():
            assert metric in table
    block = table.split("\n\n")[0].splitlines()
    starts = [line.split("  ")[0].rstrip("─") for line in block]
    assert starts == [
        "method", "", "a <b>bold</b> & name", "sampler", "", "memoriser", "train against test", "best value",
    ]  # fmt: skip
    assert "–" in table, "the sampler has no likelihood"


def test_save_writes_everything(result: Comparison, tmp_path: Path) -> None:
    figure = matplotlib.figure.Figure()
    out = result.save(tmp_path / "new" / "run", figures={"samples": figure}, captions={"samples": "A & B"})
    assert sorted(path.name for path in out.iterdir()) == [
        "metrics.csv", "metrics.png", "protocol.json", "report.html", "samples.png",
    ]  # fmt: skip
    with (out / "metrics.csv").open(newline="") as file:
        header, *rows = csv.reader(file)
    assert header == ["method", "metric", "repeat", "value", "findings"]
    assert [float(row[3]) for row in rows] == result.frame["value"].to_list()
    assert [path.name for path in out.parent.iterdir()] == ["run"]


def test_protocol_is_strict_json_with_versions_seeds_and_definitions(
    result: Comparison, tmp_path: Path
) -> None:
    text = (result.save(tmp_path / "run") / "protocol.json").read_text(encoding="utf-8")

    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is no JSON")

    protocol = json.loads(text, parse_constant=refuse)
    assert set(protocol["versions"]) == {"python", "probgen", "torch", "pyro", "numpy", "scipy", "sklearn"}
    assert protocol["versions"]["torch"] == torch.__version__
    assert (protocol["n"], protocol["repeats"], protocol["seed"]) == (40, 3, 0)
    assert len(protocol["seeds"]["train against test"]) == 3
    assert set(protocol["metrics"]) == set(result.frame["metric"])
    assert protocol["facts"]["ratio"] == "nan"


class Page(HTMLParser):
    """Keeps text, attributes and open tags, and fails where tags do not match."""

    void = frozenset({"meta", "img", "br"})

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.links: list[str] = []
        self.frames: list[str] = []
        self.text = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.links += [value or "" for name, value in attrs if name in ("src", "href")]
        self.frames += [value or "" for name, value in attrs if name == "srcdoc"]
        if tag not in self.void:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def test_report_is_one_sound_self_contained_page(result: Comparison, tmp_path: Path) -> None:
    figures = {"samples": matplotlib.figure.Figure()}
    out = result.save(tmp_path / "run", figures=figures, captions={"samples": "Real & drawn"})
    html = (out / "report.html").read_text(encoding="utf-8")
    page = Page(html)
    assert page.open == []
    assert not {"script", "link", "b>"} & set(page.tags)
    assert len(page.links) == 2
    assert all(link.startswith("data:image/png;base64,") for link in page.links)
    assert "http" not in html
    for shown in (
        "Two ways <to> draw", "a <b>bold</b> & name", "About <this>.", "normal & exact", "Real & drawn",
        "<finished>", "train against test", "memoriser",
        f"torch {torch.__version__}", "40 held-out points", "run 3 times",
    ):  # fmt: skip
        assert shown in page.text, shown
    for metric, about in result.protocol["metrics"].items():
        assert metric in page.text
        assert about in page.text


def test_pages_to_play_with_are_in_the_report_and_beside_it(result: Comparison, tmp_path: Path) -> None:
    own = Played('<!DOCTYPE html>\n<p title="x">1 < 2</p><script>alert("no")</script>', "Two & one")
    out = result.save(tmp_path / "run", pages={"played": own})
    assert (out / "played.html").read_text(encoding="utf-8") == own.html
    page = Page((out / "report.html").read_text(encoding="utf-8"))
    assert page.open == []
    assert "script" not in page.tags, "it is text of an attribute, and runs in a frame of its own"
    assert page.frames == [own.html]
    assert "played.html" in page.text
    for name, words in {
        "../up": "a plain word|letters, digits",
        "report": "another name than 'report'",
    }.items():
        with pytest.raises(ValueError, match=words):
            result.save(tmp_path / "again", pages={name: own})
    assert not (tmp_path / "again").exists()


def test_report_shows_notes_over_all_repeats(result: Comparison, tmp_path: Path) -> None:
    page = Page((result.save(tmp_path / "run") / "report.html").read_text(encoding="utf-8"))
    own = [note["acceptance"] for note in result.protocol["notes"]["a <b>bold</b> & name"]]
    assert f"{min(own):.4g} to {max(own):.4g}" in page.text


def test_an_empty_folder_is_used_and_a_full_one_refused(result: Comparison, tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    assert (result.save(empty) / "report.html").exists()
    before = {path.name: path.read_bytes() for path in empty.iterdir()}
    with pytest.raises(
        ValueError, match=r"out should be a new or empty folder but .*empty' holds something already"
    ):
        result.save(empty)
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match="out should be a new or empty folder"):
        result.save(tmp_path / "file")
    assert {path.name: path.read_bytes() for path in empty.iterdir()} == before


def test_nothing_is_left_where_saving_fails(
    result: Comparison, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(self: Path, data: bytes) -> int:
        raise OSError("no space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(OSError, match="no space left"):
        result.save(tmp_path / "run")
    assert list(tmp_path.iterdir()) == []


def test_a_figures_name_is_a_plain_word(result: Comparison, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"a figure's name should be .* but got '../up'"):
        result.save(tmp_path / "run", figures={"../up": matplotlib.figure.Figure()})
    assert list(tmp_path.iterdir()) == []
