"""The pages of the site beside the tutorials: their code runs, and the generated pages are whole."""

import importlib
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import jupytext
import pytest
from docutils import nodes
from docutils.utils import new_document

from probgen import recipes
from probgen.applications import applications
from probgen.applications.frame import registry
from tests.site_links import broken

SITE = Path(__file__).parents[1] / "tutorials"
PAGES = sorted((SITE / "how_to").glob("*.md"))
OF_APPLICATIONS = sorted(p for p in (SITE / "applications").glob("*.md") if p.stem != "index")
PROSE = [*SITE.rglob("[a-z0-9]*.md"), SITE.parent / "README.md"]
PROSE = sorted(path for path in PROSE if "generated" not in path.parts)
sys.path.insert(0, str(SITE))
generated, formulas, progress_bars = map(
    importlib.import_module, ("generated_pages", "formulas", "progress_bars")
)


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.stem)
def test_the_code_of_a_page_runs(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(registry, "_APPLICATIONS", applications())  # forget what pages add
    names: dict[str, Any] = {"__name__": "__main__"}
    for cell in jupytext.read(path).cells:
        if cell.cell_type == "code":
            exec(compile(cell.source, path.name, "exec"), names)


@pytest.mark.parametrize("path", OF_APPLICATIONS, ids=lambda path: path.stem)
def test_the_page_of_an_application_runs(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The site runs what a page shows, at the size quick; here it is tiny, for the sake of the minutes."""
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {"__name__": "__main__"}
    assert f"probgen apply {path.stem}" in path.read_text(encoding="utf-8")
    for cell in jupytext.read(path).cells:
        if cell.cell_type == "code":
            try:
                exec(compile(cell.source.replace('size="quick"', 'size="tiny"'), path.name, "exec"), names)
            except ConnectionError as error:
                pytest.skip(str(error))
            except ValueError as error:
                if "which is not here: pip install" not in str(error):
                    raise
                pytest.skip(str(error))
    assert (names["folder"] / "report.html").exists()


def names_in_prose(text: str) -> set[tuple[str, str]]:
    """Return (room, name) of each code span outside of blocks that begins as ``room.name``."""
    prose = re.sub(r"^(```|:::).*?^\1", "", text, flags=re.MULTILINE | re.DOTALL)
    found = re.findall(rf"`(?:probgen\.)?({'|'.join(generated.reference.ROOMS)}|pg)\.([A-Za-z_]\w*)", prose)
    return {(room, name) for room, name in found if name != "py"}


def test_names_in_prose_are_found() -> None:
    text = "`mmd.a(x)`, `data`\n\n```python\n`mmd.b`\n```\n`probgen.plots.c` and `history.d`, `pg.e`\n"
    assert names_in_prose(text) == {("mmd", "a"), ("plots", "c"), ("pg", "e")}


@pytest.mark.parametrize("path", PROSE, ids=lambda path: path.stem)
def test_the_names_that_a_page_speaks_of_exist(path: Path) -> None:
    for room, name in names_in_prose(path.read_text(encoding="utf-8")):
        module = "probgen" if room == "pg" else f"probgen.{room}"
        assert hasattr(importlib.import_module(module), name), f"{path.name} speaks of {room}.{name}"


def test_a_pages_statements_hold(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {"__name__": "__main__"}
    for cell in jupytext.read(SITE / "how_to" / "new_sampler.md").cells:
        if cell.cell_type == "code":
            exec(compile(cell.source, "new_sampler.md", "exec"), names)
    spread = names["chains"]["x"][:, 100:].std(dim=(0, 1))
    assert ((spread - 1).abs() < 0.03).all()  # 40,000 draws worth some 4,000: a standard error of .011


def test_the_program_of_two_processes_trains_in_two(tmp_path: Path) -> None:
    page = (SITE / "how_to" / "several_processes.md").read_text(encoding="utf-8")
    (program,) = re.findall(r"```python\n(# two\.py\n.*?)```", page, re.DOTALL)
    # A file for each process: what both print to one pipe mixes in the middle of words.
    saying = "\nPath(f'process{fabric.global_rank}').write_text(str(fabric.world_size))\n"
    whole = "from pathlib import Path\n" + program.replace("epochs=5", "epochs=1") + saying
    (tmp_path / "two.py").write_text(whole, encoding="utf-8")
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(SITE.parent)}
    told = subprocess.run(
        [sys.executable, "two.py"],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert told.returncode == 0, told.stderr
    assert [(tmp_path / f"process{rank}").read_text() for rank in (0, 1)] == ["2", "2"]
    assert told.stdout.count("History(") == 1
    assert (tmp_path / "runs" / "two").is_dir()


def test_every_page_is_in_the_contents() -> None:
    for path in PAGES:
        assert path.stem == "index" or path.stem in (SITE / "how_to" / "index.md").read_text()
    for path in OF_APPLICATIONS:
        assert (SITE / "applications" / "index.md").read_text().count(path.stem) >= 3
    for path in SITE.glob("[0-9]*.md"):
        assert (SITE / "learn.md").read_text().count(path.stem) == 2


def test_every_section_of_the_results_answers_a_question() -> None:
    pages = generated.results.pages()
    titles = re.findall(r"^## (.*)$", generated.results.RESULTS.read_text(), re.MULTILINE)
    shown = [t for page in pages.values() for t in re.findall(r"^## (.*)$", page, re.MULTILINE)]
    assert sorted(shown) == sorted(titles)
    with pytest.raises(ValueError, match="the section 'Weather'"):
        generated.results.question("Weather")


def test_the_reference_has_every_public_name() -> None:
    pages = generated.reference.pages()
    for room in generated.reference.ROOMS:
        for name in importlib.import_module(f"probgen.{room}").__all__:
            assert re.search(
                rf"(probgen\.{room}\.{name}|automodule:: .*\.{name})$",
                pages[f"reference/{room}"],
                re.MULTILINE,
            )


def test_signs_of_mathematics_are_kept() -> None:
    lines = ["|x| of ``a | b``, R_ and a * b, shape (n, \\*event)::", "    |x|", "done |y|", ">>> 1 | 2"]
    generated.reference.as_meant(None, "", "", None, None, lines)
    expected = [
        "\\|x\\| of ``a | b``, R\\_ and a \\* b, shape (n, \\*event)::",
        "    |x|",
        "done \\|y\\|",
        ">>> 1 | 2",
    ]
    assert lines == expected


def test_fields_of_named_tuples_are_not_numbered() -> None:
    lines = ["Alias for field number 0", ""]
    generated.reference.as_meant(None, "", "", None, None, lines)
    assert lines == []


def test_formulas_are_what_tex_takes_them_for() -> None:
    half = r"<mn>1</mn>\s*<mn>2</mn>\s*</mfrac>\s*<mi>x</mi>"
    for tex in (r"\tfrac12 x", r"\frac12x", r"\tfrac{1}{2} x"):
        assert re.search(half, formulas.mathml(tex)), tex
    space = '<mspace width="0.17em"></mspace>'
    assert formulas.mathml(r"2 \log x").count(space) == 2
    assert formulas.mathml(r"\log(x)").count(space) == 0
    assert formulas.mathml("|x|").count('<mo stretchy="false" lspace="0" rspace="0">|</mo>') == 2


def test_a_progress_bar_is_shown_as_it_ends() -> None:
    """Two bars of a cell one after the other, and what is no bar."""
    states = ("  0%|    | 0/2 [00:00<?]", " 50%|##  | 1/2 [00:01<00:01]", "100%|####| 2/2 [00:02<00:00]")
    page = new_document("")
    page += nodes.literal_block(text="\n".join(["begin", *states, *states, "90% | [end]", ""]))
    page += nodes.literal_block("a = 5%|b", "a = 5%|b")
    progress_bars.shorten(None, page)
    assert [block.astext() for block in page] == [
        f"begin\n{states[2]}\n{states[2]}\n90% | [end]\n",
        "a = 5%|b",
    ]
    assert [block.rawsource for block in page] == [block.astext() for block in page]


def test_the_gallery_has_a_card_for_every_recipe_and_application() -> None:
    (page,) = generated.gallery.pages().values()
    for name in [*recipes.entries(), *(f"apply {name}" for name in applications())]:
        assert page.count(f"{{grid-item-card}} `{name}`\n") == 1
    assert "*Graph:* z, z → x; guide z\n" in page


def test_a_card_of_an_application_says_what_was_found_first() -> None:
    text = "## Weather\n\n- no.\n\n## Application rain, Paris\n\nHow.\n\n| a |\n\n- It rains.\n- Often.\n"
    assert generated.gallery.found_by_applications(text) == {"rain": {"Paris": "It rains."}}


def test_links_that_lead_nowhere_are_found(tmp_path: Path) -> None:
    (tmp_path / "how_to").mkdir()
    (tmp_path / "index.html").write_text(
        '<h1 id="top">A</h1><a href="how_to/b.html#here">b</a><a href="#top">up</a><a href="#">up</a>'
        '<img src="no.png"><a href="how_to/b.html#there">b</a><a href="https://pyro.ai">Pyro</a>'
    )
    (tmp_path / "how_to" / "b.html").write_text(
        '<p id="here"></p><a href="../index.html?q=1">a</a><a href="c.html">'
        '<script src="https://cdn.org/a.js"></script><img src="data:image/png;base64,AA==">'
    )
    assert broken(tmp_path) == [
        "how_to/b.html: c.html",
        "how_to/b.html: https://cdn.org/a.js, which is loaded from the net",
        "index.html: no.png",
        "index.html: how_to/b.html#there",
    ]
